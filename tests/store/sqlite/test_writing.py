"""How the SQLite store writes: from any task, thread and loop, in shared commits, each on the disk."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from penstock.errors import StoreUnavailableError
from penstock.message import Meta
from penstock.store import Append, Conflict, NewEvent
from penstock.store._sqlite import SqliteBackend
from penstock.testing.contracts._store_common import added, new, numbered, read_all


async def test_the_first_use_makes_folder_file_and_tables(path: Path) -> None:
    """Nothing has to be there, and nothing has to be run before."""
    backend = SqliteBackend("local", f"sqlite:///{path}")
    assert not path.parent.exists()
    await added(backend, new())
    assert len(await read_all(backend)) == 1
    await backend.close()


async def test_what_is_committed_is_on_the_disk(store: SqliteBackend) -> None:
    """Every connection of ours is in WAL mode with ``synchronous=FULL``."""
    with closing(store.database.connect()) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.covers("STORE-1")
async def test_appends_of_many_tasks_share_a_commit(store: SqliteBackend, path: Path) -> None:
    """Two hundred appends at the same time cost far fewer commits than two hundred."""
    await added(store, new())
    await asyncio.gather(*(added(store, new(f"order-{number}")) for number in range(200)))
    with closing(sqlite3.connect(path)) as looking:
        [commits] = looking.execute("SELECT count(DISTINCT recorded_at) FROM penstock_events").fetchone()
    assert commits < 50  # a group has one time


async def test_one_that_cannot_be_written_does_not_take_others_with_it(store: SqliteBackend) -> None:
    """An append that SQLite refuses shares its group with good ones, and fails alone."""
    wrong = NewEvent("order-1", "\ud800", "x", Meta(time=1), b"1")
    outcomes = await asyncio.gather(
        *(store.append(Append((event,))) for event in (new(), wrong, new(), wrong, new())),
        return_exceptions=True,
    )
    assert [isinstance(outcome, BaseException) for outcome in outcomes] == [False, True, False, True, False]
    assert [event.stream_version for event in await read_all(store)] == [1, 2, 3]


async def test_an_append_given_up_while_it_waits_harms_nobody(store: SqliteBackend) -> None:
    """Its task is cancelled; the event may be there or not, and the writer goes on."""
    tasks = [asyncio.create_task(added(store, new())) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, list) for outcome in outcomes) == 5
    assert len(await read_all(store)) >= 5


# -- its database ---------------------------------------------------------------------------------------------------


async def test_sessions_of_sqlalchemy_write_to_the_same_file(store: SqliteBackend) -> None:
    """The engine is made once, its transactions begin where they say, and a rollback leaves nothing."""
    sa = pytest.importorskip("sqlalchemy")
    engine = store.database.engine()
    assert store.database.engine() is engine
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE totals (x INTEGER)"))
        connection.execute(sa.text("INSERT INTO totals VALUES (1)"))
    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO totals VALUES (2)"))
        connection.rollback()
        assert connection.execute(sa.text("SELECT x FROM totals")).fetchall() == [(1,)]
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


async def test_statements_outside_of_the_store_keep_their_errors(store: SqliteBackend) -> None:
    """What means something to a caller becomes our error, a mistake in a statement stays what it is."""
    database = store.database
    with closing(database.connect()) as connection, closing(database.connect()) as other:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            database.execute(connection, "SELECT * FROM not_there")
        database.begin(other)
        with pytest.raises(StoreUnavailableError, match="locked"):
            database.begin(connection)
        database.begin(connection, write=False)
        connection.commit()
        other.rollback()


async def test_it_works_from_any_event_loop_and_thread(store: SqliteBackend) -> None:
    """One backend serves several loops at the same time."""

    def work(name: str) -> None:
        async def append() -> None:
            for _ in range(20):
                await added(store, new(f"order-{name}"))

        asyncio.run(append())

    await asyncio.gather(*(asyncio.to_thread(work, name) for name in "abc"), added(store, new("order-d")))
    assert len(await read_all(store)) == 61


async def test_closing_writes_what_waits(path: Path) -> None:
    """Appends that were begun before are answered, and their events are there."""
    backend = SqliteBackend("local", path)
    await backend.open()
    tasks = [asyncio.create_task(added(backend, new())) for _ in range(50)]
    await asyncio.sleep(0)
    await backend.close()
    assert len(await asyncio.gather(*tasks)) == 50
    assert len(await read_all(backend)) == 50
    await backend.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock store")]


async def test_many_conflicts_and_few_events(store: SqliteBackend) -> None:
    """A group in which most are refused commits the rest."""
    await added(store, *numbered(3))
    outcomes = await asyncio.gather(
        *(store.append(Append((new(),), number % 8)) for number in range(64)), store.append(Append(()))
    )
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, Conflict)]
    assert len(accepted) > 1
    assert len(await read_all(store)) == 3 + sum(len(outcome) for outcome in accepted)
