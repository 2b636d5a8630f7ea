"""What is looked at before a switch. The switch itself is rehearsed, on the live file's schema without any rows."""

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from penstock.errors import ReplayError
from penstock.replays._sqlite import _capture
from penstock.replays._sqlite._file import CopyDatabase, place_of
from penstock.replays._sqlite._making import read_shapes, run_on
from penstock.replays._sqlite._part import findings_of_part
from penstock.replays._sqlite._rows import Shadows, read_row
from penstock.replays._sqlite._shadows import make_shadow
from penstock.replays._sqlite._shapes import SHADOW, Run, TableShape, read_names
from penstock.replays._sqlite._statements import folded, names_in, quoted
from penstock.replays._sqlite._switching import Exchange, exchange, only_live
from penstock.replays.abc import Finding, Part

__all__ = ["findings"]

_LARGE_LOG: Final = 64 * 1024 * 1024
_SECONDS_A_NOTE: Final = 0.000_02
"""What it takes to bring one changed row over."""
_MOST_COUNTED: Final = 1_000


def findings(database: CopyDatabase, projections: Sequence[str], part: Part) -> list[Finding]:
    """Everything about a switch of these tables."""
    with closing(database.connect()) as connection:
        run = run_on(database, connection)
        names = read_names(run, "main")
        live, copied = read_shapes(run, "production", names), read_shapes(run, "main", names)
        if not part.is_whole:
            return list(findings_of_part(live, copied, part))
        found = [*_of_disk(database, run), *_of_log(database)]
        found += _of_tables(run, names, projections, live, copied)
        found += _of_references(run, names)
        return [*found, *_rehearsed(database, run, live, copied)]


# -- the files ----------------------------------------------------------------------------------------------------


def _of_disk(database: CopyDatabase, run: Run) -> Iterator[Finding]:
    row = read_row(run, "production", database.key)
    if row is not None and row.shadows.tables and all(each.is_filled for each in row.shadows.tables.values()):
        return
    # Once for the shadow tables, and once for the log through which they are written.
    needed = 2 * database.path.stat().st_size
    free = shutil.disk_usage(database.path.parent).free
    said = f"the switch needs about {_size(needed)} beside the live file, and {_size(free)} are free"
    if free < needed:
        yield Finding("refusal", "disk", f"{said}; free some space", can_be_forced=True)
    else:
        yield Finding("note", "disk", said)


def _of_log(database: CopyDatabase) -> Iterator[Finding]:
    log = Path(f"{database.live.path}-wal")
    if log.exists() and (size := log.stat().st_size) > _LARGE_LOG:
        yield Finding(
            "warning",
            "log",
            f"the log of the live file has {_size(size)}, so some transaction that reads has been open for long; it "
            "will grow by the size of the copy, and shrink when that has ended",
        )


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"


# -- tables, and what refers to them ------------------------------------------------------------------------------


def _of_tables(
    run: Run,
    names: Sequence[str],
    projections: Sequence[str],
    live: Sequence[TableShape],
    copied: Sequence[TableShape],
) -> Iterator[Finding]:
    old = {folded(shape.name): shape for shape in live}
    for shape in copied:
        before = old.get(folded(shape.name))
        if before is None:
            yield Finding("note", f"table {shape.name}", "there is no live one yet; the switch makes it")
            continue
        kept = {folded(name) for name in shape.columns}
        if gone := [name for name in before.columns if folded(name) not in kept]:
            yield Finding(
                "warning",
                f"table {shape.name}",
                f"the copy has no column {', '.join(gone)}; whoever reads it has to be changed before",
            )
        for name, sql in before.triggers.items():
            if name not in shape.triggers:
                yield Finding(
                    "warning",
                    f"trigger {name}",
                    f"it touches more than the copy has, so it did not run for the rows of {shape.name} in the copy; "
                    f"it is carried over ({' '.join(sql.split())[:80]})",
                )
    for name in sorted(only_live(run, "production", projections, names)):
        yield Finding(
            "warning",
            f"table {name}",
            "it belongs to the live version and not to the copy; it stays as it is then, for those who still read it",
        )


def _of_references(run: Run, names: Sequence[str]) -> Iterator[Finding]:
    """Views and other tables that name the copied ones."""
    copied = {folded(name) for name in names}
    others = run(
        "SELECT type, name, sql FROM production.sqlite_master WHERE type IN ('view', 'table') AND sql IS NOT NULL "
        "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE 'penstock!_%' ESCAPE '!' ORDER BY name"
    ).fetchall()
    for kind, name, sql in others:
        if folded(name) in copied:
            continue
        if kind == "view" and (used := sorted(copied & {folded(each) for each in names_in(sql)})):
            yield Finding(
                "note", f"view {name}", f"it goes on reading {', '.join(used)}, and shows what is live then"
            )
        elif kind == "table":
            yield from _of_foreign_keys(run, name, copied)


def _of_foreign_keys(run: Run, child: str, copied: set[str]) -> Iterator[Finding]:
    keys: dict[int, list[Any]] = {}
    for row in run(f"PRAGMA production.foreign_key_list({quoted(child)})").fetchall():
        keys.setdefault(row[0], []).append(row)
    for parts in keys.values():
        parent = parts[0][2]
        if folded(parent) not in copied:
            continue
        yield Finding("note", f"table {child}", f"its foreign key goes on referring to {parent}, by name")
        if orphans := _orphans(run, child, parent, sorted(parts, key=lambda each: each[1])):
            yield Finding(
                "refusal",
                f"table {child}",
                f"{orphans:,}{'+' if orphans >= _MOST_COUNTED else ''} rows refer to rows of {parent} that are not in "
                "the copy",
                can_be_forced=True,
            )


