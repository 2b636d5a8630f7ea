"""Live and copy are brought together while others write, feed either, or want the same."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections.abc import LIVE
from penstock.store.abc import StoreBackend
from tests.projections.engine.doubles import Counting, add
from tests.replays.meetings import scene_of, seen


async def test_two_that_meet_over_one_copy_take_turns(store: StoreBackend) -> None:
    """A comparison and a switch at the same time never wait for each other for ever."""
    scene = await scene_of(store, 30, 10)
    inside = threading.Lock()

    def work() -> None:
        for _ in range(4):
            with scene.meeting(timedelta(seconds=60)) as held:
                assert held.positions == {"totals": 30}
                assert inside.acquire(blocking=False)
                inside.release()

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(3)))
    assert (scene.place(LIVE), scene.place("again")) == (30, 30)


@pytest.mark.parametrize("feeds", ["neither", "live", "both"])
async def test_they_meet_under_full_load(store: StoreBackend, feeds: str) -> None:
    """While a writer appends and others run either or both generations, they are held at one place again and again."""
    scene = await scene_of(store, 10, 10, page_events=20, page_time=timedelta(milliseconds=20))
    stop = threading.Event()
    trouble: list[BaseException] = []

    def forever(work: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                work()
            except Exception as failure:  # noqa: BLE001  shown at the end
                if type(failure).__name__ not in ("StaleRunnerError", "ProjectionBusyError"):
                    trouble.append(failure)
                    return

    def feed(generation: str) -> None:
        handlers = Counting(scene.bare.database if generation else store.database)
        database = scene.bare.database if generation else store.database
        run = ProjectionRun(
            Supervised(scene.plan, handlers, generation), database, store.reader, LeaseTerms(), stop.is_set
        )
        try:
            run.open()
            while not stop.is_set():
                run.advance(run.horizon())
        finally:
            run.close()

    async def write() -> None:
        while not stop.is_set():
            await add(store, 5, key="abcd"[time.monotonic_ns() % 4])

    workers = [asyncio.create_task(write())]
    for generation in {"neither": [], "live": [LIVE], "both": [LIVE, "again"]}[feeds]:
        workers.append(asyncio.create_task(asyncio.to_thread(forever, partial(feed, generation))))

    def work() -> None:
        for _ in range(5):
            with scene.meeting(timedelta(seconds=60)) as held:
                assert (scene.place(LIVE), scene.place("again")) == (held.positions["totals"],) * 2
                assert seen(store.database) == seen(scene.bare.database)

    try:
        await asyncio.to_thread(work)
    finally:
        stop.set()
        await asyncio.gather(*workers)
    assert not trouble
