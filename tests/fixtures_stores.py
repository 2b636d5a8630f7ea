"""Event stores of both kinds, for every test that has to hold on both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.store import StoreBackend, make_backend
from penstock.store.migrating import apply
from tests.fixtures_postgres import PostgresServer, databases_in

STORES = ("sqlite", "postgresql")


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind, without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def another(store_url: str) -> Callable[[], StoreBackend]:
    """Makes one more backend for the store, not open; whoever opens it closes it."""
    return lambda: make_backend("local", store_url)


@pytest.fixture
async def store_backend(another: Callable[[], StoreBackend]) -> AsyncIterator[StoreBackend]:
    """An open, empty store of each kind."""
    async with opened(another()) as backend:
        yield backend


@pytest.fixture
async def each_postgres_store(each_postgres_database: str) -> AsyncIterator[StoreBackend]:
    """An open, empty store on every version of the server."""
    async with opened(make_backend("local", each_postgres_database)) as backend:
        yield backend


@pytest.fixture
async def oldest_store(oldest_postgres: PostgresServer) -> AsyncIterator[StoreBackend]:
    """An open, empty store on the oldest version of the server."""
    with databases_in(oldest_postgres) as make:
        async with opened(make_backend("local", make())) as backend:
            yield backend


@asynccontextmanager
async def opened(backend: StoreBackend) -> AsyncIterator[StoreBackend]:
    """A store with its tables, open until the block ends."""
    await asyncio.to_thread(apply, backend.database)
    await backend.open()
    yield backend
    await backend.close()
