"""Two who play one copy: one at a time, from the first look to the last word, and who was too late is silent."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayBusyError, ReplayMoveError
from penstock.projections._engine._run import ProjectionRun
from penstock.projections._engine._sql import transaction
from penstock.replays import _plays
from penstock.replays._records import Records
from penstock.replays.abc import ReadModelCopy
from penstock.replays.copies import copy_of
from penstock.store.database import Connection
from tests.replays.core.shop import paid, totals
from tests.replays.core.test_following import running, until

NewApp = Callable[..., Any]


def copy_in(app: App) -> ReadModelCopy:
    """The copy of the replay."""
    return copy_of("k", [app.projections["totals"]], live=app.store().database)


@pytest.mark.covers("ZDT-4", "ZDT-5")
@pytest.mark.timeout(120)
async def test_nobody_begins_while_another_finishes(new_app: NewApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events are handled, and indexes and keys are being made: who starts it now, or removes it, is refused."""
    app: App = await new_app()
    await app.store().append(paid(40))
    await app.replays.create("k", ["totals"])
    finishes, go_on = threading.Event(), threading.Event()
    kind: Any = type(copy_in(app))
    finish = kind.finish

    def slow(self: ReadModelCopy) -> None:
        finishes.set()
        assert go_on.wait(60)
        finish(self)

    monkeypatch.setattr(kind, "finish", slow)
    playing = asyncio.create_task(app.replays.start("k"))
    try:
        await asyncio.to_thread(finishes.wait, 60)
        assert (await app.replays.progress("k")).is_running
        other: App = await new_app()
        with pytest.raises(ReplayBusyError, match="cannot start now: it is played by"):
            await other.replays.start("k", from_zero=True)
        with pytest.raises(ReplayBusyError, match="be removed"):
            await other.replays.remove("k")
    finally:
        go_on.set()
        progress = await playing
    assert (progress.state, progress.is_running) == ("built", False)
    [play] = await app.replays.plays("k")
    assert (play.outcome, play.events) == ("finished", 40)


