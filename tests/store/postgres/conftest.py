"""An event store in PostgreSQL, on every version that is there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.store._postgres.backend import PostgresBackend
from penstock.store.migrating import apply


@pytest.fixture
async def store(each_postgres_database: str) -> AsyncIterator[PostgresBackend]:
    """An open, empty store."""
    backend = PostgresBackend("local", each_postgres_database)
    await asyncio.to_thread(apply, backend.database)
    await backend.open()
    yield backend
    await backend.close()
