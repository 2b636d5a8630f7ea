"""A caller's transaction in each library, spoken to in one way, so that one test runs over all of them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar, cast

import aiosqlite
import asyncpg
import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from penstock.store.abc import Append, Appended, Conflict, StoreBackend, StoredEvent
from penstock.store.within import append_within, load_within
from tests.models.django_settings import configure, database

__all__ = ["POSTGRES", "SQLITE", "Django", "Door", "database", "open_door", "settled", "with_driver"]

T = TypeVar("T")

Outcome = list[Appended] | Conflict
Loaded = tuple[list[StoredEvent], int]


class Door(Protocol):
    """A transaction of a caller's, begun."""

    backend: StoreBackend

    @property
    def within(self) -> Any:
        """What is given as ``within=``."""
        ...

    async def run(self, sql: str) -> list[Any]:
        """The caller's own statement."""
        ...

    async def append(self, append: Append) -> Outcome:
        """Append events in the transaction."""
        ...

    async def load(self, stream: str, *, after: int = 0, limit: int | None = None) -> Loaded:
        """Load a stream in the transaction."""
        ...

    async def commit(self) -> None:
        """Commit, and begin anew."""
        ...

    async def rollback(self) -> None:
        """Roll back, and begin anew."""
        ...

    async def close(self) -> None:
        """Roll back what is open and disconnect."""
        ...


class _Plain:
    """What libraries have in common: statements of SQL, and savepoints by them."""

    backend: StoreBackend
    within: Any

    async def append(self, append: Append) -> Outcome:
        return await settled(append_within(self.backend, self.within, append))

    async def load(self, stream: str, *, after: int = 0, limit: int | None = None) -> Loaded:
        return await settled(load_within(self.backend, self.within, stream, after=after, limit=limit))


async def settled(answer: T | Awaitable[T]) -> T:
    """The answer, awaited where it has to be."""
    return await cast("Awaitable[T]", answer) if isinstance(answer, Awaitable) else answer


class DbApi(_Plain):
    """sqlite3 or psycopg."""

    def __init__(self, backend: StoreBackend, connection: Any) -> None:
        self.backend, self.within = backend, connection

    async def run(self, sql: str) -> list[Any]:
        cursor = self.within.execute(sql)
        return cursor.fetchall() if cursor.description is not None else []

    async def commit(self) -> None:
        self.within.commit()

    async def rollback(self) -> None:
        self.within.rollback()

    async def close(self) -> None:
        self.within.rollback()
        self.within.close()


class AsyncDbApi(_Plain):
    """aiosqlite or psycopg's asynchronous connection."""

    def __init__(self, backend: StoreBackend, connection: Any) -> None:
        self.backend, self.within = backend, connection

    async def run(self, sql: str) -> list[Any]:
        cursor = await self.within.execute(sql)
        found = list(await cursor.fetchall()) if cursor.description is not None else []
        await cursor.close()
        return found

    async def commit(self) -> None:
        await self.within.commit()

    async def rollback(self) -> None:
        await self.within.rollback()

    async def close(self) -> None:
        await self.within.rollback()
        await self.within.close()


class Asyncpg(_Plain):
    """asyncpg, with a connection of its own or of a pool."""

    def __init__(self, backend: StoreBackend, connection: Any, pool: Any = None) -> None:
        self.backend, self.within, self._pool = backend, connection, pool
        self._transaction: Any = None

    async def begin(self) -> None:
        self._transaction = self.within.transaction()
        await self._transaction.start()

    async def run(self, sql: str) -> list[Any]:
        return list(await self.within.fetch(sql))

    async def commit(self) -> None:
        await self._transaction.commit()
        await self.begin()

    async def rollback(self) -> None:
        await self._transaction.rollback()
        await self.begin()

    async def close(self) -> None:
        await self._transaction.rollback()
        if self._pool is None:
            await self.within.close()
        else:
            await self._pool.release(self.within)
            await self._pool.close()


class Alchemy(_Plain):
    """A session or connection of SQLAlchemy."""

    def __init__(self, backend: StoreBackend, engine: Engine, within: Any) -> None:
        self.backend, self.within, self._engine = backend, within, engine

    async def run(self, sql: str) -> list[Any]:
        result = self.within.execute(text(sql))
        return list(result) if result.returns_rows else []

    async def commit(self) -> None:
        self.within.commit()

    async def rollback(self) -> None:
        self.within.rollback()

    async def close(self) -> None:
        self.within.close()
        self._engine.dispose()


class AsyncAlchemy(_Plain):
    """The same of SQLAlchemy's asyncio part."""

    def __init__(self, backend: StoreBackend, engine: AsyncEngine, within: Any) -> None:
        self.backend, self.within, self._engine = backend, within, engine

    async def run(self, sql: str) -> list[Any]:
        result = await self.within.execute(text(sql))
        return list(result) if result.returns_rows else []

    async def commit(self) -> None:
        await self.within.commit()

    async def rollback(self) -> None:
        await self.within.rollback()

    async def close(self) -> None:
        await self.within.close()
        await self._engine.dispose()


