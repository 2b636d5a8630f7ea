"""A SQLite store for the tests of its copies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.store._sqlite import SqliteBackend
from tests.replays.sqlite.spending import folder_in_memory


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    """An open store of its own."""
    backend = SqliteBackend("local", tmp_path / "shop live.db")
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
async def store_in_memory() -> AsyncIterator[SqliteBackend]:
    """An open store in memory where the system has such files: for thousands of commits that are not about the disk."""
    with folder_in_memory() as folder:
        backend = SqliteBackend("local", folder / "shop live.db")
        await backend.open()
        yield backend
        await backend.close()
