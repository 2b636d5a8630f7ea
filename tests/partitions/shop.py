"""A stream with partitions at work: publishers that count per key, and one reader a partition."""

import asyncio
from datetime import timedelta

from penstock.position import BEGINNING
from penstock.streams.abc import LayoutPhase, NewEntry, PartitionLayout, StreamBroker
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import lane_names

__all__ = ["GROUP", "ORDERS", "Readers", "publish", "publisher", "settled_layout", "written"]

ORDERS = "orders"
GROUP = "billing"


def publisher(
    broker: StreamBroker, count: int = 4, patience: timedelta = timedelta(seconds=30)
) -> Partitioned:
    """What one publishing process knows of the stream."""
    return Partitioned({ORDERS: count}, lambda _: broker, patience=patience)


def entry(key: str, number: int) -> NewEntry:
    """The event *number* of a key."""
    return NewEntry(ORDERS, [b"k", key.encode(), b"n", b"%d" % number])


async def publish(
    broker: StreamBroker, keys: list[str], count: int, *, batch: bool = False, every_ms: int = 1
) -> None:
    """Write *count* events of each key, in order, as a process of its own."""
    known = publisher(broker)
    for number in range(count):
        await asyncio.sleep(every_ms / 1000)  # the rate of it
        if not batch:
            for key in keys:
                await known.append(entry(key, number), key)
            continue
        prepared: list[tuple[NewEntry, str | None]] = [(entry(key, number), key) for key in keys]
        _, outcomes = await known.append_many(prepared, broker.append_many)
        assert all(outcome.entry_id for outcome in outcomes), outcomes


class Readers:
    """A group over the partitions, one consumer each; what it handled of each key, in the order of handling."""

    def __init__(self, broker: StreamBroker, lanes: int) -> None:
        self.handled: dict[str, list[int]] = {}
        self.places: dict[str, set[str]] = {}
        self._broker = broker
        self._lanes = lane_names(ORDERS, lanes)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Readers":
        for lane in self._lanes:
            await self._broker.create_group(lane, GROUP, BEGINNING)
        self._tasks = [asyncio.create_task(self._read(lane)) for lane in self._lanes]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, count: int) -> None:
        """Wait until so many events were handled; a reader that fails, fails this."""
        while sum(map(len, self.handled.values())) < count:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.005)

    async def _read(self, lane: str) -> None:
        consumer = f"of {lane}"
        while True:
            read = await self._broker.read_group(
                GROUP, consumer, [lane], count=10, block=timedelta(milliseconds=50)
            )
            for _, entries in read.batches:
                for entry_id, (_, key, _, number) in entries:
                    await asyncio.sleep(0.003)  # slower than it is written
                    self.handled.setdefault(key.decode(), []).append(int(number))
                    self.places.setdefault(key.decode(), set()).add(lane)
                    await self._broker.acknowledge(lane, GROUP, [entry_id])


async def settled_layout(broker: StreamBroker, partitions: int) -> PartitionLayout:
    """The layout, which has to be settled with so many partitions, all of them open."""
    layout = await broker.partitions.layout(ORDERS)
    assert layout is not None
    assert (layout.partitions, layout.phase, layout.target) == (partitions, LayoutPhase.SETTLED, None)
    for number, lane in enumerate(lane_names(ORDERS, layout.ever)):
        mark = await broker.partitions.mark(lane)
        open_now = mark is not None and mark.is_open and mark.epoch == layout.epoch
        assert open_now == (number < partitions), (lane, mark, layout)
    return layout


async def written(broker: StreamBroker, lanes: int) -> dict[str, list[int]]:
    """The numbers of each key that lie in the partitions, sorted; in each partition they are in order."""
    keys: dict[str, list[int]] = {}
    for lane in lane_names(ORDERS, lanes):
        here: dict[str, list[int]] = {}
        for _, (_, key, _, number) in await broker.range(lane):
            here.setdefault(key.decode(), []).append(int(number))
        for key, numbers in here.items():
            assert numbers == sorted(numbers), (lane, key)
            keys.setdefault(key, []).extend(numbers)
    return {key: sorted(numbers) for key, numbers in keys.items()}
