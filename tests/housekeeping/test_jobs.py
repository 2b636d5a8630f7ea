"""The other jobs of housekeeping, and who does them: workers beside their work, and processes of their own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from penstock import App, Event
from penstock._housekeeping import Housekeeper, Keeping
from penstock._housekeeping._burying import Burying
from penstock._housekeeping._growth import Growth
from penstock.errors import BrokerRefusedError
from penstock.position import BEGINNING
from penstock.streams.abc import NewEntry, StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.testing import Faulty, ManualClock


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.005)


# -- dead consumers -------------------------------------------------------------------------------------------------


@pytest.mark.covers("OPS-6")
async def test_dead_consumers_that_hold_nothing_are_removed(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """One that was quiet for long and holds nothing goes; one that holds entries, lives, or spoke just now, stays."""
    await broker.create_group("orders", "billing", BEGINNING)
    for consumer in ("idle", "holding", "living"):
        await broker.append(NewEntry("orders", [b"n", b"1"]))
        await broker.read_group("billing", consumer, ["orders"], count=1)
    pending = await broker.pending("orders", "billing")
    await broker.acknowledge(
        "orders", "billing", [bytes(each.entry_id) for each in pending if each.consumer != "holding"]
    )
    await clock.advance(timedelta(days=8))
    await broker.hold_name("billing", "living", token="t", description="", life=timedelta(days=1))
    await broker.append(NewEntry("orders", [b"n", b"1"]))
    [(_, [[last, _]])] = (await broker.read_group("billing", "fresh", ["orders"], count=1)).batches
    await broker.acknowledge("orders", "billing", [last])

    await Burying().run(keep(orders={}))

    left = {consumer.name for consumer in await broker.consumers("orders", "billing")}
    assert left == {"holding", "living", "fresh"}
    assert (await broker.pending_summary("orders", "billing")).consumers == {"holding": 1}


# -- growth ---------------------------------------------------------------------------------------------------------


async def test_a_stream_that_grows_without_bound_is_told_of_once(
    broker: StreamBroker, keep: Callable[..., Keeping], caplog: pytest.LogCaptureFixture
) -> None:
    """On the embedded server, a large stream without retention or cap is named with the remedy; others are not."""
    for stream in ("orders", "capped", "collected"):
        await broker.append_many([NewEntry(stream, [b"n", b"1"])] * 100_000)
    bounded = {"capped": {"max_entries": 200_000}, "collected": {"retention": "handled"}}
    job, keeping = Growth(), keep(is_embedded=True, **bounded)

    await job.run(keeping)
    await job.run(keeping)
    await Growth().run(keep(**bounded))

    [line] = [record.getMessage() for record in caplog.records]
    assert "'orders' has 100000 entries" in line
    assert 'retention = "handled"' in line


# -- who does it ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("OPS-6", "GC-4")
@pytest.mark.parametrize("housekeeping", [True, False])
async def test_a_worker_keeps_house_beside_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, housekeeping: bool
) -> None:
    """What it handles is collected while it works, unless the settings leave that to others."""
    monkeypatch.chdir(tmp_path)
    broker = MemoryBroker()
    retention = {"order.placed": {"retention": "handled"}}
    app = App("shop", broker=broker, stream=retention, housekeeping=housekeeping)
    handled: list[str] = []

    @app.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        handled.append(order.order_id)

    async with app:
        await app.emit_many([OrderPlaced(order_id=str(number)) for number in range(20)])
        runner = await app.runner()
        running = asyncio.create_task(runner.run())

        async def is_done() -> bool:
            left = await broker.length("order.placed")
            return len(handled) == 20 and (left == 0 if housekeeping else left == 20)

        await until(is_done)
        runner.stop()
        await running
        assert await broker.leases.leases("order.placed") == []


@pytest.mark.covers("OPS-6")
async def test_an_app_keeps_house_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`App.keep_house` does every job until it is cancelled, and leaves no lease behind."""
    monkeypatch.chdir(tmp_path)
    broker = MemoryBroker()
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(NewEntry("orders", [b"n", b"1"]))
    [(_, [[entry_id, _]])] = (await broker.read_group("billing", "ann", ["orders"], count=1)).batches
    await broker.acknowledge("orders", "billing", [entry_id])
    async with App("shop", broker=broker, stream={"orders": {"retention": "handled"}}) as app:
        keeping = asyncio.create_task(app.keep_house())

        async def is_empty() -> bool:
            return await broker.length("orders") == 0

        await until(is_empty)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert await broker.leases.leases("orders") == []


@pytest.mark.covers("GC-3", "GC-4")
async def test_declared_groups_are_registered_when_the_app_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of code and settings protect their streams before their first worker has started."""
    monkeypatch.chdir(tmp_path)
    broker = MemoryBroker()
    app = App("shop", broker=broker, stream={"order.placed": {"groups": ["mail", "shop"]}})

    @app.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        pass

    async with app:
        assert set(await broker.removal.registered_groups("order.placed")) == {"mail", "shop"}
        await app.emit(OrderPlaced(order_id="1"))
        assert (await broker.removal.trim("order.placed")).removed == 0


async def test_a_server_that_takes_no_registration_is_worked_with_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who may not write beside the stream gets a warning, and an open app."""
    monkeypatch.chdir(tmp_path)
    broker = Faulty(MemoryBroker(), fail={"removal.register_groups": [BrokerRefusedError("no rights")]})
    app = App("shop", broker=broker, stream={"order.placed": {"groups": ["mail"]}})
    async with app:
        await app.emit(OrderPlaced(order_id="1"))
    assert "no rights" in caplog.text


async def test_a_job_that_is_refused_says_so_once_and_goes_on(
    broker: StreamBroker,
    clock: ManualClock,
    keep: Callable[..., Keeping],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What no waiting will mend is logged as an error, not again and again; the other jobs go on."""

    class Refused:
        name = "refused"
        runs = 0

        async def run(self, keeping: Keeping) -> timedelta:
            self.runs += 1
            raise BrokerRefusedError("no rights")

    job = Refused()
    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(Housekeeper(keep(), [lambda: job]).run())
        await clock.advance(timedelta(minutes=1))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert job.runs > 3
    assert [record.getMessage() for record in caplog.records] == ["housekeeping, refused: no rights"]
