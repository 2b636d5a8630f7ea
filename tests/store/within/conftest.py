"""Stores in both databases, and the transactions of callers in each library."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.store import migrating
from penstock.store._postgres import make_backend as make_postgres
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoreBackend
from tests.store.within.doors import POSTGRES, SQLITE, Door, open_door

DOORS = [
    f"{database} {kind}"
    for database, kinds in (("sqlite", SQLITE), ("postgresql", POSTGRES))
    for kind in kinds
]


@pytest.fixture
async def make_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[str], Awaitable[StoreBackend]]]:
    """Makes an open store of a dialect."""
    made: list[StoreBackend] = []

    async def make(dialect: str, **how: Any) -> StoreBackend:
        backend: StoreBackend
        if dialect == "sqlite":
            backend = SqliteBackend("local", f"sqlite:///{tmp_path}/shop.db", **how)
        else:
            backend = make_postgres("local", request.getfixturevalue("postgres_database"), **how)
            migrating.apply(backend.database)
        made.append(backend)
        await backend.open()
        return backend

    yield make
    for backend in made:
        await backend.close()


@pytest.fixture(params=DOORS)
async def door(
    request: pytest.FixtureRequest, make_store: Callable[[str], Awaitable[StoreBackend]]
) -> AsyncIterator[Door]:
    """A caller's transaction of each kind, in a database that has a table of the caller's, too."""
    dialect, _, kind = request.param.partition(" ")
    backend = await make_store(dialect)
    opened = await open_door(kind, backend)
    await opened.run("CREATE TABLE orders (id text)")
    await opened.commit()
    yield opened
    await opened.close()
