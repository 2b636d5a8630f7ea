"""A store in a SQLite file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.store._sqlite import SqliteBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "deep" / "events.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteBackend]:
    """An open store that does not wait long for a lock."""
    backend = SqliteBackend("local", path, lock_wait_seconds=0.2)
    await backend.open()
    yield backend
    await backend.close()
