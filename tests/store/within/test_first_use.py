"""A store in SQLite that nobody has opened: whoever appends first in a transaction of its own makes the tables."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import MissingMigrationError, UsageError
from penstock.store import migrating
from penstock.store._sqlite import SqliteBackend
from penstock.store.within import append_within, load_within
from penstock.streams.memory import MemoryBroker
from tests.store.events import OrderPlaced
from tests.store.within.doors import SQLITE, Door, open_door
from tests.store.within.test_doors import event, one, orders, stored


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    """A store that was never opened, beside a table of the caller's."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id text)")
    return SqliteBackend("local", path)


@pytest.fixture(params=SQLITE)
async def fresh(request: pytest.FixtureRequest, backend: SqliteBackend) -> AsyncIterator[Door]:
    """A caller's transaction of each kind there."""
    opened = await open_door(request.param, backend)
    yield opened
    await opened.close()
    await backend.close()


@pytest.fixture
def connection(backend: SqliteBackend) -> Iterator[sqlite3.Connection]:
    """A caller's connection there."""
    with closing(sqlite3.connect(backend.database.path)) as made:
        yield made


def tables(backend: SqliteBackend) -> list[str]:
    """Of ours, those that everybody sees."""
    with closing(sqlite3.connect(backend.database.path)) as looking:
        rows = looking.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'penstock%' AND type = 'table'"
        )
        return [name for (name,) in rows]


@pytest.mark.covers("STORE-1")
async def test_the_first_append_of_all_makes_the_tables(fresh: Door) -> None:
    """Over every library, as the first statement of its transaction."""
    first, second = event(), event()
    await fresh.append(one(first))
    await fresh.commit()
    await fresh.append(one(second))
    await fresh.commit()
    assert await stored(fresh) == [first.id, second.id]
    assert migrating.pending(fresh.backend.database) == []


@pytest.mark.covers("STORE-1")
async def test_a_transaction_that_writes_already_makes_them_in_itself(fresh: Door) -> None:
    """It has the lock, so nobody else could; what it wrote before is committed with them."""
    first, second = event(), event()
    await fresh.run("INSERT INTO orders VALUES ('1')")
    await fresh.append(one(first))
    await fresh.append(one(second, expected=1))
    assert (await fresh.load("order-1"))[1] == 2
    await fresh.commit()
    assert await stored(fresh) == [first.id, second.id]
    assert await orders(fresh) == ["1"]
    assert migrating.pending(fresh.backend.database) == []


async def test_with_a_rollback_they_are_gone_and_are_made_again(fresh: Door) -> None:
    """What was made in a transaction is of it."""
    for _ in range(2):
        await fresh.run("INSERT INTO orders VALUES ('1')")
        await fresh.append(one(event()))
        await fresh.rollback()
    kept = event()
    await fresh.run("INSERT INTO orders VALUES ('2')")
    await fresh.append(one(kept))
    await fresh.commit()
    assert await stored(fresh) == [kept.id]
    assert await orders(fresh) == ["2"]


async def test_nobody_sees_them_before_the_commit(
    backend: SqliteBackend, connection: sqlite3.Connection
) -> None:
    """Where they are made in the caller's transaction; beside it they are there at once, and stay."""
    connection.execute("INSERT INTO orders VALUES ('1')")
    append_within(backend, connection, one(event()))
    assert tables(backend) == []
    connection.rollback()
    append_within(backend, connection, one(event()))
    connection.rollback()
    assert "penstock_events" in tables(backend)


async def test_a_transaction_that_has_only_read_makes_them_in_itself(
    backend: SqliteBackend, connection: sqlite3.Connection
) -> None:
    """It would not see what another connection makes meanwhile."""
    connection.execute("BEGIN")
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    append_within(backend, connection, one(event()))
    connection.commit()
    assert len(await backend.read_stream("order-1", limit=10)) == 1
    await backend.close()


async def test_loading_makes_them_beside_the_transaction_or_says_that_they_are_missing(
    backend: SqliteBackend, connection: sqlite3.Connection
) -> None:
    """Reading is no reason to take the caller's transaction the lock."""
    connection.execute("BEGIN")
    with pytest.raises(MissingMigrationError, match="penstock db migrate --store local"):
        load_within(backend, connection, "order-1")
    connection.rollback()
    assert load_within(backend, connection, "order-1") == ([], 0)
    assert "penstock_events" in tables(backend)


async def test_nothing_is_made_for_a_transaction_in_another_file(
    backend: SqliteBackend, tmp_path: Path
) -> None:
    """It is refused before."""
    with (
        closing(sqlite3.connect(tmp_path / "other.db")) as other,
        pytest.raises(UsageError, match="not in the database of store 'local'"),
    ):
        append_within(backend, other, one(event()))
    assert tables(backend) == []


def test_a_plain_program_needs_nothing_but_to_append(tmp_path: Path) -> None:
    """No event loop, no opening, no file that is there before."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    store = app.store()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        with connection:
            placed = store.append(OrderPlaced(order_id="1"), within=connection)
        assert (placed.position, placed.stream_version) == (1, 1)
        assert store.load("order-1", within=connection).version == 1
