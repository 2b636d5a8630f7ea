"""Stores for the engine's tests: a SQLite file and PostgreSQL databases, all real."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.store import migrating
from penstock.store._postgres import make_backend
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoreBackend


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreBackend]:
    """An open store of its own."""
    backend: StoreBackend
    if request.param == "sqlite":
        backend = SqliteBackend("local", tmp_path / "events.db")
    else:
        backend = make_backend("local", request.getfixturevalue("postgres_database"))
        migrating.apply(backend.database)
    await backend.open()
    yield backend
    await backend.close()
