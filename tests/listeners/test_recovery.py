"""What a worker does with entries that were delivered before: its own, those of the dead, and those that kill."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from penstock.errors import ConsumerBusyError, UnknownGroupError
from penstock.streams.abc import FailureState
from penstock.streams.memory import MemoryBroker, MemoryServer
from tests.listeners.shop import MINUTE, OrderPlaced, Shop, ids


@pytest.mark.covers("GROUP-7")
async def test_a_restarted_consumer_handles_its_own_pending_entries_before_new_ones(shop: Shop) -> None:
    """A crash in the middle of a batch: the rest of the batch comes first, in order, then what came meanwhile."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place("1", "2", "3")
    await shop.deliver_to("ann", 3)
    await shop.place("4", "5")
    await shop.until_idle(consumer="ann")
    assert seen == ["1", "2", "3", "4", "5"]
    assert await shop.pending() == 0


@pytest.mark.covers("GROUP-9")
async def test_entries_of_a_dead_consumer_are_taken_over_and_handled_again_and_again(shop: Shop) -> None:
    """What one consumer left is handled by another within min_idle and one interval; twice in the same run."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place("1", "2")
    await shop.deliver_to("dead", 2)
    worker = shop.worker(consumer="ann")
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await _pass_until(shop, lambda: len(seen) == 2, at_most=2 * MINUTE)

    await shop.place("3")
    await shop.broker.read_group("shop", "dead too", ["order.placed"], count=1)
    await _pass_until(shop, lambda: len(seen) == 3, at_most=2 * MINUTE)
    worker.stop()
    await running
    assert seen == ["1", "2", "3"]
    assert await shop.pending() == 0


@pytest.mark.covers("GROUP-9")
async def test_a_living_consumer_is_not_robbed_however_slow_its_handler(shop: Shop) -> None:
    """What is in hand is renewed: another consumer with a short min_idle finds nothing to take."""
    shop.settings(min_idle=timedelta(seconds=3))
    started, go_on = asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await go_on.wait()

    await shop.place("1", "2", "3")
    worker = shop.worker(consumer="slow")
    running = asyncio.create_task(worker.run())
    await started.wait()
    for _ in range(20):
        await shop.clock.advance(timedelta(seconds=1))
        claimed = await shop.broker.claim(
            "order.placed", "shop", "robber", min_idle=timedelta(seconds=3), count=10
        )
        assert claimed.entries == []
    go_on.set()
    worker.stop()
    await running
    assert (await shop.pending(), worker.counts.lost) == (0, 0)


@pytest.mark.covers("GROUP-10")
async def test_an_entry_handled_alone_too_often_is_condemned_and_only_it(shop: Shop) -> None:
    """Three handlings alone without an end make poison: its handler is not run again, its neighbours are handled."""
    handled: list[str] = []
    shop.settings(max_deliveries=3)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        handled.append(order.order_id)

    await shop.place("1", "poison", "2")
    held = await shop.deliver_to("ann", 3)
    for _ in range(3):
        await shop.broker.begin_alone("order.placed", "shop", "ann", bytes(held[1]))
    await shop.until_idle(consumer="ann")
    assert handled == ["1", "2"]
    [record] = await shop.failures()
    assert (record.key.listener, record.cause, record.state) == ("*", "poison", FailureState.FAILED)
    assert await shop.pending() == 0


async def test_an_entry_deleted_while_pending_is_recorded_as_vanished(shop: Shop) -> None:
    """It is not delivered for ever: one record, acknowledged, whoever held it."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        raise AssertionError("there is nothing to handle")

    await shop.place("1", "2")
    own, others = await shop.deliver_to("ann", 1), await shop.deliver_to("dead", 1)
    await shop.broker.delete("order.placed", [*own, *others])
    await shop.until_idle(consumer="ann")
    assert ids(await shop.failures()) == [("*", "vanished")]

    await shop.clock.advance(2 * MINUTE)
    await shop.until_idle(consumer="ann", reclaim=MINUTE)
    assert ids(await shop.failures()) == [("*", "vanished"), ("*", "vanished")]
    assert await shop.pending() == 0


