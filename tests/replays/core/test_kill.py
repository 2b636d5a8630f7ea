"""kill -9 of processes that build replays: the next one goes on from the last page, and every event counts once."""

import itertools
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock import App
from penstock.replays.copies import copy_of
from tests.replays.core.players import Players
from tests.replays.core.shop import paid, rows, schema_of, totals
from tests.replays.core.test_following import running, until

NewApp = Callable[..., Any]


@pytest.fixture
def players(migrated: str) -> Iterator[Players]:
    """Processes on the database of the test."""
    some = Players(migrated)
    yield some
    some.end()


def copies(app: App) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """Both read models in the copy."""
    projections = [app.projections["counts"], app.projections["totals"]]
    database = copy_of("k", projections, live=app.store().database).database
    return totals(database), totals(database, "counts")


@pytest.mark.covers("ZDT-4", "ZDT-5")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_a_build_killed_again_and_again_ends_as_if_it_never_was(
    new_app: NewApp, players: Players, torture: bool
) -> None:
    """A hundred times during 100,000 events in the long form: equal to an uninterrupted build, every event counted once
    in the plays, and nobody has to unlock anything.
    """
    events, kills = (100_000, 100) if torture else (1_500, 6)
    # Far enough apart that all of history is come through between the first and the last.
    moments, milliseconds = (300, 2500) if torture else (60, 900)
    app: App = await new_app(version=2, counts=True)
    for first in range(0, events, 5000):
        await app.store().append(paid(min(5000, events - first), customers=97, first=first))
    assert await players.run("create") == 0
    choose, killed, reached = random.Random(7), 0, [0]
    while killed < kills:
        if killed % 2:
            code = await players.run(kill_after_ms=choose.randrange(150, milliseconds))
        else:
            code = await players.run(moments=choose.randrange(0, moments))
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            # It came to the end before its time: begin again, and be killed earlier.
            assert await players.run("start-from-zero", moments=choose.randrange(10, 30)) == -signal.SIGKILL
        killed += 1
        reached.append((await app.replays.progress("k")).position)
    assert await players.run() == 0

    progress = await app.replays.progress("k")
    assert (progress.state, progress.lag_events, progress.is_running) == ("built", 0, False)
    await app.replays.create("whole", ["totals", "counts"])
    await app.replays.start("whole")
    projections = [app.projections["counts"], app.projections["totals"]]
    whole = copy_of("whole", projections, live=app.store().database).database
    assert copies(app) == (totals(whole), totals(whole, "counts"))
    last, *others = await app.replays.plays("k")
    assert last.outcome == "finished"
    assert {play.outcome for play in others} <= {"died", "finished"}
    assert all(play.finished_at is not None for play in others)
    anew = [deed.at for deed in await app.replays.log("k") if deed.which == "from zero"]
    since = anew[0] if anew else others[-1].started_at
    assert sum(play.events for play in [last, *others] if play.started_at >= since) == 2 * events
    sys.stdout.write(
        f"{killed} kills, {len(others)} plays that died, at {len(set(reached))} positions up to {max(reached)}\n"
    )


@pytest.mark.covers("ZDT-4", "ZDT-5")
@pytest.mark.timeout(300)
async def test_every_event_of_killed_plays_is_counted_once(new_app: NewApp, players: Players) -> None:
    """Each play says from where to where it went; put together they are all of history, with no gap and no overlap."""
    app: App = await new_app(version=2, counts=True)
    await app.store().append(paid(300))
    assert await players.run("create") == 0
    for moments in (24, 31, 17, 40):
        assert await players.run(moments=moments) in (0, -signal.SIGKILL)
    assert await players.run() == 0
    plays = (await app.replays.plays("k"))[::-1]
    assert sum(play.events for play in plays) == 600
    for before, after in itertools.pairwise(plays):
        assert before.to_position == after.from_position
    assert plays[0].from_position == 0
    assert plays[-1].to_position == 300


