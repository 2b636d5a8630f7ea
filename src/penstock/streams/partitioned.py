"""Partitioned streams as one process knows them: where an event goes, and which streams there are to read.

A publisher remembers the layout of a stream and never asks again, until a partition refuses it: then the layout is
another one, or is being changed. It reads the record again, waits for as long as a change may take, and goes on in the
new layout. What was refused in one layout is refused for good there, so that events of a key keep their order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, TypeAlias

import msgspec

from penstock.clock import Clock, SystemClock
from penstock.errors import (
    BrokerError,
    ConfigurationError,
    PartitionCountError,
    RepartitioningError,
    UnknownStreamError,
)
from penstock.position import BEGINNING
from penstock.streams.abc import (
    AppendOutcome,
    Condition,
    LayoutPhase,
    NewEntry,
    PartitionLayout,
    RawId,
    StreamBroker,
)
from penstock.streams.partitions import first_layout, lane_names, lane_of, partition_of, settled
from penstock.streams.topics import split_shard

__all__ = ["Partitioned", "Placed", "finish_opening", "make_first_layout"]

Placed: TypeAlias = tuple[NewEntry, str | None]
"""An entry, and the key that chooses its partition; ``None`` for a stream without partitions."""

_PATIENCE: Final = timedelta(seconds=30)
_SHORTEST_PAUSE: Final = timedelta(milliseconds=10)
_LONGEST_PAUSE: Final = timedelta(milliseconds=500)


class Partitioned:
    """The partitioned streams of one app, from one event loop.

    Args:
        declared: The streams that have partitions, with how many; a shard of one has as many.
        patience: How long an event waits for a repartitioning to end.
        routed_into_themselves: Streams whose entries from before they had partitions are moved into these.
    """

    def __init__(
        self,
        declared: Mapping[str, int],
        broker_for: Callable[[str], StreamBroker],
        *,
        clock: Clock | None = None,
        patience: timedelta = _PATIENCE,
        routed_into_themselves: Collection[str] = (),
    ) -> None:
        self._routed_into_themselves = frozenset(routed_into_themselves)
        self._declared = declared
        self._broker_for = broker_for
        self._clock = clock or SystemClock()
        self._patience = patience
        self._layouts: dict[str, PartitionLayout] = {}
        self._refused: dict[str, int] = {}
        """The epoch of the layout in which a partition refused an entry last."""
        self._compared: set[str] = set()
        self._reading: dict[str, asyncio.Lock] = {}

    def count_of(self, stream: str) -> int | None:
        """How many partitions *stream* is declared to have; ``None`` for a stream without."""
        return self._declared.get(stream) or self._declared.get(split_shard(stream)[0])

    async def lanes(self, stream: str) -> tuple[str, ...]:
        """The streams to read for *stream*: itself, or every partition that it ever had, as the server knows it now.

        Partitions of former layouts hold what was written then, and what has failed or is parked there.

        Raises:
            PartitionCountError: The settings disagree with the stream's record, which nobody is changing.
        """
        if (count := self.count_of(stream)) is None:
            return (stream,)
        return lane_names(stream, (await self._record(stream, count)).ever)

    # -- writing ------------------------------------------------------------------------------------------------

    async def place(self, entry: NewEntry, key: str) -> NewEntry:
        """An entry in the partition of *key* under the present layout; nothing is added. Raises as `append`."""
        return _in_lane(entry, key, await self._layout(entry.stream))

    async def append(self, entry: NewEntry, key: str) -> tuple[NewEntry, RawId]:
        """Add an entry to the partition of *key*: the entry as it was added, and its id there.

        Raises:
            PartitionCountError: As `lanes`.
            RepartitioningError: The stream is being repartitioned, and waiting did not help. Nothing was written.
        """
        until = None
        while True:
            layout = await self._layout(entry.stream)
            placed = _in_lane(entry, key, layout)
            try:
                return placed, await self._broker_for(entry.stream).append(placed)
            except RepartitioningError:
                self.refused(layout)
                until = self._until() if until is None else until
                if self._clock.monotonic() > until:
                    raise

    async def append_many(
        self,
        entries: Sequence[Placed],
        append: Callable[[Sequence[NewEntry]], Awaitable[list[AppendOutcome]]],
    ) -> tuple[list[NewEntry], list[AppendOutcome]]:
        """Add entries in order by *append*, each in its place: the entries as they were added, and one outcome each.

        Raises:
            PartitionCountError: As `lanes`; nothing was written.
        """
        added = [entry for entry, _ in entries]
        outcomes = [AppendOutcome(Condition.NOT_WRITTEN)] * len(entries)
        left: list[int] = list(range(len(entries)))
        until = None
        while left:
            ready: list[int] = []
            layouts: dict[str, PartitionLayout | BrokerError] = {}
            for number in left:
                entry, key = entries[number]
                if key is None:
                    ready.append(number)
                    continue
                found = layouts.get(entry.stream) or await self._layout_or_error(entry.stream)
                layouts[entry.stream] = found
                if isinstance(found, BrokerError):
                    outcomes[number] = AppendOutcome(Condition.NOT_WRITTEN, cause=found)
                else:
                    added[number] = _in_lane(entry, key, found)
                    ready.append(number)
            left = []
            for number, outcome in zip(ready, await append([added[number] for number in ready]), strict=True):
                outcomes[number] = outcome
                if isinstance(outcome.cause, RepartitioningError):
                    left.append(number)
            for found in [layouts[entries[number][0].stream] for number in left]:
                if isinstance(found, PartitionLayout):
                    self.refused(found)
            until = self._until() if until is None else until
            if self._clock.monotonic() > until:
                break
        return added, outcomes

    # -- layouts ------------------------------------------------------------------------------------------------

    async def layout(self, stream: str) -> PartitionLayout:
        """The layout by which *stream* is written to now, waiting for it if it is being changed. Raises as `append`."""
        return await self._layout(stream)

    async def _layout_or_error(self, stream: str) -> PartitionLayout | BrokerError:
        try:
            return await self._layout(stream)
        except BrokerError as error:
            return error

    async def _layout(self, stream: str) -> PartitionLayout:
        if (known := self._layouts.get(stream)) is not None:
            return known
        async with self._reading.setdefault(stream, asyncio.Lock()):
            if (known := self._layouts.get(stream)) is None:
                known = self._layouts[stream] = await self._settled(stream)
        return known

    def refused(self, layout: PartitionLayout) -> None:
        """A partition took nothing under *layout*: it is to be read again."""
        self._refused[layout.stream] = layout.epoch
        # Others may have read the next one already.
        if self._layouts.get(layout.stream) is layout:
            del self._layouts[layout.stream]

    async def _settled(self, stream: str) -> PartitionLayout:
        until, pause = self._until(), _SHORTEST_PAUSE
        broker, count = self._broker_for(stream), self.count_of(stream) or 1
        while True:
            layout = await self._record(stream, count)
            if layout.phase is LayoutPhase.OPENING:
                layout = await finish_opening(broker, layout) or layout
            if await self._may_be_open(broker, layout):
                return layout
            if self._clock.monotonic() > until:
                raise RepartitioningError(lane_of(stream, 0))
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _may_be_open(self, broker: StreamBroker, layout: PartitionLayout) -> bool:
        if layout.phase is LayoutPhase.OPENING:
            return False
        if self._refused.get(layout.stream) != layout.epoch:
            return True
        if layout.phase is LayoutPhase.DRAINING:
            return False
        # Refused though nothing changes: the mark of a partition went with its stream, and would be missing for ever.
        lanes = lane_names(layout.stream, layout.partitions)
        return all([await broker.partitions.open_lane(lane, layout.epoch) for lane in lanes])

    async def _record(self, stream: str, count: int) -> PartitionLayout:
        """What the server has noted of the stream, its first layout made if there is none."""
        broker = self._broker_for(stream)
        layout = await broker.partitions.layout(stream)
        if layout is None:
            layout = await make_first_layout(
                broker, stream, count, is_routed=stream in self._routed_into_themselves
            )
        # A process that runs follows every change; one that starts is told when its settings are of yesterday.
        if stream not in self._compared and count not in (layout.partitions, layout.target):
            raise PartitionCountError(stream, declared=count, recorded=layout.partitions)
        self._compared.add(stream)
        return layout

    def _until(self) -> float:
        return self._clock.monotonic() + self._patience.total_seconds()


async def make_first_layout(
    broker: StreamBroker, stream: str, partitions: int, *, is_routed: bool = False
) -> PartitionLayout:
    """Divide a stream that was never divided; the layout that holds, whoever made it.

    What lies in the stream itself from before is not in any partition. Either its groups have handled all of it, or
    a router moves it (*is_routed*).

    Raises:
        ConfigurationError: Groups have not handled all of it, and nobody moves it.
    """
    try:
        groups = await broker.groups(stream)
    except UnknownStreamError:
        groups = []
    if not is_routed and (left := await _who_needs(broker, stream)):
        raise ConfigurationError(
            f"stream {stream!r} is to have {partitions} partitions, and what came into it before is still needed (by "
            f"{', '.join(left)}); have it handled without the setting `partitions`, or set routed_from = {stream!r}, "
            "so that a router moves it"
        )
    layout = await broker.partitions.layout(stream)
    while layout is None:
        first = first_layout(stream, partitions, await broker.server_time_us())
        for lane in lane_names(stream, partitions):
            for group in groups:
                await broker.create_group(lane, group.name, BEGINNING)
        await broker.partitions.put(first)
        layout = await broker.partitions.layout(stream)
    if layout.phase is LayoutPhase.OPENING:
        layout = await finish_opening(broker, layout) or layout
    return layout


async def _who_needs(broker: StreamBroker, stream: str) -> list[str]:
    """Who has not seen everything of a stream; where nobody has seen anything, whoever comes."""
    if not await broker.length(stream):
        return []
    last = (await broker.info(stream)).last_id
    holds = (await broker.removal.floor(stream)).holds
    return [f"{hold.kind.value} {hold.name!r}" for hold in holds if hold.needs <= last] or (
        [] if holds else ["groups that come"]
    )


async def finish_opening(broker: StreamBroker, layout: PartitionLayout) -> PartitionLayout | None:
    """Open every partition of a layout that is to be opened, and note that it is settled; ``None`` if it is no more.

    Anyone may do it, also several at once, and again.
    """
    for lane in lane_names(layout.stream, layout.partitions):
        await broker.partitions.open_lane(lane, layout.epoch)
    done = settled(layout)
    return done if await broker.partitions.put(done) else None


def _in_lane(entry: NewEntry, key: str, layout: PartitionLayout) -> NewEntry:
    lane = lane_of(layout.stream, partition_of(key, layout.partitions))
    return msgspec.structs.replace(entry, stream=lane, epoch=layout.epoch)
