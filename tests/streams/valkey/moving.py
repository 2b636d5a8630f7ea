"""Slots that move from node to node, and traffic over them, of which an account is kept."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from penstock.errors import BrokerUnavailableError
from penstock.position import BEGINNING, EntryId
from penstock.streams._valkey.slots import slot_of
from penstock.streams.abc import Condition, NewEntry
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.clusters import RealCluster
from tests.streams.valkey.servers import RealServer

__all__ = ["Slot", "Traffic", "count_of", "numbered", "numbers_in", "streams_at"]

SECOND = timedelta(seconds=1)


def numbered(stream: str, number: int, **how: Any) -> NewEntry:
    """An entry that can be told from others."""
    return NewEntry(stream, [b"n", b"%d" % number], **how)


def streams_at(cluster: RealCluster, namespace: str, count: int = 2) -> list[str]:
    """*count* streams on each node."""
    found: dict[RealServer, list[str]] = {node: [] for node in cluster.masters}
    for number in itertools.count():
        if all(len(names) == count for names in found.values()):
            return [name for names in found.values() for name in names]
        names = found[cluster.keeper(f"{namespace}:s{number}")]
        if len(names) < count:
            names.append(f"s{number}")
    raise AssertionError


def next_of(cluster: RealCluster, node: RealServer) -> RealServer:
    """Another master."""
    return cluster.masters[(cluster.masters.index(node) + 1) % 3]


def count_of(cluster: RealCluster, node: RealServer, code: str) -> int:
    """How often a node has answered with an error code."""
    said = cluster.ask(node, "INFO", "errorstats").get(f"errorstat_{code}")
    return int(said["count"]) if said else 0


async def numbers_in(broker: ValkeyBroker, stream: str) -> list[int]:
    """What is in a stream, in its order."""
    numbers: list[int] = []
    after: EntryId | None = None
    while page := await broker.range(stream, after, count=500):
        numbers += [int(fields[1]) for _, fields in page]
        after = EntryId.parse(page[-1][0]).next()
    return numbers


class Slot:
    """The slot of one stream, between two nodes."""

    def __init__(self, cluster: RealCluster, namespace: str, stream: str) -> None:
        self.cluster, self.key = cluster, f"{namespace}:{stream}"
        self.number = slot_of(self.key.encode())
        self.source = cluster.keeper(self.key)
        self.target = next_of(cluster, self.source)

    def move(self) -> None:
        """Move all of it to the target; the next time back."""
        self.cluster.move(self.number, self.target, self.source)
        self.source, self.target = self.target, self.source

    def begin(self) -> None:
        """It is on its way, with nothing moved yet."""
        self.cluster.begin_move(self.number, self.source, self.target)

    def finish(self) -> None:
        """All of it is there."""
        self.cluster.move_keys(self.number, self.source, self.target)
        self.cluster.end_move(self.number, self.target)

    def refusals(self, code: str) -> int:
        """How often the source has answered with *code*."""
        return count_of(self.cluster, self.source, code)


class Traffic:
    """Publishers, one for each stream, and a consumer of all of them; at the end the account is made."""

    def __init__(self, broker: ValkeyBroker, streams: Sequence[str], *, batch: int = 5) -> None:
        self.broker, self.streams, self._batch = broker, streams, batch
        self.written: dict[str, list[int]] = {stream: [] for stream in streams}
        self.unknown: dict[str, set[int]] = {stream: set() for stream in streams}
        self.seen: dict[str, Counter[int]] = {stream: Counter() for stream in streams}
        self.troubles: list[BaseException] = []
        self._published = 0
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish and consume; afterwards, until everything has been seen."""
        for stream in self.streams:
            await self.broker.create_group(stream, "billing", BEGINNING)
        async with asyncio.TaskGroup() as tasks:
            consuming = tasks.create_task(self._consume())
            publishing = [tasks.create_task(self._publish(stream)) for stream in self.streams]
            try:
                yield
            finally:
                self._stop.set()
            await asyncio.wait(publishing)
            while any(set(self.written[stream]) - self.seen[stream].keys() for stream in self.streams):
                await asyncio.sleep(0.01)
            while any(
                [(await self.broker.pending_summary(stream, "billing")).count for stream in self.streams]
            ):
                await asyncio.sleep(0.01)
            consuming.cancel()

    async def more(self, count: int = 100) -> None:
        """Wait until so many more were written."""
        target = self._published + count
        while self._published < target:
            await asyncio.sleep(0.001)

    async def _publish(self, stream: str) -> None:
        number = itertools.count()
        while not self._stop.is_set():
            batch = [next(number) for _ in range(self._batch)]
            try:
                outcomes = await self.broker.append_many([numbered(stream, each) for each in batch])
            except BrokerUnavailableError as error:
                self.troubles.append(error)
                continue
            for each, outcome in zip(batch, outcomes, strict=True):
                if outcome.condition is Condition.WRITTEN:
                    self.written[stream].append(each)
                    self._published += 1
                elif outcome.condition is Condition.UNKNOWN:
                    self.unknown[stream].add(each)
                if outcome.cause is not None:
                    self.troubles.append(outcome.cause)
            await asyncio.sleep(0)

    async def _consume(self) -> None:
        done: dict[str, list[bytes]] = {}
        while True:
            try:
                read = await self.broker.read_group(
                    "billing",
                    "ann",
                    self.streams,
                    count=50,
                    block=SECOND if not done else None,
                    acknowledge=done,
                )
            except BrokerUnavailableError as error:
                self.troubles.append(error)
                await self._recover()
                continue
            done = self._note(read.batches)

    async def _recover(self) -> None:
        for stream in self.streams:
            try:
                entries = await self.broker.own_pending(stream, "billing", "ann", after=b"0-0", count=10_000)
                self._note([(stream, entries)])
                await self.broker.acknowledge(stream, "billing", [entry_id for entry_id, _ in entries])
            except BrokerUnavailableError as error:
                self.troubles.append(error)

    def _note(self, batches: Sequence[Any]) -> dict[str, list[bytes]]:
        for stream, entries in batches:
            self.seen[stream].update(int(fields[1]) for _, fields in entries)
        return {stream: [entry_id for entry_id, _ in entries] for stream, entries in batches}

    async def check(self) -> None:
        """Each entry is in its stream once and in order, and was seen; what is there besides was unknown."""
        for stream in self.streams:
            found = await numbers_in(self.broker, stream)
            assert found == sorted(set(found))
            assert set(self.written[stream]) <= set(found)
            assert set(found) - set(self.written[stream]) <= self.unknown[stream]
            assert set(self.written[stream]) <= self.seen[stream].keys()
