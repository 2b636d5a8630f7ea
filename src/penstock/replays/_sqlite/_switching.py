"""The exchange of live and shadow tables: one transaction of the live file, which takes as long whatever their size.

Renaming is done with ``legacy_alter_table``, so that views, triggers and foreign keys of other tables go on naming the
plain names, and find there what is live. SQLite cannot rename indexes, nor take foreign keys out of a table that stays,
so their statements are put in order in its schema table, inside the same transaction; every other connection reads the
schema anew, because renaming has raised its number.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from penstock.errors import PenstockError, ReplayBusyError, ReplayError
from penstock.replays._sqlite import _capture
from penstock.replays._sqlite._file import CopyDatabase, place_of
from penstock.replays._sqlite._making import read_shapes, run_on
from penstock.replays._sqlite._part import exchange_part
from penstock.replays._sqlite._rows import (
    FileRow,
    Shadow,
    Shadows,
    columns_of,
    new_name,
    read_row,
    schema_number,
    write_row,
)
from penstock.replays._sqlite._shadows import COPY, apply_changes, is_undisturbed, make_shadow, shadow_index
from penstock.replays._sqlite._shapes import Run, TableShape, read_names, shadow_name
from penstock.replays._sqlite._statements import folded, quoted, renamed_index, renamed_table
from penstock.replays.abc import Held, Part, Switched
from penstock.store._sqlite._errors import speaking_of

__all__ = ["Exchange", "exchange", "only_live", "switch"]

_MOST_NOTES: Final = 2_000
"""So many changed rows are brought over while everybody waits."""
_PATIENCE_SECONDS: Final = 60.0
_ALL: Final = 1_000_000_000
_NOTES: Final = (
    "plan, suspect, attempts, retry_at, stands, error, error_class, error_type, error_position, error_event_id, "
    "failed_at"
)
"""What is noted about the content of a generation; who runs it, and what people want of it, is about its name."""
_WISHES: Final = "wanted, request, options, reload_at"
"""What people want of it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is exchanged for what."""

    place: str
    live: tuple[TableShape, ...]
    """Tables that are live; of those in the copy, as far as they are there."""
    copied: tuple[TableShape, ...]
    """The copy's, which are in shadow tables by now."""


def switch(
    database: CopyDatabase,
    part: Part,
    bring_up: Callable[[], None],
    meet: Callable[[], AbstractContextManager[Held]],
    record: Callable[[Held], None],
) -> Switched:
    """Exchange live and copy; see `ReadModelCopy.switch`."""
    tries, done = 0, None
    ends = time.monotonic() + _PATIENCE_SECONDS
    while done is None:
        with meet() as held, speaking_of(database.live.shown):
            done = _tried(database, part, held, record, tries)
        if done is None:
            tries += 1
            if time.monotonic() > ends:
                reason = "it changes faster than its shadow tables are brought up"
                raise ReplayBusyError(database.key, step="be switched", reason=reason)
            bring_up()
    # The copy's file is what it was. Whoever connects makes it what it should be, and so it need not succeed here.
    with contextlib.suppress(PenstockError):
        database.connect().close()
    return done


def _tried(
    database: CopyDatabase, part: Part, held: Held, record: Callable[[Held], None], tries: int
) -> Switched | None:
    """What was done; nothing, where the shadow tables are not near enough."""
    began = time.monotonic()
    copied, live = run_on(database, held.copied), run_on(database.live, held.live)
    if part.is_whole and not _is_near(copied, live, database.key):
        return None
    names = _switch(database, live, copied, part)
    record(held)
    # Committed here, so that the time is that during which others were kept out.
    held.live.commit()
    locked = timedelta(seconds=time.monotonic() - began)
    return Switched(max(held.positions.values(), default=0), names, locked, tries)


def _is_near(copied: Run, live: Run, key: str) -> bool:
    """Whether the shadow tables are nearly what the copy's file is."""
    theirs, ours = read_row(live, "main", key), read_row(copied, "main", key)
    if theirs is None or ours is None or theirs.is_leaving or theirs.content != ours.content:
        raise ReplayError(f"the copy of replay {key!r} is gone; create it again")
    shadows = theirs.shadows
    if not shadows.changes or shadows.changes != ours.shadows.changes:
        return False
    if not all(each.is_filled for each in shadows.tables.values()):
        return False
    if not is_undisturbed(live, shadows, read_shapes(copied, "main", list(shadows.tables))):
        return False
    pending = (
        _capture.pending(copied, "main", number, each.applied)
        for number, each in enumerate(shadows.tables.values())
    )
    return sum(pending) <= _MOST_NOTES


