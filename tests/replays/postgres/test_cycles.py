"""Promotions and their way back on PostgreSQL under readers, writers and running projections."""

import asyncio
import contextlib
import sys
import time
from contextlib import closing
from typing import Any

import psycopg
import pytest

from penstock.errors import ProjectionError, StoreUnavailableError
from penstock.store.abc import StoreBackend
from tests.projections.engine.doubles import append, new_event
from tests.replays.around import Around
from tests.replays.postgres.spending import Thing
from tests.replays.things import KEY

_TOTALS = "SELECT customer, orders, v FROM totals"
_ENTRIES = "SELECT count(*), min(v), max(v) FROM entries"
_VIEW = "SELECT sum(orders), min(v), max(v) FROM spending"


class Reader:
    """Reads two tables and a view some fifty times a second; *prepared*: by statements that the server keeps."""

    def __init__(self, url: str, *, prepared: bool) -> None:
        self._connection: Any = psycopg.connect(url, autocommit=True)
        self._connection.prepare_threshold = 0 if prepared else None
        # One moment for both tables in half of them: then also what they say about each other has to fit.
        self._connection.isolation_level = None if prepared else psycopg.IsolationLevel.REPEATABLE_READ
        self._is_one_moment = not prepared
        self.reads = 0
        self.versions: set[int] = set()
        self.slowest = 0.0
        self._due = time.monotonic()

    def read(self) -> None:
        """Once by table, once by the view; each is of one version, and so are both tables in one transaction."""
        began = time.monotonic()
        with self._connection.transaction():
            totals = self._connection.execute(_TOTALS).fetchall()
            [[count, least, most]] = self._connection.execute(_ENTRIES).fetchall()
        versions = {row[2] for row in totals}
        assert versions == {least, most}, (versions, least, most)
        assert len(versions) == 1
        assert sum(row[1] for row in totals) == count or not self._is_one_moment
        self.versions |= versions
        [[_, least, most]] = self._connection.execute(_VIEW).fetchall()
        assert least == most
        self.reads += 2
        ended = time.monotonic()
        self.slowest = max(self.slowest, ended - began)
        self._due = max(self._due + 0.04, ended)
        time.sleep(max(self._due - ended, 0))

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class Projecting:
    """Whoever runs the projections: each generation by the version that it is of."""

    def __init__(self, thing: Thing) -> None:
        self._thing = thing

    def live(self) -> None:
        """Bring the live one as far as it can be, by the version that it is of; a stale one changes nothing."""
        with contextlib.suppress(ProjectionError, StoreUnavailableError):
            self._thing.run_live(self._thing.place().version)
        time.sleep(0.01)

    def feed(self) -> None:
        """The same for the copy."""
        with contextlib.suppress(ProjectionError, StoreUnavailableError):
            self._thing.feed(self._thing.place(KEY).version)
        time.sleep(0.01)


