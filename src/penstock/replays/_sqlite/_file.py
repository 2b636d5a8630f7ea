"""The file that a copy is written in: a database in which everything that is not the copy's is read from the live file.

Its connections have the live file attached read-only as ``production``, so that names which the copy has mean the copy,
all others mean production, and SQLite itself refuses to write those.
"""

import contextlib
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from penstock.errors import ReplayError
from penstock.projections._engine import _sql
from penstock.replays._sqlite._capture import begin_capture, end_capture
from penstock.replays._sqlite._rows import FileRow, columns_of, new_name, read_row, write_row
from penstock.replays._sqlite._shapes import Run, TableShape, read_names, shadow_name
from penstock.replays._sqlite._statements import quoted
from penstock.store import migrating
from penstock.store._sqlite._database import SqliteConnection, SqliteDatabase, uri_of
from penstock.store._sqlite._errors import speaking_of
from penstock.store.database import Connection

__all__ = ["OURS", "CopyDatabase", "PlainFile", "make_triggers", "place_of", "transaction", "wipe"]

_PRODUCTION: Final = "production"
_OF_PRODUCTION: Final = (
    "penstock_events",
    "penstock_streams",
    "penstock_inbox",
    "penstock_relays",
    "penstock_replays",
    "penstock_replay_plays",
    "penstock_replay_reports",
    "penstock_replay_log",
    "penstock_replay_places",
)
"""Tables of ours that the copy's file has because all migrations are applied to it, and which are not the copy's."""

OURS: Final = ("penstock_checkpoints", "penstock_projections", "penstock_projection_failures")
"""Tables of ours with rows by generation, which belong to what the generation holds."""


def place_of(key: str) -> str:
    """Eight letters that stand for a key in names."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def path_of(key: str, live: Path) -> Path:
    """The copy's file, beside the live one; the same by whatever link that is reached."""
    live = Path(os.path.realpath(live))
    slug = re.sub(r"[^a-z0-9]+", "-", key.casefold()).strip("-")[:40]
    return live.with_name(f"{live.name}.{slug}-{place_of(key)}.replay")


@contextlib.contextmanager
def transaction(database: SqliteDatabase, connection: Connection) -> Iterator[None]:
    """A transaction, kept at the end of the block. What fails in its end is ours, too: a full disk shows only there."""
    with speaking_of(database.shown), _sql.transaction(database, connection):
        yield


class PlainFile(SqliteDatabase):
    """A file by itself, to whose connections others may be attached by URI."""

    by_uri: ClassVar[bool] = True


