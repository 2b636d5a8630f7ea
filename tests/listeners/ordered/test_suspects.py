"""Events that a process died of: found out one by one, in their place, and put aside."""

import asyncio

import pytest

from penstock.listeners._ordered._reading import lane_consumer
from penstock.retry import Retry
from penstock.streams.abc import Lane, RawId
from penstock.streams.memory import MemoryServer
from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop, another, until

LANE = lane_consumer(STREAM)


@pytest.mark.covers("GROUP-10")
async def test_what_processes_die_of_is_recorded_and_the_rest_goes_on(shop: Workshop) -> None:
    """Handled alone as often as is allowed and never to an end: poison; those around it are handled in order."""
    seen = _booking(shop)
    await _left_by_the_dead(shop, deaths_of_second=3)
    await shop.work()
    assert seen == [1, 3]
    [record] = await shop.records()
    assert (record.cause, record.key.listener, await shop.still_pending()) == ("poison", "*", 0)


async def test_a_parking_group_parks_what_processes_die_of(shop: Workshop) -> None:
    """With the later events of its key, as any failure."""
    shop.settings(on_failure="park")
    seen = _booking(shop)
    await _left_by_the_dead(shop, deaths_of_second=3)
    await shop.work()
    assert seen == [1]
    assert [(key.key, key.events) for key in await shop.parked()] == [("nail", 2)]


async def test_an_event_that_comes_to_an_end_is_no_suspect_any_more(shop: Workshop) -> None:
    """It failed, which is not dying: however often its process is stopped and started, it is not condemned."""
    runs = 0
    shop.settings(retry=Retry(attempts=100, initial="1 h"))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        nonlocal runs
        runs += 1
        raise ConnectionError("books closed")

    await _left_by_the_dead(shop, deaths_of_second=0)
    for _ in range(8):
        await shop.work()
        shop.router.group(GROUP).tried.clear()  # another process knows nothing of the tries
    assert runs == 8
    assert await shop.records() == []


async def test_what_is_handed_over_in_order_is_no_suspect(
    shop: Workshop, server: MemoryServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that stops gives back what it did not begin: the next one handles it beside other work, uncounted."""
    shop.settings(mode="keyed", concurrency=1, window=5)
    began, end = asyncio.Event(), asyncio.Event()

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        began.set()
        await end.wait()

    await shop.move(*((f"item-{number}", number) for number in range(5)))
    async with shop.working() as worker:
        await began.wait()
        worker.stop()
        end.set()
    assert await shop.still_pending() == 4
    other = await another(server, clock, mode="keyed")
    counted: list[RawId] = []
    count_alone = other.broker.lanes.begin_alone

    async def counting(lane: Lane, entry_id: RawId) -> int | None:
        counted.append(entry_id)
        return await count_alone(lane, entry_id)

    monkeypatch.setattr(other.broker.lanes, "begin_alone", counting)
    seen = _booking(other)
    await other.work()
    assert (sorted(seen), counted, await shop.still_pending()) == ([1, 2, 3, 4], [], 0)


async def test_a_suspect_waits_until_it_is_alone(shop: Workshop, server: MemoryServer) -> None:
    """While it runs, no other handler of the process starts."""
    inside = 0
    shop.settings(mode="keyed", concurrency=4)
    await _left_by_the_dead(shop, deaths_of_second=1)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1 or moved.item == "nut"
        await asyncio.sleep(0)
        inside -= 1

    await shop.move(("nut", 4))
    worker = await shop.work()
    await until(lambda: worker.counts.handled == 4)


def _booking(shop: Workshop) -> list[int]:
    seen: list[int] = []

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)

    return seen


async def _left_by_the_dead(shop: Workshop, *, deaths_of_second: int) -> None:
    """Three events of one key, taken by an owner that died; the second was handled alone before, so many times."""
    _, second, _ = await shop.move(("nail", 1), ("nail", 2), ("nail", 3))
    await shop.broker.create_group(STREAM, GROUP, shop.router.group(GROUP).settings.start)
    await shop.broker.read_group(GROUP, LANE, [STREAM], count=3)
    for _ in range(deaths_of_second):
        await shop.broker.begin_alone(STREAM, GROUP, LANE, second.encode())
