"""Shadow tables in the live file, brought up to the copy's file in transactions of a few milliseconds.

A row is copied as it is when it is its turn, while the copy goes on changing. It may then stand beside another one that
has changed since, and clash with it in a unique index: the older one gives way, since whatever changed is noted and its
turn comes. When no note is left, the shadow is what the file is.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from penstock.errors import ReplayError
from penstock.replays._sqlite import _capture
from penstock.replays._sqlite._capture import log_name
from penstock.replays._sqlite._file import CopyDatabase, PlainFile, place_of, transaction
from penstock.replays._sqlite._making import read_shapes, run_on
from penstock.replays._sqlite._rows import (
    FileRow,
    Shadow,
    Shadows,
    new_name,
    read_row,
    schema_number,
    write_row,
)
from penstock.replays._sqlite._shapes import Run, TableShape, read_names, shadow_name
from penstock.replays._sqlite._statements import is_by_rowid, quoted, renamed_index, renamed_table
from penstock.store._sqlite._database import SqliteDatabase, uri_of

__all__ = [
    "COPY",
    "Pace",
    "apply_changes",
    "bring_up",
    "clear_shadows",
    "drop_shadows",
    "is_undisturbed",
    "make_shadow",
    "shadow_index",
]

T = TypeVar("T")

COPY: Final = "penstock_copy"
"""The name under which the copy's file is attached to connections of the live one."""

_HOLD_SECONDS: Final = 0.005
"""How long one transaction is to keep other writers out."""
_REST: Final = 1.0
"""For how many times as long they then have the file to themselves."""
_FEWEST, _MOST = 20, 20_000
_NEAR: Final = 200
"""So many notes are left for the switch."""
_LONGEST_SECONDS: Final = 600.0


@dataclass(slots=True)
class Pace:
    """How many rows a transaction takes, learned from how long the last ones were."""

    rows: int = 200

    @contextmanager
    def step(self, transaction: AbstractContextManager[T]) -> Iterator[tuple[T, int]]:
        """A *transaction* with how many rows it may take; after it the file is left to others for a while."""
        with transaction as opened:
            began = time.monotonic()
            yield opened, self.rows
            # Without the commit, which may also write the log back, and then keeps nobody out.
            held = time.monotonic() - began
        factor = min(max(_HOLD_SECONDS / max(held, 1e-6), 0.25), 2.0)
        self.rows = int(min(max(self.rows * factor, _FEWEST), _MOST))
        time.sleep(min(held * _REST, 0.1))


def bring_up(database: CopyDatabase, say: Callable[[str], None]) -> None:
    """Have shadow tables of the copy's that lack few changes. Repeatable, also after it was killed."""
    shapes, changes = _note_changes(database)
    live = PlainFile(database.live.name, database.live.path, lock_wait_seconds=database.lock_wait_seconds)
    with closing(live.connect()) as connection:
        # These transactions need not be on the disk when they end: what the row says is written with them. A log that
        # loses its end loses both.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"ATTACH DATABASE ? AS {COPY}", (uri_of(database.path, read_only=True),))
        _Following(database, live, connection, shapes, changes, say).run()


def _note_changes(database: CopyDatabase) -> tuple[tuple[TableShape, ...], str]:
    """See to it that the copy's file notes its changes; its tables, and the name of the notes."""
    with closing(database.connect()) as connection:
        run = run_on(database, connection)
        with transaction(database, connection):
            shapes = read_shapes(run, "main", read_names(run, "main"))
            row = read_row(run, "main", database.key)
            if row is None:
                raise ReplayError(f"the copy of replay {database.key!r} is gone; create it again")
            if not row.shadows.changes or list(row.shadows.tables) != [each.name for each in shapes]:
                row.shadows = _capture.begin_capture(run, shapes, new_name())
                write_row(run, database.key, row)
        return shapes, row.shadows.changes


class _DisturbedError(Exception):
    """The live file's schema has changed, perhaps by ``VACUUM``: row ids may not be what they were."""


