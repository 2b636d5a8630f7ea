"""Promotion and its way back in a SQLite file."""

from typing import Any

import pytest

from penstock.projections._engine._run import Supervised
from penstock.replays._meeting import meet
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection
from tests.projections.engine.doubles import append, new_event
from tests.replays.sqlite.spending import Spending, Thing, both, direct, raw_of
from tests.replays.things import KEY, PATIENCE, nothing


async def add(store: SqliteBackend, count: int, *, customers: int = 5) -> None:
    """Append events of several customers."""
    await append(store, *(new_event(key=f"c{number % customers}") for number in range(count)))


@pytest.mark.covers("ZDT-10", "ZDT-12", "LEAD-2")
async def test_a_copy_becomes_live_and_the_former_one_again(store: SqliteBackend) -> None:
    """All tables change together, each generation goes on where it was, and the way back loses no event."""
    await add(store, 300)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    before = thing.place().epoch
    done = thing.switch(2)
    assert done.position == 300
    with direct(store.database.path) as user:
        totals, entries = both(user)
        assert {row[2] for row in totals} == {row[2] for row in entries} == {2}
        assert len(entries) == 300
        assert user.execute("SELECT DISTINCT grade FROM totals").fetchall() == [("known",)]
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert (thing.place().version, thing.place(KEY).version) == (2, 1)
    assert thing.place().epoch > before
    await add(store, 100)
    thing.run_live(2)
    thing.feed(1)
    thing.switch(1)
    with direct(store.database.path) as user:
        totals, entries = both(user)
        assert {row[2] for row in totals} == {row[2] for row in entries} == {1}
        assert [row[1] for row in entries] == list(range(1, 401))
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert user.execute("PRAGMA foreign_key_check").fetchall() == []
    thing.switch(2)
    with direct(store.database.path) as user:
        totals, entries = both(user)
        assert [(row[1], row[2]) for row in entries] == [(number, 2) for number in range(1, 401)]


class TotalsPage:
    """One page of `Totals`."""

    def __init__(self, connection: Connection) -> None:
        self._raw: Any = connection

    def handle(self, event: StoredEvent) -> None:
        """Count."""
        self._raw.execute(
            "INSERT INTO totals (customer, orders, v) VALUES (?, 1, 2) "
            "ON CONFLICT (customer) DO UPDATE SET orders = orders + 1",
            (event.key,),
        )

    def finish(self) -> bytes | None:
        """No state."""

    def discard(self) -> None:
        """Nothing."""

    def committed(self) -> None:
        """Nothing."""


class Totals(Spending):
    """A version that has given up one of the two tables."""

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = "") -> Any:
        """One page."""
        return TotalsPage(connection)

    def prepare(self, connection: Connection) -> None:
        """Make the one."""
        raw: Any = connection
        raw.execute(
            "CREATE TABLE IF NOT EXISTS main.totals "
            "(customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, v INTEGER NOT NULL)"
        )


@pytest.mark.covers("ZDT-12")
async def test_a_table_that_the_new_version_gave_up_stays_and_comes_back_whole(store: SqliteBackend) -> None:
    """Its readers find it after the promotion, the former version goes on with it, and the way back has all of it."""
    await add(store, 40)
    thing = Thing(store)
    thing.run_live()
    slim = Totals(2)
    thing.create(2, slim)
    thing.feed(2, handlers=slim)
    assert "table entries" in {each.subject for each in thing.copy.preflight() if each.severity == "warning"}

    def switch(version: int, handlers: Any, other: Any) -> None:
        thing.copy.prepare_switch(nothing)
        declared = {"spending": Supervised(thing.plan(3 - version), other)}
        candidates = [thing.candidate(version, handlers)]
        thing.copy.switch(
            lambda: meet(candidates, thing.copy, thing.reader, patience=PATIENCE, declared_live=declared),
            lambda held: None,
        )

    for stored in (40, 60, 80):
        switch(2, slim, Spending(1))
        with direct(store.database.path) as user:
            totals, entries = both(user)
            assert {row[2] for row in totals} == {2}
            assert [row[1] for row in entries] == list(range(1, stored + 1))
        await add(store, 10)
        thing.run_live(2, handlers=slim)
        thing.feed(1)
        switch(1, Spending(1), slim)
        await add(store, 10)
        thing.run_live(1)
        with direct(store.database.path) as user:
            totals, entries = both(user)
            assert {row[2] for row in totals} == {1}
            assert [row[1] for row in entries] == list(range(1, stored + 21))
            assert sum(row[1] for row in totals) == stored + 20
            assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        thing.feed(2, handlers=slim)


@pytest.mark.covers("ZDT-9")
async def test_a_look_at_both_files_is_at_one_position_and_outlives_the_hold(store: SqliteBackend) -> None:
    """What is written after the hold has ended is not seen in it."""
    await add(store, 20)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed(through=10)
    with thing.meeting(2) as held:
        looking = thing.copy.comparing(held)
        seen = looking.__enter__()
    try:
        await add(store, 10)
        thing.run_live()
        thing.feed()
        [table] = [each for each in thing.copy.tables if each.name == "entries"]
        for name in (seen.live(table), seen.copy(table)):
            rows = seen.database.execute(seen.connection, f"SELECT max(position), count(*) FROM {name}")
            assert rows.fetchone() == (20, 20)
    finally:
        looking.__exit__(None, None, None)


@pytest.mark.covers("ZDT-7")
async def test_noting_changes_takes_as_long_for_the_last_as_for_the_first(store: SqliteBackend) -> None:
    """The work for a change does not grow with the number of those that were noted before."""
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.copy.prepare_switch(nothing)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    taken: list[int] = []
    with raw_of(thing.copy.database) as connection:
        connection.set_progress_handler(count, 1000)
        for start in (0, 3000):
            steps = 0
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
                "INSERT INTO entries (customer, position, v) SELECT 'c', i + ?, 2 FROM n",
                (start,),
            )
            taken.append(steps)
    assert 0 < taken[1] < 2 * taken[0]
