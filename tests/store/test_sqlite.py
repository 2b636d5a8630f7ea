"""The SQLite store where a file is not as it should be, and what only it does."""

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from penstock.message import Meta
from penstock.store import Append, Conflict, EventFilter, EventStore, NewEvent
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._database import SqliteConnection
from penstock.store._sqlite._reading import read_page, read_stream
from penstock.testing.contracts._store_common import added, ids, new, numbered, read_all

BIG = b'"' + b"x" * 100_000 + b'"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "deep" / "events.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteBackend]:
    """An open store that does not wait long for a lock."""
    backend = SqliteBackend("local", path, lock_wait_seconds=0.2)
    await backend.open()
    yield backend
    await backend.close()


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


# -- files that are not as they should be -----------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    """Opening it fails with its name and a remedy, and the file is not touched."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"these are my notes, and not a database at all\n" * 100)
    backend = SqliteBackend("local", path)
    with pytest.raises(StoreRefusedError, match=r"notes\.txt is no SQLite database: name another file"):
        await backend.open()
    assert path.read_bytes().startswith(b"these are my notes")
    await backend.close()


async def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    """Pages that are overwritten are found when they are read."""
    backend = SqliteBackend("local", path)
    for start in range(0, 2000, 500):
        await added(
            backend, *(new("order-1", f"e{start + number}", data=BIG[:900] + b'"') for number in range(500))
        )
    await backend.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(8192)
        file.write(b"\xab" * (size - 16384))
    damaged = SqliteBackend("local", path)
    with pytest.raises(StoreRefusedError, match=r"is damaged: restore it from a backup"):
        await read_all(damaged)
    await damaged.close()


async def test_a_locked_file_is_waited_for_and_then_said_to_be_locked(
    store: SqliteBackend, path: Path
) -> None:
    """Another process that holds the lock too long has appends fail, to be repeated; reading goes on meanwhile."""
    await added(store, new())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="is locked by another connection"):
            await added(store, new(event_id="a"))
        assert len(await read_all(store)) == 1
        other.execute("ROLLBACK")
    await added(store, new(event_id="a"))
    assert len(await read_all(store)) == 2


async def test_a_lock_that_is_given_back_in_time_is_waited_for(path: Path) -> None:
    """An append behind another process's transaction goes in when that ends."""
    backend = SqliteBackend("local", path)
    await backend.open()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(added(backend, new()))
        assert (await asyncio.wait([waiting], timeout=0.2))[1]
        other.execute("COMMIT")
        await waiting
    await backend.close()


@pytest.mark.covers("STORE-1")
async def test_a_full_disk_refuses_appends_and_keeps_what_was_there(path: Path) -> None:
    """What does not fit is not there at all; after room was made the same append goes in."""
    backend = SqliteBackend("local", path)
    await added(backend, new(event_id="small"))
    await backend.close()

    bounded = SqliteBackend("local", path)
    connect = bounded.database.connect

    def small(*, application: str = "") -> SqliteConnection:
        connection = connect(application=application)
        connection.execute(f"PRAGMA max_page_count={60 if limit else 2**30}")
        return connection

    limit = True
    bounded.database.connect = small  # type: ignore[method-assign]
    events = [new("order-2", f"big{number}", data=BIG) for number in range(10)]
    with pytest.raises(StoreUnavailableError, match="is full: free some space"):
        await added(bounded, *events)
    assert ids(await read_all(bounded)) == ["small"]
    await added(bounded, new(event_id="fits"))
    await bounded.close()
    limit = False
    await added(bounded, *events)
    assert ids(await read_all(bounded)) == ["small", "fits", *(event.id for event in events)]
    await bounded.close()


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Within the block the process has no right to write in *folder*, which root would have anyway."""
    for each in (folder, *folder.iterdir()):
        each.chmod(each.stat().st_mode & ~0o222 | 0o444)
    am_root = os.geteuid() == 0
    if am_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if am_root:
            os.seteuid(0)
        for each in (folder, *folder.iterdir()):
            each.chmod(each.stat().st_mode | 0o200)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that everybody can look into."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_a_file_that_may_only_be_read_is_said_to_be(readable: Path) -> None:
    """An append fails with what to change; nothing is made anew, and with the right given back it goes in."""
    path = readable / "events.db"
    writer = SqliteBackend("local", path)
    await added(writer, new(event_id="a"))
    with closing(sqlite3.connect(path)) as keeps_the_log:
        keeps_the_log.execute("SELECT count(*) FROM penstock_events").fetchone()
        await writer.close()
        reader = SqliteBackend("local", path)
        with as_nobody(readable):
            await reader.open()
            assert ids(await read_all(reader)) == ["a"]
            with pytest.raises(StoreRefusedError, match="may only be read: give this user the right"):
                await added(reader, new(event_id="b"))
        await reader.close()
    await added(writer, new(event_id="b"))
    assert ids(await read_all(writer)) == ["a", "b"]
    await writer.close()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder."""
    (tmp_path / "file").write_text("")
    backend = SqliteBackend("local", tmp_path / "file" / "events.db")
    with pytest.raises(StoreUnavailableError, match="folder"):
        await backend.open()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", ":memory:", "", "file:x?mode=ro"]
)
def test_a_store_needs_a_file(url: str) -> None:
    """Memory would be another store for each connection."""
    with pytest.raises(ConfigurationError, match="names no file"):
        SqliteBackend("local", url)


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("STORE-4")
@pytest.mark.timeout(120)
async def test_a_hundred_thousand_events_are_iterated_in_flat_memory(
    store: SqliteBackend, torture: bool
) -> None:
    """However many there are, only a page of them is in memory. The long form has a million."""
    count = 1_000_000 if torture else 100_000
    meta = Meta(time=1, key="k")
    for start in range(0, count, 5_000):
        events = [
            NewEvent(f"order-{number % 100}", f"e{number}", "order.placed", meta, b'{"total":3}')
            for number in range(start, start + 5_000)
        ]
        await added(store, *events)
    front = EventStore("local", lambda: store)
    for reading in (front.read(page=500), front.read(categories=["order"], names=["order.placed"], page=500)):
        seen = 0
        tracemalloc.start()
        async for event in reading:
            seen += 1
            assert event.position == seen
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == count
        assert peak < 4_000_000


