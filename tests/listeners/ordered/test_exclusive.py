"""Exclusive groups: one event at a time, in the order of the stream, by one owner."""

import asyncio
from datetime import timedelta

import pytest

from penstock.errors import LaneBusyError
from penstock.message import Message
from penstock.streams.memory import MemoryServer
from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import (
    GROUP,
    LIFE,
    STREAM,
    StockMoved,
    Workshop,
    another,
    book_as,
    until,
)

SECOND = timedelta(seconds=1)


@pytest.mark.covers("LISTEN-18")
async def test_events_are_handled_one_after_the_other(shop: Workshop) -> None:
    """Whatever the concurrency, and though handlers wait: never two at once, and in the order of the stream."""
    seen: list[int] = []
    inside = 0
    shop.settings(concurrency=10)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0)
        seen.append(moved.number)
        inside -= 1

    await shop.move(*((f"item-{number % 7}", number) for number in range(200)))
    worker = await shop.work()

    assert seen == list(range(200))
    assert (await shop.still_pending(), await shop.records(), worker.counts.handled) == (0, [], 200)


@pytest.mark.covers("GROUP-4")
@pytest.mark.timeout(120)
async def test_the_order_of_ten_thousand_events_holds_over_three_hand_overs(
    server: MemoryServer, clock: ManualClock
) -> None:
    """Four processes, each stopped in mid-work: every event once, in the order of the stream."""
    seen: list[int] = []
    shops = [await another(server, clock) for _ in range(4)]
    await shops[0].move(*((f"item-{number % 7}", number) for number in range(10_000)))
    for turn, shop in enumerate(shops):

        @shop.router.listener(StockMoved)
        async def book(moved: StockMoved) -> None:
            seen.append(moved.number)
            if not moved.number % 50:
                await asyncio.sleep(0)

        enough = 2_500 * (turn + 1)
        async with shop.working():
            await until(lambda enough=enough: len(seen) >= enough)

    await shops[0].work()
    assert seen == list(range(10_000))
    assert await shops[0].still_pending() == 0


