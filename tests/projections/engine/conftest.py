"""Stores for the engine's tests: a SQLite file and PostgreSQL databases, all real."""

import pytest

from penstock.store.abc import StoreBackend


@pytest.fixture
def store(store_backend: StoreBackend) -> StoreBackend:
    """An open store of its own."""
    return store_backend
