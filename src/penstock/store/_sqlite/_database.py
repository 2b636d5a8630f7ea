"""One SQLite file and how it is connected to."""

import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote

from penstock.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from penstock.store._engines import WithEngine
from penstock.store._sqlite._errors import explained, speaking_of
from penstock.store._sqlite._turns import Turn, Turns, turns_at
from penstock.store.database import Connection, Cursor, Dialect
from penstock.store.lane import Lane

__all__ = ["LANE_FUNCTION", "SqliteConnection", "SqliteDatabase", "uri_of"]

LANE_FUNCTION: Final = "penstock_lane"
"""What `Lane.has` is called in SQL, on connections of ours."""

_URL: Final = "sqlite:///"
_OLDEST: Final = (3, 35, 0)
_SOONEST_SECONDS: Final = 0.001
_LATEST_SECONDS: Final = 0.005
"""Between two looks whether another process has given the write lock back."""
_MOST_KEPT: Final = 64 * 1024 * 1024
"""How many bytes of a log that has been written back stay on disk."""


_open_before_fork: set[str] = set()
"""Files of which the process that we were forked from had connections. SQLite keeps the locks of a process by its files
in memory, which a child inherits without having the locks: both would write at once, and each over the other."""


class SqliteConnection(sqlite3.Connection):
    """Known while it is open. It gives its turn back when its transaction ends."""

    path: str = ""
    waits_ms: int = 0
    """How long SQLite itself waits for a lock."""
    turns: Turns | None = None
    turn: Turn | None = None
    wait_seconds: float | None = None
    """How long a transaction waits for another one's end, where that is not what its database says."""

    def wait_for_nothing(self) -> None:
        """For a connection with no transactions but those of `SqliteDatabase.begin`, which has its own way to wait."""
        self.waits_ms = 0
        self.execute("PRAGMA busy_timeout=0")

    def commit(self) -> None:
        """End the transaction; it is kept."""
        try:
            super().commit()
        finally:
            if self.turn is not None and not self.in_transaction:
                self.end_turn()

    def rollback(self) -> None:
        """End the transaction; nothing of it is kept."""
        try:
            super().rollback()
        finally:
            if self.turn is not None and not self.in_transaction:
                self.end_turn()

    def close(self) -> None:
        """Close it."""
        super().close()
        _open.discard(self)
        self.end_turn()

    def begin_turn(self, turns: Turns, seconds: float) -> bool:
        """Begin a transaction that has the write lock; whether that was possible in time."""
        self.end_turn()  # of a transaction that was ended by a statement
        ends = time.monotonic() + seconds
        turn = turns.take(seconds)
        if turn is None:
            return False
        try:
            self._begin_immediate(ends)
        except BaseException:
            turns.give_back(turn)
            raise
        turn.owner = weakref.ref(self)
        self.turns, self.turn = turns, turn
        return True

    def end_turn(self) -> None:
        """Let others write, if it was its turn."""
        turn, self.turn = self.turn, None
        if turn is not None and self.turns is not None:
            self.turns.give_back(turn)

    def _begin_immediate(self, ends: float) -> None:
        # SQLite's own waiting looks more and more seldom, and would miss the moments between another process's
        # transactions.
        if self.waits_ms:
            self.execute("PRAGMA busy_timeout=0")
        try:
            pause = 0.0
            while True:
                try:
                    self.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as failure:
                    if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= ends:
                        raise
                else:
                    return
                pause = min(pause + _SOONEST_SECONDS, _LATEST_SECONDS)
                time.sleep(pause)
        finally:
            if self.waits_ms:
                self.execute(f"PRAGMA busy_timeout={self.waits_ms}")


_open: "weakref.WeakSet[SqliteConnection]" = weakref.WeakSet()
_inherited: list[SqliteConnection] = []
"""Never closed: that is for their own process."""


def _after_fork() -> None:
    _inherited.extend(_open)
    _open_before_fork.update(connection.path for connection in _inherited)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def uri_of(path: Path, *, read_only: bool = False) -> str:
    """The URI of a file, as SQLite reads it."""
    return f"file:{quote(os.fsencode(path))}{'?mode=ro' if read_only else ''}"


def _make_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _busy() -> sqlite3.OperationalError:
    """What SQLite says of a lock that was not had in time."""
    failure = sqlite3.OperationalError("database is locked")
    failure.sqlite_errorcode, failure.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"
    return failure


