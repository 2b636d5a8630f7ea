"""kill -9 at each statement of a switch: both generations are whole, and the next one switches them."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from penstock.store.abc import StoreBackend
from tests.forking import Forks
from tests.projections.engine.doubles import append, new_event
from tests.replays.postgres.spending import Thing
from tests.replays.things import KEY


class Switchers(Forks):
    """Processes one after the other, forked from one that has imported everything."""

    def __init__(self, url: str) -> None:
        super().__init__("tests.replays.postgres.switcher", url)

    async def run(self, version: int, left: int = -1) -> tuple[int, int]:
        """One process, to its end; its exit code, and how many statements it ran."""
        code, count = await asyncio.to_thread(self.ask, version, left)
        return code, count


@pytest.fixture
def switchers(store: StoreBackend) -> Iterator[Switchers]:
    """Processes on the database of the test."""
    database: Any = store.database
    some = Switchers(database.url)
    yield some
    some.end()


def check_whole(thing: Thing) -> int:
    """Both generations are of one version in both tables, by label and by rows; the live one is told."""
    live, other = thing.place().version, thing.place(KEY).version
    assert {live, other} == {1, 2}
    assert thing.place().position == thing.place(KEY).position
    for database, version in ((thing.live, live), (thing.copy.database, other)):
        with closing(database.connect()) as connection:
            database.begin(connection)
            for table in ("totals", "entries"):
                found = database.execute(connection, f"SELECT DISTINCT v FROM {table}").fetchall()
                assert found == [(version,)], (table, version, found)
    with psycopg.connect(thing.live.url) as user:
        shown = user.execute("SELECT DISTINCT v FROM spending").fetchall()
        key = user.execute(
            "SELECT confrelid = 'public.totals'::regclass FROM pg_constraint "
            "WHERE conrelid = 'letters'::regclass AND contype = 'f'"
        ).fetchall()
        schemas = user.execute(
            "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, 'penstock') AND nspname <> %s",
            (thing.copy.where,),
        ).fetchall()
    assert shown == [(live,)]
    assert key == [(True,)]
    assert schemas == [(0,)]
    return live


async def _nobody_else(url: str) -> None:
    """The server has noticed that a process is gone."""
    async with asyncio.timeout(20):
        while True:
            with psycopg.connect(url) as user:
                [[count]] = user.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock replays' "
                    "AND datname = current_database()"
                ).fetchall()
            if not count:
                return
            await asyncio.sleep(0.02)


@pytest.mark.covers("ZDT-10", "ZDT-12", "LEAD-2")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_a_switch_that_is_killed_has_happened_or_has_not(
    store: StoreBackend, switchers: Switchers, torture: bool
) -> None:
    """At every statement of it in the long form, promotion and rollback in turn. Nothing has to be cleaned up."""
    await append(store, *(new_event(key=f"c{number % 5}") for number in range(20)))
    thing = Thing(store)
    thing.make()
    database: Any = store.database
    with psycopg.connect(database.url, autocommit=True) as user:
        user.execute("CREATE VIEW spending AS SELECT customer, orders, v FROM totals")
        user.execute("CREATE TABLE letters (customer text REFERENCES totals)")
    thing.run_live()
    thing.create()
    thing.feed()
    code, count = await switchers.run(2)
    assert code == 0
    assert check_whole(thing) == 2
    outcomes: set[bool] = set()
    for left in range(0, count, 1 if torture else max(1, count // 12)):
        before = check_whole(thing)
        code, _ = await switchers.run(3 - before, left)
        assert code in (-signal.SIGKILL, 0)
        await _nobody_else(database.url)
        outcomes.add(check_whole(thing) != before)
    live = check_whole(thing)
    assert (await switchers.run(3 - live))[0] == 0
    assert check_whole(thing) == 3 - live
    assert outcomes >= {False}
