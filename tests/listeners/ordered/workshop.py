"""A shop whose group is ordered, and its workers: what the tests of ordered groups share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from penstock.event import Event
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.streams.abc import FailureRecord, ParkedKey, StreamBroker
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.streams.publisher import Outgoing
from penstock.testing import ManualClock
from tests.listeners.shop import Shop

STREAM, GROUP = "stock.moved", "shop"
LIFE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


class StockMoved(Event, name=STREAM, key="item"):
    """Some of an item came in or went out."""

    item: str
    number: int


class Workshop(Shop):
    """One process with an ordered group; several of them on one server are several processes."""

    def __init__(self, broker: StreamBroker, clock: ManualClock, **settings: Any) -> None:
        super().__init__(broker, clock)
        self.settings(**{"mode": "exclusive", **settings})

    async def move(self, *moves: tuple[str, int]) -> list[str]:
        """Emit a `StockMoved` for each; their entry ids."""
        found = await self.publisher.publish_many(
            [Outgoing(StockMoved(item=item, number=number)) for item, number in moves]
        )
        return [str(each.entry_id) for each in found]

    def ordered(self, **options: Any) -> OrderedWorker:
        """A worker of the group."""
        return OrderedWorker(
            self.broker,
            self.router.group(GROUP),
            dependencies=self.dependencies,
            middleware=self.router.registry.middleware,
            clock=self.clock,
            **options,
        )

    async def work(self, **options: Any) -> OrderedWorker:
        """Work until nothing is left to do now."""
        worker = self.ordered(until_idle=True, **options)
        async with asyncio.timeout(10):
            await worker.run()
        return worker

    @contextlib.asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[OrderedWorker]:
        """A worker at work, told to stop at the end of the block."""
        worker = self.ordered(**options)
        running = asyncio.create_task(worker.run())
        try:
            ready = asyncio.create_task(worker.life.wait_ready())
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(running, 10)

    async def still_pending(self) -> int:
        """How many entries are delivered and not settled."""
        return (await self.broker.pending_summary(STREAM, GROUP)).count

    async def records(self) -> list[FailureRecord]:
        """The failure records there are."""
        return await self.broker.failures.find(STREAM, count=1000)

    async def parked(self) -> list[ParkedKey]:
        """The keys with parked events."""
        return await self.broker.lanes.parked_keys(STREAM, GROUP)


async def another(server: MemoryServer, clock: ManualClock, **settings: Any) -> Workshop:
    """Another process on the same server."""
    broker = MemoryBroker(server=server)
    await broker.open()
    return Workshop(broker, clock, **settings)


def book_as(shop: Workshop, who: str, seen: list[tuple[str, int]]) -> None:
    """A listener that notes who has handled which number."""

    @shop.router.listener(StockMoved)
    async def note(moved: StockMoved) -> None:
        seen.append((who, moved.number))


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds; the time that passes is not the clock's."""
    async with asyncio.timeout(10):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.001)
