"""Keyed groups: events of different keys side by side, those of one key one after the other."""

import asyncio
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from penstock.message import Message
from penstock.retry import GiveUp, Retry
from penstock.streams.abc import FailureState
from penstock.streams.memory import MemoryServer
from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop, another, until

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def keyed(shop: Workshop) -> None:
    """The group of these tests."""
    shop.settings(mode="keyed")


@pytest.mark.covers("LISTEN-18")
async def test_keys_run_side_by_side_and_each_in_order(shop: Workshop) -> None:
    """Up to the group's concurrency at once, never two of one key, each key in the order of the stream."""
    seen: dict[str, list[int]] = defaultdict(list)
    inside: set[str] = set()
    most = 0
    chance = random.Random(5)
    shop.settings(concurrency=4)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        nonlocal most
        assert moved.item not in inside
        inside.add(moved.item)
        most = max(most, len(inside))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        seen[moved.item].append(moved.number)
        inside.discard(moved.item)

    moves = [(f"item-{chance.randrange(9)}", number) for number in range(600)]
    await shop.move(*moves)
    await shop.work()

    wanted: dict[str, list[int]] = defaultdict(list)
    for item, number in moves:
        wanted[item].append(number)
    assert (dict(seen), most, await shop.still_pending()) == (dict(wanted), 4, 0)


async def test_a_key_that_waits_does_not_stop_the_others(shop: Workshop) -> None:
    """While one handler hangs, hundreds of events of other keys go by, and its own key waits."""
    seen: list[tuple[str, int]] = []
    end = asyncio.Event()
    shop.settings(concurrency=2, window=100)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        if moved == StockMoved(item="slow", number=0):
            await end.wait()
        seen.append((moved.item, moved.number))

    await shop.move(("slow", 0), ("slow", 1), *((f"item-{number % 7}", number) for number in range(400)))
    async with shop.working() as worker:
        await until(lambda: worker.counts.handled == 400)
        assert "slow" not in dict(seen)
        end.set()
        await until(lambda: worker.counts.handled == 402)
    assert seen[-2:] == [("slow", 0), ("slow", 1)]


async def test_what_waits_in_memory_is_bounded_by_the_window(shop: Workshop) -> None:
    """Behind a key that waits, entries are taken in until the window is full, and no more."""
    end = asyncio.Event()
    shop.settings(window=20)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        await end.wait()

    await shop.move(*(("nail", number) for number in range(100)))
    async with shop.working() as worker:
        await until(lambda: worker.counts.delivered == 20)
        for _ in range(50):
            await asyncio.sleep(0)
        assert worker.counts.delivered == 20
        end.set()
        await until(lambda: worker.counts.handled == 100)


async def test_a_failing_key_waits_for_its_next_run_while_others_flow(shop: Workshop) -> None:
    """Later events of the key stay behind the one that is tried again."""
    seen: list[tuple[str, int, int]] = []
    shop.settings(retry=Retry(attempts=3, initial="10s", jitter=0), concurrency=3)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved, message: Message) -> None:
        seen.append((moved.item, moved.number, message.attempt))
        if moved.number == 1 and message.attempt == 1:
            raise ConnectionError("books closed")

    await shop.move(("nail", 1), ("nail", 2), ("nut", 3), ("nut", 4))
    await shop.work()
    assert seen == [("nail", 1, 1), ("nut", 3, 1), ("nut", 4, 1)]
    await shop.clock.advance(10 * SECOND)
    await shop.work()
    assert seen[3:] == [("nail", 1, 2), ("nail", 2, 1)]


async def test_events_without_a_key_share_one(shop: Workshop) -> None:
    """They are in order among themselves."""
    seen: list[int] = []
    shop.settings(concurrency=5)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved, message: Message) -> None:
        assert message.key is None
        for _ in range(10 - moved.number):
            await asyncio.sleep(0)
        seen.append(moved.number)

    from penstock.event import Event
    from penstock.streams.publisher import Outgoing

    class Moved(Event, name=STREAM):
        item: str
        number: int

    await shop.publisher.publish_many([Outgoing(Moved(item="x", number=number)) for number in range(10)])
    await shop.work()
    assert seen == list(range(10))


