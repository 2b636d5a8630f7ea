"""Promotions and their way back in a SQLite file under readers, writers and running projections."""

import asyncio
import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from penstock.errors import ProjectionError, StoreUnavailableError
from penstock.store._sqlite import SqliteBackend
from tests.projections.engine.doubles import append, new_event
from tests.replays.around import Around
from tests.replays.sqlite.spending import Thing, direct, raw_of
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY

_TOTALS = "SELECT customer, orders, v FROM totals"
_ENTRIES = "SELECT count(*), min(v), max(v) FROM entries"


class Reader:
    """Reads two tables in one transaction, with prepared statements, some fifty times a second."""

    def __init__(self, path: Any) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.reads = 0
        self.versions: set[int] = set()
        self.slowest = 0.0
        self._due = time.monotonic()

    def read(self) -> None:
        """Once; everything is of one version."""
        began = time.monotonic()
        self._connection.execute("BEGIN")
        totals = self._connection.execute(_TOTALS).fetchall()
        [[count, least, most]] = self._connection.execute(_ENTRIES).fetchall()
        self._connection.execute("COMMIT")
        versions = {row[2] for row in totals}
        assert versions == {least, most}, (versions, least, most)
        assert len(versions) == 1
        assert sum(row[1] for row in totals) == count
        self.versions |= versions
        self.reads += 1
        ended = time.monotonic()
        self.slowest = max(self.slowest, ended - began)
        self._due = max(self._due + 0.02, ended)
        time.sleep(max(self._due - ended, 0))

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class Projecting:
    """Whoever runs the projections: each generation by the version that it is of, stale ones notwithstanding."""

    def __init__(self, thing: Thing) -> None:
        self._thing = thing

    def once(self) -> None:
        """Bring both as far as they can be."""
        with contextlib.suppress(ProjectionError, StoreUnavailableError):
            self._thing.run_live(self._thing.place().version)
        with contextlib.suppress(ProjectionError, StoreUnavailableError):
            self._thing.feed(self._thing.place(KEY).version)


@pytest.mark.covers("ZDT-7", "ZDT-10", "ZDT-12", "LEAD-2")
@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_readers_notice_nothing_of_promotions_and_their_way_back(
    store: SqliteBackend, torture: bool
) -> None:
    """200 reads a second: no error, and always one version of both tables, while writers and projections go on."""
    await add(store, 2_000, customers=200)
    thing = Thing(store, page=200)
    thing.run_live()
    thing.create()
    thing.feed()
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE notes (text TEXT)")
    readers = [Reader(store.database.path) for _ in range(5)]
    around, projecting = Around(), Projecting(thing)
    writer = sqlite3.connect(store.database.path, isolation_level=None, check_same_thread=False, timeout=10)
    waits: list[float] = []

    def write() -> None:
        began = time.monotonic()
        writer.execute("INSERT INTO notes VALUES ('x')")
        waits.append(time.monotonic() - began)
        time.sleep(0.002)

    for reader in readers:
        around.go(reader.read)
    around.go(write)
    around.go(projecting.once)
    began = time.monotonic()
    locked: list[float] = []
    stored = 2_000
    try:
        for number in range(100 if torture else 6):
            await append(store, *(new_event(key=f"c{each % 200}") for each in range(30)))
            stored += 30
            version = 1 + (number + 1) % 2
            done = await asyncio.to_thread(thing.switch, version)
            locked.append(done.locked.total_seconds())
            assert thing.place().version == version
    finally:
        took = time.monotonic() - began
        around.end()
        writer.close()
        for reader in readers:
            reader.close()
    assert all(reader.versions == {1, 2} for reader in readers)
    live = thing.place().version
    thing.run_live(live)
    thing.feed(3 - live)
    assert _positions(store.database.connect) == _positions(thing.copy.database.connect) == stored
    with direct(store.database.path) as user:
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    reads = sum(reader.reads for reader in readers)
    sys.stdout.write(
        f"{len(locked)} switches in {took:.1f} s, {reads / took:.0f} reads a second without an error, the slowest in "
        f"{max(reader.slowest for reader in readers) * 1000:.0f} ms; writers kept out for "
        f"{sorted(locked)[len(locked) // 2] * 1000:.1f} ms (median), {max(locked) * 1000:.1f} ms at most; "
        f"{len(waits)} writes, the slowest {max(waits) * 1000:.0f} ms\n"
    )


def _positions(connect: Callable[[], Any]) -> int:
    """How many events are in both tables; each once."""
    with closing(connect()) as connection:
        entries = connection.execute("SELECT position FROM main.entries ORDER BY position").fetchall()
        [total] = connection.execute("SELECT sum(orders) FROM main.totals").fetchone()
    assert [place for [place] in entries] == list(range(1, total + 1))
    return int(total)


@pytest.mark.covers("ZDT-10")
@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_writers_are_let_in_while_a_large_copy_is_brought_over(
    store: SqliteBackend, torture: bool
) -> None:
    """No transaction of ours keeps others out for long, however large the copy is; it is the same in the end."""
    rows = 1_000_000 if torture else 30_000
    thing = Thing(store)
    thing.run_live()
    thing.create()
    with raw_of(thing.copy.database) as connection:
        thing.copy.database.begin(connection)
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO entries (customer, position, v) SELECT 'c' || (i % 1000), i, 2 FROM n",
            (rows,),
        )
        connection.commit()
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE notes (text TEXT)")
    writer = sqlite3.connect(store.database.path, isolation_level=None, check_same_thread=False, timeout=10)
    around, waits = Around(), list[float]()

    def write() -> None:
        began = time.monotonic()
        writer.execute("INSERT INTO notes VALUES ('x')")
        waits.append(time.monotonic() - began)

    around.go(write)
    began = time.monotonic()
    try:
        done = await asyncio.to_thread(thing.switch, 2)
    finally:
        took = time.monotonic() - began
        around.end()
        writer.close()
    with direct(store.database.path) as user:
        assert user.execute("SELECT count(*), count(DISTINCT position) FROM entries").fetchone() == (
            rows,
            rows,
        )
    waits.sort()
    sys.stdout.write(
        f"{rows:,} rows in {took:.1f} s, locked {done.locked.total_seconds() * 1000:.1f} ms; {len(waits)} writes, "
        f"median {waits[len(waits) // 2] * 1000:.1f} ms, 99% {waits[len(waits) * 99 // 100] * 1000:.1f} ms, "
        f"slowest {waits[-1] * 1000:.0f} ms\n"
    )
    assert waits[len(waits) * 99 // 100] < 0.5
