"""The promise of a store on every version of PostgreSQL that is there besides the newest, which others test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from penstock.store import StoreBackend
from penstock.store._postgres.backend import PostgresBackend
from penstock.store.migrating import apply
from penstock.testing.contracts import StoreBackendContract
from tests.fixtures_postgres import PostgresServer, databases_in, find_binaries, serving

_OLDER = sorted(find_binaries())[:-1] or sorted(find_binaries())


@pytest.fixture(scope="module", params=_OLDER)
def older(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of an older version."""
    with serving(request.param) as server:
        yield server


class TestOlderPostgres(StoreBackendContract):
    """PostgreSQL before the newest."""

    @pytest.fixture
    def another(self, older: PostgresServer) -> Iterator[Callable[[], StoreBackend]]:
        """Makes one more backend for the store."""
        with databases_in(older) as make:
            url = make()
            yield lambda: PostgresBackend("local", url)

    @pytest.fixture
    async def store(self, another: Callable[[], StoreBackend]) -> AsyncIterator[StoreBackend]:
        """An open, empty store."""
        backend = another()
        await asyncio.to_thread(apply, backend.database)
        await backend.open()
        yield backend
        await backend.close()
