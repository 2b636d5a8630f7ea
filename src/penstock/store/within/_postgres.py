"""Connections to PostgreSQL: psycopg's and asyncpg's."""

import sys
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.store.database import Dialect
from penstock.store.within._callers import AsyncCaller, Caller, Rows
from penstock.store.within._placeholders import Style, translated

if TYPE_CHECKING:
    import psycopg

__all__ = ["AsyncPsycopgCaller", "AsyncpgCaller", "PsycopgCaller"]

_IDLE = 0
"""``PQTRANS_IDLE`` of libpq: in no transaction."""


class PsycopgCaller(Caller):
    """A `psycopg.Connection`, whatever its row and cursor factories."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        self.place = connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        _check_psycopg(self._connection)

    def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        from psycopg.rows import tuple_row

        with self._connection.cursor(row_factory=tuple_row) as cursor:
            # Bytes stand for any text to type checkers, which want literals here.
            cursor.execute(translated(sql, _style(cursor)).encode(), parameters)
            return cursor.fetchall() if cursor.description is not None else []


class AsyncPsycopgCaller(AsyncCaller):
    """A `psycopg.AsyncConnection`, whatever its row and cursor factories."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection
        self.place = connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        _check_psycopg(self._connection)

    async def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        from psycopg.rows import tuple_row

        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(translated(sql, _style(cursor)).encode(), parameters)
            return await cursor.fetchall() if cursor.description is not None else []


class AsyncpgCaller(AsyncCaller):
    """An `asyncpg.Connection`, also one that a pool has lent."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # What a pool lends stands for the connection that is kept, and is another object each time.
        self.place = getattr(connection, "_con", None) or connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        if not self._connection.is_in_transaction():
            raise UsageError(
                "this asyncpg connection is in no transaction and commits each statement by itself; "
                "open one: async with connection.transaction(): ..."
            )

    async def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        records = await self._connection.fetch(translated(sql, "numeric"), *parameters)
        return [tuple(record) for record in records]


def _check_psycopg(connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        raise UsageError(
            "this psycopg connection is in autocommit mode and in no transaction; "
            "open one: with connection.transaction(): ..."
        )


def _style(cursor: object) -> Style:
    """Which placeholders a cursor of psycopg takes: some connections are set to those of the server."""
    psycopg: Any = sys.modules["psycopg"]
    raw = tuple(
        kind for kind in (getattr(psycopg, name, None) for name in ("RawCursor", "AsyncRawCursor")) if kind
    )
    return "numeric" if isinstance(cursor, raw) else "format"
