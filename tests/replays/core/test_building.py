"""History played to a copy: what is there at the end, what is told meanwhile, and what a failure leaves."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import IsolationError, ReplayError
from penstock.replays.abc import ReplayProgress
from tests.replays.core.shop import Opened, Paid, copied, live_with, paid, totals

NewApp = Callable[..., Any]


@pytest.mark.covers("ZDT-4", "ZDT-5", "ZDT-6")
async def test_a_copy_is_built_beside_the_live_one(new_app: NewApp) -> None:
    """It ends equal; the live rows are as they were; the play says from where, to where, how many, and by whom."""
    app = await live_with(new_app)
    before = totals(app.store().database)
    told: list[ReplayProgress] = []

    replay = await app.replays.create("k", ["totals"], who="ann")
    assert (replay.state, replay.versions, replay.created_by) == ("created", {"totals": 1}, "ann")
    assert [table.rpartition(".")[2] for table in replay.tables] == ["totals"]
    assert await app.replays.lag("k") == 120
    progress = await app.replays.start("k", who="ben", on_progress=told.append)

    assert (progress.state, progress.lag_events, progress.is_running) == ("built", 0, False)
    assert told[-1].handled == 120
    assert told[-1].lag_events == 0
    assert copied(app, "k") == before == totals(app.store().database)
    [play] = await app.replays.plays("k")
    assert (play.from_position, play.to_position, play.events) == (0, 120, 120)
    assert (play.outcome, play.who, play.error) == ("finished", "ben", "")
    assert play.finished_at is not None
    assert play.finished_at >= play.started_at
    assert [deed.what for deed in await app.replays.log("k")] == ["start", "create"]


@pytest.mark.covers("ZDT-6")
async def test_the_lag_reaches_zero_whatever_else_is_stored(new_app: NewApp) -> None:
    """The newest events are of types that the projection does not handle: there is nothing to wait for."""
    app = await live_with(new_app)
    await app.store().append([Opened(shop=str(number)) for number in range(30)])
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.store().append([Opened(shop=str(number)) for number in range(30)])
    assert await app.replays.lag("k") == 0
    await app.store().append(paid(3))
    assert await app.replays.lag("k") == 3
    progress = await app.replays.start("k")
    assert progress.lag_events == 0
    assert [play.events for play in await app.replays.plays("k")] == [3, 120]


@pytest.mark.covers("ZDT-4")
async def test_from_zero_everything_is_played_again(new_app: NewApp) -> None:
    """The copy is emptied first, so that nothing is counted twice; a verification from before counts no more."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.replays.verify("k")
    verified = await app.replays.get("k")
    assert verified is not None
    assert verified.is_verified
    await app.replays.start("k", from_zero=True)
    again = await app.replays.get("k")
    assert again is not None
    assert not again.is_verified
    assert copied(app, "k") == totals(app.store().database)
    assert [(play.from_position, play.events) for play in await app.replays.plays("k")] == [
        (0, 120),
        (0, 120),
    ]


@pytest.mark.covers("ZDT-8")
async def test_a_failing_copy_shows_its_error_and_touches_nothing(new_app: NewApp) -> None:
    """The new version fails at an event; the live one goes on; mended, the replay goes on from the last page."""
    app = await live_with(new_app)
    is_broken = True

    def before(event: Paid) -> None:
        if is_broken and event.cents == 77:
            raise ValueError("what is 77?")

    second: App = await new_app(version=2, before=before)
    await second.replays.create("k", ["totals"])
    with pytest.raises(
        ReplayError, match=r"failed at position 78 .*what is 77\?.*live read model is as it was"
    ):
        await second.replays.start("k")
    replay = await second.replays.get("k")
    assert replay is not None
    assert replay.state == "building"
    assert "what is 77?" in replay.error
    [play] = await second.replays.plays("k")
    assert (play.outcome, play.to_position) == ("failed", 77)
    assert not (await second.replays.progress("k")).is_running

    await app.store().append(paid(10))
    await app.catch_up()
    assert sum(row[0] for row in totals(app.store().database).values()) == sum(range(120)) + sum(range(10))

    is_broken = False
    await second.replays.start("k")
    replay = await second.replays.get("k")
    assert replay is not None
    assert (replay.state, replay.error) == ("built", "")
    assert {key: row[0] for key, row in copied(second, "k").items()} == {
        key: row[0] for key, row in totals(app.store().database).items()
    }


@pytest.mark.covers("ZDT-8")
async def test_a_handler_that_leaves_its_copy_is_refused(new_app: NewApp) -> None:
    """One that uses the app's own engine instead of its session: production is as it was, and the error says so."""
    app = await live_with(new_app)
    engine = app.store().database.engine()
    is_building = False

    def before(event: Paid) -> None:
        if is_building:
            with engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM totals")

    second: App = await new_app(version=2, before=before)
    await second.replays.create("k", ["totals"])
    is_building = True
    live = totals(app.store().database)
    with pytest.raises(IsolationError, match="'totals'"):
        await second.replays.start("k")
    assert totals(app.store().database) == live
    replay = await second.replays.get("k")
    assert replay is not None
    assert "totals" in replay.error
    engine.dispose()


@pytest.mark.covers("ZDT-5")
async def test_who_looks_on_and_fails_stops_nothing(
    new_app: NewApp, caplog: pytest.LogCaptureFixture
) -> None:
    """He is told all the same, also a second time; it is logged once; the play goes on to its end."""
    app = await live_with(new_app)
    again = threading.Semaphore(0)

    def before(event: Paid) -> None:
        if event.cents == 77:
            assert again.acquire(timeout=30)
            assert again.acquire(timeout=30)

    def fails(progress: ReplayProgress) -> None:
        again.release()
        raise ValueError("who looks on")

    second: App = await new_app(before=before, page=10)
    await second.replays.create("k", ["totals"])
    with caplog.at_level(logging.ERROR, logger="penstock"):
        progress = await second.replays.start("k", on_progress=fails)
    assert progress.state == "built"
    assert copied(second, "k") == totals(app.store().database)
    [play] = await second.replays.plays("k")
    assert (play.outcome, play.events) == ("finished", 120)
    assert [str(each.exc_info[1]) for each in caplog.records if each.exc_info] == ["who looks on"]


async def test_a_cancelled_start_is_stopped_after_a_page(new_app: NewApp) -> None:
    """What is committed stays, the play is recorded as stopped, and the next one goes on from there."""
    app = await live_with(new_app, count=400)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(event: Paid) -> None:
        if event.cents >= 150:
            loop.call_soon_threadsafe(begun.set)

    second: App = await new_app(before=before, page=10)
    await second.replays.create("k", ["totals"])
    playing = asyncio.create_task(second.replays.start("k"))
    await begun.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    [play] = await second.replays.plays("k")
    assert play.outcome == "stopped"
    assert play.to_position is not None
    assert 100 < play.to_position <= 400
    assert await second.replays.resume("k") is False
    await second.replays.start("k")
    assert copied(second, "k") == totals(app.store().database)
    assert sum(each.events for each in await second.replays.plays("k")) == 400
