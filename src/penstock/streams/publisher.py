"""Publishing: events become entries, with one envelope, one size limit and one account of how it ended.

Many tasks may publish at once; the broker coalesces what they send in one turn of the event loop into one write.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias, TypedDict, Unpack

import msgspec

from penstock.codec import JSON, Codec
from penstock.envelope import CURRENT_MESSAGE, Declarations, encode, enveloped, nameless
from penstock.errors import BrokerUnavailableError, PublishError, UsageError
from penstock.message import new_event_ids
from penstock.position import EntryId
from penstock.streams.abc import AppendOutcome, Cap, Condition, Dedupe, Index, NewEntry, RawId, StreamBroker
from penstock.streams.layouts import NATIVE, Layout, Layouts, allowed_codec
from penstock.streams.partitioned import Partitioned
from penstock.streams.topics import split_shard, with_shard
from penstock.telemetry import Observer, guarded

__all__ = ["CURRENT_MESSAGE", "Flusher", "Outgoing", "Prepared", "Published", "Publisher", "Said"]


class Published(msgspec.Struct, frozen=True, gc=False):
    """Where an event went: its identity and its place."""

    event_id: str
    stream: str
    raw_entry_id: RawId

    @property
    def entry_id(self) -> EntryId:
        """The place in the stream."""
        return EntryId.parse(self.raw_entry_id)


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One event on its way out, with everything a caller may say about it."""

    event: object
    stream: str | None = None
    name: str | None = None
    key: str | None = None
    kind: str | None = None
    headers: Mapping[str, str] | None = None
    codec: Codec | None = None
    entry_id: EntryId | None = None
    event_id: str | None = None
    dedupe: Dedupe | bool = False
    shard: str | None = None


class Said(TypedDict, total=False):
    """What a caller may say about an event, or about each of many; see `penstock.App.emit`."""

    stream: str | None
    name: str | None
    key: str | None
    kind: str | None
    headers: Mapping[str, str] | None
    codec: Codec | None
    entry_id: EntryId | None
    event_id: str | None
    dedupe: Dedupe | bool
    shard: str | None


Prepared: TypeAlias = tuple[str, NewEntry, str | None]
"""An event id, the entry that carries it, and the key that chooses its partition where the stream has any."""


