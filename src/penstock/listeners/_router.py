"""The router: moves a stream that others write without partitions into the partitions of one of ours.

One router works a stream at a time, by lease. It reads in order and adds each entry, byte by byte, to the partition
of its key. Nothing is pending meanwhile: what is noted as the group's last delivered id is how far everything was
routed, so that lag and floor of the foreign stream are those of routing. Between adding and noting, a crash leaves
entries that are routed and not noted. Each partition knows how far the stream came there (`PartitionStore.route`), so
that the next router adds none of them again. A router that slept while another took over is refused by the fence.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from penstock.clock import Clock, SystemClock
from penstock.errors import (
    BrokerError,
    TransientError,
    UndecodableEntryError,
    UnknownGroupError,
    UnknownStreamError,
)
from penstock.lifecycle import State
from penstock.listeners._backoff import Backoff, unless_quiet
from penstock.listeners._handling import Handling
from penstock.listeners._life import Runs
from penstock.listeners._session import Counts
from penstock.listeners.calls import Dependencies
from penstock.listeners.groups import Group
from penstock.listeners.settings import GroupSettings
from penstock.position import BEGINNING, EntryId, Start
from penstock.streams.abc import (
    LeaseInfo,
    PartitionLayout,
    RawEntry,
    Routed,
    RouteEntry,
    RouteMark,
    StreamBroker,
)
from penstock.streams.layouts import NATIVE, EntryReader
from penstock.streams.leasing import HeldLease, take_lease
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import lane_names, lane_of, partition_of
from penstock.telemetry import Observer, guarded

__all__ = ["ROUTER_GROUP", "StreamRouter"]

ROUTER_GROUP: Final = "penstock-router"
"""The consumer group of the foreign stream by which is seen how far it was routed."""

_BATCH: Final = 200
_BLOCK: Final = timedelta(milliseconds=500)
_WAIT_FOR_LEASE: Final = timedelta(seconds=1)


@dataclass(slots=True)
class _Stint:
    """The work of one router under one layout."""

    layout: PartitionLayout
    fence: int
    former: Mapping[int, Mapping[str, EntryId]]
    """How far the stream came under other layouts, by their number of partitions and the partition."""
    sent: dict[str, EntryId] = field(default_factory=dict[str, EntryId])
    """What went to each partition last."""

    def place(self, key: str, source_id: EntryId, fields: Sequence[bytes]) -> RouteEntry | None:
        """Where an entry goes; ``None`` for one that went there under a former layout."""
        for partitions, lanes in self.former.items():
            last = lanes.get(self._lane(key, partitions))
            if last is not None and source_id <= last:
                return None
        lane = self._lane(key, self.layout.partitions)
        entry = RouteEntry(lane, source_id, fields, self.sent.get(lane))
        self.sent[lane] = source_id
        return entry

    def _lane(self, key: str, partitions: int) -> str:
        return lane_of(self.layout.stream, partition_of(key, partitions))


class StreamRouter(Runs):
    """Routes *source* into the partitions of *target* until stopped.

    Args:
        broker: Keeps *source*.
        target_broker: Keeps *target*.
        partitioned: Knows the partitions of *target*.
        until_idle: End when everything there is has been routed, by whomever.
        lease_life: How long a router that died keeps others from going on with its work.
    """

    def __init__(
        self,
        source: str,
        target: str,
        *,
        broker: StreamBroker,
        target_broker: StreamBroker,
        partitioned: Partitioned,
        layout: EntryReader = NATIVE,
        clock: Clock | None = None,
        observer: Observer | None = None,
        until_idle: bool = False,
        reconnect_attempts: int | None = None,
        lease_life: timedelta = timedelta(seconds=15),
    ) -> None:
        self.group = Group(ROUTER_GROUP, GroupSettings(), streams=(source,))
        super().__init__(
            f"router of stream {source!r}", Handling(self.group, Dependencies(), middleware=()), threads=1
        )
        self.counts = Counts()
        self.consumer: str | None = None
        self.paused_by: BaseException | None = None
        self.streams: tuple[str, ...] = (source,)
        self.caught_up = asyncio.Event()
        """Set when there was nothing left to route, and at the end of a run."""
        self._source = source
        self._target = target
        self._broker = broker
        self._target_broker = target_broker
        self._partitioned = partitioned
        self._layout = layout
        self._clock = clock or SystemClock()
        self._observer = guarded(observer)
        self._until_idle = until_idle
        self._reconnect_attempts = reconnect_attempts
        self._lease_life = lease_life

    async def run(self) -> None:
        """Route until `stop`, which lets the present batch end.

        Raises:
            PartitionCountError: The settings disagree with the partitions that the target has.
            BrokerUnavailableError: A server was away for more tries than allowed.
            BrokerRefusedError: A server does not let us.
            IllegalTransitionError: It runs already.
        """
        await super().run()

    async def _run(self) -> None:
        backoff = Backoff(
            self.life.thing, self._clock, attempts=self._reconnect_attempts, observer=self._observer
        )
        self.counts.last_progress = self._clock.monotonic()
        try:
            while not self.life.is_quiet:
                try:
                    await self._take_turn()
                except UnknownGroupError:
                    continue  # deleted underneath, alone or with its stream: it is made again
                except TransientError as failure:
                    self.paused_by = failure
                    await unless_quiet(self.life.wait_quiet(), backoff.wait(failure))
                else:
                    self.paused_by = None
                    backoff.succeeded()
        finally:
            self.caught_up.set()  # whoever waits for it waits for nothing now

    async def _take_turn(self) -> None:
        await self._broker.open()
        await self._target_broker.open()
        await self._ensure_group()
        if self.life.state is State.STARTING:
            self.life.move(State.READY)
        held = await take_lease(
            self._broker.leases,
            ROUTER_GROUP,
            stream=self._source,
            life=self._lease_life,
            clock=self._clock,
            wait=_WAIT_FOR_LEASE,
        )
        if isinstance(held, LeaseInfo):
            if not await self._lag():
                self._is_idle()
            return
        async with held as lease:
            while not self.life.is_quiet and lease.is_held and await self._route_one_layout(lease):
                pass

    # -- routing ------------------------------------------------------------------------------------------------

    async def _route_one_layout(self, lease: HeldLease) -> bool:
        """Route until the layout of the target changes; whether there is a point in going on."""
        layout = await self._partitioned.layout(self._target)
        marks = await self._fence(layout, lease.fence)
        position = await self._position()
        stint = _Stint(layout, lease.fence, _former(layout, marks, position))
        while not self.life.is_quiet and lease.is_held:
            entries = await self._read(position)
            if not entries:
                self._is_idle()
                continue
            outcome = await self._route(stint, entries)
            if outcome is not Routed.WRITTEN:
                if outcome is Routed.CLOSED:
                    self._partitioned.refused(layout)
                return outcome is not Routed.FENCED
            position = EntryId.parse(entries[-1][0])
            await self._broker.partitions.advance_route(self._source, ROUTER_GROUP, entries[-1][0])
            self.counts.handled += len(entries)
            self.counts.last_progress = self._clock.monotonic()
        return False

    async def _route(self, stint: _Stint, entries: Sequence[RawEntry]) -> Routed:
        """Add a batch; `WRITTEN` when all of it is there. Raises `BrokerError` for what a server refuses."""
        self.caught_up.clear()
        self.counts.delivered += len(entries)
        placed = [
            found
            for raw_id, fields in entries
            if (found := stint.place(self._key(raw_id, fields), EntryId.parse(raw_id), fields)) is not None
        ]
        if not placed:
            return Routed.WRITTEN
        outcomes = await self._target_broker.partitions.route(
            self._source,
            placed,
            epoch=stint.layout.epoch,
            partitions=stint.layout.partitions,
            fence=stint.fence,
        )
        for outcome in outcomes:
            if isinstance(outcome, BrokerError):
                raise outcome
        for wrong in (Routed.FENCED, Routed.CLOSED, Routed.OUT_OF_TURN):
            if wrong in outcomes:
                return wrong
        return Routed.WRITTEN

    def _key(self, raw_id: bytes, fields: list[bytes]) -> str:
        try:
            message = self._layout.read(self._source, raw_id, fields)
        except UndecodableEntryError:
            # It is for the groups of the target to record it, whichever partition it is in.
            return raw_id.decode()
        return message.id if message.key is None else message.key

    async def _fence(self, layout: PartitionLayout, fence: int) -> list[RouteMark]:
        return [
            mark
            for lane in lane_names(self._target, layout.ever)
            for mark in await self._target_broker.partitions.fence_route(lane, self._source, fence)
        ]

    # -- the foreign stream -------------------------------------------------------------------------------------

    async def _read(self, position: EntryId) -> list[RawEntry]:
        """Entries after *position*; waits a moment for the first, unless there is to be an end."""
        block = None if self._until_idle else _BLOCK
        reading = asyncio.create_task(
            self._broker.read({self._source: bytes(position)}, count=_BATCH, block=block)
        )
        try:
            await unless_quiet(self.life.wait_quiet(), _ended(reading))
            batches = reading.result() if reading.done() else []
            return batches[0][1] if batches else []
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _ensure_group(self) -> None:
        """The group by which is seen how far it was routed, begun where nobody has handled what comes after."""
        start: Start = BEGINNING
        if self._source == self._target:
            needed = (await self._broker.removal.floor(self._source)).entry_id
            start = needed.previous() if needed is not None and needed > EntryId(0) else BEGINNING
        await self._broker.create_group(self._source, ROUTER_GROUP, start)
        await self._broker.removal.register_groups(self._source, [ROUTER_GROUP])

    async def _position(self) -> EntryId:
        for group in await self._broker.groups(self._source):
            if group.name == ROUTER_GROUP:
                return group.last_delivered
        raise UnknownGroupError(self._source, ROUTER_GROUP)

    async def _lag(self) -> int:
        try:
            groups = await self._broker.groups(self._source)
        except UnknownStreamError:
            return 0
        return sum(group.lag_entries for group in groups if group.name == ROUTER_GROUP)

    def _is_idle(self) -> None:
        self.caught_up.set()
        if self._until_idle:
            self.stop()


async def _ended(task: "asyncio.Task[Any]") -> None:
    await asyncio.wait({task})


def _former(
    layout: PartitionLayout, marks: Sequence[RouteMark], position: EntryId
) -> dict[int, dict[str, EntryId]]:
    """How far beyond *position* the stream came under other layouts than this one."""
    found: dict[int, dict[str, EntryId]] = {}
    for mark in marks:
        if mark.epoch != layout.epoch and mark.last > position:
            lanes = found.setdefault(mark.partitions, {})
            lanes[mark.lane] = max(mark.last, lanes.get(mark.lane, mark.last))
    return found