# -- parking --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-7")
async def test_a_failing_event_is_parked_with_the_later_ones_of_its_key(shop: Workshop) -> None:
    """Others flow. The failed one has its error on record, those behind it say that they stand behind."""
    seen: list[tuple[str, int]] = []
    _park(shop, seen, bad={1})
    await shop.move(("nail", 1), ("nut", 2), ("nail", 3), ("nut", 4), ("nail", 5))
    await shop.work()

    assert seen == [("nail", 1), ("nut", 2), ("nut", 4)]
    [key] = await shop.parked()
    assert (key.key, key.events, key.error, key.unparking) == ("nail", 3, "cannot book 1", False)
    causes = [(record.key.listener, record.cause, record.parked_key) for record in await shop.records()]
    assert sorted(causes) == [("*", "behind", "nail"), ("*", "behind", "nail"), ("book", "error", "nail")]
    assert {record.state for record in await shop.records()} == {FailureState.PARKED}
    assert await shop.still_pending() == 0


@pytest.mark.covers("LEAD-7")
async def test_an_unparked_key_is_handled_in_order_and_open_again(shop: Workshop) -> None:
    """Everything parked, then what came meanwhile, then new ones: all in order, and nothing is left on record."""
    seen: list[tuple[str, int]] = []
    bad = {1}
    _park(shop, seen, bad=bad)
    await shop.move(("nail", 1), ("nail", 2), ("nut", 3))
    await shop.work()
    await shop.move(("nail", 4))
    bad.clear()
    assert await shop.broker.lanes.unpark(STREAM, GROUP, "nail") == 2
    await shop.work()
    await shop.move(("nail", 5))
    await shop.work()

    assert [number for item, number in seen if item == "nail"] == [1, 1, 2, 4, 5]
    assert (await shop.parked(), await shop.records(), await shop.still_pending()) == ([], [], 0)


@pytest.mark.covers("LEAD-7")
async def test_newer_events_join_while_a_key_is_unparked(shop: Workshop) -> None:
    """An event that comes while the first of the parked ones is being handled is handled behind the last of them."""
    seen: list[tuple[str, int]] = []
    bad, began, end = {1}, asyncio.Event(), asyncio.Event()

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append((moved.item, moved.number))
        if moved.number in bad:
            raise ValueError(f"cannot book {moved.number}")
        if moved.number == 1:
            began.set()
            await end.wait()

    shop.settings(on_failure="park", retry=Retry(attempts=1))
    await shop.move(("nail", 1), ("nail", 2))
    async with shop.working() as worker:
        await until(lambda: worker.counts.failed == 1)
        await until(lambda: _waits(shop, 2))
        bad.clear()
        await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
        await shop.clock.advance(SECOND)
        await began.wait()
        await shop.move(("nail", 3), ("nut", 4))
        await until(lambda: ("nut", 4) in seen)
        assert ("nail", 3) not in seen
        end.set()
        await until(lambda: ("nail", 3) in seen)
    assert [number for item, number in seen if item == "nail"] == [1, 1, 2, 3]
    assert (await shop.parked(), await shop.records()) == ([], [])


@pytest.mark.covers("LEAD-7")
async def test_what_fails_again_parks_the_key_again(shop: Workshop) -> None:
    """Those behind it are not handled, and a person decides anew."""
    seen: list[tuple[str, int]] = []
    bad = {1, 3}
    _park(shop, seen, bad=bad)
    await shop.move(("nail", 1), ("nail", 2), ("nail", 3), ("nail", 4))
    await shop.work()
    bad.discard(1)
    await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
    await shop.work()
    assert seen == [("nail", 1), ("nail", 1), ("nail", 2), ("nail", 3)]
    [key] = await shop.parked()
    assert (key.events, key.error, key.unparking) == (2, "cannot book 3", False)


@pytest.mark.covers("LEAD-7")
async def test_only_the_listeners_that_failed_run_when_unparked(shop: Workshop) -> None:
    """Of the event that failed; of those behind it, all."""
    ran: list[tuple[str, int]] = []
    bad = {1}
    shop.settings(on_failure="park", retry=Retry(attempts=1))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        ran.append(("book", moved.number))
        if moved.number in bad:
            raise ValueError

    @shop.router.listener(StockMoved)
    async def tell(moved: StockMoved) -> None:
        ran.append(("tell", moved.number))

    await shop.move(("nail", 1), ("nail", 2))
    await shop.work()
    bad.clear()
    await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
    await shop.work()
    assert ran == [("book", 1), ("tell", 1), ("book", 1), ("book", 2), ("tell", 2)]