@pytest.mark.covers("ZDT-7", "ZDT-10", "ZDT-11", "ZDT-12", "LEAD-2")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_readers_notice_nothing_of_promotions_and_their_way_back(
    store: StoreBackend, torture: bool
) -> None:
    """200 reads a second, half of them prepared: no error, always one version of both tables, and a view that goes
    along, while writers append and each version feeds its own generation. Afterwards both have every event once.
    """
    await append(store, *(new_event(key=f"c{number % 50}") for number in range(500)))
    thing = Thing(store, page=100)
    thing.make()
    database: Any = store.database
    with psycopg.connect(database.url, autocommit=True) as user:
        user.execute("CREATE VIEW spending AS SELECT customer, orders, v FROM totals")
        user.execute("CREATE TABLE letters (customer text REFERENCES totals)")
    thing.run_live()
    thing.create()
    thing.feed()
    with psycopg.connect(database.url, autocommit=True) as user:
        user.execute("INSERT INTO letters SELECT customer FROM totals")
    readers = [Reader(database.url, prepared=number % 2 == 0) for number in range(4)]
    around, projecting = Around(), Projecting(thing)
    began = time.monotonic()
    locked: list[float] = []
    tries = 0
    stored = 500
    for reader in readers:
        around.go(reader.read)
    around.go(projecting.live)
    around.go(projecting.feed)
    try:
        for number in range(200 if torture else 20):
            await append(store, *(new_event(key=f"c{each % 50}") for each in range(20)))
            stored += 20
            version = 1 + (number + 1) % 2
            done = await asyncio.to_thread(thing.switch, version)
            locked.append(done.locked.total_seconds())
            tries += done.tries
            assert thing.place().version == version
            assert thing.place(KEY).version == 3 - version
    finally:
        took = time.monotonic() - began
        with contextlib.ExitStack() as ends:
            for reader in readers:
                ends.callback(reader.close)
            around.end()
    assert all(reader.versions == {1, 2} for reader in readers)
    live = thing.place().version
    thing.run_live(live)
    thing.feed(3 - live)
    for each in (thing.live, thing.copy.database):
        with closing(each.connect()) as connection:
            each.begin(connection)
            places = each.execute(connection, "SELECT position FROM entries ORDER BY position").fetchall()
            assert [place for [place] in places] == list(range(1, stored + 1))
            assert each.execute(connection, "SELECT sum(orders) FROM totals").fetchone() == (stored,)
    with psycopg.connect(database.url) as user:
        key = user.execute(
            "SELECT confrelid = 'public.totals'::regclass, convalidated FROM pg_constraint "
            "WHERE conrelid = 'letters'::regclass AND contype = 'f'"
        ).fetchall()
        assert key == [(True, True)]
    reads = sum(reader.reads for reader in readers)
    sys.stdout.write(
        f"{len(locked)} switches in {took:.1f} s ({tries} tries), {reads / took:.0f} reads a second without an error, "
        f"the slowest in {max(reader.slowest for reader in readers) * 1000:.0f} ms; locked for "
        f"{sorted(locked)[len(locked) // 2] * 1000:.1f} ms (median), {max(locked) * 1000:.1f} ms at most\n"
    )


@pytest.mark.covers("ZDT-10")
@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_the_lock_is_as_short_for_large_tables(store: StoreBackend, torture: bool) -> None:
    """Nothing of a table is read or written under its lock."""
    rows = 1_000_000 if torture else 50_000
    thing = Thing(store)
    thing.make()
    thing.run_live()
    thing.create()
    locked: list[float] = []
    with closing(thing.copy.database.connect()) as connection:
        thing.copy.database.begin(connection)
        thing.copy.database.execute(
            connection,
            "INSERT INTO totals SELECT 'c' || n, 1, 2 FROM generate_series(1, ?::int) AS n",
            (rows,),
        )
        connection.commit()
    for version in (2, 1, 2, 1, 2):
        done = await asyncio.to_thread(thing.switch, version)
        locked.append(done.locked.total_seconds())
    sys.stdout.write(f"{rows:,} rows: locked for {sorted(locked)[2] * 1000:.1f} ms (median)\n")
    assert sorted(locked)[2] < 0.5


@pytest.mark.covers("ZDT-7", "ZDT-10")
async def test_a_stale_runner_of_either_generation_is_told_from_the_new_one(store: StoreBackend) -> None:
    """Both stand at one position at a switch, so the epochs tell them apart: higher than either was."""
    await append(store, *(new_event(key="c1") for _ in range(3)))
    thing = Thing(store)
    thing.make()
    thing.run_live()
    thing.create()
    thing.feed()
    with psycopg.connect(thing.live.url, autocommit=True) as user:
        user.execute("UPDATE penstock_checkpoints SET epoch = CASE generation WHEN '' THEN 70 ELSE 3 END")
    await asyncio.to_thread(thing.switch, 2)
    assert (thing.place().version, thing.place(KEY).version) == (2, 1)
    assert thing.place().position == thing.place(KEY).position == 3
    assert thing.place().epoch > 70
    assert thing.place(KEY).epoch > 70
    with psycopg.connect(thing.live.url) as user:
        places = user.execute(
            "SELECT generation, schema_name FROM penstock_checkpoints ORDER BY 1"
        ).fetchall()
    assert places == [("", None), (KEY, thing.copy.where)]
