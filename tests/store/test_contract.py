"""Both kinds of store keep the promise of a store."""

import pytest

from penstock.store import StoreBackend
from penstock.testing.contracts import StoreBackendContract


class TestStores(StoreBackendContract):
    """SQLite and PostgreSQL."""

    @pytest.fixture
    def store(self, store_backend: StoreBackend) -> StoreBackend:
        """An open, empty store of each kind."""
        return store_backend
