"""What the engine's statements have in common: the database's own time, transactions, values as JSON text."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from penstock.store._postgres.errors import speaking_of as speaking_of_postgres
from penstock.store._sqlite._errors import speaking_of as speaking_of_sqlite
from penstock.store.database import Connection, Database

__all__ = ["NOW", "commit", "dumps", "lock_of", "moment", "one", "rows", "transaction"]

NOW: Final = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "(CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000)",
}
"""Microseconds since the Unix epoch by the database's clock, which all processes share (SQLite's is the machine's)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def lock_of(database: Database) -> str:
    """What locks the rows of a SELECT; on SQLite the transaction has locked everything."""
    return " FOR UPDATE" if database.dialect == "postgresql" else ""


def moment(us: int | None) -> datetime | None:
    """A time from the database."""
    return None if us is None else _EPOCH + timedelta(microseconds=us)


def dumps(value: object) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(value).decode()


def rows(
    database: Database, connection: Connection, sql: str, parameters: Sequence[object] = ()
) -> list[Any]:
    """All rows of one statement."""
    return database.execute(connection, sql, parameters).fetchall()


def one(database: Database, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Any:
    """The first row of one statement, or ``None``."""
    return database.execute(connection, sql, parameters).fetchone()


def commit(database: Database, connection: Connection) -> None:
    """Commit; what the driver raises is told as `Database.execute` tells it."""
    speaking_of = speaking_of_postgres if database.dialect == "postgresql" else speaking_of_sqlite
    with speaking_of(database.shown):
        connection.commit()


@contextlib.contextmanager
def transaction(database: Database, connection: Connection, *, write: bool = True) -> Iterator[None]:
    """A transaction that is committed at the end of the block, and rolled back if it raises."""
    database.begin(connection, write=write)
    try:
        yield
        commit(database, connection)
    except BaseException:
        with contextlib.suppress(Exception):
            connection.rollback()
        raise
