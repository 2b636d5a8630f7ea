"""Fixtures of the tests of copies on PostgreSQL."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from penstock.store import migrating
from penstock.store._postgres.database import PostgresDatabase
from tests.fixtures_postgres import PostgresServer, new_database
from tests.replays.postgres.bench import Bench

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def template(each_postgres: PostgresServer) -> str:
    """A database with our tables in it, for others to be made like it."""
    url = new_database(each_postgres)
    migrating.apply(PostgresDatabase("local", url))
    return url


@pytest.fixture
def bench(each_postgres: PostgresServer, template: str) -> Iterator[Bench]:
    """A database with nothing but our tables in it, on every version of the server."""
    like = template.partition("?")[0].rpartition("/")[2]
    name = f"{like}_{next(_NUMBERS)}"
    with psycopg.connect(each_postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
    made = Bench(each_postgres.url(name))
    yield made
    made.close()
