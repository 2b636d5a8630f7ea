"""Into streams: events go by the script that marks how far the relay has come, so that none is there twice.

The mark on the server decides, not what the store has noted: after a lost reply, a crash, or with two relays at work,
what is sent again is passed over. A server whose mark is lower than what was noted has lost something; that is read
again from the store and sent before anything else goes there.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from penstock.errors import (
    BrokerError,
    BrokerUnavailableError,
    RepartitioningError,
    StreamFullError,
    TransientError,
)
from penstock.relays._packing import Outbound
from penstock.relays._places import Places, lost
from penstock.streams.abc import (
    Cap,
    Condition,
    Dedupe,
    NewEntry,
    PartitionLayout,
    RelayBatch,
    Relayed,
    RelayMark,
    RelayOutcome,
    StreamBroker,
)
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import lane_names, lane_of, partition_of, split_lane
from penstock.telemetry import LOGGER

__all__ = ["Past", "StreamSink"]


class Past(Protocol):
    """The store, as far as the relay has come."""

    async def read(self, after: int, through: int) -> Sequence[Outbound]:
        """The next events above one position and up to another, packed, some of them at a time; none: that was all."""
        ...

    async def check(self, mark: RelayMark) -> None:
        """Raises `StoreWentBackError` if the store has not the event that was marked."""
        ...


_LOG: Final = LOGGER.getChild("relays")
_CHUNK_EVENTS: Final = 500
_CHUNK_BYTES: Final = 1024 * 1024
"""Of so much at most is one script: a server does nothing else meanwhile."""
_LATE: Final = timedelta(days=1)
_AT_ONCE: Final = 64
_PATIENCE_S: Final = 30.0


class _LostError(Exception):
    """The server has lost something of a stream."""

    def __init__(self, stream: str, reached: int) -> None:
        self.stream, self.reached = stream, reached
        super().__init__(stream)


@dataclass(frozen=True, slots=True)
class _Lane:
    """Where events go: a stream, or a partition of one under a layout."""

    name: str
    epoch: int = 0
    partitions: int = 0


class StreamSink:
    """Writes the events of one relay into streams, from one event loop."""

    def __init__(
        self,
        *,
        broker_for: Callable[[str], StreamBroker],
        cap_for: Callable[[str], Cap | None] = lambda _: None,
        partitioned: Partitioned | None = None,
    ) -> None:
        self._broker_for = broker_for
        self._cap_for = cap_for
        self._partitioned = partitioned
        self._former: dict[tuple[str, int], dict[str, list[RelayMark]]] = {}
        self._compared: set[tuple[str, str]] = set()

    def compare_anew(self) -> None:
        """A run begins: the store may be another than it was, so marks are compared with it again."""
        self._compared.clear()
        self._former.clear()

    async def send(self, relay: str, events: Sequence[Outbound], places: Places, past: Past) -> None:
        """Add events that lie above the relay's checkpoint, in order; *places* then say where the relay is.

        Raises:
            StoreWentBackError: A mark is not above these events by a lost answer or a crash: the store is another one.
            BrokerUnavailableError: Some are not there yet, or nobody knows; sending all of them again is safe.
            StreamFullError: The same, since a stream is at its cap.
        """
        if not events:
            return
        for _ in range(3):
            try:
                await self._send(relay, events, places, past)
            except _LostError as failure:
                through = events[0].entry.position - 1
                await self._mend(relay, {failure.stream: failure.reached}, places, through, past)
            else:
                return
        raise BrokerUnavailableError(f"relay {relay!r}: the server loses what it was sent, time and again")

    async def verify(self, relay: str, places: Places, *, through: int, past: Past) -> bool:
        """Look whether the server still has what it had, and send it again if not; whether anything was lost."""
        marks: dict[str, Sequence[RelayMark]] = {}
        for stream in places.streams:
            marks |= await self._broker_for(stream).relays.marks(relay, [stream])
        gone = lost(places, marks)
        if gone:
            await self._mend(relay, gone, places, through, past)
        return bool(gone)

    async def send_late(self, relay: str, event: Outbound) -> None:
        """Add one event that lies below the relay's checkpoint, once within a day: one that had failed, say."""
        entry = NewEntry(
            event.stream,
            event.entry.fields,
            cap=self._cap_for(event.stream),
            dedupe=Dedupe(f"{relay}/{event.entry.event_id}", _LATE),
            index=event.entry.index,
        )
        async with _transient(event.stream):
            if self._is_partitioned(event.stream) and self._partitioned is not None:
                await self._partitioned.append(entry, event.chooser)
                return
            [outcome] = await self._broker_for(event.stream).append_many([entry])
            if outcome.condition is not Condition.WRITTEN:
                raise outcome.cause or BrokerUnavailableError(f"{event.stream!r} did not answer")

    # -- one step -----------------------------------------------------------------------------------------------

    async def _send(self, relay: str, events: Sequence[Outbound], places: Places, past: Past) -> None:
        by_stream: dict[str, list[Outbound]] = {}
        for event in events:
            by_stream.setdefault(event.stream, []).append(event)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(stream: str, part: list[Outbound]) -> None:
            async with limit, _transient(stream):
                if self._is_partitioned(stream):
                    await self._to_partitions(relay, stream, part, places, past)
                elif await self._to_lane(relay, _Lane(stream), part, places, past):
                    raise RepartitioningError(stream)

        if len(by_stream) == 1:
            [(stream, part)] = by_stream.items()
            await one(stream, part)
            return
        _raise_first(
            await asyncio.gather(*(one(*each) for each in by_stream.items()), return_exceptions=True)
        )

    async def _to_partitions(
        self, relay: str, stream: str, events: Sequence[Outbound], places: Places, past: Past
    ) -> None:
        assert self._partitioned is not None
        until = asyncio.get_running_loop().time() + _PATIENCE_S
        left = list(events)
        while left:
            layout = await self._partitioned.layout(stream)
            lanes: dict[str, list[Outbound]] = {}
            for event in await self._not_there(relay, layout, left, past):
                lanes.setdefault(lane_of(stream, partition_of(event.chooser, layout.partitions)), []).append(
                    event
                )
            outcomes = await asyncio.gather(
                *(
                    self._to_lane(relay, _Lane(name, layout.epoch, layout.partitions), part, places, past)
                    for name, part in lanes.items()
                ),
                return_exceptions=True,
            )
            _raise_first(outcomes)
            left = [event for part in outcomes if isinstance(part, list) for event in part]
            left.sort(key=_position)
            if left:
                self._partitioned.refused(layout)
                if asyncio.get_running_loop().time() > until:
                    raise RepartitioningError(lane_of(stream, 0))

    async def _not_there(
        self, relay: str, layout: PartitionLayout, events: list[Outbound], past: Past
    ) -> list[Outbound]:
        """Those that did not come in under a former layout, in which nothing comes in any more."""
        key = (layout.stream, layout.epoch)
        former = self._former.get(key)
        if former is None:
            lanes = lane_names(layout.stream, max(layout.ever, layout.partitions))
            noted = await self._broker_for(layout.stream).relays.marks(relay, lanes)
            former = {
                lane: [mark for mark in marks if mark.epoch < layout.epoch] for lane, marks in noted.items()
            }
            await _compare(former, events, past)
            self._former[key] = former
        last = max((mark.position for marks in former.values() for mark in marks), default=0)

        def was_added(event: Outbound) -> bool:
            position = event.entry.position
            return position <= last and any(
                mark.position >= position
                and lane == lane_of(layout.stream, partition_of(event.chooser, mark.partitions))
                for lane, marks in former.items()
                for mark in marks
                if mark.partitions
            )

        return [event for event in events if not was_added(event)]

    async def _to_lane(
        self, relay: str, lane: _Lane, events: Sequence[Outbound], places: Places, past: Past
    ) -> list[Outbound]:
        """Add events to one stream or partition, a piece after another; those left because it is closed."""
        broker, cap = self._broker_for(lane.name), self._cap_for(lane.name)
        if (relay, lane.name) not in self._compared:
            await _compare(await broker.relays.marks(relay, [lane.name]), events, past)
            self._compared.add((relay, lane.name))
        for piece in _pieces(events):
            batch = RelayBatch(
                lane.name,
                [event.entry for event in piece],
                after=places.at(lane.name, lane.epoch),
                cap=cap,
                epoch=lane.epoch or None,
                partitions=lane.partitions,
            )
            done: Relayed = await broker.relays.add(relay, batch)
            if done.outcome is RelayOutcome.BEHIND:
                raise _LostError(lane.name, done.position)
            reached = [event for event in piece if event.entry.position <= done.position]
            if reached:
                places.move(
                    lane.name, reached[-1].entry.position, first=piece[0].entry.position, epoch=lane.epoch
                )
            if done.outcome is RelayOutcome.CLOSED:
                return [event for event in events if event.entry.position > done.position]
            if done.outcome is RelayOutcome.FULL:
                raise StreamFullError(lane.name, limit=cap.max_entries or 0 if cap is not None else 0)
        return []

    # -- what a server has lost ---------------------------------------------------------------------------------

    async def _mend(
        self, relay: str, reached: dict[str, int], places: Places, through: int, past: Past
    ) -> None:
        """Send again what the server has no more. Marks that it still has keep everything else from coming twice."""
        start = through
        for stream, position in reached.items():
            since = places.rewind(stream, position)
            _LOG.warning(
                "the server has lost what relay %r had added to stream %r after position %d; it is added again",
                *(relay, stream, since),
            )
            start = min(start, since)
        self._former.clear()
        streams = {each for stream in reached for each in (stream, (split_lane(stream) or (stream,))[0])}
        while start < through:
            events = await past.read(start, through)
            if not events:
                return
            await self._send(relay, [event for event in events if event.stream in streams], places, past)
            start = events[-1].entry.position

    def _is_partitioned(self, stream: str) -> bool:
        return self._partitioned is not None and self._partitioned.count_of(stream) is not None


async def _compare(marks: Mapping[str, Sequence[RelayMark]], events: Sequence[Outbound], past: Past) -> None:
    """A mark lets events below it be passed over: after a crash rightly so, but not if the store is another one."""
    for mark in (mark for each in marks.values() for mark in each):
        if mark.position >= events[0].entry.position:
            await past.check(mark)


def _position(event: Outbound) -> int:
    return event.entry.position


def _pieces(events: Iterable[Outbound]) -> Iterator[list[Outbound]]:
    piece: list[Outbound] = []
    size = 0
    for event in events:
        if piece and (len(piece) == _CHUNK_EVENTS or size + event.size > _CHUNK_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(event)
        size += event.size
    if piece:
        yield piece


def _raise_first(outcomes: Iterable[object]) -> None:
    """What was lost is to be known before what may be tried again."""
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    for failure in sorted(failures, key=lambda each: not isinstance(each, _LostError)):
        raise failure


class _transient:  # noqa: N801  used as a statement
    """What the server will not do is no fault of an event: it is tried again, and shown meanwhile."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, BrokerError) and not isinstance(error, TransientError):
            raise BrokerUnavailableError(f"stream {self._stream!r}: {error}") from error
