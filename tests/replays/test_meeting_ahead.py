"""A copy that is ahead of the live read model: who waits for whom, and when that is no hindrance."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import ReplayBusyError, ReplayRefusedError
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import LIVE
from penstock.retry import Retry
from penstock.store.abc import StoreBackend
from penstock.store.database import Connection
from tests.replays.meetings import is_held, scene_of, seen


async def test_a_copy_that_is_ahead_stands_until_the_live_one_comes(store: StoreBackend) -> None:
    """Whoever runs the live one brings it there; the copy cannot run on meanwhile."""
    scene = await scene_of(store, 10, 20)
    is_met = threading.Event()

    def bring() -> None:
        # By steps, as a runner does: one of them ends where the copy stands or goes beyond.
        for place in (13, 17, 28):
            scene.run(place)
        is_met.wait(20)

    def work() -> Mapping[str, int]:
        with scene.meeting() as held:
            is_met.set()
            return dict(held.positions)

    brought = asyncio.create_task(asyncio.to_thread(bring))
    positions = await asyncio.to_thread(work)
    await brought
    assert positions["totals"] in (20, 28)
    assert seen(store.database) == seen(scene.bare.database) or positions["totals"] == 20


async def test_a_live_one_that_nobody_runs_ends_the_patience(store: StoreBackend) -> None:
    """It is said where the two stand, and both stay as they were."""
    scene = await scene_of(store, 10, 20)

    def work() -> None:
        with scene.meeting(timedelta(milliseconds=10)):
            raise AssertionError("met")

    with pytest.raises(ReplayBusyError, match="stands at position 10, before its copy at 20"):
        await asyncio.to_thread(work)
    assert (scene.place(LIVE), scene.place("again")) == (10, 20)


@pytest.mark.parametrize("most_events", [3, 5000])
async def test_a_live_one_that_is_declared_here_is_brought_forward(
    store: StoreBackend, most_events: int
) -> None:
    """By its own handlers, exactly to where its copy stands."""
    scene = await scene_of(store, 10, 20)
    live = Supervised(scene.plan, scene.live)

    def work() -> None:
        with scene.meeting(declared_live={"totals": live}, most_events=most_events) as held:
            assert held.positions == {"totals": 20}

    await asyncio.to_thread(work)
    assert scene.place(LIVE) == 20
    assert scene.live.calls == list(range(1, 21))


async def test_a_live_one_of_another_version_is_not_run_by_our_code(store: StoreBackend) -> None:
    """What is declared here has to be what its checkpoint says."""
    scene = await scene_of(store, 10, 20)
    other = Supervised(replace(scene.plan, version=2), scene.live)

    def work() -> None:
        with scene.meeting(timedelta(0), declared_live={"totals": other}):
            raise AssertionError("met")

    with pytest.raises(ReplayBusyError):
        await asyncio.to_thread(work)
    assert scene.place(LIVE) == 10


async def test_where_ahead_is_fine_the_two_are_held_as_they_stand(store: StoreBackend) -> None:
    """A live one that stands before an event it cannot handle does not keep a good copy from taking its place."""
    scene = await scene_of(store, 10, 20)

    def work() -> None:
        with scene.meeting(ahead_is_fine=True) as held:
            assert held.positions == {"totals": 20}
            assert is_held(store.database, LIVE)

    await asyncio.to_thread(work)
    assert (scene.place(LIVE), scene.place("again")) == (10, 20)


async def test_a_live_one_that_fails_here_does_not_hold_up_where_ahead_is_fine(store: StoreBackend) -> None:
    """It is tried, stands before its event, and the copy goes before it; without that it is named."""
    scene = await scene_of(store, 10, 20, retry=Retry(attempts=1, initial="1ms", longest="1ms"))

    def fail(event: Any, _: Connection) -> None:
        if event.position == 15:
            raise ValueError("the old mistake")

    scene.live.before = fail
    live = {"totals": Supervised(scene.plan, scene.live)}

    def work(ahead_is_fine: bool) -> None:
        with scene.meeting(declared_live=live, ahead_is_fine=ahead_is_fine) as held:
            assert held.positions == {"totals": 20}

    with pytest.raises(ReplayRefusedError, match=r"position 15.*the old mistake"):
        await asyncio.to_thread(work, False)
    await asyncio.to_thread(work, True)
    assert (scene.place(LIVE), scene.place("again")) == (14, 20)