@pytest.mark.covers("LEAD-7")
async def test_parked_keys_are_known_to_the_next_owner(
    shop: Workshop, server: MemoryServer, clock: ManualClock
) -> None:
    """A key parked by one process stays closed in another, and opens when what waits was given up by a person."""
    seen: list[tuple[str, int]] = []
    _park(shop, seen, bad={1})
    await shop.move(("nail", 1))
    await shop.work()
    other = await another(server, clock, mode="keyed", on_failure="park")
    later: list[tuple[str, int]] = []
    _park(other, later, bad=set())
    await shop.move(("nail", 2))
    await other.work()
    assert (later, (await shop.parked())[0].events) == ([], 2)
    assert await shop.broker.lanes.discard_parked(STREAM, GROUP, "nail") == 2
    await shop.move(("nail", 3))
    await other.work()
    assert later == [("nail", 3)]


async def test_a_hopeless_event_parks_at_once(shop: Workshop) -> None:
    """`GiveUp` does not wait for the attempts to be used up."""
    shop.settings(on_failure="park", retry=Retry(attempts=9))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        raise GiveUp("no such item")

    await shop.move(("nail", 1))
    await shop.work()
    assert [key.error for key in await shop.parked()] == ["no such item"]


async def test_an_exclusive_group_parks_by_key_as_well(shop: Workshop) -> None:
    """The rest of the stream goes on, and unparked events are handled between two others, never beside one."""
    seen: list[tuple[str, int]] = []
    bad = {1}
    shop.settings(mode="exclusive")
    _park(shop, seen, bad=bad)
    await shop.move(("nail", 1), ("nut", 2), ("nail", 3))
    await shop.work()
    bad.clear()
    await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
    await shop.work()
    assert seen == [("nail", 1), ("nut", 2), ("nail", 1), ("nail", 3)]


async def test_an_unparked_event_waits_for_the_one_at_work(shop: Workshop) -> None:
    """In an exclusive group nothing runs beside a handler, what was asked for by a person included."""
    seen: list[tuple[str, int]] = []
    bad, began, end = {1}, asyncio.Event(), asyncio.Event()
    shop.settings(mode="exclusive", on_failure="park", retry=Retry(attempts=1))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append((moved.item, moved.number))
        if moved.number in bad:
            raise ValueError("no")
        if moved.item == "nut":
            began.set()
            await end.wait()

    await shop.move(("nail", 1), ("nut", 2))
    async with shop.working():
        await began.wait()
        bad.clear()
        await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
        await shop.clock.advance(3 * SECOND)
        assert seen == [("nail", 1), ("nut", 2)]
        end.set()
        await until(lambda: seen[2:] == [("nail", 1)])


async def test_a_busy_exclusive_lane_still_unparks(shop: Workshop) -> None:
    """Events that keep coming do not keep a parked key from its turn."""
    seen: list[tuple[str, int]] = []
    bad = {1}
    shop.settings(mode="exclusive", on_failure="park", retry=Retry(attempts=1))
    stop = asyncio.Event()

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append((moved.item, moved.number))
        if moved.number in bad:
            raise ValueError("no")
        if moved.item == "nut" and not stop.is_set():
            await shop.move(("nut", moved.number + 1))
        await asyncio.sleep(0)

    await shop.move(("nail", 1), ("nail", 2))
    async with shop.working() as worker:
        await until(lambda: worker.counts.failed == 1)
        await until(lambda: _waits(shop, 2))
        bad.clear()
        await shop.move(("nut", 10))
        await shop.broker.lanes.unpark(STREAM, GROUP, "nail")
        await shop.clock.advance(SECOND)
        await until(lambda: ("nail", 2) in seen)
        stop.set()


async def _waits(shop: Workshop, events: int) -> bool:
    return [key.events for key in await shop.parked()] == [events]


def _park(shop: Workshop, seen: list[tuple[str, int]], *, bad: set[int]) -> None:
    shop.settings(on_failure="park", retry=Retry(attempts=1))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append((moved.item, moved.number))
        if moved.number in bad:
            raise ValueError(f"cannot book {moved.number}")
