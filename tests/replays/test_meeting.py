"""Bringing a copy and the live read model to one position, and holding them there."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import ReplayBusyError, ReplayRefusedError
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE
from penstock.replays.abc import Held
from penstock.retry import Retry
from penstock.store.abc import StoreBackend
from penstock.store.database import Connection, Database
from tests.projections.engine.doubles import add, checkpoint, totals
from tests.replays.bare import place_of
from tests.replays.meetings import Scene, is_held, scene_of, seen


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


async def held_on_the_way(scene: Scene) -> list[int]:
    """Have a copy that has all forty events before it meet the live one; at which of them that was held.

    On SQLite the one who looks cannot tell the lock of the file from a page's own; there are two files.
    """
    held_at: list[tuple[int, bool]] = []
    scene.copied.before = lambda event, _: held_at.append(
        (event.position, is_held(scene.store.database, LIVE))
    )

    def work() -> None:
        with scene.meeting(most_events=5) as held:
            assert held.positions == {"totals": 40}

    await asyncio.to_thread(work)
    assert [place for place, _ in held_at] == list(range(1, 41))
    return [place for place, is_held_then in held_at if is_held_then]


async def test_a_copy_that_is_far_behind_comes_in_pages_first(store: StoreBackend) -> None:
    """Nothing is held while it has more than the last distance before it."""
    scene = await scene_of(store, 40, 0, page_events=3)
    assert all(place > 35 for place in await held_on_the_way(scene))


async def test_a_projection_that_was_never_live_is_held_alone(store: StoreBackend) -> None:
    """There is nothing to wait for."""
    await add(store, 5)
    scene = await asyncio.to_thread(Scene, store)
    await asyncio.to_thread(scene.run, 4, "again")

    def work() -> None:
        with scene.meeting() as held:
            assert held.positions == {"totals": 4}

    await asyncio.to_thread(work)


async def test_what_was_added_late_to_a_copy_comes_in_pages_too(store: StoreBackend) -> None:
    """A source behind the position may have all of history before it, and nothing is held meanwhile."""
    scene = await scene_of(store, 40, 40, page_events=3)
    database = scene.bare.database
    with closing(database.connect()) as connection, transaction(database, connection):
        database.execute(
            connection,
            "UPDATE penstock_checkpoints SET behind = ?, epoch = epoch + 1 WHERE generation = ?",
            ('{"*": 0}', scene.bare.key),
        )
    assert all(place > 35 for place in await held_on_the_way(scene))


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