class Publisher:
    """Writes events to the streams of one app."""

    def __init__(
        self,
        *,
        broker_for: Callable[[str], StreamBroker],
        source: str,
        max_body: int = 1024 * 1024,
        cap_for: Callable[[str], Cap | None] = lambda _: None,
        layout: Layout | Layouts = NATIVE,
        observer: Observer | None = None,
        time_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        partitioned: Partitioned | None = None,
        indexed: Collection[str] = (),
    ) -> None:
        self._indexed = frozenset(indexed)
        """Streams of which every event with a key has its place in a history, whatever its class says."""
        self._broker_for = broker_for
        self._partitioned = partitioned
        self._source = source
        self._max_body = max_body
        self._cap_for = cap_for
        self._layouts = layout if isinstance(layout, Layouts) else Layouts(default=layout)
        self._observer = guarded(observer)
        self._time_us = time_us
        self._declarations = Declarations()

    async def publish(self, outgoing: Outgoing) -> Published:
        """Write one event.

        Raises:
            UsageError: The event, its name or its body cannot be published; nothing was sent.
            EntryIdTooSmallError: The explicit entry id is not above the stream's last.
            StreamFullError: The stream is at its cap.
            BrokerUnavailableError: Nothing was written.
            RepartitioningError: The stream is being repartitioned, for longer than an event waits. Nothing was written.
            PartitionCountError: The settings disagree with the partitions that the stream has. Nothing was written.
            PublishError: The connection broke after sending: the event may be there.
        """
        now = self._time_us()
        event_id, entry, chooser = self._prepare(outgoing, outgoing.event_id or new_event_ids(1, now)[0], now)
        if chooser is not None and self._partitioned is not None:
            entry, raw_id = await self._partitioned.append(entry, chooser)
        else:
            raw_id = await self._broker_for(entry.stream).append(entry)
        if self._observer is not None:
            self._observer.published(entry.stream, 1, (self._time_us() - now) / 1e6)
        return Published(event_id, entry.stream, raw_id)

    async def publish_many(self, batch: Sequence[Outgoing]) -> list[Published]:
        """Write many events, in order, in one pipeline per server; where they went, in the same order.

        Every event is checked and encoded before the first is sent.

        Raises:
            UsageError: One of the events cannot be published; nothing was sent.
            CodecError: One of the bodies cannot be encoded; nothing was sent.
            PublishError: Some were not written, or nobody knows: it says which.
        """
        return await self.publish_prepared(self.prepare(batch))

    def prepare(self, batch: Sequence[Outgoing]) -> list[Prepared]:
        """Check and encode events without sending anything. Raises `UsageError`, `CodecError`."""
        now = self._time_us()
        fresh = new_event_ids(len(batch), now)
        prepare = self._prepare
        return [
            prepare(outgoing, outgoing.event_id or event_id, now)
            for outgoing, event_id in zip(batch, fresh, strict=True)
        ]

    async def publish_prepared(self, prepared: Sequence[Prepared]) -> list[Published]:
        """Write what `prepare` made. Raises `PublishError`."""
        if not prepared:
            return []
        started = self._time_us()
        entries = [entry for _, entry, _ in prepared]
        if self._partitioned is None:
            outcomes = await self._append(entries)
        else:
            placed = [(entry, chooser) for _, entry, chooser in prepared]
            entries, outcomes = await self._partitioned.append_many(placed, self._append)
        if any(outcome.condition is not Condition.WRITTEN for outcome in outcomes):
            raise _publish_error(outcomes)
        if self._observer is not None:
            self._observe(entries, started)
        return [
            Published(event_id, entry.stream, outcome.entry_id or b"")
            for (event_id, _, _), entry, outcome in zip(prepared, entries, outcomes, strict=True)
        ]

    async def place(self, outgoing: Outgoing, *, time_us: int) -> tuple[str, NewEntry]:
        """An event of that time as it would be written: its id, and the entry, in its partition; nothing is sent.

        Raises as `publish`.
        """
        event_id, entry, chooser = self._prepare(
            outgoing, outgoing.event_id or new_event_ids(1, self._time_us())[0], time_us
        )
        if chooser is not None and self._partitioned is not None:
            entry = await self._partitioned.place(entry, chooser)
        return event_id, entry

    def flusher(self, *, limit: int = 1000) -> "Flusher":
        """A buffer of events that are written together."""
        return Flusher(self, limit=limit)

    # -- one entry ----------------------------------------------------------------------------------------------

    def _prepare(self, outgoing: Outgoing, event_id: str, now_us: int) -> Prepared:
        event, stream, name, codec = outgoing.event, outgoing.stream, outgoing.name, outgoing.codec
        declared = self._declarations.of(type(event))
        if stream is None:
            stream = declared.stream if declared is not None and name is None else name
        if stream is None:
            raise nameless(event)
        if outgoing.shard is not None:
            stream = with_shard(stream, outgoing.shard)
        layout = self._layouts.of(stream)
        if declared is None:
            codec = allowed_codec(layout, codec or JSON)
        elif layout.codecs:
            codec = allowed_codec(layout, codec or declared.codec)
        encoded = encode(event, declared, name, outgoing.key, outgoing.kind, codec, self._max_body)
        name, key, data, dedupe = encoded.name, encoded.key, encoded.data, outgoing.dedupe
        meta = enveloped(encoded, now_us, self._source, outgoing.headers)
        try:
            fields = layout.pack(event_id, name, meta, data)
        except UnicodeEncodeError as failure:
            raise UsageError(
                f"name, key, source or a header of {name!r} is no text that can be written: {failure}"
            ) from failure
        once = _dedupe(dedupe, event_id) if dedupe else None
        chooser = None
        if self._partitioned is not None and self._partitioned.count_of(stream) is not None:
            chooser = event_id if key is None else key
        entry = NewEntry(stream, fields, outgoing.entry_id, self._cap_for(stream), once)
        if key is not None and ((declared is not None and declared.history) or self._is_indexed(stream)):
            entry = msgspec.structs.replace(entry, index=Index(name, key))
        return event_id, entry, chooser

    def _is_indexed(self, stream: str) -> bool:
        return bool(self._indexed) and not self._indexed.isdisjoint((stream, split_shard(stream)[0]))

    async def _append(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
        if not entries:
            return []
        by_broker: dict[int, tuple[StreamBroker, list[int]]] = {}
        for number, entry in enumerate(entries):
            broker = self._broker_for(entry.stream)
            by_broker.setdefault(id(broker), (broker, []))[1].append(number)
        if len(by_broker) == 1:
            [(broker, _)] = by_broker.values()
            return await _append_to(broker, entries)
        outcomes: list[AppendOutcome | None] = [None] * len(entries)
        for broker, numbers in by_broker.values():
            for number, outcome in zip(
                numbers, await _append_to(broker, [entries[number] for number in numbers]), strict=True
            ):
                outcomes[number] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _observe(self, entries: Iterable[NewEntry], started_us: int) -> None:
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.stream] = counts.get(entry.stream, 0) + 1
        seconds = (self._time_us() - started_us) / 1e6
        for stream, count in counts.items():
            if self._observer is not None:
                self._observer.published(stream, count, seconds)


