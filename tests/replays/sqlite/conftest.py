"""A SQLite store for the tests of its copies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.store._sqlite import SqliteBackend


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    """An open store of its own."""
    backend = SqliteBackend("local", tmp_path / "shop live.db")
    await backend.open()
    yield backend
    await backend.close()
