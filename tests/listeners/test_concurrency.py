"""Handling at the same time: lanes, threads, batches, and several members of a group."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from penstock.message import Message
from penstock.retry import GiveUp, Retry
from penstock.streams.memory import MemoryBroker, MemoryServer
from tests.listeners.shop import OrderPlaced, Shop, ids


@pytest.mark.covers("LISTEN-18")
async def test_handlers_run_at_the_same_time_up_to_the_limit(shop: Shop) -> None:
    """With concurrency 4 exactly four of ten waiting handlers are inside at once."""
    inside = most = 0
    full = asyncio.Event()
    shop.settings(concurrency=4)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 4:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        inside -= 1

    await shop.place(*map(str, range(12)))
    await shop.until_idle()
    assert most == 4
    assert await shop.pending() == 0


async def test_a_slow_handler_does_not_hold_up_the_others(shop: Shop) -> None:
    """Entries behind a handler that waits are handled and acknowledged meanwhile."""
    go_on = asyncio.Event()
    seen: list[str] = []
    shop.settings(concurrency=2)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        if order.order_id == "slow":
            await go_on.wait()
        seen.append(order.order_id)

    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await shop.place("slow", *map(str, range(50)))
    await _until(lambda: len(seen) == 50 and worker.counts.handled == 50)
    assert await shop.pending() == 1
    go_on.set()
    worker.stop()
    await running
    assert seen[-1] == "slow"
    assert await shop.pending() == 0


@pytest.mark.covers("LISTEN-18")
async def test_synchronous_handlers_run_in_threads(shop: Shop) -> None:
    """A plain function blocks a thread, not the loop: two of them are inside together."""
    barrier = threading.Barrier(2, timeout=10)
    threads: set[str] = set()

    @shop.router.listener(OrderPlaced)
    def charge(order: OrderPlaced) -> None:
        threads.add(threading.current_thread().name)
        barrier.wait()

    await shop.place("1", "2")
    await shop.until_idle()
    assert len(threads) == 2
    assert all(name.startswith("penstock-shop") for name in threads)
    assert await shop.failures() == []


@pytest.mark.covers("LISTEN-13")
async def test_a_batch_handler_is_called_once_for_many_and_single_ones_for_each(shop: Shop) -> None:
    """A batch of five calls one handler once with five events, and the one beside it five times."""
    batches: list[list[str]] = []
    singles: list[str] = []

    @shop.router.listener(OrderPlaced, batch=5)
    async def charge(orders: list[OrderPlaced], messages: list[Message]) -> None:
        assert [message.name for message in messages] == ["order.placed"] * len(orders)
        batches.append([order.order_id for order in orders])

    @shop.router.listener(OrderPlaced)
    async def thank(order: OrderPlaced) -> None:
        singles.append(order.order_id)

    await shop.place(*map(str, range(5)))
    await shop.until_idle()
    assert batches == [["0", "1", "2", "3", "4"]]
    assert singles == ["0", "1", "2", "3", "4"]
    assert await shop.pending() == 0


async def test_a_batch_may_wait_to_fill_up(shop: Shop) -> None:
    """With wait= a batch takes in what comes within that time."""
    batches: list[int] = []

    @shop.router.listener(OrderPlaced, batch=3, wait="10s")
    async def charge(orders: list[OrderPlaced]) -> None:
        batches.append(len(orders))

    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    for number in range(3):
        await shop.place(str(number))
    await _until(lambda: bool(batches))
    worker.stop()
    await running
    assert batches == [3]


@pytest.mark.covers("FAIL-10")
async def test_a_failing_batch_is_run_again_one_by_one_and_only_the_bad_one_fails(shop: Shop) -> None:
    """One bad of a hundred: ninety-nine acknowledged, one recorded."""
    done: set[str] = set()
    shop.settings(retry=Retry(attempts=1))

    @shop.router.listener(OrderPlaced, batch=100)
    async def charge(orders: list[OrderPlaced]) -> None:
        if any(order.order_id == "13" for order in orders):
            raise ValueError("thirteen")
        done.update(order.order_id for order in orders)

    await shop.place(*map(str, range(100)))
    worker = await shop.until_idle()
    assert done == {str(number) for number in range(100)} - {"13"}
    assert ids(await shop.failures()) == [("charge", "error")]
    assert (worker.counts.handled, worker.counts.failed, await shop.pending()) == (99, 1, 0)


async def test_a_signal_from_a_batch_is_about_all_of_it(shop: Shop) -> None:
    """GiveUp from a batch is not guessed apart: every message of it is recorded."""
    calls = 0

    @shop.router.listener(OrderPlaced, batch=10)
    async def charge(orders: list[OrderPlaced]) -> None:
        nonlocal calls
        calls += 1
        raise GiveUp("none of them")

    await shop.place("1", "2", "3")
    await shop.until_idle()
    assert calls == 1
    assert len(await shop.failures()) == 3


@pytest.mark.covers("GROUP-2")
async def test_members_of_a_group_share_its_entries_and_groups_do_not(
    shop: Shop, server: MemoryServer
) -> None:
    """Three members get disjoint parts that together are everything; another group gets everything too."""
    by_member: dict[int, list[str]] = {0: [], 1: [], 2: []}
    other: list[str] = []
    current: list[int] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        by_member[current[0]].append(order.order_id)
        await asyncio.sleep(0)

    @shop.router.listener(OrderPlaced, group="audit")
    async def note(order: OrderPlaced) -> None:
        other.append(order.order_id)

    expected = {str(number) for number in range(3000)}
    for start in range(0, 3000, 1000):
        await shop.place(*(str(number) for number in range(start, start + 1000)))
        current[:] = [start // 1000]
        await shop.until_idle(broker=MemoryBroker(server=server), consumer=f"member-{start}")
    await shop.until_idle("audit")
    parts = [set(each) for each in by_member.values()]
    assert parts[0] | parts[1] | parts[2] == expected
    assert sum(map(len, parts)) == 3000
    assert set(other) == expected


async def test_members_that_work_at_the_same_time_never_share_an_entry(
    shop: Shop, server: MemoryServer
) -> None:
    """Three workers running together handle each of 3,000 entries once."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        await asyncio.sleep(0)
        seen.append(order.order_id)

    await shop.place(*map(str, range(3000)))
    workers = [
        shop.worker(broker=MemoryBroker(server=server), until_idle=True, consumer=f"member-{number}")
        for number in range(3)
    ]
    await asyncio.gather(*(worker.run() for worker in workers))
    assert sorted(seen, key=int) == [str(number) for number in range(3000)]
    assert all(worker.counts.handled for worker in workers)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