class _Following:
    """The way from nothing to shadow tables that are nearly there, over one connection to the live file."""

    def __init__(
        self,
        database: CopyDatabase,
        live: PlainFile,
        connection: sqlite3.Connection,
        shapes: Sequence[TableShape],
        changes: str,
        say: Callable[[str], None],
    ) -> None:
        self._copy, self._live, self._connection = database, live, connection
        self._shapes, self._changes, self._say = shapes, changes, say
        self._place = place_of(database.key)
        self._run = run_on(live, connection)
        self._pace = Pace()
        self._is_made = False

    def run(self) -> None:
        """Make, fill and follow."""
        while True:
            self._is_made = False
            self._make()
            self._is_made = True
            try:
                for shape in self._shapes:
                    self._fill(shape)
                self._follow()
            except _DisturbedError:
                continue
            return

    @contextmanager
    def _changing(self) -> Iterator[FileRow]:
        """A transaction of the live file, with its row, which is written at the end."""
        with transaction(self._live, self._connection):
            row = read_row(self._run, "main", self._copy.key)
            if row is None or row.is_leaving:
                raise ReplayError(f"replay {self._copy.key!r} was removed meanwhile")
            if self._is_made and not is_undisturbed(self._run, row.shadows, self._shapes):
                raise _DisturbedError
            yield row
            write_row(self._run, self._copy.key, row)

    def _make(self) -> None:
        """Have shadow tables that belong to these notes; others are emptied first, piece by piece."""
        row = read_row(self._run, "main", self._copy.key)
        is_theirs = (
            row is not None
            and row.shadows.changes == self._changes
            and is_undisturbed(self._run, row.shadows, self._shapes)
        )
        known = list(row.shadows.tables) if row is not None and is_theirs else []
        clear_shadows(self._live, self._connection, self._copy.key, self._pace, keep=known)
        if is_theirs:
            with self._changing() as row:
                drop_shadows(self._run, self._copy.key, keep=known)
                row.shadows.schema = schema_number(self._run)
            return
        with self._changing() as row:
            drop_shadows(self._run, self._copy.key)
            for shape in self._shapes:
                make_shadow(self._run, self._place, shape)
            tables = {shape.name: Shadow() for shape in self._shapes}
            row.shadows = Shadows(self._changes, tables, schema_number(self._run), row.shadows.kept)
            row.former = ()

    def _fill(self, shape: TableShape) -> None:
        """Copy all rows, in the order of their keys, from where a former try came to."""
        row = read_row(self._run, "main", self._copy.key)
        if row is None or row.shadows.tables[shape.name].is_filled:
            return
        filled = 0
        shadow = quoted(shadow_name(self._place, shape.name))
        key, stored = (", ".join(map(quoted, names)) for names in (shape.key, shape.stored))
        order = f"ORDER BY {', '.join(map(quoted, shape.key))}"
        backwards = f"ORDER BY {', '.join(f'{quoted(each)} DESC' for each in shape.key)}"
        marks = ", ".join("?" * len(shape.key))
        while True:
            with self._pace.step(self._changing()) as (row, most):
                last = self._run(f"SELECT {key} FROM main.{shadow} {backwards} LIMIT 1").fetchone()
                after = f"WHERE ({key}) > ({marks})" if last else ""
                done = self._run(
                    f"INSERT OR REPLACE INTO main.{shadow} ({stored}) "
                    f"SELECT {stored} FROM {COPY}.{quoted(shape.name)} {after} {order} LIMIT ?",
                    (*(last or ()), most),
                ).rowcount
                row.shadows.tables[shape.name].is_filled = done < most
                row.former = ()
            filled += done
            if done < most:
                break
        self._say(f"table {shape.name}: {filled:,} rows copied")

    def _follow(self) -> None:
        ends = time.monotonic() + _LONGEST_SECONDS
        while self._pending() > _NEAR:
            for number, shape in enumerate(self._shapes):
                self._catch_up(number, shape)
            self._forget()
            if time.monotonic() > ends:
                raise ReplayError(
                    f"the copy of replay {self._copy.key!r} changes faster than it is brought over; "
                    "try again when less is written"
                )

    def _pending(self) -> int:
        row = read_row(self._run, "main", self._copy.key)
        shadows = Shadows() if row is None else row.shadows
        return sum(
            _capture.pending(self._run, COPY, number, each.applied)
            for number, each in enumerate(shadows.tables.values())
        )

    def _catch_up(self, number: int, shape: TableShape) -> None:
        more = True
        while more:
            with self._pace.step(self._changing()) as (row, most):
                more = apply_changes(self._run, self._place, number, shape, row.shadows, most) == most
                # They are beyond the checkpoint that is kept for making the file again.
                row.former = ()

    def _forget(self) -> None:
        """Notes that are applied are not needed any more: what the live file says is on its way to the disk."""
        row = read_row(self._run, "main", self._copy.key)
        if row is None:
            return
        # That it is there, and not only on its way, has to be sure before.
        self._connection.execute("PRAGMA synchronous=FULL")
        with transaction(self._live, self._connection):
            write_row(self._run, self._copy.key, row)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        with closing(self._copy.connect()) as connection, transaction(self._copy, connection):
            run = run_on(self._copy, connection)
            ours = read_row(run, "main", self._copy.key)
            if ours is not None and ours.shadows.changes == row.shadows.changes:
                for number, each in enumerate(row.shadows.tables.values()):
                    _capture.forget(run, number, each.applied)