def _switch(database: CopyDatabase, live: Run, copied: Run, part: Part) -> tuple[str, ...]:
    """Everything in the live file's transaction, while the copy's stands still; the names of the tables."""
    key, place = database.key, place_of(database.key)
    row = read_row(live, "main", key)
    if row is None:
        raise ReplayError(f"the copy of replay {key!r} is gone; create it again")
    names = read_names(copied, "main")
    shapes = read_shapes(copied, "main", names)
    # What the copy's file has committed is read here, in SQL: values stay what they are.
    live(f"ATTACH DATABASE ? AS {COPY}", (os.fsencode(database.path),))
    if not part.is_whole:
        exchange_part(database, live, read_shapes(live, "main", names), shapes, part)
        return tuple(names)
    for number, shape in enumerate(shapes):
        apply_changes(live, place, number, shape, row.shadows, _ALL)
        _carry_sequence(live, place, shape)
    projections = [name for [name] in copied("SELECT projection FROM main.penstock_checkpoints").fetchall()]
    kept = read_shapes(live, "main", sorted(only_live(live, "main", projections, names)))
    plan = Exchange(place, read_shapes(live, "main", names), shapes)
    exchange(live, plan)
    _carry_statistics(live, shapes)
    for name in projections:
        _exchange_checkpoints(live, key, name)
    former = [each for each in plan.live if folded(each.name) not in row.shadows.kept]
    shadows = Shadows(
        new_name(),
        {each.name: Shadow(is_filled=True) for each in former},
        0,
        tuple(folded(each.name) for each in kept),
    )
    for shape in kept:
        # It stays where readers look for it, and the former version goes on with a table of its own.
        make_shadow(live, place, shape)
        shadows.tables[shape.name] = Shadow()
    shadows.schema = schema_number(live)
    write_row(live, key, FileRow(new_name(), shadows=shadows, former=(*former, *kept)))
    return tuple(names)


def only_live(run: Run, schema: str, projections: Sequence[str], names: Sequence[str]) -> set[str]:
    """The tables that the live checkpoints name and the copy has not, in small letters."""
    found: set[str] = set()
    for name in projections:
        row = run(
            f"SELECT tables FROM {schema}.penstock_checkpoints WHERE projection = ? AND generation = ''",
            (name,),
        ).fetchone()
        if row is not None:
            found.update(folded(each) for each in msgspec.json.decode(row[0], type=list[str]))
    return found - {folded(name) for name in names}


def _carry_sequence(live: Run, place: str, shape: TableShape) -> None:
    """Row ids that were given out once are never given out again."""
    if not shape.counts:
        return
    shadow = shadow_name(place, shape.name)
    live("DELETE FROM main.sqlite_sequence WHERE name = ?", (shadow,))
    live(
        f"INSERT INTO main.sqlite_sequence (name, seq) SELECT ?, seq FROM {COPY}.sqlite_sequence WHERE name = ?",
        (shadow, shape.name),
    )


def _carry_statistics(live: Run, shapes: Sequence[TableShape]) -> None:
    """What the planner knows of the tables, where the live file has such knowledge at all."""
    for schema in ("main", COPY):
        if not live(f"SELECT count(*) FROM {schema}.sqlite_master WHERE name = 'sqlite_stat1'").fetchone()[0]:
            return
    for shape in shapes:
        live("DELETE FROM main.sqlite_stat1 WHERE tbl = ?", (shape.name,))
        live(
            "INSERT INTO main.sqlite_stat1 (tbl, idx, stat) "
            f"SELECT tbl, idx, stat FROM {COPY}.sqlite_stat1 WHERE tbl = ?",
            (shape.name,),
        )


# -- tables -------------------------------------------------------------------------------------------------------


def exchange(run: Run, plan: Exchange) -> None:
    """Give the copy's tables the plain names, and the live ones the shadow names, with all that hangs on them."""
    if run("PRAGMA foreign_keys").fetchone()[0]:
        raise ReplayError(
            "a connection that renames tables has foreign keys switched on, which would rename those, too"
        )
    # SQLite does not tell names apart by their case.
    new = {folded(shape.name): shape for shape in plan.copied}
    old = {folded(shape.name): shape for shape in plan.live}
    run("PRAGMA legacy_alter_table=ON")
    for shape in plan.live:
        for trigger in shape.triggers:
            run(f"DROP TRIGGER main.{quoted(trigger)}")
    for name in {**old, **new}:
        aside = f"{shadow_name(plan.place, name)}*"
        if name in old:
            _rename(run, old[name].name, aside)
        if name in new:
            _rename(run, shadow_name(plan.place, new[name].name), new[name].name)
        if name in old:
            _rename(run, aside, shadow_name(plan.place, old[name].name))
    _put_in_order(run, plan)
    for name, shape in new.items():
        carried = old[name].triggers if name in old else {}
        for sql in {**carried, **shape.triggers}.values():
            run(sql)