def _orphans(run: Run, child: str, parent: str, parts: Sequence[Any]) -> int:
    """Rows of an outside table whose row in the live table has none beside it in the copy."""
    info = run(f"PRAGMA main.table_info({quoted(parent)})").fetchall()
    if not info or not run(f"PRAGMA production.table_info({quoted(parent)})").fetchall():
        return 0
    primary = [each[1] for each in sorted((each for each in info if each[5]), key=lambda each: each[5])]
    to = [part[4] or (primary[number] if number < len(primary) else "") for number, part in enumerate(parts)]
    if not {*map(folded, to)} <= {folded(column[1]) for column in info}:
        return 0
    same = " AND ".join(
        f"p.{quoted(name)} = c.{quoted(part[3])}" for name, part in zip(to, parts, strict=True)
    )
    [count] = run(
        f"SELECT count(*) FROM (SELECT 1 FROM production.{quoted(child)} AS c "
        f"WHERE EXISTS (SELECT 1 FROM production.{quoted(parent)} AS p WHERE {same}) "
        f"AND NOT EXISTS (SELECT 1 FROM main.{quoted(parent)} AS p WHERE {same}) LIMIT {_MOST_COUNTED})"
    ).fetchone()
    return int(count)


# -- the rehearsal ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Working:
    """What can be prepared in a database."""

    views: set[str] = field(default_factory=set[str])
    tables: set[str] = field(default_factory=set[str])
    errors: dict[str, str] = field(default_factory=dict[str, str])


def _rehearsed(
    database: CopyDatabase, run: Run, live: Sequence[TableShape], copied: Sequence[TableShape]
) -> list[Finding]:
    # What is only explained is not prepared again when the schema has changed, so nothing is kept prepared.
    with closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)) as stage:
        _build(stage, run)
        before = _working(stage)
        place = place_of(database.key)

        def act(sql: str, parameters: Sequence[object] = ()) -> Any:
            return stage.execute(sql, tuple(parameters))  # pyright: ignore[reportArgumentType]

        try:
            for shape in copied:
                make_shadow(act, place, shape)
            began = time.monotonic()
            exchange(act, Exchange(place, tuple(live), tuple(copied)))
            took = time.monotonic() - began
        except (sqlite3.Error, ReplayError) as failure:
            return [Finding("refusal", "switch", f"the tables cannot be exchanged: {failure}")]
        after = _working(stage)
    return [*_broken(before, after), _of_time(database, run, took)]


def _build(stage: sqlite3.Connection, run: Run) -> None:
    """The live file's schema, as far as it can be had without its extensions."""
    made = run(
        "SELECT sql FROM production.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' "
        "AND substr(name, 1, ?) <> ? AND substr(tbl_name, 1, ?) <> ? "
        "ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid",
        (len(SHADOW), SHADOW, len(SHADOW), SHADOW),
    ).fetchall()
    for [sql] in made:
        try:
            stage.execute(sql)
        except sqlite3.Error:
            continue  # a module or function that is not here; what depends on it is in nobody's way


def _working(stage: sqlite3.Connection) -> _Working:
    """Which views can be read, and which tables changed with all triggers and foreign keys."""
    found = _Working()
    stage.execute("PRAGMA foreign_keys=ON")
    named = stage.execute(
        "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') "
        "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND substr(name, 1, ?) <> ?",
        (len(SHADOW), SHADOW),
    ).fetchall()
    for kind, name in named:
        try:
            if kind == "view":
                stage.execute(f"SELECT * FROM {quoted(name)} LIMIT 0").fetchall()
                found.views.add(name)
            else:
                for sql in _changes(stage, name):
                    stage.execute(f"EXPLAIN {sql}").fetchall()
                found.tables.add(name)
        except sqlite3.Error as failure:
            found.errors[name] = str(failure)
    stage.execute("PRAGMA foreign_keys=OFF")
    return found


def _changes(stage: sqlite3.Connection, table: str) -> Iterator[str]:
    info = stage.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    same = ", ".join(f"{quoted(each[1])} = {quoted(each[1])}" for each in info if each[6] == 0)
    yield f"INSERT INTO {quoted(table)} DEFAULT VALUES"
    yield f"UPDATE {quoted(table)} SET {same}"
    yield f"DELETE FROM {quoted(table)}"


def _broken(before: _Working, after: _Working) -> Iterator[Finding]:
    for name in sorted(before.views - after.views):
        yield Finding(
            "refusal",
            f"view {name}",
            f"it could not be read any more: {after.errors.get(name, 'it is gone')}; change it first",
        )
    for name in sorted(before.tables - after.tables):
        yield Finding(
            "refusal",
            f"table {name}",
            f"it could not be changed any more: {after.errors.get(name, 'it is gone')}; "
            "change the trigger or foreign key first",
        )


def _of_time(database: CopyDatabase, run: Run, took: float) -> Finding:
    row = read_row(run, "main", database.key)
    shadows = Shadows() if row is None else row.shadows
    theirs = read_row(run, "production", database.key)
    applied = Shadows() if theirs is None else theirs.shadows
    notes = 0
    if shadows.changes and shadows.changes == applied.changes:
        notes = sum(
            _capture.pending(run, "main", number, applied.tables[name].applied)
            for number, name in enumerate(shadows.tables)
        )
    seconds = took + min(notes, 2_000) * _SECONDS_A_NOTE
    return Finding(
        "note",
        "lock",
        f"nobody else can write the live file for about {max(seconds * 1000, 0.1):.1f} ms; readers go on throughout",
    )