async def test_a_page_in_the_middle_costs_no_more_than_the_first(store: SqliteBackend) -> None:
    """No query looks at what it does not need: none of the plans sorts or walks through a whole table."""
    await added(store, *numbered(10))
    plans: list[str] = []
    with closing(store.database.connect()) as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        for wanted in (
            EventFilter(),
            EventFilter(streams=("order-1",)),
            EventFilter(categories=("order",)),
            EventFilter(categories=("order",), names=("order.placed",)),
            EventFilter(streams=("order-1", "order-2"), categories=("order",)),
        ):
            for backwards in (False, True):
                read_page(connection, wanted, after=3, through=9, limit=2, backwards=backwards)
        read_stream(connection, "order-1", after=3, through=None, limit=2, backwards=False)
        connection.set_trace_callback(None)
        for statement in dict.fromkeys(statements):
            plans += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert len(plans) > 10
    assert [plan for plan in plans if plan.startswith("SCAN penstock_events")] == []


# -- telling of what is new -------------------------------------------------------------------------------------------


@pytest.mark.covers("STORE-7")
@pytest.mark.timeout(60)
async def test_another_process_is_noticed_soon(store: SqliteBackend, path: Path) -> None:
    """A commit of a process that knows nothing of us wakes a watch within the longest look, mostly much sooner."""
    insert = (
        "INSERT INTO penstock_events (stream, category, version, id, name, schema_version, meta, recorded_at)"
        " VALUES ('a', 'a', :number, :number, 'x', 1, '{\"time\":1}', 0)"
    )
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for line in sys.stdin:\n"
        "    connection.execute(sys.argv[2], {'number': int(line)})\n"
        "    print('done', flush=True)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(path),
        insert,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    watch = store.watch()
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    for number in range(1, 11):
        waiting = asyncio.create_task(watch.wait())
        process.stdin.write(b"%d\n" % number)
        assert await process.stdout.readline() == b"done\n"
        committed = loop.time()
        await asyncio.wait_for(waiting, 10)
        delays.append(loop.time() - committed)
    process.stdin.close()
    await process.wait()
    await watch.close()
    assert sorted(delays)[5] < 0.15
    assert len(await read_all(store)) == 10


async def test_what_is_no_event_wakes_nobody(store: SqliteBackend) -> None:
    """Checkpoints and read models in the same file are written all the time."""
    watch = store.watch()
    waiting = asyncio.create_task(watch.wait())
    await asyncio.sleep(0)
    with closing(store.database.connect()) as connection:
        connection.execute("CREATE TABLE totals (x)")
        for number in range(5):
            connection.execute("INSERT INTO totals VALUES (?)", (number,))
            assert (await asyncio.wait([waiting], timeout=0.05))[1]
    await added(store, new())
    await asyncio.wait_for(waiting, 10)
    await watch.close()


# -- its database -----------------------------------------------------------------------------------------------------


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
