"""Partial replays: the rows of some keys are built anew, and only those change when the copy is promoted."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, ReplayRefusedError, UsageError
from penstock.replays.abc import Part
from penstock.replays.copies import copy_of
from tests.replays.core.shop import paid, totals

NewApp = Callable[..., Any]


def run(app: App, sql: str) -> None:
    """A statement of a person's, in the live database."""
    database = app.store().database
    with closing(database.connect()) as connection:
        database.begin(connection)
        database.execute(connection, sql)
        connection.commit()


@pytest.mark.covers("ZDT-15")
@pytest.mark.parametrize("part", [Part(keys=("c1",)), Part(streams=("paid-c1",))], ids=["key", "stream"])
async def test_only_the_rows_of_one_entity_change(new_app: NewApp, part: Part) -> None:
    """Two rows are wrong; the one that is replayed is right afterwards, and the other is as it was.

    Rolled back it is wrong again; promoted again and fed, it is what an uninterrupted projection would have.
    """
    app: App = await new_app()
    await app.store().append(paid(120))
    await app.catch_up()
    right = totals(app.store().database)
    run(app, "UPDATE totals SET cents = -1 WHERE customer IN ('c1', 'c2')")
    wrong = totals(app.store().database)
    part = Part(streams=part.streams, keys=part.keys, rows={"totals": "customer"})

    await app.replays.create("k", ["totals"], part=part)
    progress = await app.replays.start("k")
    assert progress.handled in (0, 24)
    assert (await app.replays.plays("k"))[0].events == 24
    copied = copy_of("k", [app.projections["totals"]], live=app.store().database, part=part).database
    assert totals(copied) == {"c1": right["c1"]}
    report = await app.replays.verify("k")
    [table] = report.tables
    assert (table.live_rows, table.copy_rows, table.differing) == (1, 1, 1)
    assert [row.key for row in table.rows] == [{"customer": "c1"}]
    assert totals(app.store().database) == wrong

    await app.replays.promote("k", force=True, reason="it was wrong")
    assert totals(app.store().database) == wrong | {"c1": right["c1"]}
    await app.replays.rollback("k")
    assert totals(app.store().database) == wrong
    await app.replays.promote("k", force=True, reason="it was wrong")
    await app.store().append(paid(5, first=1000))
    await app.catch_up()
    found = totals(app.store().database)
    assert found["c1"] == (right["c1"][0] + 1001,)
    assert found["c2"] == (-1 + 1002,)
    await app.replays.remove("k")
    assert totals(app.store().database) == found


@pytest.mark.covers("ZDT-15")
async def test_from_a_position_on_it_can_be_compared_and_not_promoted(new_app: NewApp) -> None:
    """A copy of later events alone is no replacement for rows that were made from all."""
    app: App = await new_app()
    await app.store().append(paid(100))
    await app.catch_up()
    part = Part(after=90)
    before = totals(app.store().database)
    plan = await app.replays.plan(["totals"], part=part)
    assert plan.events == 10
    await app.replays.create("k", ["totals"], part=part)
    await app.replays.start("k")
    copied = copy_of("k", [app.projections["totals"]], live=app.store().database, part=part).database
    assert sum(row[0] for row in totals(copied).values()) == sum(range(90, 100))
    with pytest.raises(ReplayRefusedError, match="cannot be promoted: part: "):
        await app.replays.promote("k", force=True, reason="a test")
    assert totals(app.store().database) == before


@pytest.mark.covers("ZDT-15")
async def test_a_time_is_as_good_as_a_position(new_app: NewApp) -> None:
    """What was recorded from then on is played, the first event of that moment included."""
    app: App = await new_app()
    await app.store().append(paid(30))
    await app.store().append(paid(20, first=30))
    [first, *_] = [event async for event in app.store().read(after=30)]
    part = Part(since=first.recorded_at)
    assert (await app.replays.plan(["totals"], part=part)).events == 20
    replay = await app.replays.create("k", ["totals"], part=part)
    assert (replay.part.after, replay.part.since) == (30, None)
    late = Part(since=first.recorded_at + timedelta(hours=1), after=7)
    assert (await app.replays.plan(["totals"], part=late)).events == 0
    with pytest.raises(UsageError, match="no zone"):
        await app.replays.plan(["totals"], part=Part(since=datetime(2026, 5, 3)))  # noqa: DTZ001  that is the point


@pytest.mark.covers("ZDT-15")
async def test_parts_that_cannot_be_leave_nothing(new_app: NewApp) -> None:
    """A position below 0, and an empty name."""
    app: App = await new_app()
    for part, said in ((Part(after=-1), "at least 0"), (Part(keys=("",)), "empty key")):
        with pytest.raises(ConfigurationError, match=said):
            await app.replays.create("k", ["totals"], part=part)
    assert await app.replays.list() == []
