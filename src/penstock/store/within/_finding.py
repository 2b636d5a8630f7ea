"""Telling what a caller has given. Nothing is imported for it: who gives an object of a library has imported that."""

import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from penstock.errors import UsageError
from penstock.store.within._callers import AsyncCaller, Caller

__all__ = ["Bridge", "found"]

T = TypeVar("T")

_HINTS: Final = {
    "Engine": "it opens a transaction for you: with engine.begin() as connection: ...",
    "AsyncEngine": "it opens a transaction for you: async with engine.begin() as connection: ...",
    "sessionmaker": "it makes sessions: with Session.begin() as session: ...",
    "async_sessionmaker": "it makes sessions: async with Session.begin() as session: ...",
    "ConnectionPool": "it lends connections: with pool.connection() as connection: ...",
    "AsyncConnectionPool": "it lends connections: async with pool.connection() as connection: ...",
    "Pool": "it lends connections: async with pool.acquire() as connection, connection.transaction(): ...",
    "Cursor": "give the connection that it is of",
    "AsyncCursor": "give the connection that it is of",
    "Transaction": "give the connection that it is of",
    "RootTransaction": "give the connection that it is of",
    "SessionTransaction": "give the session that it is of",
    "Atomic": "give the connection that it is of: django.db.connection",
}
"""For what people have at hand beside the right thing, by the name of its class."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """An asynchronous session or connection of SQLAlchemy, which lends the synchronous one inside it."""

    outer: Any

    def run(self, work: Callable[[Any], T]) -> Awaitable[T]:
        """Give *work* the synchronous one; its statements are awaited underneath."""
        crossed: Awaitable[T] = self.outer.run_sync(work)
        return crossed


def found(within: Any) -> Caller | AsyncCaller | Bridge:
    """How to run statements in the transaction of *within*. Raises `UsageError` for what has none that we know."""
    if isinstance(within, sqlite3.Connection):
        from penstock.store.within._sqlite import SqliteCaller

        return SqliteCaller(within)
    known = _of_sqlalchemy(within) or _of_driver(within) or _of_django(within)
    if known is None:
        kind: Any = within.__class__
        hint = _HINTS.get(kind.__name__, "see docs/how-to/append-in-your-transaction.md for what can be")
        raise UsageError(f"events cannot be appended within a {kind.__module__}.{kind.__qualname__}; {hint}")
    return known


def _of_sqlalchemy(within: Any) -> Caller | Bridge | None:
    if _is(within, "sqlalchemy.orm", "scoped_session") or _is(
        within, "sqlalchemy.ext.asyncio", "async_scoped_session"
    ):
        within = within()
    if _is(within, "sqlalchemy.ext.asyncio", "AsyncSession") or _is(
        within, "sqlalchemy.ext.asyncio", "AsyncConnection"
    ):
        return Bridge(within)
    if _is(within, "sqlalchemy.orm", "Session"):
        from penstock.store.within._sqlalchemy import SessionCaller

        return SessionCaller(within)
    if _is(within, "sqlalchemy", "Connection"):
        from penstock.store.within._sqlalchemy import ConnectionCaller

        return ConnectionCaller(within)
    return None


def _of_driver(within: Any) -> Caller | AsyncCaller | None:
    if _is(within, "psycopg", "Connection"):
        from penstock.store.within._postgres import PsycopgCaller

        return PsycopgCaller(within)
    if _is(within, "psycopg", "AsyncConnection"):
        from penstock.store.within._postgres import AsyncPsycopgCaller

        return AsyncPsycopgCaller(within)
    if _is(within, "asyncpg", "Connection") or _is(within, "asyncpg.pool", "PoolConnectionProxy"):
        from penstock.store.within._postgres import AsyncpgCaller

        return AsyncpgCaller(within)
    if _is(within, "aiosqlite", "Connection"):
        from penstock.store.within._sqlite import AiosqliteCaller

        return AiosqliteCaller(within)
    return None


def _of_django(within: Any) -> Caller | None:
    database = sys.modules.get("django.db")
    if database is None:
        return None
    if isinstance(within, str):
        alias = within
    elif _is(within, "django.utils.connection", "ConnectionProxy"):
        alias = within.alias
    elif _is(within, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        from penstock.store.within._django import DjangoCaller

        return DjangoCaller(within)
    else:
        return None
    if alias not in list(database.connections):
        raise UsageError(f"Django has no database {alias!r}; see DATABASES in its settings")
    return _of_django(database.connections[alias])


def _is(thing: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)