@pytest.mark.covers("ZDT-5")
@pytest.mark.timeout(300)
async def test_who_was_killed_plays_and_feeds_no_more(new_app: NewApp, players: Players) -> None:
    """It is seen at once, and not when its leases end. It is no reason against a switch either."""
    app: App = await new_app(version=2, counts=True)

    async def is_left() -> bool:
        return not (await app.replays.progress("k")).is_running

    await app.store().append(paid(300))
    assert await players.run("create") == 0
    assert await players.run(moments=40) == -signal.SIGKILL
    # A server takes a moment to notice that a connection is gone; the leases would end after ten seconds.
    await until(is_left, 5)
    assert (await app.replays.progress("k")).state == "building"
    assert {each.holder for each in await app.replays.statuses("k")} == {None}

    await app.replays.follow("k")
    await app.catch_up()
    await app.replays.verify("k")
    await app.store().append(paid(300, first=300))
    assert await players.run("feed", moments=150) == -signal.SIGKILL
    database = app.store().database
    copy = copy_of("k", [*app.projections.values()], live=database).database
    assert any(
        rows(each, "SELECT holder FROM penstock_projections WHERE holder IS NOT NULL")
        for each in (database, copy)
    )
    await until(is_left, 5)
    assert [each for each in await app.replays.preflight("k") if each.severity == "refusal"] == []
    await app.replays.promote("k")
    await app.catch_up()
    assert sum(cents for cents, *_ in totals(database).values()) == sum(range(600))


@pytest.mark.covers("ZDT-4")
@pytest.mark.timeout(300)
async def test_a_killed_build_goes_on_by_itself_where_the_app_runs(new_app: NewApp, players: Players) -> None:
    """Nobody starts it again: a process that runs the projections takes it up, and says so in the plays."""
    app: App = await new_app(version=2, counts=True)
    await app.store().append(paid(200))
    assert await players.run("create") == 0
    assert await players.run(moments=20) == -signal.SIGKILL
    assert (await app.replays.progress("k")).state == "building"

    async def is_built() -> bool:
        return (await app.replays.progress("k")).state == "built"

    # One that ends as soon as there is nothing left to do leaves it to others.
    await app.run(only=("projection",), until_idle=True)
    assert (await app.replays.progress("k")).state == "building"
    async with running(app):
        await until(is_built)
    assert [play.outcome for play in await app.replays.plays("k")] == ["finished", "died"]
    assert copies(app) == (totals(app.store().database), totals(app.store().database, "counts"))


@pytest.mark.covers("ZDT-4")
@pytest.mark.timeout(300)
async def test_a_start_from_zero_that_is_killed_is_none_from_the_middle(
    new_app: NewApp, players: Players
) -> None:
    """Killed at any moment around emptying the copy, what follows begins at zero or goes on; nothing counts twice."""
    app: App = await new_app(version=2, counts=True)
    await app.store().append(paid(60))
    assert await players.run("create") == 0
    assert await players.run() == 0
    expected = copies(app)
    for moments in range(4, 40, 5):
        await players.run("start-from-zero", moments=moments)
        assert await players.run() == 0
        assert copies(app) == expected, f"killed at moment {moments}"


@pytest.mark.covers("ZDT-1", "ZDT-13")
@pytest.mark.timeout(300)
async def test_creating_and_removing_may_be_killed_anywhere(new_app: NewApp, players: Players) -> None:
    """A half-made copy is made whole by a start or taken away by a removal, which may itself be killed."""
    app: App = await new_app(version=2, counts=True)
    await app.store().append(paid(30))
    await app.catch_up()
    before, done = schema_of(app.store().database), 0
    for moments in range(0, 60, 3):
        code = await players.run("create", moments=moments)
        there = await app.replays.get("k")
        if there is not None:
            assert await players.run("start") == 0
            assert copies(app) == (totals(app.store().database), totals(app.store().database, "counts"))
            for later in itertools.count(moments, 2):
                await players.run("remove", moments=choose_moment(later))
                if await app.replays.get("k") is None:
                    break
        done += code == 0
        if code == 0:
            break
    assert done == 1
    assert schema_of(app.store().database) - before <= {"k"}
    assert await app.replays.list() == []


def choose_moment(number: int) -> int:
    """Later and later, so that there is an end to it."""
    return number % 40 + number // 40
