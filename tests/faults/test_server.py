"""The server goes away, comes back, fills up: workers wait, resume, and account for everything."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
import redis

from penstock.errors import BrokerUnavailableError, PublishError
from penstock.listeners import GroupWorker, Router
from penstock.retry import Retry
from penstock.streams.embedded import ServerUse, server_status, use_server
from penstock.streams.publisher import Outgoing, Publisher
from penstock.streams.valkey import ValkeyBroker
from penstock.telemetry import Observer
from tests.faults.shop import Ordered


class Recorder(Observer):
    """Remembers the waits between attempts to reach the server."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.returned = 0

    def reconnecting(self, what: str, attempt: int, delay: timedelta, cause: BaseException) -> None:
        """A wait begins."""
        self.delays.append(delay.total_seconds())

    def reconnected(self, what: str) -> None:
        """The server answered again."""
        self.returned += 1


class Shop:
    """A server of the test's own, a worker on it, and what its handler did."""

    def __init__(self, folder: Path, durability: Literal["everysec", "always"] = "everysec") -> None:
        self.folder = folder
        self.durability: Literal["everysec", "always"] = durability
        self.seen: list[str] = []
        self.recorder = Recorder()
        self.failing = False
        self.use: ServerUse

    async def open(self) -> None:
        """Start the server and connect."""
        self.use = await asyncio.to_thread(
            use_server, self.folder, durability=self.durability, linger=timedelta(0)
        )
        self.broker = ValkeyBroker(
            self.use.url,
            observer=self.recorder,
            answer_timeout=timedelta(seconds=2),
            connect_timeout=timedelta(seconds=1),
        )
        await self.broker.open()
        self.publisher = Publisher(broker_for=lambda stream: self.broker, source="tests")
        router = Router()
        group = router.group("shop", retry=Retry(attempts=5, initial="50ms"), min_idle="2s")

        @group.on(Ordered)
        async def handle(order: Ordered) -> None:
            if self.failing:
                raise ValueError("not now")
            self.seen.append(order.order_id)

        self.worker = GroupWorker(self.broker, group, consumer="ann", observer=self.recorder)
        self.running = asyncio.create_task(self.worker.run())
        await self.worker.life.wait_ready()

    async def emit(self, *order_ids: str) -> None:
        """Emit orders, again and again until the server takes them."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.publisher.publish_many(
                        [Outgoing(Ordered(order_id=each)) for each in order_ids]
                    )
                except (PublishError, BrokerUnavailableError):
                    await asyncio.sleep(0.05)
                else:
                    return

    @property
    def pid(self) -> int:
        """The server process."""
        pid = server_status(self.folder).pid
        assert pid is not None
        return pid

    async def kill(self) -> None:
        """kill -9 of the server; returns when it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while server_status(self.folder).state == "running":
                await asyncio.sleep(0.01)

    async def restart(self) -> None:
        """Start the server again at the same place."""
        former = self.use
        self.use = await asyncio.to_thread(
            use_server, self.folder, durability=self.durability, linger=timedelta(0)
        )
        assert self.use.url == former.url
        former.release()

    async def until(self, *order_ids: str) -> None:
        """Wait until these were handled and nothing is pending."""
        async with asyncio.timeout(40):
            while not set(order_ids) <= set(self.seen) or (await self._pending()):
                await asyncio.sleep(0.02)

    async def _pending(self) -> int:
        try:
            return (await self.broker.pending_summary("ordered", "shop")).count
        except BrokerUnavailableError:
            return 1

    async def close(self) -> None:
        """Stop everything."""
        self.worker.stop()
        await self.running
        await self.broker.close()
        await asyncio.to_thread(self.use.release)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A working shop on a server of its own."""
    shop = Shop(tmp_path)
    await shop.open()
    yield shop
    await shop.close()


@pytest.mark.covers("CONF-7")
async def test_a_worker_outlives_its_server(shop: Shop) -> None:
    """Killed and started again later: the worker resumes without a restart, after waits that grew."""
    await shop.emit("1")
    await shop.until("1")
    await shop.kill()
    async with asyncio.timeout(30):
        while len(shop.recorder.delays) < 4:
            await asyncio.sleep(0.02)
    await shop.restart()
    await shop.emit("2")
    await shop.until("2")
    assert shop.recorder.delays[3] > shop.recorder.delays[0]
    assert shop.recorder.returned > 0


async def test_a_server_that_hangs_is_waited_for(shop: Shop) -> None:
    """SIGSTOP of the server: commands end with an error in their time; after SIGCONT all goes on."""
    await shop.emit("1")
    await shop.until("1")
    os.kill(shop.pid, signal.SIGSTOP)
    try:
        with pytest.raises((PublishError, BrokerUnavailableError)):
            await shop.publisher.publish(Outgoing(Ordered(order_id="lost")))
    finally:
        os.kill(shop.pid, signal.SIGCONT)
    await shop.emit("2")
    await shop.until("2")


async def test_a_server_out_of_memory_stops_settling_and_nothing_is_lost(shop: Shop) -> None:
    """At its limit the failing entry stays pending and the worker says why; with room again it is recorded once."""
    with redis.Redis.from_url(shop.use.url) as admin:
        shop.failing = True
        admin.config_set("maxmemory-policy", "noeviction")
        publisher_went = asyncio.create_task(shop.emit(*(f"{number}" for number in range(5))))
        await publisher_went
        admin.config_set("maxmemory", "1")
        with pytest.raises(PublishError):
            await shop.publisher.publish_many([Outgoing(Ordered(order_id="refused"))])
        async with asyncio.timeout(20):
            while shop.worker.paused_by is None and len(await _records(shop)) < 5:
                await asyncio.sleep(0.02)
        shop.failing = False
        admin.config_set("maxmemory", "0")
        await shop.until(*(f"{number}" for number in range(5)))
    async with asyncio.timeout(20):
        while await _records(shop):
            await asyncio.sleep(0.02)
    assert sorted(shop.seen) == [f"{number}" for number in range(5)]


@pytest.mark.parametrize("victim", ["group", "stream"])
async def test_what_is_deleted_underneath_is_made_again(shop: Shop, victim: str) -> None:
    """The group, or the whole stream, deleted under a waiting worker: it goes on with what comes."""
    await shop.emit("1")
    await shop.until("1")
    if victim == "group":
        await shop.broker.delete_group("ordered", "shop")
    else:
        await shop.broker.delete_stream("ordered")
    await shop.emit("2")
    await shop.until("2")
    assert shop.seen == ["1", "2"]


async def test_with_durability_always_a_killed_server_keeps_every_accepted_event(tmp_path: Path) -> None:
    """What was answered as written before kill -9 of the server is there, and handled, after its restart."""
    shop = Shop(tmp_path, durability="always")
    await shop.open()
    accepted: list[str] = []

    async def emit() -> None:
        for number in range(100_000):
            try:
                await shop.publisher.publish(Outgoing(Ordered(order_id=str(number))))
            except (PublishError, BrokerUnavailableError):
                return
            accepted.append(str(number))

    emitting = asyncio.create_task(emit())
    async with asyncio.timeout(30):
        while len(accepted) < 300:
            await asyncio.sleep(0.005)
    await shop.kill()
    await emitting
    await shop.restart()
    await shop.until(*accepted)
    await shop.close()
    assert set(accepted) <= set(shop.seen)


async def _records(shop: Shop) -> list[object]:
    try:
        return list(await shop.broker.failures.find("ordered"))
    except BrokerUnavailableError:
        return [None]