@pytest.mark.covers("ZDT-4", "ZDT-5")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("late", ["before a page", "at the end"])
async def test_who_was_taken_over_says_nothing(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """It stood still until another took its leases: the other's play, state and error are as that one left them."""
    stands, go_on, is_first = threading.Event(), threading.Event(), True
    first: App = await new_app(page=10)
    await first.store().append(paid(60))
    await first.replays.create("k", ["totals"])
    copy = copy_in(first)
    owner: Any = ProjectionRun if late == "before a page" else type(copy)
    name = "advance" if late == "before a page" else "finish"
    act = getattr(owner, name)

    def slow(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            stands.set()
            assert go_on.wait(60)
        return act(self, *arguments, **named)

    monkeypatch.setattr(owner, name, slow)
    playing = asyncio.create_task(first.replays.start("k", who="ann"))
    try:
        await asyncio.to_thread(stands.wait, 60)
        let_run_out(copy)
        second: App = await new_app()
        assert (await second.replays.start("k", who="ben")).state == "built"
        noted = await second.replays.log("k")
    finally:
        go_on.set()
        outcome = await asyncio.gather(playing, return_exceptions=True)
    with pytest.raises(ReplayBusyError, match="another process has taken it over"):
        raise outcome[0]  # type: ignore[misc]
    replay = await first.replays.get("k")
    assert replay is not None
    assert (replay.state, replay.error) == ("built", "")
    plays = await first.replays.plays("k")
    assert [(play.who, play.outcome) for play in plays] == [("ben", "finished"), ("ann", "died")]
    assert sum(play.events for play in plays) == 60
    assert await first.replays.log("k") == noted
    assert sum(row[0] for row in totals(copy.database).values()) == sum(range(60))


def let_run_out(copy: ReadModelCopy) -> None:
    """As if its leases had not been renewed for long, and had gone to one who died since."""
    with closing(copy.database.connect()) as connection, transaction(copy.database, connection):
        copy.database.execute(
            connection,
            "UPDATE penstock_projections SET token = 'gone', lease_until = 0 WHERE generation = 'k'",
        )


@pytest.mark.covers("ZDT-7")
@pytest.mark.timeout(120)
async def test_a_start_of_what_is_fed_is_out_of_turn(new_app: NewApp) -> None:
    """It follows, and somebody feeds it at this moment: the refusal says what to do, and not to try again."""
    app: App = await new_app(mode="background")
    await app.store().append(paid(20))
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    async with running(app):
        await until(lambda: _is_running(app))
        with pytest.raises(ReplayMoveError, match="is following, so it cannot start; unfollow it first"):
            await app.replays.start("k")


async def _is_running(app: App) -> bool:
    return (await app.replays.progress("k")).is_running


@pytest.mark.covers("ZDT-4")
@pytest.mark.timeout(120)
async def test_whoever_would_go_on_with_a_play_that_lives_is_quiet(
    new_app: NewApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that runs the app finds a play open, tries to go on with it, and leaves it to the one who plays."""
    stands, go_on = threading.Event(), threading.Event()
    advance = ProjectionRun.advance

    def slow(self: ProjectionRun, *arguments: Any, **named: Any) -> Any:
        stands.set()
        assert go_on.wait(60)
        return advance(self, *arguments, **named)

    app: App = await new_app()
    await app.store().append(paid(20))
    await app.replays.create("k", ["totals"])
    other: App = await new_app()
    monkeypatch.setattr(ProjectionRun, "advance", slow)
    playing = asyncio.create_task(app.replays.start("k"))
    try:
        await asyncio.to_thread(stands.wait, 60)
        with caplog.at_level(logging.WARNING, logger="penstock"):
            assert await other.replays.resume("k") is False
            with pytest.raises(ReplayBusyError):
                await other.replays.start("k")
    finally:
        go_on.set()
        await playing
    assert [record.message for record in caplog.records if "replay" in record.message] == []
    assert [play.outcome for play in await app.replays.plays("k")] == ["finished"]


@pytest.mark.covers("ZDT-4", "ZDT-8")
async def test_nobody_goes_on_by_himself_where_processes_die(new_app: NewApp) -> None:
    """An event ends each process that handles it: after a few, those who run what is live leave the play alone.

    It is shown, and whoever starts it again, with handlers that were mended, goes on from there.
    """
    app: App = await new_app()
    await app.store().append(paid(20))
    await app.replays.create("k", ["totals"])
    records = Records(app.store().database)
    database = records.database

    def died(connection: Connection) -> None:
        for each in _plays.begun(database, connection, "k"):
            _plays.end(database, connection, each.id, "died", position=0, events=0)
        _plays.begin(database, connection, "k", {"totals": 0}, _plays.Begun(background=True), "ann")

    records.set("k", state="building")
    for _ in range(4):
        records.within(died)
        assert records.call(lambda connection: _plays.is_to_be_resumed(database, connection, "k"))
    records.within(died)
    assert await app.replays.resume("k") is False
    replay = await app.replays.get("k")
    assert replay is not None
    assert "came no further than position 0" in replay.error

    await app.replays.start("k")
    replay = await app.replays.get("k")
    assert replay is not None
    assert (replay.state, replay.error) == ("built", "")


@pytest.mark.covers("ZDT-4")
async def test_what_was_to_begin_anew_begins_anew_after_a_failure(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy could not be emptied, and the play has said so: the next one empties it, asked for or not."""
    app: App = await new_app()
    await app.store().append(paid(20))
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    copy, doubled = copy_in(app), await new_app(factor=2)
    kind: Any = type(copy)

    def fails(self: ReadModelCopy) -> None:
        raise ReplayBusyError("k", step="be emptied", reason="others use its tables all the time")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "empty", fails)
        with pytest.raises(ReplayBusyError, match="be emptied"):
            await doubled.replays.start("k", from_zero=True)
    assert (await doubled.replays.plays("k"))[0].outcome == "died"
    await doubled.replays.start("k")
    assert sum(row[0] for row in totals(copy.database).values()) == 2 * sum(range(20))
    assert [play.events for play in await doubled.replays.plays("k")] == [20, 0, 20]
