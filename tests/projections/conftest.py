"""Fixtures of the projections' tests: a database of each kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.database import Database
from tests.projections.shop import Desk, Target


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database: a file, and a real server's."""
    if request.param == "sqlite":
        return SqliteDatabase("local", tmp_path / "shop.db")
    from penstock.store._postgres.database import PostgresDatabase

    url: str = request.getfixturevalue("postgres_database")
    return PostgresDatabase("local", url)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """Where events are handled."""
    made: Any = Target(database)
    desk = Desk(made)
    yield desk
    desk.close()