class CopyDatabase(SqliteDatabase):
    """The database of one copy; what is begun on its connections is about what the live file expects of the copy.

    The file is made again out of the shadow tables where it does not hold that (after a switch). Connecting and
    beginning raise `ReplayError` when there is no such copy. A transaction that is not *lasting* is not waited for to
    be on disk: if the machine fails, the last ones are gone, none in part (manual of ``PRAGMA synchronous``).
    """

    by_uri: ClassVar[bool] = True

    def __init__(self, key: str, live: SqliteDatabase, *, lasting: bool = True) -> None:
        super().__init__(live.name, path_of(key, live.path), lock_wait_seconds=live.lock_wait_seconds)
        self.key = key
        self.live = live
        self._lasting = lasting
        self.plain = PlainFile(live.name, self.path, lock_wait_seconds=live.lock_wait_seconds)

    def connect(self, *, application: str = "") -> SqliteConnection:
        """A new connection to the copy, with production beside it."""
        if not self.path.exists():
            self._make_file()
        connection = super().connect(application=application)
        try:
            with speaking_of(self.shown):
                self._attach(connection)
                if not self._lasting:
                    connection.execute("PRAGMA main.synchronous = NORMAL")
            if not _is_migrated(connection):  # whoever made the file was killed in between
                self._make_file()
            self._settle(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction, which is about what the live file expects by then."""
        super().begin(connection, write=write)
        ours = cast("sqlite3.Connection", connection)
        try:
            while not self._is_current(ours):
                ours.rollback()
                self._settle(ours)
                super().begin(connection, write=write)
        except BaseException:
            ours.rollback()
            raise

    def _make_file(self) -> None:
        """Make an empty one, to be filled from the shadow tables, if there are any."""
        live = self.live.connect()
        try:
            row = read_row(self._run_on(live), "main", self.key)
        finally:
            live.close()
        self._check(row)
        migrating.apply(self.plain)

    def _attach(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"ATTACH DATABASE ? AS {_PRODUCTION}", (uri_of(self.live.path, read_only=True),))
        # Nobody attaches the live file a second time, and writable.
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
        for name in _OF_PRODUCTION:
            connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {_PRODUCTION}.{name}")

    # -- what the file holds ------------------------------------------------------------------------------------

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        row = self.execute(
            connection,
            f"SELECT 1 FROM main.penstock_replay_files AS m JOIN {_PRODUCTION}.penstock_replay_files AS p "
            "ON p.replay = m.replay AND p.content = m.content AND NOT p.is_leaving WHERE m.replay = ?",
            (self.key,),
        ).fetchone()
        return row is not None

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Have the file hold what it should."""
        if self._is_current(connection):
            return
        with transaction(self.plain, connection):
            # Somebody else may have done it while we waited.
            if not self._is_current(connection):
                run = self._run_on(connection)
                _make_again(run, self.key, self._check(read_row(run, _PRODUCTION, self.key)))

    def _check(self, row: FileRow | None) -> FileRow:
        """Raises `ReplayError` unless the file can be made from the shadow tables."""
        if row is None or row.is_leaving:
            raise ReplayError(
                f"replay {self.key!r} has no copy in {self.live.shown}; it was removed, or never created"
            )
        # Where no table was live before a switch, there is none to make it from, and nothing is missing.
        is_without_tables = bool(row.shadows.changes) and not row.shadows.tables
        if not row.former and not is_without_tables:
            raise ReplayError(
                f"the copy of replay {self.key!r} is not in its file {self.path} any more; "
                "remove the replay, and create it again"
            )
        return row

    def _run_on(self, connection: sqlite3.Connection) -> Run:
        def run(sql: str, parameters: Sequence[object] = ()) -> Any:
            return self.execute(connection, sql, parameters)

        return run


def _is_migrated(connection: sqlite3.Connection) -> bool:
    sql = "SELECT count(*) FROM main.sqlite_master WHERE name = 'penstock_replay_files'"
    return bool(connection.execute(sql).fetchone()[0])


def _make_again(run: Run, key: str, row: FileRow) -> None:
    """Fill the copy's file out of the shadow tables of the attached live one; inside a transaction of the file."""
    wipe(run)
    for shape in row.former:
        run(shape.sql)
        stored = ", ".join(map(quoted, shape.stored))
        shadow = shadow_name(place_of(key), shape.name)
        if not row.shadows.tables[shape.name].is_filled:
            shadow = shape.name  # it was not exchanged
        run(
            f"INSERT INTO main.{quoted(shape.name)} ({stored}) SELECT {stored} FROM {_PRODUCTION}.{quoted(shadow)}"
        )
        if shape.counts:
            run("DELETE FROM main.sqlite_sequence WHERE name = ?", (shape.name,))
            run(
                "INSERT INTO main.sqlite_sequence (name, seq) "
                f"SELECT ?, seq FROM {_PRODUCTION}.sqlite_sequence WHERE name = ?",
                (shape.name, shadow),
            )
    for shape in row.former:
        for sql in shape.indexes.values():
            run(sql)
    for shape in row.former:
        make_triggers(run, shape)
    for table in OURS:
        columns = columns_of(run, "main", table)
        run(f"DELETE FROM main.{table}")
        run(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM {_PRODUCTION}.{table} WHERE generation = ?",
            (key,),
        )
    shadows = begin_capture(run, row.former, row.shadows.changes)
    write_row(run, key, FileRow(row.content, shadows=shadows))


def wipe(run: Run) -> None:
    """Drop everything of users' from a copy's file."""
    end_capture(run)
    for kind in ("view", "trigger"):
        named = run("SELECT name FROM main.sqlite_master WHERE type = ?", (kind,)).fetchall()
        for [name] in named:
            run(f"DROP {kind} main.{quoted(name)}")
    for name in read_names(run, "main"):
        run(f"DROP TABLE main.{quoted(name)}")


def make_triggers(run: Run, shape: TableShape) -> None:
    """Make those triggers of a table that stay within the copy; the others can only run where the rest is."""
    for name, sql in shape.triggers.items():
        run(sql)
        if not _runs(run, shape.name):
            run(f"DROP TRIGGER main.{quoted(name)}")


def _runs(run: Run, table: str) -> bool:
    """Whether changes of a table can be made, with all triggers that they fire (as the statement is prepared)."""
    info = run(f"PRAGMA main.table_xinfo({quoted(table)})").fetchall()
    same = ", ".join(f"{quoted(each[1])} = {quoted(each[1])}" for each in info if each[6] == 0)
    named = f"main.{quoted(table)}"
    try:
        for sql in (
            f"INSERT INTO {named} DEFAULT VALUES",
            f"UPDATE {named} SET {same}",
            f"DELETE FROM {named}",
        ):
            # Never the same text twice: what is only explained is not prepared again when the schema has changed.
            run(f"EXPLAIN {sql} -- {new_name()}").fetchall()
    except sqlite3.OperationalError:
        return False
    return True
