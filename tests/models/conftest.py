"""Stores for the events of models."""

import pytest

from penstock.store import EventStore, StoreBackend


@pytest.fixture
def store(store_backend: StoreBackend) -> EventStore:
    """An open, empty store of each kind."""
    return EventStore("local", lambda: store_backend)
