"""Bringing a copy and the live read model to one position, and holding them there."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest

from penstock.errors import ReplayBusyError, ReplayRefusedError, StoreUnavailableError
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays.abc import Candidate, Held, ReadModelCopy
from penstock.retry import Retry
from penstock.store.abc import EventReader, Horizon, StoreBackend
from penstock.store.database import Connection, Database
from tests.projections.engine.doubles import Counting, add, checkpoint, totals
from tests.replays.bare import BareCopy, place_of

PATIENCE = timedelta(seconds=20)


class Scene:
    """A live read model and a copy of it, each as far as it was run."""

    def __init__(self, store: StoreBackend, *, more: str = "", **plan: Any) -> None:
        self.store = store
        self.live = Counting(store.database)
        self.bare = BareCopy(store.database)
        self.copied = Counting(self.bare.database)
        self.plan = ProjectionPlan("totals", **plan)
        self.candidates = [Candidate(self.plan, self.copied)]
        if more:
            self.candidates.insert(0, Candidate(replace(self.plan, name=more), self.copied))
        self.bare.create(self.candidates)

    @property
    def copy(self) -> ReadModelCopy:
        """As those who use copies see it."""
        return cast("ReadModelCopy", self.bare)

    def reader(self, name: str) -> EventReader:
        """Events of the store."""
        assert name == self.store.name
        return self.store.reader()

    def run(self, through: int, generation: str = LIVE, name: str = "totals") -> None:
        """Bring one generation to a position."""
        handlers = self.copied if generation else self.live
        database = self.bare.database if generation else self.store.database
        run = ProjectionRun(
            Supervised(replace(self.plan, name=name), handlers, generation),
            database,
            self.store.reader,
            LeaseTerms(),
            lambda: False,
            ("totals", "others"),
        )
        try:
            run.open()
            run.advance(Horizon(through, through))
        finally:
            run.close()

    def meeting(self, patience: timedelta = PATIENCE, **how: Any) -> Any:
        """Hold both."""
        return meet(self.candidates, self.copy, self.reader, patience=patience, **how)

    def place(self, generation: str) -> int:
        """Where one stands."""
        database = self.bare.database if generation else self.store.database
        return place_of(database, "totals", generation).position


async def scene_of(store: StoreBackend, live: int, copied: int, *, events: int = 40, **plan: Any) -> Scene:
    """Both brought to where they are to be."""
    for key in "abcd":
        await add(store, events // 4, key=key)
    scene = await asyncio.to_thread(Scene, store, **plan)
    await asyncio.to_thread(scene.run, live)
    if copied:
        await asyncio.to_thread(scene.run, copied, scene.bare.key)
    return scene


def seen(database: Database) -> dict[str, int]:
    """What is committed in a generation."""
    with closing(database.connect()) as connection, transaction(database, connection, write=False):
        found = database.execute(connection, "SELECT key, total FROM totals").fetchall()
    return dict(found)


def is_held(database: Database, generation: str) -> bool:
    """Whether nobody else can move a checkpoint now."""
    with closing(database.connect()) as connection:
        if database.dialect == "sqlite":
            database.execute(connection, "PRAGMA busy_timeout = 50")
        try:
            with transaction(database, connection):
                if database.dialect == "postgresql":
                    database.execute(connection, "SET LOCAL lock_timeout = '50ms'")
                database.execute(
                    connection,
                    "UPDATE penstock_checkpoints SET epoch = epoch WHERE generation = ?",
                    (generation,),
                )
        except StoreUnavailableError:
            return True
    return False


@pytest.mark.covers("ZDT-9", "LEAD-1")
@pytest.mark.parametrize("copied", [0, 10, 31, 40])
async def test_both_are_held_at_one_position(store: StoreBackend, copied: int) -> None:
    """Wherever the copy was behind, both stand at the live one's place, and nobody moves either until the end."""
    scene = await scene_of(store, 33, min(copied, 33))

    def work() -> None:
        with scene.meeting() as held:
            assert held.positions == {"totals": 33}
            assert is_held(store.database, LIVE)
            assert is_held(scene.bare.database, "again")
            assert seen(store.database) == seen(scene.bare.database) == {"a": 10, "b": 10, "c": 10, "d": 3}
        assert not is_held(store.database, LIVE)
        assert not is_held(scene.bare.database, "again")

    await asyncio.to_thread(work)
    assert (scene.place(LIVE), scene.place("again")) == (33, 33)
    assert scene.live.calls == scene.copied.calls == list(range(1, 34))


async def test_a_copy_that_is_far_behind_comes_in_pages_first(store: StoreBackend) -> None:
    """Nothing is held while it has more than the last distance before it."""
    scene = await scene_of(store, 40, 0, page_events=3)
    held_at: list[tuple[int, bool]] = []
    scene.copied.before = lambda event, _: held_at.append((event.position, is_held(store.database, LIVE)))

    def work() -> None:
        with scene.meeting(most_events=5) as held:
            assert held.positions == {"totals": 40}

    await asyncio.to_thread(work)
    assert [place for place, _ in held_at] == list(range(1, 41))
    # On SQLite the one who looks cannot tell the lock of the file from a page's own; there are two files.
    assert not any(is_held_then for place, is_held_then in held_at if place <= 35)


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


