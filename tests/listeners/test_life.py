"""Starting, stopping, and ending: whatever the moment, a worker ends, and says what it ended with."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    IllegalTransitionError,
)
from penstock.lifecycle import State
from penstock.listeners import BroadcastWorker, Runner, keep_alive
from penstock.position import BEGINNING
from penstock.streams.abc import Claimed
from penstock.testing import Faulty
from penstock.testing.faulty import Step
from tests.listeners.shop import MINUTE, OrderPlaced, Shop

AWAY = BrokerUnavailableError("away")


async def test_a_worker_that_is_told_to_stop_before_it_begins_ends_at_once(shop: Shop) -> None:
    """A signal may come before the first step: the run is over then, and the next one works."""
    seen = _charging(shop)
    await shop.place("1")
    worker = shop.worker(until_idle=True)
    worker.stop()
    await worker.run()
    assert (seen, worker.life.state) == ([], State.STOPPED)
    await worker.run()
    assert seen == ["1"]


async def test_a_runner_stopped_before_its_workers_begin_ends_well(shop: Shop) -> None:
    """Its tasks were made, and have not taken a step yet."""
    _charging(shop)
    runner = Runner([shop.worker()])
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0)
    runner.stop()
    await asyncio.wait_for(running, 5)


async def test_a_worker_runs_once_at_a_time(shop: Shop) -> None:
    """A second run is refused, also while the first one still starts, and does not disturb it."""
    _charging(shop)
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    with pytest.raises(IllegalTransitionError):
        await worker.run()
    await worker.life.wait_ready()
    with pytest.raises(IllegalTransitionError):
        await worker.run()
    worker.stop()
    worker.stop()
    await running


@pytest.mark.parametrize("call", ["open", "create_group", "hold_name", "own_pending", "read_group", "claim"])
async def test_a_server_that_is_away_for_a_moment_at_the_start_is_waited_for(shop: Shop, call: str) -> None:
    """Whichever of the first calls it meets, the worker tries again by itself."""
    seen = _charging(shop)
    await shop.place("1")
    broker = Faulty(shop.broker, fail={call: [AWAY, AWAY]})
    worker = shop.worker(broker=broker, until_idle=True, reclaim=MINUTE)
    await _passing(shop, worker.run())
    assert seen == ["1"]


async def test_a_group_that_is_made_again_is_insisted_on(shop: Shop) -> None:
    """The server is away again just when the missing group is to be made: no reason to end."""
    seen = _charging(shop)
    broker = Faulty(shop.broker, fail={"info": [AWAY], "create_group": [None, AWAY]})
    worker = shop.worker(broker=broker)
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await shop.broker.delete_group("order.placed", "shop")
    await shop.place("1")
    await _pass_until(shop, lambda: seen == ["1"])
    worker.stop()
    await running


async def test_reclaiming_everything_ends(shop: Shop) -> None:
    """What is taken over with no idle time at all is still taken over once, page by page."""
    seen = _charging(shop)
    await shop.place(*map(str, range(250)))
    await shop.deliver_to("dead", 250)
    async with asyncio.timeout(10):
        await shop.until_idle(reclaim=timedelta(0))
    assert seen == [str(number) for number in range(250)]


async def test_a_drain_ends_although_the_server_is_away(shop: Shop) -> None:
    """What was not begun cannot be given back: it is left to be taken over, and the worker ends in time."""
    shop.settings(concurrency=1, drain_timeout=timedelta(milliseconds=50))
    started, go_on = asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await go_on.wait()

    await shop.place(*map(str, range(8)))
    broker = _Deaf(shop)
    worker = shop.worker(broker=broker)
    running = asyncio.create_task(worker.run())
    await started.wait()
    broker.is_away = True
    worker.stop()
    async with asyncio.timeout(15):
        await running
    assert await shop.pending() > 0


@pytest.mark.covers("LISTEN-10")
async def test_a_cancelled_worker_gives_back_what_it_had(shop: Shop) -> None:
    """Ctrl-C: handlers are cancelled, what was handled is acknowledged, the rest is free for others at once."""
    shop.settings(concurrency=2)
    done, stuck = asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        if order.order_id == "1":
            stuck.set()
            await asyncio.Event().wait()
        done.set()

    await shop.place("1", "2")
    running = asyncio.create_task(shop.worker().run())
    await asyncio.gather(done.wait(), stuck.wait())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    claimed: Claimed = await shop.broker.claim("order.placed", "shop", "bob", min_idle=MINUTE, count=10)
    assert (len(claimed.entries), await shop.pending()) == (1, 1)


async def test_a_suspicious_entry_that_is_being_handled_is_drained_too(shop: Shop) -> None:
    """A stop lets its handler come to an end like any other."""
    started, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await go_on.wait()
        ended.set()

    await shop.place("1")
    await shop.deliver_to("ann", 1)
    worker = shop.worker(consumer="ann")
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    await asyncio.sleep(0.02)
    go_on.set()
    await running
    assert (ended.is_set(), await shop.pending()) == (True, 0)


async def test_a_handler_that_refuses_to_be_cancelled_does_not_keep_the_worker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, its entry is given back, and the worker ends."""
    monkeypatch.setattr("penstock.listeners._worker._SETTLE_AT_THE_END", 0.1)
    shop.settings(drain_timeout=timedelta(milliseconds=20))
    started, go_on = asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    await shop.place("1")
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    async with asyncio.timeout(5):
        await running
    go_on.set()
    claimed = await shop.broker.claim("order.placed", "shop", "bob", min_idle=MINUTE, count=10)
    assert len(claimed.entries) == 1


