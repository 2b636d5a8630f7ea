"""Fixtures of the projections' tests: a database of each kind."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.store import make_backend
from penstock.store.database import Database
from tests.projections.shop import Desk, Target


@pytest.fixture
def database(store_url: str) -> Database:
    """An empty database: a file, and a real server's."""
    return make_backend("local", store_url).database


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """Where events are handled."""
    made: Any = Target(database)
    desk = Desk(made)
    yield desk
    desk.close()
