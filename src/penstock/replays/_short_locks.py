"""Short waits for locks: two that want both generations of a replay might wait for each other, and one gives way."""

from typing import Any, Final

from penstock.store._sqlite._database import SqliteConnection
from penstock.store.database import Connection, Database

__all__ = ["begin", "is_lock_timeout", "wait_briefly"]

_LOCK_MS: Final = 400
"""How long a lock is waited for before everything is let go."""
_LOCKED: Final = frozenset({"55P03", "40P01"})
"""SQLSTATEs of a lock that was not had (appendix A of PostgreSQL's manual)."""
_BUSY: Final = frozenset({5, 6})
"""SQLITE_BUSY and SQLITE_LOCKED (``sqlite3.h``)."""


def wait_briefly(database: Database, connection: Connection) -> None:
    """Have a connection wait only shortly for the one lock of a file; PostgreSQL is told with each `begin`."""
    if database.dialect == "sqlite":
        database.execute(connection, f"PRAGMA busy_timeout = {_LOCK_MS}")
        if isinstance(connection, SqliteConnection):
            connection.waits_ms, connection.wait_seconds = _LOCK_MS, _LOCK_MS / 1000


def begin(database: Database, connection: Connection) -> None:
    """Begin a transaction that writes, and waits only shortly for each lock."""
    database.begin(connection, write=True)
    if database.dialect == "postgresql":
        database.execute(connection, f"SET LOCAL lock_timeout = '{_LOCK_MS}ms'")


def is_lock_timeout(failure: BaseException) -> bool:
    """Whether it says that a lock was not had in time, or that of two that waited for each other this one gave way."""
    cause: Any = failure.__cause__
    if getattr(cause, "sqlstate", None) in _LOCKED:
        return True
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _BUSY
