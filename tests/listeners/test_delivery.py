"""What becomes of a delivery: success, failure, and the words a handler may say instead."""

import asyncio
from datetime import timedelta

import pytest

from penstock.errors import WorkerStopped
from penstock.event import Event
from penstock.listeners import Delivery
from penstock.message import Message
from penstock.retry import GiveUp, LeavePending, Release, Retry, RetryLater
from penstock.streams.abc import FailureState, NewEntry
from tests.listeners.shop import MINUTE, OrderPlaced, Shop, ids


class Numbered(Event, name="numbered"):
    """An event with a number."""

    number: int


@pytest.mark.covers("GROUP-14")
async def test_a_handled_entry_is_acknowledged(shop: Shop) -> None:
    """After every listener succeeded nothing is pending and nothing is recorded."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place("1", "2", "3")
    worker = await shop.until_idle()

    assert seen == ["1", "2", "3"]
    assert (await shop.pending(), await shop.failures(), worker.counts.handled) == (0, [], 3)


@pytest.mark.covers("LISTEN-4", "FAIL-1")
async def test_listeners_of_one_group_do_not_stop_each_other(shop: Shop) -> None:
    """Two listeners fail and one succeeds: all three ran, two records, one each, and the entry is acknowledged."""
    ran: list[str] = []

    async def ship(order: OrderPlaced) -> None:
        ran.append("ship")
        raise ValueError("no lorry")

    async def charge(order: OrderPlaced) -> None:
        ran.append("charge")
        raise KeyError("no card")

    async def thank(order: OrderPlaced) -> None:
        ran.append("thank")

    for listener in (ship, charge, thank):
        shop.router.listener(OrderPlaced)(listener)
    await shop.place("1")
    await shop.until_idle()

    records = {record.key.listener: record for record in await shop.failures()}
    assert ran == ["ship", "charge", "thank"]
    assert {name: (each.error_type, each.error, each.attempts) for name, each in records.items()} == {
        "ship": ("ValueError", "no lorry", 1),
        "charge": ("KeyError", "'no card'", 1),
    }
    assert await shop.pending() == 0


@pytest.mark.covers("FAIL-9", "FAIL-4")
async def test_a_failing_listener_runs_again_by_itself_when_due(shop: Shop) -> None:
    """Failing twice and then succeeding takes no hand: the other listener ran once, and no record is left."""
    tries: list[int] = []
    others: list[str] = []
    shop.settings(retry=Retry(attempts=5, initial="1s", jitter=0))

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        tries.append(message.attempt)
        if len(tries) < 3:
            raise ConnectionError("bank away")

    @shop.router.listener(OrderPlaced)
    async def thank(order: OrderPlaced) -> None:
        others.append(order.order_id)

    await shop.place("1")
    await shop.until_idle()
    assert ids(await shop.failures()) == [("charge", "error")]
    await shop.until_idle()
    assert tries == [1], "it is not due yet"

    for _ in range(2):
        await shop.clock.advance(timedelta(seconds=10))
        await shop.until_idle()

    assert (tries, others, await shop.failures()) == ([1, 2, 3], ["1"], [])


@pytest.mark.covers("FAIL-9")
async def test_a_listener_that_keeps_failing_ends_as_failed(shop: Shop) -> None:
    """After its last attempt a record stays, in state failed, and is not run again."""
    tries = 0
    shop.settings(retry=Retry(attempts=3, initial="1s"))

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        nonlocal tries
        tries += 1
        raise ConnectionError("bank away")

    await shop.place("1")
    for _ in range(6):
        await shop.until_idle()
        await shop.clock.advance(MINUTE)

    [record] = await shop.failures()
    assert (tries, record.state, record.attempts, record.due) == (3, FailureState.FAILED, 3, None)


async def test_giving_up_records_a_failure_without_further_attempts(shop: Shop) -> None:
    """A handler that raises GiveUp is not run again."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise GiveUp("no such customer")

    await shop.place("1")
    await shop.until_idle()
    [record] = await shop.failures()
    assert (record.state, record.error) == (FailureState.FAILED, "no such customer")


async def test_a_handler_can_say_when_it_wants_to_run_again(shop: Shop) -> None:
    """RetryLater decides the wait instead of the back-off."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise RetryLater("2h")

    await shop.place("1")
    await shop.until_idle()
    [record] = await shop.failures()
    assert record.due is not None
    assert record.due - shop.clock.now() == timedelta(hours=2)


@pytest.mark.covers("GROUP-14", "FAIL-8")
async def test_leaving_an_entry_pending_records_nothing(shop: Shop) -> None:
    """LeavePending keeps the entry with this consumer; it comes again after being idle, to all listeners."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)
        if len(seen) == 1:
            raise LeavePending

    await shop.place("1")
    await shop.until_idle()
    assert (seen, await shop.pending(), await shop.failures()) == (["1"], 1, [])

    await shop.until_idle()
    assert (seen, await shop.pending()) == (["1", "1"], 0)


