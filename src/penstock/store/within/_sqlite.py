"""Connections to SQLite: the standard library's, and aiosqlite's around one."""

import sqlite3
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.store.database import Dialect
from penstock.store.within._callers import AsyncCaller, Caller, Rows

if TYPE_CHECKING:
    import aiosqlite

__all__ = ["AiosqliteCaller", "SqliteCaller", "would_commit_at_once"]

_LEGACY: int = getattr(sqlite3, "LEGACY_TRANSACTION_CONTROL", -1)


class SqliteCaller(Caller):
    """A `sqlite3.Connection`, whatever its row and text factories."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        if would_commit_at_once(self._connection):
            raise UsageError(
                "this sqlite3 connection commits each statement by itself and is in no transaction; "
                "run BEGIN IMMEDIATE on it first, or connect without isolation_level=None (autocommit=True)"
            )

    def has_begun(self) -> bool:
        """Whether the transaction has begun in the database."""
        return self._connection.in_transaction

    def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        connection = self._connection
        own = connection.text_factory
        if own is not str:
            connection.text_factory = str
        try:
            cursor = connection.cursor()
            try:
                cursor.row_factory = None
                return cursor.execute(sql, parameters).fetchall()
            finally:
                cursor.close()
        finally:
            if own is not str:
                connection.text_factory = own


class AiosqliteCaller(AsyncCaller):
    """An `aiosqlite.Connection`."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: "aiosqlite.Connection") -> None:
        self._connection = connection
        self.place = connection

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        if would_commit_at_once(self._connection):
            raise UsageError(
                "this aiosqlite connection commits each statement by itself and is in no transaction; "
                "run BEGIN IMMEDIATE on it first, or connect without isolation_level=None"
            )

    def has_begun(self) -> bool:
        """Whether the transaction has begun in the database."""
        return self._connection.in_transaction

    async def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        async with self._connection.cursor() as cursor:
            cursor.row_factory = None
            await cursor.execute(sql, parameters)
            return [tuple(row) for row in await cursor.fetchall()]


def would_commit_at_once(connection: Any) -> bool:
    """Whether a connection to SQLite is in no transaction, and would begin none by itself."""
    if connection.in_transaction:
        return False
    autocommit = getattr(connection, "autocommit", _LEGACY)  # since Python 3.12
    if autocommit in (None, _LEGACY):
        return connection.isolation_level is None
    return bool(autocommit)
