"""Stores for the events of models."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from penstock.store import EventStore, migrating
from penstock.store._postgres import make_backend as make_postgres
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoreBackend


@pytest.fixture
async def make_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[str], Awaitable[EventStore]]]:
    """Makes an open store of a dialect."""
    made: list[StoreBackend] = []

    async def make(dialect: str) -> EventStore:
        backend: StoreBackend
        if dialect == "sqlite":
            backend = SqliteBackend("local", f"sqlite:///{tmp_path}/shop.db")
        else:
            backend = make_postgres("local", request.getfixturevalue("postgres_database"))
            migrating.apply(backend.database)
        made.append(backend)
        await backend.open()
        return EventStore("local", lambda: backend)

    yield make
    for backend in made:
        await backend.close()