async def test_a_released_entry_can_be_claimed_by_anyone_at_once(shop: Shop) -> None:
    """Release hands an entry to the group without waiting for it to become idle."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise Release

    await shop.place("1")
    await shop.until_idle()
    claimed = await shop.broker.claim(
        "order.placed", "shop", "another", min_idle=timedelta(minutes=1), count=10
    )
    assert len(claimed.entries) == 1


@pytest.mark.covers("FAIL-8")
async def test_a_group_may_leave_failed_entries_pending(shop: Shop) -> None:
    """With on_failure="leave_pending" there is no record: the pending list is the only way back."""
    shop.settings(on_failure="leave_pending")

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise ValueError("no")

    await shop.place("1")
    await shop.until_idle()
    assert (await shop.pending(), await shop.failures()) == (1, [])


@pytest.mark.covers("FAIL-8")
async def test_a_group_may_halt_at_a_failure(shop: Shop) -> None:
    """With on_failure="halt" the worker ends, naming the entry, which is still pending and not recorded."""
    shop.settings(on_failure="halt", concurrency=1)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise ValueError("no")

    [published] = await shop.place("1")
    with pytest.raises(WorkerStopped) as stopped:
        await shop.until_idle()
    assert stopped.value.entry_id == str(published.entry_id)
    assert (await shop.pending(), await shop.failures()) == (1, [])


@pytest.mark.covers("MSG-10")
async def test_an_entry_that_is_no_message_is_recorded_and_the_others_go_on(shop: Shop) -> None:
    """Somebody's own fields end as an undecodable failure; nothing is pending, and later events are handled."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.broker.append(NewEntry("order.placed", [b"temperature", b"21"]))
    await shop.broker.append(NewEntry("order.placed", [b"id", b"x", b"name", b"order.placed", b"meta", b"{"]))
    await shop.place("1")
    await shop.until_idle()
    assert seen == ["1"]
    assert ids(await shop.failures()) == [("*", "undecodable"), ("*", "undecodable")]
    assert await shop.pending() == 0


@pytest.mark.covers("MSG-10")
async def test_a_body_that_does_not_fit_the_event_fails_for_its_listener_only(shop: Shop) -> None:
    """Invalid JSON is hopeless for the typed listener; one that takes the message as it is sees it."""
    raw: list[bytes | None] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise AssertionError("never called")

    @shop.router.listener("order.placed")
    async def keep(message: Message) -> None:
        raw.append(message.data)

    await shop.broker.append(NewEntry("order.placed", [b"name", b"order.placed", b"data", b"{not json"]))
    await shop.until_idle()
    [record] = await shop.failures()
    assert (record.key.listener, record.cause, record.state) == ("charge", "undecodable", FailureState.FAILED)
    assert raw == [b"{not json"]


@pytest.mark.parametrize(
    ("policy", "pending", "records"),
    [("acknowledge", 0, []), ("leave_pending", 1, []), ("fail", 0, [("*", "unhandled")])],
)
@pytest.mark.covers("LISTEN-12")
async def test_events_without_a_listener_follow_the_groups_policy(
    shop: Shop, policy: str, pending: int, records: list[tuple[str, str]]
) -> None:
    """An unhandled name is acknowledged and counted, left pending, or recorded; the group goes on in any case."""
    seen: list[str] = []
    shop.settings(unhandled=policy)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.broker.append(NewEntry("order.placed", [b"name", b"something.else"]))
    await shop.place("1")
    worker = await shop.until_idle()
    assert seen == ["1"]
    assert (await shop.pending(), ids(await shop.failures())) == (pending, records)
    assert worker.counts.unhandled == 1


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_a_handler_that_raises_more_than_an_exception_is_a_failure_like_any_other(
    shop: Shop, raised: BaseException
) -> None:
    """Even SystemExit and a stray CancelledError end in a record, and the worker lives."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)
        if order.order_id == "1":
            raise raised

    await shop.place("1", "2")
    await shop.until_idle()
    assert seen == ["1", "2"]
    [record] = await shop.failures()
    assert record.error_type.endswith(type(raised).__name__)


@pytest.mark.covers("GROUP-14", "LISTEN-13")
async def test_manual_mode_settles_only_what_the_handler_acknowledged(shop: Shop) -> None:
    """What the handler acknowledges is settled when it says so; the rest stays pending."""
    left: list[int] = []

    @shop.router.listener(OrderPlaced, acknowledge="manual")
    async def charge(order: OrderPlaced, delivery: Delivery) -> None:
        if order.order_id == "1":
            assert await delivery.acknowledge()
            left.append(await shop.pending())

    await shop.place("1", "2")
    worker = shop.worker(until_idle=True)
    await worker.run()
    assert left == [1]
    assert await shop.pending() == 1


async def test_a_handler_over_its_time_limit_is_cancelled_and_recorded(shop: Shop) -> None:
    """A handler that never returns becomes a TimeoutError, and the lane is free again."""
    cancelled = asyncio.Event()

    @shop.router.listener(OrderPlaced, timeout="20ms")
    async def charge(order: OrderPlaced) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await shop.place("1")
    await shop.until_idle()
    [record] = await shop.failures()
    assert (record.error_type, cancelled.is_set()) == ("TimeoutError", True)