class Django(_Plain):
    """Django, in a thread: it refuses to wait for a database where an event loop runs."""

    def __init__(self, backend: StoreBackend, settings: dict[str, Any]) -> None:
        configure()
        self.backend = backend
        self._thread = ThreadPoolExecutor(1)
        self._settings = settings
        self._atomic: Any = None

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Work in the thread that the connection belongs to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def begin(self) -> None:
        """Begin."""
        await self.in_thread(self._begin)

    def _begin(self) -> None:
        from django.db import connections

        if self._atomic is None:
            self.alias = f"door{id(self)}"
            connections.settings[self.alias] = connections.configure_settings(
                {"default": {}, self.alias: self._settings}
            )[self.alias]
            self.within = connections[self.alias]
        from django.db import transaction

        self._atomic = transaction.atomic(using=self.alias)
        self._atomic.__enter__()

    def end(self, error: BaseException | None = None) -> None:
        """Commit, or roll back for an *error*."""
        kind = None if error is None else type(error)
        self._atomic.__exit__(kind, error, None)

    async def run(self, sql: str) -> list[Any]:
        """The caller's own statement."""
        return await self.in_thread(self._run, sql)

    def _run(self, sql: str) -> list[Any]:
        with self.within.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description is not None else []

    async def append(self, append: Append) -> Outcome:
        """Append."""
        return cast("Outcome", await self.in_thread(append_within, self.backend, self.within, append))

    async def load(self, stream: str, *, after: int = 0, limit: int | None = None) -> Loaded:
        """Load."""

        def load() -> Loaded:
            return cast("Loaded", load_within(self.backend, self.within, stream, after=after, limit=limit))

        return await self.in_thread(load)

    async def commit(self) -> None:
        """Commit, and begin anew."""
        await self.in_thread(self.end, None)
        await self.begin()

    async def rollback(self) -> None:
        """Roll back, and begin anew."""
        await self.in_thread(self.end, ValueError())
        await self.begin()

    async def close(self) -> None:
        """Roll back and disconnect."""
        await self.in_thread(self.end, ValueError())
        await self.in_thread(self._disconnect)
        self._thread.shutdown()

    def _disconnect(self) -> None:
        from django.db import connections

        self.within.close()
        del connections[self.alias]
        del connections.settings[self.alias]


SQLITE: Final = (
    *("sqlite3", "aiosqlite", "session", "scoped session", "connection"),
    *("async session", "async connection", "django"),
)
POSTGRES: Final = (
    *("psycopg", "async psycopg", "asyncpg", "asyncpg pool", "session", "connection"),
    *("async session", "async session asyncpg", "async connection", "async connection asyncpg", "django"),
)


async def open_door(kind: str, backend: StoreBackend) -> Door:
    """A transaction of *kind* in the database of *backend*."""
    url = backend.database.url
    if kind == "django":
        door = Django(backend, database(url))
        await door.begin()
        return door
    if backend.dialect == "sqlite":
        return await _open_sqlite(kind, backend, url.removeprefix("sqlite:///"))
    return await _open_postgres(kind, backend, url)


async def _open_sqlite(kind: str, backend: StoreBackend, path: str) -> Door:
    match kind:
        case "sqlite3":
            return DbApi(backend, sqlite3.connect(path, timeout=5))
        case "aiosqlite":
            return AsyncDbApi(backend, await aiosqlite.connect(path, timeout=5))
        case _:
            return await _open_alchemy(kind, backend, f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}")


async def _open_postgres(kind: str, backend: StoreBackend, url: str) -> Door:
    match kind:
        case "psycopg":
            return DbApi(backend, psycopg.connect(url))
        case "async psycopg":
            return AsyncDbApi(backend, await psycopg.AsyncConnection.connect(url))
        case "asyncpg":
            door = Asyncpg(backend, await asyncpg.connect(url))
            await door.begin()
            return door
        case "asyncpg pool":
            pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
            door = Asyncpg(backend, await pool.acquire(), pool)
            await door.begin()
            return door
        case _:
            driver = "asyncpg" if kind.endswith("asyncpg") else "psycopg"
            return await _open_alchemy(
                kind.removesuffix(" asyncpg"), backend, with_driver(url, "psycopg"), with_driver(url, driver)
            )


async def _open_alchemy(kind: str, backend: StoreBackend, url: str, async_url: str) -> Door:
    if kind.startswith("async"):
        engine = create_async_engine(async_url)
        within = AsyncSession(engine) if kind == "async session" else await engine.connect()
        return AsyncAlchemy(backend, engine, within)
    plain = create_engine(url)
    if kind == "scoped session":
        return Alchemy(backend, plain, scoped_session(sessionmaker(plain)))
    return Alchemy(backend, plain, Session(plain) if kind == "session" else plain.connect())


def with_driver(url: str, driver: str) -> str:
    """The URL for SQLAlchemy."""
    return url.replace("postgresql://", f"postgresql+{driver}://")