@pytest.mark.covers("GROUP-4")
async def test_a_second_start_is_refused_where_it_is_to_be(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """With ``busy="refuse"`` it ends at once and names who works; when that one has stopped, it may start."""
    other = await another(server, clock, busy="refuse")
    for each in (shop, other):
        each.router.listener(StockMoved)(_ignore)
    async with shop.working() as first:
        await until(lambda: first.lanes == (STREAM,))
        with pytest.raises(LaneBusyError) as caught:
            await other.ordered().run()
        assert (caught.value.group, caught.value.stream) == (GROUP, STREAM)
        assert "process" in caught.value.holder
    await other.work()


@pytest.mark.covers("GROUP-4")
async def test_a_second_start_waits_and_takes_over(server: MemoryServer, clock: ManualClock) -> None:
    """It does nothing while the first one works, and goes on when that one has given up its lease."""
    seen: list[tuple[str, int]] = []
    first, second = await another(server, clock), await another(server, clock)
    book_as(first, "first", seen)
    book_as(second, "second", seen)
    await first.move(("nail", 1))
    async with first.working() as owner:
        await until(lambda: owner.counts.handled == 1)
        waiting = second.ordered()
        running = asyncio.create_task(waiting.run())
        await waiting.life.wait_ready()
        await first.move(("nail", 2))
        await until(lambda: owner.counts.handled == 2)
        assert waiting.lanes == ()
    await first.move(("nail", 3))
    await clock.advance(SECOND)
    await until(lambda: waiting.counts.handled == 1)
    waiting.stop()
    await asyncio.wait_for(running, 5)
    assert seen == [("first", 1), ("first", 2), ("second", 3)]


@pytest.mark.covers("GROUP-5")
async def test_a_handler_of_five_times_the_life_keeps_the_lease(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """The lease is renewed beside the handler, so nobody else begins on the event, and its result counts."""
    seen: list[tuple[str, int]] = []
    began, end = asyncio.Event(), asyncio.Event()
    other = await another(server, clock)
    book_as(other, "other", seen)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        began.set()
        await end.wait()
        seen.append(("shop", moved.number))

    await shop.move(("nail", 1))
    async with shop.working() as owner:
        await began.wait()
        async with other.working():
            for _ in range(15):
                await clock.advance(LIFE / 3)
            assert owner.lanes == (STREAM,)
            end.set()
            await until(lambda: bool(seen))
    assert seen == [("shop", 1)]
    assert (owner.counts.handled, owner.counts.lost, await shop.still_pending()) == (1, 0, 0)


@pytest.mark.covers("GROUP-5")
async def test_a_lost_lease_cancels_the_handler_and_the_event_is_handled_by_the_next_owner(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """Taken away in the middle of a handler: it is cancelled by the next renewal, and nothing of it counts."""
    seen: list[tuple[str, int]] = []
    began, cancelled = asyncio.Event(), asyncio.Event()
    other = await another(server, clock)
    book_as(other, "other", seen)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await shop.move(("nail", 1), ("nail", 2))
    async with shop.working() as former:
        await began.wait()
        assert await shop.broker.leases.revoke(f"group:{GROUP}", stream=STREAM)
        async with other.working():
            await until(lambda: len(seen) == 2)
            await clock.advance(LIFE / 3)
            await until(cancelled.is_set)
            await until(lambda: former.lanes == ())
    assert seen == [("other", 1), ("other", 2)]
    assert former.counts.handled == 0
    assert (await shop.still_pending(), await shop.records()) == (0, [])


@pytest.mark.covers("GROUP-5")
async def test_a_late_acknowledgement_has_no_effect(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """A handler that ends after its lease was taken away changes nothing: the event is pending as before."""
    began, end = asyncio.Event(), asyncio.Event()

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        began.set()
        await end.wait()

    await shop.move(("nail", 1))
    async with shop.working() as former:
        await began.wait()
        await shop.broker.leases.revoke(f"group:{GROUP}", stream=STREAM)
        taken = await shop.broker.leases.acquire(
            f"group:{GROUP}", token="someone", description="someone else", life=LIFE, stream=STREAM
        )
        end.set()
        await until(lambda: former.counts.lost == 1)
        assert (await shop.still_pending(), former.counts.handled) == (1, 0)
    assert taken == await shop.broker.leases.acquire(
        f"group:{GROUP}", token="someone", description="someone else", life=LIFE, stream=STREAM
    ), "the former owner has not released what is not its own"


@pytest.mark.covers("GROUP-7")
async def test_what_a_dead_owner_left_is_handled_before_anything_new(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """The next owner finds it under the lane's name, whoever it is, and in order."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    await shop.move(("nail", 1), ("nut", 2))
    await shop.broker.create_group(STREAM, GROUP, shop.router.group(GROUP).settings.start)
    await shop.broker.read_group(GROUP, f"lane:{STREAM}", [STREAM], count=2)
    await shop.move(("nail", 3))
    await shop.work()
    assert [number for _, number in seen] == [1, 2, 3]


async def test_entries_of_a_parallel_time_are_taken_over(shop: Workshop) -> None:
    """A group that was parallel before: what its consumers left is handled first, and they are removed."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    await shop.move(("nail", 1), ("nut", 2), ("nail", 3))
    await shop.broker.create_group(STREAM, GROUP, shop.router.group(GROUP).settings.start)
    await shop.broker.read_group(GROUP, "host-1", [STREAM], count=2)
    await shop.work()
    assert [number for _, number in seen] == [1, 2, 3]
    assert [each.name for each in await shop.broker.consumers(STREAM, GROUP)] == [f"lane:{STREAM}"]


async def test_an_entry_that_a_former_owners_read_was_handed_is_found(shop: Workshop) -> None:
    """A read that still waited at the server got it: it is handled in its place, not after what came behind it."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    async with shop.working() as worker:
        await shop.move(("nail", 1))
        await until(lambda: worker.counts.handled == 1)
        # Ours is interrupted, so that the other read is the one that is served.
        await shop.broker.interrupt(GROUP, f"lane:{STREAM}")
        stolen = await _steal(shop)
        await shop.move(("nail", 3))
        await until(lambda: len(seen) == 3)
    assert stolen == 1
    assert [number for _, number in seen] == [1, 2, 3]


async def test_a_group_deleted_underneath_is_made_again_where_it_was(shop: Workshop) -> None:
    """Nothing that was settled is handled again."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    async with shop.working() as worker:
        await shop.move(("nail", 1), ("nail", 2))
        await until(lambda: worker.counts.handled == 2)
        await shop.broker.delete_group(STREAM, GROUP)
        await shop.move(("nail", 3))
        await shop.clock.advance(2 * SECOND)
        await until(lambda: worker.counts.handled == 3)
    assert [number for _, number in seen] == [1, 2, 3]


async def test_idle_exit_ends_a_worker_that_has_nothing_to_do(shop: Workshop) -> None:
    """Counted from when something moved last."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    await shop.move(("nail", 1))
    worker = shop.ordered(idle_exit=timedelta(minutes=1))
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.counts.handled == 1)
    await shop.clock.advance(timedelta(seconds=61))
    await asyncio.wait_for(running, 5)
    assert seen == [("shop", 1)]


async def test_a_message_carries_the_fence_of_its_owner(shop: Workshop) -> None:
    """The next owner's number is higher, so that other systems can refuse a former one."""
    fences: list[int | None] = []

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved, message: Message) -> None:
        fences.append(message.fence)

    for number in range(2):
        await shop.move(("nail", number))
        await shop.work()
    first, second = fences
    assert first is not None
    assert second is not None
    assert first < second


# -- help -----------------------------------------------------------------------------------------------------------


async def _ignore(moved: StockMoved) -> None: ...


async def _steal(shop: Workshop) -> int:
    """Read under the lane's name, as a former owner's connection would; how many entries that took."""
    await shop.move(("nail", 2))
    read = await shop.broker.read_group(GROUP, f"lane:{STREAM}", [STREAM], count=10)
    return sum(len(entries) for _, entries in read.batches)
