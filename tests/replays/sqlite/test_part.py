"""Promotion of a copy of a part of history in a SQLite file: its rows, and no others."""

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.errors import ReplayRefusedError
from penstock.replays.abc import Part, Switched
from penstock.store._sqlite import SqliteBackend
from tests.replays.sqlite.spending import Spending, Thing, both, direct
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY


def spoil(user: Any) -> None:
    """As a handler with a fault would have left it, and a trigger that is to keep still."""
    user.execute("UPDATE totals SET orders = 99 WHERE customer IN ('c1', 'c2')")
    user.execute("CREATE TABLE journal (text TEXT)")
    user.execute("CREATE TRIGGER noted AFTER INSERT ON totals BEGIN INSERT INTO journal VALUES ('x'); END")


def orders(user: Any) -> dict[str, int]:
    """What is counted, by customer."""
    return dict(user.execute("SELECT customer, orders FROM totals").fetchall())


def part_of(keys: Sequence[str] = ("c1",), **rows: str) -> Part:
    """The history of some customers."""
    return Part(keys=tuple(keys), rows=rows or {"totals": "customer", "entries": "customer"})


def switched(thing: Thing, version: int = 1) -> Switched:
    """Exchange the rows."""
    thing.copy.prepare_switch(lambda text: None)
    return thing.copy.switch(lambda: thing.meeting(version), lambda held: None)


@pytest.mark.covers("ZDT-15")
async def test_only_the_rows_of_a_part_are_exchanged_and_back(store: SqliteBackend) -> None:
    """One customer's rows become what they were rebuilt to, all others stay, and the way back brings the former."""
    await add(store, 50)
    handlers = Spending(1, gives_ids=False)
    thing = Thing(store, part=part_of())
    thing.run_live(handlers=handlers)
    with direct(store.database.path) as user:
        spoil(user)
        thing.create(1, handlers)
        thing.feed(1, handlers=handlers)
        assert thing.copy.size().rows == {"totals": 1, "entries": 10}
        assert thing.copy.preflight() == []
        before = both(user)
        switched(thing)
        assert orders(user) == {"c0": 10, "c1": 10, "c2": 99, "c3": 10, "c4": 10}
        assert both(user)[1] == before[1]
        assert user.execute("SELECT count(*) FROM journal").fetchone() == (0,)
        assert thing.place(KEY).position == thing.place().position == 50
        await add(store, 5)
        thing.run_live(handlers=handlers)
        thing.feed(1, handlers=handlers)
        switched(thing)
        assert orders(user) == {"c0": 11, "c1": 100, "c2": 100, "c3": 11, "c4": 11}
        switched(thing)
        assert orders(user) == {"c0": 11, "c1": 11, "c2": 100, "c3": 11, "c4": 11}
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        noted = user.execute("SELECT count(*) FROM journal").fetchone()[0]
        user.execute("INSERT INTO totals (customer, orders, v) VALUES ('new', 0, 1)")
        assert user.execute("SELECT count(*) FROM journal").fetchone() == (noted + 1,)
        thing.copy.drop()
        assert orders(user)["c1"] == 11


@pytest.mark.covers("ZDT-15")
async def test_a_part_that_cannot_be_exchanged_is_refused_and_nothing_is_changed(
    store: SqliteBackend,
) -> None:
    """Rows that belong to nobody, another form of the table, ids that clash: each is named."""
    await add(store, 50)
    thing = Thing(store, part=Part(keys=("c1",), rows={"totals": "customer"}))
    thing.run_live()
    thing.create(2)
    thing.feed(2)
    reasons = {each.subject: each.message for each in thing.copy.preflight()}
    assert "has other columns" in reasons["table totals"]
    assert "by which column" in reasons["table entries"]
    with direct(store.database.path) as user:
        before = both(user)
        with pytest.raises(ReplayRefusedError, match="by which column"):
            switched(thing, 2)
        thing.copy.drop()
        clashing = Thing(store, part=part_of())
        clashing.create(1)
        clashing.feed(1)
        assert clashing.copy.preflight() == []
        with pytest.raises(ReplayRefusedError, match="rows of table entries cannot stand beside"):
            switched(clashing, 1)
        assert both(user) == before
