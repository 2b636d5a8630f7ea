"""What fails in an exclusive group is run again, recorded or stopped at in its place; those behind it wait."""

from datetime import timedelta

import pytest

from penstock.errors import WorkerStopped
from penstock.message import Message
from penstock.position import EntryId
from penstock.retry import GiveUp, Release, Retry, RetryLater
from penstock.streams.abc import FailureState, NewEntry
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop, book_as, until

SECOND = timedelta(seconds=1)


@pytest.mark.covers("FAIL-9")
async def test_a_failing_event_runs_again_in_its_place(shop: Workshop) -> None:
    """Those behind it wait; only the listener that failed runs again; the message knows which run it is."""
    seen: list[tuple[str, int, int]] = []
    shop.settings(retry=Retry(attempts=5, initial="10s", jitter=0))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved, message: Message) -> None:
        seen.append(("book", moved.number, message.attempt))
        if moved.number == 1 and message.attempt < 3:
            raise ConnectionError("books closed")

    @shop.router.listener(StockMoved)
    async def tell(moved: StockMoved, message: Message) -> None:
        seen.append(("tell", moved.number, message.attempt))

    await shop.move(("nail", 1), ("nut", 2))
    async with shop.working() as worker:
        await until(lambda: len(seen) == 2)
        await shop.clock.advance(9 * SECOND)
        assert len(seen) == 2
        await shop.clock.advance(SECOND)
        await until(lambda: len(seen) == 3)
        await shop.clock.advance(20 * SECOND)
        await until(lambda: worker.counts.handled == 2)
    assert seen == [
        ("book", 1, 1),
        ("tell", 1, 1),
        ("book", 1, 2),
        ("book", 1, 3),
        ("book", 2, 1),
        ("tell", 2, 1),
    ]
    assert (await shop.records(), await shop.still_pending()) == ([], 0)


async def test_used_up_attempts_are_recorded_and_the_next_event_follows(shop: Workshop) -> None:
    """``on_failure="retry"``: the record says failed, and is nothing that runs by itself."""
    seen: list[int] = []
    shop.settings(retry=Retry(attempts=2, initial="1s", jitter=0))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)
        if moved.number == 1:
            raise ConnectionError("books closed")

    await shop.move(("nail", 1), ("nail", 2))
    await shop.work()
    assert seen == [1]
    await shop.clock.advance(SECOND)
    await shop.work()
    assert seen == [1, 1, 2]
    [record] = await shop.records()
    assert (record.state, record.key.listener, record.error) == (FailureState.FAILED, "book", "books closed")


async def test_what_a_handler_says_is_heard(shop: Workshop) -> None:
    """`GiveUp` is recorded at once, `RetryLater` waits as told, `Release` runs all again and does not count."""
    seen: list[tuple[int, int]] = []
    shop.settings(retry=Retry(attempts=2, initial="1s", jitter=0))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved, message: Message) -> None:
        seen.append((moved.number, message.attempt))
        if moved.number == 1:
            raise GiveUp("no such item")
        if moved.number == 2 and message.attempt == 1:
            raise RetryLater("1 min")
        if moved.number == 3 and seen.count((3, 1)) < 4:
            raise Release

    await shop.move(("nail", 1), ("nail", 2), ("nail", 3))
    await shop.work()
    assert seen == [(1, 1), (2, 1)]
    await shop.clock.advance(timedelta(minutes=1))
    for _ in range(4):
        await shop.work()
        await shop.clock.advance(2 * SECOND)
    assert seen == [(1, 1), (2, 1), (2, 2), (3, 1), (3, 1), (3, 1), (3, 1)]
    assert [record.error for record in await shop.records()] == ["no such item"]


@pytest.mark.covers("FAIL-8")
async def test_a_halting_group_stops_in_front_of_the_event(shop: Workshop) -> None:
    """Once its attempts are used up the worker ends; the event and those behind it are as they were."""
    seen: list[int] = []
    shop.settings(on_failure="halt", retry=Retry(attempts=1))

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)
        if moved.number == 2 and seen.count(2) == 1:
            raise ConnectionError("books closed")

    _, second, _ = await shop.move(("nail", 1), ("nail", 2), ("nail", 3))
    with pytest.raises(WorkerStopped) as caught:
        await shop.work()
    assert (caught.value.entry_id, seen, await shop.records()) == (second, [1, 2], [])
    await shop.work()
    assert seen == [1, 2, 2, 3]


async def test_what_is_no_message_and_what_is_gone_are_recorded_in_their_place(shop: Workshop) -> None:
    """Neither holds the others up."""
    seen: list[tuple[str, int]] = []
    book_as(shop, "shop", seen)
    await shop.broker.append(NewEntry(STREAM, [b"temperature", b"21"]))
    gone, *_ = await shop.move(("nail", 1), ("nail", 2))
    await shop.broker.create_group(STREAM, GROUP, shop.router.group(GROUP).settings.start)
    await shop.broker.read_group(GROUP, f"lane:{STREAM}", [STREAM], count=3)
    await shop.broker.delete(STREAM, [EntryId.parse(gone)])
    await shop.work()
    assert seen == [("shop", 2)]
    assert sorted(record.cause for record in await shop.records()) == ["undecodable", "vanished"]
