"""Fixtures of the tests of copies on PostgreSQL."""

from collections.abc import Iterator

import pytest

from penstock.store import migrating
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.abc import StoreBackend
from tests.fixtures_postgres import PostgresServer, databases_in, name_of, new_database
from tests.replays.postgres.bench import Bench


@pytest.fixture(scope="session")
def template(each_postgres: PostgresServer) -> str:
    """A database with our tables in it, for others to be made like it."""
    url = new_database(each_postgres)
    migrating.apply(PostgresDatabase("local", url))
    return url


@pytest.fixture
def bench(each_postgres: PostgresServer, template: str) -> Iterator[Bench]:
    """A database with nothing but our tables in it, on every version of the server."""
    with databases_in(each_postgres) as make:
        made = Bench(make(like=name_of(template)))
        yield made
        made.close()


@pytest.fixture
def store(each_postgres_store: StoreBackend) -> StoreBackend:
    """An open store on every version of the server."""
    return each_postgres_store
