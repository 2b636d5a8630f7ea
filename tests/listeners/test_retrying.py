"""Retries beside everything else: under load, behind others, and when a handler wants its message kept."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from penstock.errors import BrokerFullError
from penstock.listeners import Delivery, Group, GroupSettings
from penstock.message import Message
from penstock.retry import LeavePending, Release, Retry
from penstock.streams.abc import FailureState
from penstock.testing import Faulty
from tests.listeners.shop import MINUTE, OrderPlaced, Shop, ids


@pytest.mark.covers("FAIL-9")
async def test_retries_run_while_new_entries_never_cease(shop: Shop) -> None:
    """A stream that is never worked off does not keep due retries waiting."""
    shop.settings(concurrency=2, retry=Retry(initial="0s"))
    retried, done = asyncio.Event(), 0

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        nonlocal done
        if order.order_id == "shy":
            if message.attempt == 1:
                raise ValueError("not yet")
            retried.set()
            return
        await asyncio.sleep(0)
        done += 1
        await shop.place("more", "more")  # faster than they are handled

    await shop.place("shy", *("more" for _ in range(1000)))
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        await retried.wait()
    assert done < 20_000
    shop.settings(drain_timeout=timedelta(milliseconds=1))
    worker.stop()
    await running


async def test_due_retries_of_listeners_that_are_elsewhere_hold_up_nobody(shop: Shop) -> None:
    """However many of them are older, those that this app can run are found behind them."""
    shop.settings(concurrency=2, retry=Retry(initial="1s", jitter=0))
    other = Group("shop", GroupSettings(retry=Retry(initial="1s", jitter=0)))
    seen: list[int] = []

    @other.on(OrderPlaced, name="elsewhere")
    async def elsewhere(order: OrderPlaced) -> None:
        raise ValueError("no")

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        seen.append(message.attempt)
        if message.attempt == 1:
            raise ValueError("not yet")

    await shop.place(*map(str, range(100)))
    here = shop.router.registry.groups["shop"]
    shop.router.registry.groups["shop"] = other
    await shop.until_idle()
    shop.router.registry.groups["shop"] = here
    await shop.clock.advance(timedelta(milliseconds=1))
    await shop.place("mine")
    await shop.until_idle()
    await shop.clock.advance(MINUTE)
    async with asyncio.timeout(10):
        await shop.until_idle()
    assert seen == [1, 2]
    assert set(ids(await shop.failures())) == {("elsewhere", "error")}


@pytest.mark.parametrize("word", [LeavePending, Release])
async def test_a_retry_whose_handler_wants_it_kept_comes_again_later(
    shop: Shop, word: type[Exception]
) -> None:
    """It stays due, costs no attempt, and is left alone for a while: the worker is idle in between."""
    attempts: list[int] = []
    shop.settings(retry=Retry(attempts=2, initial="1s"))

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1:
            raise ValueError("not yet")
        raise word

    await shop.place("1")
    await shop.until_idle()
    for _ in range(3):
        await shop.clock.advance(2 * MINUTE)
        async with asyncio.timeout(5):
            await shop.until_idle()
    [record] = await shop.failures()
    assert attempts == [1, 2, 2, 2]
    assert (record.state, record.attempts, record.error) == (FailureState.RETRYING, 1, "not yet")


async def test_a_kept_retry_is_run_again_by_a_worker_that_lives_on(shop: Shop) -> None:
    """After `min_idle` it is looked at again, without anybody's hand."""
    runs = 0
    shop.settings(retry=Retry(attempts=2, initial="1s"), min_idle=timedelta(seconds=30))

    @shop.router.listener(OrderPlaced, acknowledge="manual")
    async def charge(order: OrderPlaced, delivery: Delivery) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("not yet")
        if runs == 3:
            await delivery.acknowledge()

    await shop.place("1")
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await _pass_until(shop, lambda: runs == 2)
    second = shop.clock.now()
    await _pass_until(shop, lambda: runs == 3)
    assert shop.clock.now() - second >= timedelta(seconds=29)
    worker.stop()
    await running
    assert await shop.failures() == []


async def test_until_idle_runs_what_is_due_behind_what_is_used_up(shop: Shop) -> None:
    """Attempts that are used up at claim time end in state failed, all of them, and what is behind them runs."""
    shop.settings(concurrency=1, retry=Retry(attempts=3, initial="1s", jitter=0))
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        if message.attempt < 2:
            raise ValueError("no")
        seen.append(order.order_id)

    await shop.place(*map(str, range(20)))
    await shop.until_idle()
    await shop.clock.advance(timedelta(seconds=1))
    shop.settings(retry=Retry(attempts=1))
    await shop.place("new")
    await shop.until_idle()
    states = [record.state for record in await shop.failures()]
    assert (seen, states) == ([], [FailureState.FAILED] * 21)


async def test_a_full_server_keeps_retries_for_later(shop: Shop) -> None:
    """A claim that is refused for want of memory is tried again, not at once, and the lane lives."""
    shop.settings(retry=Retry(attempts=2, initial="1s"))
    attempts: list[int] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1:
            raise ValueError("not yet")

    await shop.place("1")
    full = [BrokerFullError("full")] * 3
    broker = Faulty(shop.broker, fail={"failures.claim_retry": full})
    worker = shop.worker(broker=broker)
    running = asyncio.create_task(worker.run())
    await _pass_until(shop, lambda: attempts == [1, 2])
    worker.stop()
    await running
    assert await shop.failures() == []


async def test_a_retry_that_runs_when_the_time_to_stop_comes_is_given_back(shop: Shop) -> None:
    """Cancelled at the drain timeout, its attempt is taken off and it is due at once for others."""
    shop.settings(retry=Retry(attempts=2, initial="0s"), drain_timeout=timedelta(milliseconds=20))
    started = asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        if message.attempt == 1:
            raise ValueError("not yet")
        started.set()
        await asyncio.Event().wait()

    await shop.place("1")
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    await running
    [record] = await shop.failures()
    due = await shop.broker.failures.due([("order.placed", "shop")], count=10)
    assert (record.attempts, [each.key for each in due]) == (1, [record.key])


async def _pass_until(shop: Shop, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await shop.clock.advance(timedelta(seconds=1))