@pytest.mark.covers("GROUP-3")
async def test_a_consumer_name_belongs_to_one_living_worker(shop: Shop, server: MemoryServer) -> None:
    """A second worker with the name is told so; without a name it gets another one; a freed name is had again."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None: ...

    first = shop.worker()
    running = asyncio.create_task(first.run())
    await first.life.wait_ready()
    name = first.consumer
    other = MemoryBroker(server=server)
    with pytest.raises(ConsumerBusyError, match="in use by process"):
        await shop.worker(consumer=name, broker=other).run()
    second = shop.worker(broker=other)
    running_too = asyncio.create_task(second.run())
    await second.life.wait_ready()
    assert second.consumer not in (None, name)
    for worker, task in ((first, running), (second, running_too)):
        worker.stop()
        await task
    third = shop.worker()
    running = asyncio.create_task(third.run())
    await third.life.wait_ready()
    assert third.consumer == name
    third.stop()
    await running


@pytest.mark.covers("GROUP-11")
async def test_dead_consumers_are_removed_after_their_entries_were_moved(shop: Shop) -> None:
    """A hundred consumers that died leave no consumer behind, and nothing of what they held is lost."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place(*map(str, range(10)))
    for number in range(100):
        await shop.deliver_to(f"dead-{number}", 1)
    await shop.clock.advance(timedelta(hours=1))
    worker = shop.worker(consumer="ann")
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()

    async def only_ann() -> bool:
        return [each.name for each in await shop.broker.consumers("order.placed", "shop")] == ["ann"]

    for _ in range(100):
        if await only_ann() and len(seen) == 10:
            break
        await shop.clock.advance(MINUTE)
    worker.stop()
    await running
    assert await only_ann()
    assert sorted(seen, key=int) == [str(number) for number in range(10)]


@pytest.mark.parametrize("victim", ["group", "stream"])
async def test_a_group_deleted_underneath_is_made_again_and_nothing_new_is_missed(
    shop: Shop, victim: str
) -> None:
    """The worker goes on after the last entry it settled; what is emitted afterwards is handled."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await shop.place("1")
    await _until(lambda: seen == ["1"] and worker.counts.handled == 1)
    await shop.clock.advance(timedelta(seconds=1))
    if victim == "group":
        await shop.broker.delete_group("order.placed", "shop")
    else:
        await shop.broker.delete_stream("order.placed")
    await shop.place("2")
    await _pass_until(shop, lambda: "2" in seen, at_most=MINUTE)
    worker.stop()
    await running
    assert seen == ["1", "2"]


async def test_a_group_deleted_underneath_halts_the_worker_if_that_is_the_policy(shop: Shop) -> None:
    """With on_missing="halt" the worker ends with an error that names the group."""
    shop.settings(on_missing="halt")

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None: ...

    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await shop.broker.delete_group("order.placed", "shop")
    with pytest.raises(UnknownGroupError, match="shop"):
        await running


@pytest.mark.covers("LISTEN-10")
async def test_stopping_finishes_what_was_begun_and_hands_back_what_was_not(shop: Shop) -> None:
    """A stop during a handler: it finishes and is acknowledged; nothing is left that others would have to wait for."""
    started, go_on = asyncio.Event(), asyncio.Event()
    shop.settings(concurrency=1)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await go_on.wait()

    await shop.place("1", "2", "3")
    worker = shop.worker(consumer="ann")
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    go_on.set()
    await running
    claimed = await shop.broker.claim("order.placed", "shop", "bob", min_idle=MINUTE, count=10)
    read = await shop.broker.read_group("shop", "bob", ["order.placed"], count=10)
    unread = sum(len(entries) for _, entries in read.batches)
    assert worker.counts.handled == 1
    assert len(claimed.entries) + unread == 2


@pytest.mark.covers("LISTEN-10")
async def test_a_handler_over_the_drain_timeout_is_cancelled_and_its_entry_handed_back(shop: Shop) -> None:
    """The second beat of a stop: what does not end in time is given back, and the worker still ends."""
    started = asyncio.Event()
    shop.settings(drain_timeout=timedelta(milliseconds=20))

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await asyncio.Event().wait()

    await shop.place("1")
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    await running
    claimed = await shop.broker.claim("order.placed", "shop", "bob", min_idle=MINUTE, count=10)
    assert len(claimed.entries) == 1


async def test_a_worker_can_be_run_again(shop: Shop) -> None:
    """A stopped worker is an object that can be started once more."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    worker = shop.worker(until_idle=True)
    await shop.place("1")
    await worker.run()
    await shop.place("2")
    await worker.run()
    assert seen == ["1", "2"]


# -- helpers --------------------------------------------------------------------------------------------------------


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def _pass_until(shop: Shop, condition: Callable[[], bool], *, at_most: timedelta) -> None:
    """Let time pass, second by second, until *condition* holds."""
    end = shop.clock.now() + at_most
    while not condition():
        assert shop.clock.now() < end, "it did not happen in time"
        await shop.clock.advance(timedelta(seconds=1))