def is_undisturbed(run: Run, shadows: Shadows, shapes: Sequence[TableShape]) -> bool:
    """Whether rows of the shadow tables still have the row ids under which they were copied."""
    return not any(shape.is_loose for shape in shapes) or schema_number(run) == shadows.schema


def make_shadow(run: Run, place: str, shape: TableShape) -> None:
    """Make the empty shadow of a table, with indexes: to make those in the end would take as long as it is large."""
    shadow = shadow_name(place, shape.name)
    run(renamed_table(shape.sql, shadow))
    for name, sql in shape.indexes.items():
        run(renamed_index(sql, shadow_index(place, shape.name, name), shadow))


def apply_changes(run: Run, place: str, number: int, shape: TableShape, shadows: Shadows, most: int) -> int:
    """Bring up to *most* changed rows of one table into its shadow, inside a transaction of the live file; how many."""
    log, applied = f"{COPY}.{log_name(number)}", shadows.tables[shape.name].applied
    through, count = run(
        f"SELECT max(seq), count(*) FROM (SELECT seq FROM {log} WHERE seq > ? ORDER BY seq LIMIT ?)",
        (applied, most),
    ).fetchone()
    if not count:
        return 0
    shadow = quoted(shadow_name(place, shape.name))
    key, stored = (", ".join(map(quoted, names)) for names in (shape.key, shape.stored))
    noted = f"SELECT {', '.join(f'k{each}' for each in range(len(shape.key)))} FROM {log} WHERE seq > ? AND seq <= ?"
    span = (applied, through)
    run(f"DELETE FROM main.{shadow} WHERE ({key}) IN ({noted})", span)
    run(
        f"INSERT OR REPLACE INTO main.{shadow} ({stored}) "
        f"SELECT {stored} FROM {COPY}.{quoted(shape.name)} WHERE ({key}) IN ({noted})",
        span,
    )
    shadows.tables[shape.name].applied = through
    return int(count)


def shadow_index(place: str, table: str, index: str) -> str:
    """The name of an index of a shadow table."""
    return shadow_name(place, f"{table}_{index}")


def _shadow_tables(run: Run, key: str, keep: Sequence[str]) -> list[str]:
    prefix = shadow_name(place_of(key), "")
    found = run(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ? ORDER BY name",
        (len(prefix), prefix),
    ).fetchall()
    kept = {shadow_name(place_of(key), name) for name in keep}
    return [name for [name] in found if name not in kept]


def clear_shadows(
    database: SqliteDatabase,
    connection: sqlite3.Connection,
    key: str,
    pace: Pace,
    *,
    keep: Sequence[str] = (),
) -> None:
    """Empty the shadow tables of a copy, in short transactions: to drop a large one keeps writers out for long.

    Those of the tables *keep* stay; without any, the row says before that the file is not to be made from them.
    """
    run = run_on(database, connection)
    named = _shadow_tables(run, key, keep)
    if named and not keep:
        with transaction(database, connection):
            row = read_row(run, "main", key)
            if row is not None:
                row.shadows, row.former = Shadows(kept=row.shadows.kept), ()
                write_row(run, key, row)
    for name in named:
        columns: list[Any] = run(f"PRAGMA main.table_info({quoted(name)})").fetchall()
        primary = ", ".join(quoted(each[1]) for each in columns if each[5])
        [sql] = run(
            "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = ?", (name,)
        ).fetchone()
        by = "rowid" if is_by_rowid(sql) else primary
        done = most = 1
        while done >= most:
            with pace.step(transaction(database, connection)) as (_, most):
                done = run(
                    f"DELETE FROM main.{quoted(name)} WHERE ({by}) IN "
                    f"(SELECT {by} FROM main.{quoted(name)} LIMIT ?)",
                    (most,),
                ).rowcount


def drop_shadows(run: Run, key: str, *, keep: Sequence[str] = ()) -> None:
    """Drop the shadow tables of a copy but those of the tables *keep*, inside a transaction of the live file."""
    for name in _shadow_tables(run, key, keep):
        run(f"DROP TABLE main.{quoted(name)}")
