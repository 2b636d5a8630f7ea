"""Suspicious entries: handled alone where that is possible, and never at the price of everything else."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from penstock.errors import WorkerStopped
from penstock.listeners import Delivery
from penstock.listeners._gate import Gate
from penstock.retry import LeavePending
from tests.listeners.shop import OrderPlaced, OrderShipped, Shop, ids

# -- the gate -------------------------------------------------------------------------------------------------------


async def test_one_goes_in_alone_when_the_others_have_ended() -> None:
    """While it waits and while it is inside, nobody else may start."""
    gate = Gate(patience=5)
    gate.inside = 1
    entered, leave = asyncio.Event(), asyncio.Event()
    found: list[bool] = []

    async def suspect() -> None:
        async with gate.alone(lambda: None) as is_alone:
            found.append(is_alone)
            entered.set()
            await leave.wait()

    running = asyncio.create_task(suspect())
    await _until(lambda: gate.is_closed)
    assert not entered.is_set()
    gate.inside -= 1
    gate.left()
    await entered.wait()
    assert (gate.is_closed, gate.inside) == (True, 1)
    leave.set()
    await running
    assert (found, gate.is_closed, gate.inside) == ([True], False, 0)


async def test_nobody_waits_for_ever_for_one_that_does_not_end() -> None:
    """After its patience a suspect goes in all the same, knows that it is not alone, and keeps nobody out."""
    gate = Gate(patience=0.02)
    gate.inside = 1
    company: list[str] = []
    for _ in range(100):
        async with gate.alone(lambda: company.append("came")) as is_alone:
            assert not is_alone
            assert not gate.is_closed
    assert (len(company) >= 100, gate.inside) == (True, 1)


async def test_one_that_stays_alone_for_long_lets_the_others_in() -> None:
    """The gate opens again while it is inside; the next suspect then meets it there."""
    gate = Gate(patience=0.02, solitude=0.02)
    company = asyncio.Event()
    async with gate.alone(company.set) as is_alone:
        assert is_alone
        assert gate.is_closed
        await company.wait()
        await gate.wait_open()
        async with gate.alone(lambda: None) as is_second_alone:
            assert not is_second_alone
        assert not gate.is_closed
    assert gate.inside == 0


async def test_leaving_does_not_open_the_gate_that_another_has_closed() -> None:
    """One that has had its time alone ends while the next one waits: the gate stays closed for that one."""
    gate = Gate(patience=5, solitude=0.02)
    company, leave, second_in, second_leave = (asyncio.Event() for _ in range(4))

    async def first() -> None:
        async with gate.alone(company.set):
            await leave.wait()

    async def second() -> None:
        async with gate.alone(lambda: None) as is_alone:
            assert is_alone
            second_in.set()
            await second_leave.wait()

    one = asyncio.create_task(first())
    await company.wait()
    two = asyncio.create_task(second())
    await _until(lambda: gate.is_closed)
    leave.set()
    await one
    await second_in.wait()
    assert gate.is_closed
    second_leave.set()
    await two
    assert (gate.is_closed, gate.inside) == (False, 0)


# -- in a worker ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("GROUP-10")
async def test_an_endless_handler_of_one_group_does_not_keep_another_group_from_its_suspects(
    shop: Shop,
) -> None:
    """Two groups in a process: one handler never returns, and the other group's pending entries and new ones go on."""
    gate = Gate(patience=0.05)
    started, go_on = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    @shop.router.listener(OrderShipped, group="endless")
    async def watch(order: OrderShipped) -> None:
        started.set()
        await go_on.wait()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place("1", "2", "3")
    await shop.deliver_to("ann", 3)
    await shop.place("4")
    await shop.ship("9")
    endless = shop.worker("endless", gate=gate)
    worker = shop.worker(consumer="ann", gate=gate)
    running = [asyncio.create_task(endless.run())]
    await started.wait()
    running.append(asyncio.create_task(worker.run()))
    await _until(lambda: len(seen) == 4)
    go_on.set()
    for each in (endless, worker):
        each.stop()
    await asyncio.gather(*running)
    assert sorted(seen) == ["1", "2", "3", "4"]
    assert await shop.pending() == 0


async def test_a_suspect_that_takes_long_does_not_hold_up_what_is_new(shop: Shop) -> None:
    """Its process was killed in the middle of an hour's work: the second hour is not spent alone."""
    gate = Gate(solitude=0.05)
    go_on = asyncio.Event()
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        if order.order_id.startswith("long"):
            await go_on.wait()
        seen.append(order.order_id)

    await shop.place("long-1", "long-2")
    await shop.deliver_to("ann", 2)
    await shop.place("new")
    worker = shop.worker(consumer="ann", gate=gate)
    running = asyncio.create_task(worker.run())
    await _until(lambda: seen == ["new"])
    go_on.set()
    worker.stop()
    await running
    assert sorted(seen) == ["long-1", "long-2", "new"]
    assert await shop.pending() == 0


async def test_a_suspect_left_pending_waits_for_min_idle_and_is_never_condemned(shop: Shop) -> None:
    """Its handler came to an end each time, so it is not taken for a killer; and it does not come back at once."""
    times = 0
    shop.settings(max_deliveries=2)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        nonlocal times
        times += 1
        raise LeavePending

    await shop.place("1")
    for run in range(1, 6):
        await shop.until_idle(consumer="ann")
        assert times == run
        claimed = await shop.broker.claim(
            "order.placed", "shop", "bob", min_idle=timedelta(minutes=1), count=1
        )
        assert claimed.entries == []
    assert (await shop.pending(), await shop.failures()) == (1, [])


@pytest.mark.covers("FAIL-8")
async def test_a_group_that_halts_at_an_entry_halts_at_it_however_often_it_is_started(shop: Shop) -> None:
    """Halting is no death: the entry is never taken for poison, and so never passed over."""
    shop.settings(on_failure="halt", max_deliveries=2)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise ValueError("no")

    await shop.place("1")
    for _ in range(6):
        with pytest.raises(WorkerStopped):
            await shop.until_idle(consumer="ann")
    assert (await shop.pending(), await shop.failures()) == (1, [])


async def test_a_suspect_may_be_acknowledged_by_hand(shop: Shop) -> None:
    """Delivered twice, handled alone, settled by its handler: nothing pending, nothing counted against it."""

    @shop.router.listener(OrderPlaced, acknowledge="manual")
    async def charge(order: OrderPlaced, delivery: Delivery) -> None:
        assert await delivery.acknowledge()

    await shop.place("1", "2")
    await shop.deliver_to("ann", 2)
    worker = await shop.until_idle(consumer="ann")
    assert (await shop.pending(), ids(await shop.failures()), worker.counts.handled) == (0, [], 2)


async def test_suspects_of_a_batch_listener_are_handled_one_by_one(shop: Shop) -> None:
    """A batch that killed its process is not put together again."""
    batches: list[list[str]] = []

    @shop.router.listener(OrderPlaced, batch=10)
    async def charge(orders: list[OrderPlaced]) -> None:
        batches.append([order.order_id for order in orders])

    await shop.place("1", "2", "3")
    await shop.deliver_to("ann", 2)
    await shop.until_idle(consumer="ann")
    assert batches == [["1"], ["2"], ["3"]]
    assert await shop.pending() == 0


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
