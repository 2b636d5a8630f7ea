"""A small shop on a broker: what the listeners' tests share."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from penstock.event import Event
from penstock.listeners import Dependencies, GroupWorker, Router
from penstock.position import EntryId
from penstock.streams.abc import FailureRecord, StreamBroker
from penstock.streams.publisher import Outgoing, Published, Publisher
from penstock.testing import ManualClock


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str


class OrderShipped(Event, name="order.shipped", key="order_id"):
    """An order went out."""

    order_id: str


class Shop:
    """Listeners to be declared, a worker to be run, and looks at what it left."""

    def __init__(self, broker: StreamBroker, clock: ManualClock) -> None:
        self.broker = broker
        self.clock = clock
        self.router = Router(default_group="shop")
        self.dependencies = Dependencies()
        self.publisher = Publisher(broker_for=lambda stream: broker, source="tests", time_us=clock.time_us)

    def settings(self, group: str = "shop", **settings: Any) -> None:
        """Change the settings of a group."""
        declared = self.router.group(group)
        declared.settings = replace(declared.settings, **settings)

    async def place(self, *order_ids: str) -> list[Published]:
        """Emit an `OrderPlaced` for each id."""
        return await self.publisher.publish_many([Outgoing(OrderPlaced(order_id=each)) for each in order_ids])

    async def ship(self, *order_ids: str) -> list[Published]:
        """Emit an `OrderShipped` for each id."""
        return await self.publisher.publish_many(
            [Outgoing(OrderShipped(order_id=each)) for each in order_ids]
        )

    def worker(self, group: str = "shop", broker: StreamBroker | None = None, **options: Any) -> GroupWorker:
        """A worker of a group."""
        return GroupWorker(
            broker or self.broker,
            self.router.group(group),
            dependencies=self.dependencies,
            middleware=self.router.registry.middleware,
            clock=self.clock,
            **options,
        )

    async def until_idle(self, group: str = "shop", **options: Any) -> GroupWorker:
        """Work a group until nothing is left to do now."""
        worker = self.worker(group, until_idle=True, **options)
        await worker.run()
        return worker

    async def pending(self, group: str = "shop", stream: str = "order.placed") -> int:
        """How many entries are delivered and not settled."""
        return (await self.broker.pending_summary(stream, group)).count

    async def failures(self, stream: str = "order.placed") -> list[FailureRecord]:
        """The failure records of a stream."""
        return await self.broker.failures.find(stream, count=1000)

    async def deliver_to(self, consumer: str, count: int, group: str = "shop") -> list[EntryId]:
        """Let a consumer that then dies take entries."""
        await self.broker.create_group("order.placed", group, EntryId(0))
        read = await self.broker.read_group(group, consumer, ["order.placed"], count=count)
        return [EntryId.parse(entry[0]) for _, entries in read.batches for entry in entries]


def ids(records: Iterable[FailureRecord]) -> list[tuple[str, str]]:
    """What failure records are about: listener and cause."""
    return [(record.key.listener, record.cause) for record in records]


MINUTE = timedelta(minutes=1)