class SqliteDatabase(WithEngine):
    """A file with events and read models in it; a `Database`.

    Args:
        name: The name of its store in settings.
        url_or_path: ``sqlite:///shop.db`` (relative to the current folder), ``sqlite:////var/lib/shop.db``, or a path.
        lock_wait_seconds: How long a transaction waits for another one's end.
        make_folder: Makes the folder that it is in, where that is missing.

    Raises:
        ConfigurationError: It names no file.
    """

    dialect: Dialect = "sqlite"
    by_uri: ClassVar[bool] = False
    """Whether its connections attach other files by URI (``mode=ro``), for which they have to be opened by one."""

    def __init__(
        self,
        name: str,
        url_or_path: str | Path,
        *,
        lock_wait_seconds: float = 10.0,
        make_folder: Callable[[Path], None] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        text = str(url_or_path)
        path = text.removeprefix(_URL) if text.startswith("sqlite:") else text
        if path.startswith(("sqlite:", "file:")) or path in ("", ":memory:"):
            raise ConfigurationError(
                f"store {name!r}: {text!r} names no file, and a store in SQLite needs one; write sqlite:///shop.db"
            )
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(
                f"store {name!r} needs SQLite 3.35 or newer, and this Python has {sqlite3.sqlite_version}"
            )
        self.path = Path(os.path.abspath(path))
        self.url = self.shown = f"{_URL}{self.path}"
        self.lock_wait_seconds = lock_wait_seconds
        self.turns = turns_at(os.path.realpath(self.path))
        self._make_folder = make_folder or _make_folder

    def make_folder(self) -> None:
        """Make the folder that it is in. Raises `StoreUnavailableError`."""
        try:
            self._make_folder(self.path.parent)
        except OSError as failure:
            raise StoreUnavailableError(
                f"the folder of the database {self.shown} cannot be made: {failure}"
            ) from failure

    def _check_fork(self) -> None:
        if str(self.path) in _open_before_fork:
            raise StoreRefusedError(
                f"the database {self.shown} was open when this process was forked, and SQLite would lose what the two "
                "write: close it before the fork (await app.close()), or start processes without forking"
            )

    def connect(self, *, application: str = "") -> SqliteConnection:
        """A new connection, which any thread may use, one at a time. SQLite shows *application* nowhere.

        Raises:
            StoreUnavailableError: The file cannot be opened, or is locked.
            StoreRefusedError: It is no database, or this process was forked from one that had it open.
        """
        self._check_fork()
        with speaking_of(self.shown):
            connection = sqlite3.connect(
                uri_of(self.path) if self.by_uri else self.path,
                timeout=self.lock_wait_seconds,
                isolation_level=None,
                check_same_thread=False,
                factory=SqliteConnection,
                uri=self.by_uri,
            )
            connection.path = str(self.path)
            _open.add(connection)
            try:
                _prepare(connection)
                connection.waits_ms = int(self.lock_wait_seconds * 1000)
            except BaseException:
                connection.close()
                raise
        return connection

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction; one that is to write waits here, behind all of this process that came before.

        It ends by `commit`, `rollback` or `close`.
        """
        if not write or not isinstance(connection, SqliteConnection) or connection.in_transaction:
            self.execute(connection, "BEGIN IMMEDIATE" if write else "BEGIN")
            return
        seconds = self.lock_wait_seconds if connection.wait_seconds is None else connection.wait_seconds
        try:
            has_begun = connection.begin_turn(self.turns, seconds)
        except sqlite3.Error as failure:
            if (meant := explained(self.shown, failure)) is not None:
                raise meant from failure
            raise
        if not has_begun:
            raise StoreUnavailableError(
                f"the database {self.shown} is locked by another connection of this process, for longer than we wait"
            ) from _busy()

    def execute(self, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """Run one statement."""
        ours = cast("sqlite3.Connection", connection)
        try:
            return ours.execute(sql, cast("Any", parameters))
        except sqlite3.Error as failure:
            if (meant := explained(self.shown, failure)) is not None:
                raise meant from failure
            raise

    def _make_engine(self) -> Any:
        import sqlalchemy as sa
        from sqlalchemy import event

        engine = sa.create_engine("sqlite://", creator=self.connect, poolclass=sa.pool.QueuePool)

        # Connections are in manual commit mode, so that a transaction begins where SQLAlchemy says, and not later.
        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine


def _is_in_lane(key: str | None, stream: str, number: int, of: int) -> bool:
    return Lane(number, of).has(key, stream)


def _prepare(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as failure:
        # A file that may only be read stays in the mode it has.
        if failure.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
    connection.execute("PRAGMA synchronous=FULL")
    connection.create_function(LANE_FUNCTION, 4, _is_in_lane, deterministic=True)
    connection.execute(f"PRAGMA journal_size_limit={_MOST_KEPT}")