class Flusher:
    """Collects events and writes them together: at *limit*, at `flush`, and when its ``async with`` block ends well.

    Leaving the block by an exception writes nothing of what is still collected.
    """

    def __init__(self, publisher: Publisher, *, limit: int) -> None:
        if limit < 1:
            raise UsageError(f"limit is {limit}; a flusher holds at least one event")
        self._publisher = publisher
        self._limit = limit
        self._waiting: list[Prepared] = []
        self.published: list[Published] = []
        """Where everything flushed so far went, in the order it was added."""

    async def add(self, event: object, **said: Unpack[Said]) -> None:
        """Collect one event; the keywords are those of ``emit``. Flushes first when *limit* events wait.

        Raises:
            UsageError: This event cannot be published. It is not collected; the others are not touched.
            CodecError: The same for its body.
        """
        [prepared] = self._publisher.prepare([Outgoing(event, **said)])
        if len(self._waiting) >= self._limit:
            await self.flush()
        self._waiting.append(prepared)

    async def flush(self) -> list[Published]:
        """Write what was collected, in order.

        Raises:
            PublishError: Some were not written, or nobody knows. Those known not to be written stay collected, and the
                next flush sends them again.
        """
        batch, self._waiting = self._waiting, []
        try:
            published = await self._publisher.publish_prepared(batch)
        except PublishError as failure:
            self._waiting[:0] = [
                prepared
                for prepared, outcome in zip(batch, failure.outcomes, strict=True)
                if outcome == Condition.NOT_WRITTEN.value
            ]
            raise
        self.published += published
        return published

    async def __aenter__(self) -> "Flusher":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.flush()


async def _append_to(broker: StreamBroker, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
    try:
        return await broker.append_many(entries)
    except BrokerUnavailableError as failure:
        return [AppendOutcome(Condition.NOT_WRITTEN, cause=failure)] * len(entries)


def _dedupe(wanted: Dedupe | bool, event_id: str) -> Dedupe | None:
    if wanted is True:
        return Dedupe(event_id)
    return wanted or None


def _publish_error(outcomes: Sequence[AppendOutcome]) -> PublishError:
    return PublishError(
        [outcome.condition.value for outcome in outcomes],
        [outcome.entry_id.decode() if outcome.entry_id else None for outcome in outcomes],
        [outcome.cause for outcome in outcomes],
    )
