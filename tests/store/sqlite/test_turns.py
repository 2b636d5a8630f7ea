"""Who writes next to a SQLite file: first come, first served, in place of whoever looks at the right moment."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import StoreUnavailableError
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store._sqlite._turns import Turns, turns_at
from penstock.streams.memory import MemoryBroker
from penstock.testing.contracts._store_common import added, new
from tests.store.events import OrderPlaced

COUNT = "SELECT count(*) FROM penstock_events"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    """An open store."""
    backend = SqliteBackend("local", tmp_path / "events.db")
    await backend.open()
    yield backend
    await backend.close()


def until(condition: Callable[[], object]) -> None:
    """Wait in a thread until it is so."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.0005)


@pytest.mark.covers("STORE-1")
async def test_an_append_goes_before_the_next_of_many_transactions(store: SqliteBackend) -> None:
    """Whoever writes one transaction right after another lets in between who asked meanwhile."""
    database, asked, seen = store.database, threading.Event(), list[int]()

    def write() -> None:
        with closing(database.connect()) as connection:
            for number in range(5):
                database.begin(connection)
                seen.append(connection.execute(COUNT).fetchone()[0])
                if number == 1:
                    asked.set()
                    until(lambda: database.turns.waiting)
                connection.commit()

    writing = asyncio.create_task(asyncio.to_thread(write))
    await asyncio.to_thread(asked.wait)
    await added(store, new())
    await writing
    assert seen == [0, 0, 1, 1, 1]


@pytest.mark.covers("PROJ-10", "STORE-1")
async def test_an_append_waits_for_one_page_of_a_projection_that_catches_up(tmp_path: Path) -> None:
    """What is asked for during a page is committed before the page after it begins."""
    app = App("shop", store=f"sqlite:///{tmp_path / 'shop.db'}", broker=MemoryBroker())
    store, loop, seen = app.store(), asyncio.get_running_loop(), dict[int, int]()
    late: list[asyncio.Task[object]] = []
    await store.append([OrderPlaced(order_id=str(number)) for number in range(100)])
    database = store.database
    assert isinstance(database, SqliteDatabase)

    def ask() -> None:
        late.append(asyncio.ensure_future(store.append(OrderPlaced(order_id="late"))))

    projection = app.projection("seen", page=10)

    @projection.on(OrderPlaced)
    def see(order: OrderPlaced, connection: sqlite3.Connection) -> None:
        [seen[len(seen)]] = connection.execute(COUNT).fetchone()
        if order.order_id == "15":
            loop.call_soon_threadsafe(ask)
            until(lambda: database.turns.waiting)

    try:
        await app.catch_up("seen")
        await asyncio.gather(*late)
    finally:
        await app.close()
    assert {count for number, count in seen.items() if number < 20} == {100}
    assert {count for number, count in seen.items() if number >= 20} == {101}


def test_turns_are_taken_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    """However many wait."""
    turns, order = turns_at(str(tmp_path / "a.db")), list[int]()
    first = turns.take(20)
    assert first is not None

    def write(number: int) -> None:
        turn = turns.take(20)
        assert turn is not None
        order.append(number)
        turns.give_back(turn)

    threads: list[threading.Thread] = []
    for number in range(6):
        threads.append(threading.Thread(target=write, args=(number,)))
        threads[-1].start()
        until(lambda: turns.waiting == len(threads))
    turns.give_back(first)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


@pytest.mark.parametrize("ending", ["COMMIT", "close", "with"])
async def test_a_transaction_that_ended_in_another_way_holds_up_nobody(
    store: SqliteBackend, ending: str
) -> None:
    """By a statement, by closing the connection, or as a block; and the connection can begin again."""
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        if ending == "COMMIT":
            connection.execute("COMMIT")
        elif ending == "close":
            connection.close()
        else:
            with connection:
                pass
        await added(store, new())
        if ending != "close":
            store.database.begin(connection)
            connection.rollback()


async def test_who_waits_too_long_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """The place in the order is given up with it."""
    impatient = SqliteBackend("local", tmp_path / "events.db", lock_wait_seconds=0.1)
    await impatient.open()
    database = impatient.database
    with closing(database.connect()) as connection, closing(database.connect()) as other:
        database.begin(connection)
        with pytest.raises(StoreUnavailableError, match="locked by another connection of this process"):
            await added(impatient, new())
        with pytest.raises(StoreUnavailableError, match="locked by another connection of this process"):
            database.begin(other)
        assert database.turns.waiting == 0
        connection.commit()
        database.begin(other)
        with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
            database.begin(other)
        other.commit()
    await added(impatient, new())
    await impatient.close()


async def test_another_process_is_looked_after_every_few_milliseconds(store: SqliteBackend) -> None:
    """SQLite's own waiting would look more and more seldom, and miss the moments between two transactions."""
    database, looks = store.database, list[str]()
    foreign = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    with closing(foreign), closing(database.connect()) as connection:
        connection.set_trace_callback(looks.append)
        beginning = asyncio.create_task(asyncio.to_thread(database.begin, connection))
        await asyncio.to_thread(until, lambda: looks.count("BEGIN IMMEDIATE") > 20)
        foreign.execute("COMMIT")
        await beginning
        connection.set_trace_callback(None)
        connection.commit()
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (10_000,)


def test_a_forked_process_begins_with_no_turns(tmp_path: Path) -> None:
    """Whoever had one is not in it, and could not give it back."""
    script = (
        "import os, sys\n"
        "from penstock.store._sqlite._turns import turns_at\n"
        "turns = turns_at(sys.argv[1])\n"
        "held = turns.take(0)\n"
        "assert turns.take(0) is None\n"
        "if (pid := os.fork()) == 0:\n"
        "    os._exit(0 if turns.take(0) is not None else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert turns.take(0) is None\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], check=True, timeout=60)


def test_every_name_of_a_file_leads_to_the_same_turns(tmp_path: Path) -> None:
    """A link to the folder is no other file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    one = SqliteDatabase("local", tmp_path / "data" / "a.db")
    assert isinstance(one.turns, Turns)
    assert SqliteDatabase("other", tmp_path / "link" / "a.db").turns is one.turns
    assert SqliteDatabase("local", tmp_path / "data" / "b.db").turns is not one.turns
