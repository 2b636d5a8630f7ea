"""Builds by several processes: the same result as by one, also when they are killed, and only where that can be."""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock import App, _replaying_lanes
from penstock.errors import ConfigurationError, ReplayError
from penstock.replays.copies import copy_of
from penstock.store.abc import Lane
from tests.replays.core import lanes
from tests.replays.core.shop import Paid, paid, rows, schema_of

LANES = [2, 1, 1, 2, 0, 0, 2, 2]


@pytest.fixture
async def app(migrated: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """The app of `lanes`, as every process of this test loads it, with some events in its store."""
    monkeypatch.setenv("LANES_STORE", migrated)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(_replaying_lanes, "_WORTH", 1)
    # Where there is one writer at a time it is not worth it, and has to be right all the same.
    monkeypatch.setattr(_replaying_lanes, "_SEVERAL_WRITERS", frozenset({"postgresql", "sqlite"}))
    app: App = importlib.reload(lanes).app
    async with app:
        await app.store().append(paid(1200, customers=23))
        yield app


def built(app: App, key: str) -> tuple[list[Any], list[Any]]:
    """The rows of both tables in a copy."""
    database = copy_of(key, [*app.projections.values()], live=app.store().database).database
    return (
        rows(database, "SELECT customer, cents, payments, last FROM totals ORDER BY customer"),
        rows(database, "SELECT customer, number, cents FROM lines ORDER BY customer, number"),
    )


def left(app: App, key: str) -> list[Any]:
    """The generations of lanes that have a checkpoint."""
    database = copy_of(key, [*app.projections.values()], live=app.store().database).database
    return rows(database, "SELECT generation FROM penstock_checkpoints WHERE generation LIKE '%lane%'")


@pytest.mark.covers("ZDT-17")
async def test_several_processes_build_what_one_builds(app: App) -> None:
    """The same rows, one checkpoint at the same position, and the lag is nothing; later events go on from there."""
    await app.replays.create("one", ["totals", "lines"])
    await app.replays.start("one")
    await app.replays.create("three", ["totals", "lines"], processes=3)
    progress = await app.replays.start("three")
    assert (progress.state, progress.lag_events) == ("built", 0)
    assert built(app, "three") == built(app, "one")
    assert len(built(app, "three")[1]) == 1200
    assert left(app, "three") == []
    [play] = await app.replays.plays("three")
    assert (play.events, play.to_position, play.outcome) == (2400, 1200, "finished")

    await app.store().append(paid(30, customers=7, first=1200))
    for key in ("one", "three"):
        await app.replays.start(key)
    assert built(app, "three") == built(app, "one")
    before = built(app, "three")
    await app.replays.start("three", from_zero=True)
    assert built(app, "three") == before


@pytest.mark.covers("ZDT-17", "ZDT-4")
async def test_killed_processes_are_made_up_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is killed in the middle: the others end, the play says so, and the next one goes on to the same result."""
    started: list[asyncio.subprocess.Process] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*words: Any, **said: Any) -> asyncio.subprocess.Process:
        process = await begin(*words, **said)
        started.append(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    await app.replays.create("k", ["totals", "lines"], processes=3)
    playing = asyncio.create_task(app.replays.start("k"))
    copy = copy_of("k", [*app.projections.values()], live=app.store().database)
    sql = "SELECT count(*) FROM penstock_checkpoints WHERE position > 0 AND generation NOT IN ('', 'k')"
    while not playing.done() and rows(copy.database, sql)[0][0] < 2:
        await asyncio.sleep(0.01)
    started[1].send_signal(signal.SIGKILL)
    with pytest.raises(ReplayError, match=r"lane 2 of 3 .* ended with code -9"):
        await playing
    assert [process.returncode is not None for process in started] == [True] * 3
    assert (await app.replays.plays("k"))[0].outcome == "failed"
    progress = await app.replays.start("k")
    assert progress.lag_events == 0
    await app.replays.create("one", ["totals", "lines"])
    await app.replays.start("one")
    assert built(app, "k") == built(app, "one")
    assert left(app, "k") == []


@pytest.mark.covers("ZDT-17", "ZDT-8")
async def test_a_handler_that_fails_in_one_process_fails_the_play(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which event and why; emptied and removed, nothing is left of any lane."""
    before = schema_of(app.store().database)
    monkeypatch.setenv("LANES_FAIL_AT", "777")
    await app.replays.create("k", ["totals"], processes=2)
    with pytest.raises(ReplayError, match=r"lane \d of 2 .*what is 777\?"):
        await app.replays.start("k")
    assert len(left(app, "k")) == 2
    await app.replays.remove("k")
    assert schema_of(app.store().database) == before
    assert rows(app.store().database, "SELECT generation FROM penstock_checkpoints") == []


@pytest.mark.covers("ZDT-17")
async def test_only_effects_by_key_are_played_at_the_same_time(app: App) -> None:
    """Projections that do not say so, and states, are refused by name; so is an app that cannot be loaded."""
    app.projection("order", tables=["totals"]).on(Paid)(_nothing)
    app.projection("state", state=int, by_key=True).on(Paid)(_folded)
    with pytest.raises(ConfigurationError, match="'order' does not say that its effects are by key"):
        await app.replays.create("k", ["order"], processes=2)
    with pytest.raises(ConfigurationError, match="'state' folds a state"):
        await app.replays.create("k", ["state"], processes=2)
    with pytest.raises(ConfigurationError, match="at least 1 process"):
        await app.replays.create("k", ["totals"], processes=0)
    assert await app.replays.list() == []


def _nothing(event: Paid) -> None:
    """A handler."""


def _folded(state: int, event: Paid) -> int:
    return state + event.cents


async def test_an_app_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    """It is in no variable of a module, so another process cannot have it."""
    with pytest.raises(ConfigurationError, match="no variable of a module"):
        _replaying_lanes._where(App("hidden"))


def test_a_key_is_always_in_the_same_lane() -> None:
    """On any machine and in any process: the lanes of a build that was killed are those of the one that goes on."""
    for number, lane in enumerate(LANES):
        assert [each for each in range(3) if Lane(each, 3).has(f"c{number}", "order-1")] == [lane]
    assert Lane(LANES[3], 3).has(None, "c3")
