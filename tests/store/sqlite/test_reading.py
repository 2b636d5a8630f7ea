"""Reading a SQLite store: pages in flat memory by indexes alone, and being told soon of what is new."""

import asyncio
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from penstock.message import Meta
from penstock.store import EventFilter, EventStore, NewEvent
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._reading import read_page, read_stream
from penstock.testing.contracts._store_common import added, new, numbered, read_all


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
