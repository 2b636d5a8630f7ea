"""Whose transactions an append may join: types of others, for type checkers alone."""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from penstock.store.database import Connection as OurConnection

if TYPE_CHECKING:
    import sqlite3

    import aiosqlite
    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

__all__ = ["AsyncWithin", "AsyncpgConnection", "DjangoConnection", "SyncWithin"]


class DjangoConnection(Protocol):
    """What ``django.db.connection`` and ``django.db.connections[alias]`` are known by."""

    alias: str
    in_atomic_block: bool


class AsyncpgConnection(Protocol):
    """What a connection of asyncpg is known by."""

    def is_in_transaction(self) -> bool:
        """Whether it is in a transaction."""
        ...

    def get_server_pid(self) -> int:
        """The server process that it is connected to."""
        ...


if TYPE_CHECKING:
    SyncWithin: TypeAlias = (
        Session
        | scoped_session[Any]
        | Connection
        | sqlite3.Connection
        | psycopg.Connection[Any]
        | DjangoConnection
        | OurConnection
        | str
    )
    """Done when the call returns; a text is the alias of one of Django's connections."""
    AsyncWithin: TypeAlias = (
        AsyncSession
        | async_scoped_session[Any]
        | AsyncConnection
        | psycopg.AsyncConnection[Any]
        | AsyncpgConnection
        | aiosqlite.Connection
    )
    """To be awaited."""
else:
    # None of these libraries is loaded for an annotation's sake.
    SyncWithin = AsyncWithin = Any
