"""Promotions and their way back on PostgreSQL while others append and project as fast as they can."""

import asyncio
import sys
import time
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from penstock.store.abc import StoreBackend
from penstock.store.database import Database
from tests.projections.engine.doubles import append, new_event
from tests.replays.around import Around
from tests.replays.postgres.spending import Thing
from tests.replays.postgres.test_cycles import Projecting
from tests.replays.things import KEY

_KEYS = 20


class Writer:
    """Appends without a pause, each time a few events of several keys; knows what it has stored."""

    def __init__(self, store: StoreBackend) -> None:
        self._store = store
        self.is_over = False
        self.stored: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many events."""
        return self.stored.total()

    async def write(self) -> None:
        """Until it is over."""
        while not self.is_over:
            keys = [f"c{(self.count + number) % _KEYS}" for number in range(2)]
            await append(self._store, *(new_event(key=key) for key in keys))
            self.stored.update(keys)


def found(database: Database) -> tuple[list[int], dict[str, int], dict[str, int]]:
    """The positions of one generation, and how often each key is there by either table."""
    with closing(database.connect()) as connection:
        database.begin(connection)

        def asked(sql: str) -> list[Any]:
            return [tuple(row) for row in database.execute(connection, sql).fetchall()]

        positions = [place for [place] in asked("SELECT position FROM entries ORDER BY position")]
        noted = dict(asked("SELECT customer, count(*) FROM entries GROUP BY 1"))
        counted = dict(asked("SELECT customer, orders FROM totals"))
        connection.rollback()
    return positions, noted, counted


@pytest.mark.covers("ZDT-7", "ZDT-10", "ZDT-12")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_no_event_is_lost_or_doubled_by_promotions_under_full_load(
    store: StoreBackend, torture: bool
) -> None:
    """Writers never pause, and whoever has a version feeds the generation of it, all the while that tables and
    checkpoints change places, to and fro. Afterwards both generations say of every key what was stored of it.
    """
    thing = Thing(store, page=100)
    thing.make()
    thing.run_live()
    thing.create()
    writers = [Writer(store) for _ in range(2)]
    tasks = [asyncio.create_task(each.write()) for each in writers]
    around, projecting = Around(), Projecting(thing)
    around.go(projecting.live)
    around.go(projecting.feed)
    during: list[int] = []
    tries, began = 0, time.monotonic()
    try:
        for version in (2, 1) * (50 if torture else 5):
            before = sum(each.count for each in writers)
            done = await asyncio.to_thread(thing.switch, version)
            during.append(sum(each.count for each in writers) - before)
            tries += done.tries
            assert (thing.place().version, thing.place(KEY).version) == (version, 3 - version)
    finally:
        took = time.monotonic() - began
        for each in writers:
            each.is_over = True
        await asyncio.gather(*tasks)
        around.end()
    assert all(during)
    stored = sum((each.stored for each in writers), Counter[str]())
    await asyncio.to_thread(thing.run_live, 1)
    await asyncio.to_thread(thing.feed, 2)
    for database in (thing.live, thing.copy.database):
        positions, noted, counted = found(database)
        assert positions == list(range(1, stored.total() + 1))
        assert noted == counted == dict(stored)
    sys.stdout.write(
        f"{len(during)} switches in {took:.1f} s ({tries} tries); {stored.total():,} events appended meanwhile, "
        f"{min(during)} or more during each\n"
    )