async def test_a_projection_that_was_never_live_is_held_alone(store: StoreBackend) -> None:
    """There is nothing to wait for."""
    await add(store, 5)
    scene = await asyncio.to_thread(Scene, store)
    await asyncio.to_thread(scene.run, 4, "again")

    def work() -> None:
        with scene.meeting() as held:
            assert held.positions == {"totals": 4}

    await asyncio.to_thread(work)


@pytest.mark.covers("ZDT-9")
async def test_several_projections_are_held_each_at_its_own_position(store: StoreBackend) -> None:
    """All of a replay's, whatever their order; one whose copy is ahead holds up the others."""
    await add(store, 30)
    scene = await asyncio.to_thread(Scene, store, more="others")
    for through, generation, name in (
        (20, LIVE, "totals"),
        (30, LIVE, "others"),
        (5, "again", "totals"),
        (30, "again", "others"),
    ):
        await asyncio.to_thread(scene.run, through, generation, name)

    def work() -> None:
        with scene.meeting() as held:
            assert held.positions == {"totals": 20, "others": 30}
            assert is_held(store.database, LIVE)
            assert is_held(scene.bare.database, "again")
            assert seen(store.database) == seen(scene.bare.database) == {"k": 50}

    await asyncio.to_thread(work)
    await asyncio.to_thread(scene.run, 25, "again", "totals")
    with pytest.raises(ReplayBusyError, match="'totals' stands at position 20, before its copy at 25"):
        await asyncio.to_thread(scene.meeting(timedelta(0)).__enter__)


async def test_another_store_is_refused(store: StoreBackend) -> None:
    """Positions of two stores have nothing in common."""
    scene = await scene_of(store, 5, 5)
    with closing(store.database.connect()) as connection, transaction(store.database, connection):
        store.database.execute(
            connection, "UPDATE penstock_checkpoints SET source = 'shared' WHERE generation = ''"
        )

    def work() -> None:
        with scene.meeting():
            raise AssertionError("met")

    with pytest.raises(ReplayRefusedError, match="the live one was made from 'shared'"):
        await asyncio.to_thread(work)


@pytest.mark.parametrize("on_failure", ["halt", "skip"])
async def test_an_event_of_the_last_distance_that_fails_is_treated_by_the_policy(
    store: StoreBackend, on_failure: str
) -> None:
    """Skipped, it is among the failures and the two meet; else it is named, and the copy stands before it."""
    scene = await scene_of(
        store, 30, 10, on_failure=on_failure, retry=Retry(attempts=1, initial="1ms", longest="1ms")
    )

    def fail(event: Any, _: Connection) -> None:
        if event.position == 21:
            raise ValueError("no such customer")

    scene.copied.before = fail

    def work() -> Mapping[str, int]:
        with scene.meeting() as held:
            return dict(held.positions)

    if on_failure == "halt":
        with pytest.raises(ReplayRefusedError, match=r"position 21.*no such customer"):
            await asyncio.to_thread(work)
        assert scene.place("again") == 20
        assert is_held(store.database, LIVE) is False
    else:
        assert await asyncio.to_thread(work) == {"totals": 30}
        assert 21 not in applied_in(scene.bare.database)


def applied_in(database: Database) -> list[int]:
    """The positions that a generation has handled."""
    with closing(database.connect()) as connection, transaction(database, connection, write=False):
        found = database.execute(connection, "SELECT place FROM applied ORDER BY place").fetchall()
    return [place for [place] in found]


async def test_the_state_of_a_state_projection_comes_along(store: StoreBackend) -> None:
    """It is folded in the last distance as in any page."""
    await add(store, 30)
    scene = await asyncio.to_thread(Scene, store)
    scene.live.keeps_state = scene.copied.keeps_state = True
    await asyncio.to_thread(scene.run, 30)
    await asyncio.to_thread(scene.run, 12, "again")

    def work() -> None:
        with scene.meeting():
            pass

    await asyncio.to_thread(work)
    assert place_of(scene.bare.database, "totals", "again").state == checkpoint(store.database).state


async def test_what_the_block_raises_leaves_both_as_they_were(store: StoreBackend) -> None:
    """What was done on the held connections is gone; what the block did and left in peace is kept."""
    scene = await scene_of(store, 20, 20)

    def work(fails: bool) -> None:
        with scene.meeting() as held:
            change(held, store.database)
            if fails:
                raise LookupError

    with pytest.raises(LookupError):
        await asyncio.to_thread(work, True)
    assert totals(store.database)["a"] == 10
    await asyncio.to_thread(work, False)
    assert totals(store.database)["a"] == 110


def change(held: Held, database: Database) -> None:
    """Something in the transaction of the live one."""
    database.execute(held.live, "UPDATE totals SET total = total + 100 WHERE key = 'a'")


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