def _rename(run: Run, name: str, to: str) -> None:
    run(f"ALTER TABLE main.{quoted(name)} RENAME TO {quoted(to)}")


def _put_in_order(run: Run, plan: Exchange) -> None:
    """Names of indexes, and the foreign keys: plain for what is live, out of everybody's way for what is not."""
    run("PRAGMA writable_schema=ON")
    try:
        for shape in plan.live:
            shadow = shadow_name(plan.place, shape.name)
            _restate(run, "table", shadow, shadow, shadow, renamed_table(shape.sql, shadow))
            for index, sql in shape.indexes.items():
                named = shadow_index(plan.place, shape.name, index)
                _restate(run, "index", shadow, index, named, renamed_index(sql, named, shadow))
        for shape in plan.copied:
            _restate(run, "table", shape.name, shape.name, shape.name, shape.sql)
            for index, sql in shape.indexes.items():
                _restate(run, "index", shape.name, shadow_index(plan.place, shape.name, index), index, sql)
    finally:
        # RESET, and not OFF: what this connection remembers of the schema is read anew.
        run("PRAGMA writable_schema=RESET")


def _restate(run: Run, kind: str, table: str, name: str, to: str, sql: str) -> None:
    changed = run(
        "UPDATE main.sqlite_master SET name = ?, sql = ? WHERE type = ? AND tbl_name = ? AND name = ?",
        (to, sql, kind, table, name),
    ).rowcount
    if changed != 1:
        raise ReplayError(
            f"the {kind} {name!r} of table {table!r} is not there any more; prepare the switch again"
        )


# -- rows of ours -------------------------------------------------------------------------------------------------


def _exchange_checkpoints(run: Run, key: str, projection: str) -> None:
    """The copy's checkpoint, failures and notes for the live one's, and those for the copy's, with new epochs.

    Both epochs are higher than any of the two was, so that whoever has run one of them finds that it is another's now.
    """
    [epoch] = run(
        "SELECT max(epoch) FROM (SELECT epoch FROM main.penstock_checkpoints WHERE projection = ? AND generation = '' "
        f"UNION ALL SELECT epoch FROM {COPY}.penstock_checkpoints WHERE projection = ? AND generation = ?)",
        (projection, projection, key),
    ).fetchone()
    for table in ("penstock_checkpoints", "penstock_projection_failures"):
        columns = columns_of(run, "main", table, without=("generation",))
        run(f"DELETE FROM main.{table} WHERE projection = ? AND generation = ?", (projection, key))
        run(
            f"UPDATE main.{table} SET generation = ? WHERE projection = ? AND generation = ''",
            (key, projection),
        )
        run(
            f"INSERT INTO main.{table} (generation, {columns}) SELECT '', {columns} FROM {COPY}.{table} "
            "WHERE projection = ? AND generation = ?",
            (projection, key),
        )
    run(
        "UPDATE main.penstock_checkpoints SET epoch = ? + 1 WHERE projection = ? AND generation IN ('', ?)",
        (epoch, projection, key),
    )
    run("DELETE FROM main.penstock_projections WHERE projection = ? AND generation = ?", (projection, key))
    run(
        f"INSERT INTO main.penstock_projections (projection, generation, {_NOTES}) SELECT projection, ?, {_NOTES} "
        "FROM main.penstock_projections WHERE projection = ? AND generation = ''",
        (key, projection),
    )
    # The copy's own file is made again from what is here.
    run(
        f"UPDATE main.penstock_projections SET ({_WISHES}) = (SELECT {_WISHES} FROM {COPY}.penstock_projections "
        "WHERE projection = ? AND generation = ?) WHERE projection = ? AND generation = ? AND EXISTS "
        f"(SELECT 1 FROM {COPY}.penstock_projections WHERE projection = ? AND generation = ?)",
        (projection, key) * 3,
    )
    run(
        f"INSERT INTO main.penstock_projections (projection, generation, {_NOTES}) SELECT projection, '', {_NOTES} "
        f"FROM {COPY}.penstock_projections WHERE projection = ? AND generation = ? "
        "ON CONFLICT (projection, generation) DO UPDATE SET "
        + ", ".join(f"{name.strip()} = excluded.{name.strip()}" for name in _NOTES.split(",")),
        (projection, key),
    )