async def test_what_fails_while_draining_is_what_the_run_ends_with(shop: Shop) -> None:
    """A settling that the server refuses is not lost because a stop was asked for."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        started.set()
        await go_on.wait()
        raise ValueError("no")

    await shop.place("1")
    broker = Faulty(shop.broker, fail={"failures.settle": [BrokerRefusedError("read-only")]})
    worker = shop.worker(broker=broker)
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    await asyncio.sleep(0.02)
    go_on.set()
    with pytest.raises(BrokerRefusedError, match="read-only"):
        await running


async def test_a_lane_that_dies_ends_the_run_with_its_error_and_gives_its_entry_back(shop: Shop) -> None:
    """An error that is no handler's and nobody expected is not swallowed."""
    _charging(shop)
    await shop.place("1")
    await shop.deliver_to("ann", 1)
    broker = Faulty(shop.broker, fail={"begin_alone": [RuntimeError("broken")]})
    with pytest.raises(RuntimeError, match="broken"):
        await shop.worker(consumer="ann", broker=broker).run()
    claimed = await shop.broker.claim("order.placed", "shop", "bob", min_idle=MINUTE, count=10)
    assert len(claimed.entries) == 1


async def test_the_threads_of_synchronous_handlers_end_with_the_run(shop: Shop) -> None:
    """A run leaves no thread behind, and the next one has threads again."""
    threads: list[threading.Thread] = []

    @shop.router.listener(OrderPlaced)
    def charge(order: OrderPlaced) -> None:
        threads.append(threading.current_thread())

    worker = shop.worker(until_idle=True)
    for order_id in ("1", "2"):
        await shop.place(order_id)
        await worker.run()
    assert len(threads) == 2
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


@pytest.mark.covers("LISTEN-9")
async def test_two_groups_that_fail_together_are_started_again_together(shop: Shop) -> None:
    """Restarting does not depend on how many groups an app has."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced, group="a")
    async def first(order: OrderPlaced) -> None:
        seen.append("a")

    @shop.router.listener(OrderPlaced, group="b")
    async def second(order: OrderPlaced) -> None:
        seen.append("b")

    await shop.place("1")
    refused = [BrokerRefusedError("no")] * 2
    broker = Faulty(shop.broker, fail={"read_group": refused})
    runner = Runner([shop.worker(each, broker=broker, until_idle=True) for each in ("a", "b")])
    await _passing(shop, keep_alive(runner, attempts=2, clock=shop.clock))
    assert sorted(seen) == ["a", "b"]


async def test_stopping_ends_the_wait_before_a_restart(shop: Shop) -> None:
    """Nobody waits for thirty seconds to be told that there is nothing to do."""
    _charging(shop)
    broker = Faulty(shop.broker, fail={"read_group": [BrokerRefusedError("no")] * 9})
    runner = Runner([shop.worker(broker=broker)])
    running = asyncio.create_task(keep_alive(runner, attempts=None, clock=shop.clock))
    await _until(lambda: runner.workers[0].life.state is State.FAILED)
    runner.stop()
    await asyncio.wait_for(running, 5)


async def test_a_broadcast_worker_told_to_stop_goes_on_with_the_next_message(shop: Shop) -> None:
    """What was read and not handled is not lost to the next run of the same worker, nor to its cursor."""
    seen: list[str] = []
    workers: list[BroadcastWorker] = []

    @shop.router.listener(OrderPlaced, broadcast=True)
    async def hear(order: OrderPlaced) -> None:
        seen.append(order.order_id)
        if order.order_id == "2":
            workers[0].stop()

    def broadcast() -> BroadcastWorker:
        group = shop.router.registry.groups["(broadcast)"]
        return BroadcastWorker(
            shop.broker, group, start=BEGINNING, cursor="board", clock=shop.clock, until_idle=True
        )

    await shop.place("1", "2", "3", "4")
    workers.append(broadcast())
    await workers[0].run()
    assert seen == ["1", "2"]
    await broadcast().run()
    assert seen == ["1", "2", "3", "4"]
    del seen[2:]
    await workers[0].run()
    assert seen == ["1", "2", "3", "4"]


# -- helpers --------------------------------------------------------------------------------------------------------


def _charging(shop: Shop) -> list[str]:
    seen: list[str] = []

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    return seen


class _Deaf(Faulty):
    """A broker that stops answering when told."""

    def __init__(self, shop: Shop) -> None:
        self.is_away = False

        def refuse(step: Step) -> None:
            if self.is_away and step.call != "interrupt":
                raise AWAY

        super().__init__(shop.broker, at_step=refuse)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def _pass_until(shop: Shop, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await shop.clock.advance(timedelta(seconds=1))


async def _passing(shop: Shop, work: Any) -> None:
    """Let *work* come to its end while time passes."""
    running = asyncio.ensure_future(work)
    await _pass_until(shop, running.done)
    await running
