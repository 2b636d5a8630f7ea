"""Reading streams without a group: every reader sees every entry, and goes on after the last one it saw.

Several streams come out merged in the order of their ids. Streams may be added and removed while a read is waiting. A
durable cursor makes the reader continue where its predecessor was, dead or alive.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Set
from datetime import timedelta
from typing import Generic, TypeVar, cast

from penstock.errors import CodecError, UndecodableEntryError, UsageError
from penstock.event import EventType, event_type
from penstock.message import Message
from penstock.position import NEW, EntryId, Start
from penstock.streams.abc import RawEntry, RawId, StreamBroker
from penstock.streams.layouts import NATIVE, EntryReader

__all__ = ["StreamReader", "TypedReader"]

T = TypeVar("T")

_BLOCK = timedelta(seconds=1)
"""How long one read waits: short enough that a stream added or removed meanwhile is noticed soon."""


class StreamReader:
    """An async iterator over the messages of one or several streams.

    ``async for message in reader`` waits for more when all is read; `read` gets what is there now. The position of a
    stream is fixed when it is first looked at, and afterwards only moves on: nothing that is added between two reads is
    missed. With *cursor*, the position is saved under that name when the next message is asked for, so that one which
    was being handled during a crash comes again. An entry that is no message raises, and reading goes on after it when
    asked again; with *on_undecodable* it is told to that function and passed over.
    """

    def __init__(
        self,
        broker: StreamBroker,
        streams: Iterable[str],
        *,
        start: Start = NEW,
        cursor: str | None = None,
        count: int = 100,
        layout: EntryReader = NATIVE,
        on_undecodable: Callable[[UndecodableEntryError], None] | None = None,
    ) -> None:
        if count < 1:
            raise UsageError(f"count is {count}; a read brings at least one entry")
        self._broker = broker
        self._start = start
        self._cursor = cursor
        self._count = count
        self._layout = layout
        self._positions: dict[str, RawId] = {}
        self._waiting: list[tuple[str, Start]] = [(stream, start) for stream in dict.fromkeys(streams)]
        self._buffer: dict[str, list[RawEntry]] = {}
        self._more_behind: set[str] = set()
        self._ready: deque[tuple[str, RawEntry]] = deque()
        self._seen: dict[str, RawId] = {}
        self._unsaved: dict[str, RawId] = {}
        self._on_undecodable = on_undecodable

    # -- which streams ------------------------------------------------------------------------------------------

    @property
    def streams(self) -> list[str]:
        """The streams being read."""
        return [*self._positions, *(stream for stream, _ in self._waiting)]

    def add(self, stream: str, start: Start | None = None) -> None:
        """Read another stream too, from the next read on (within a second); from where the reader itself began."""
        if stream not in self.streams:
            self._waiting.append((stream, self._start if start is None else start))

    def remove(self, stream: str) -> None:
        """Stop reading a stream. What was fetched of it and not handed out is dropped here, not from the stream."""
        self._waiting = [(name, start) for name, start in self._waiting if name != stream]
        self._ready = deque(each for each in self._ready if each[0] != stream)
        self._more_behind.discard(stream)
        self._positions.pop(stream, None)
        self._buffer.pop(stream, None)
        self._seen.pop(stream, None)
        self._unsaved.pop(stream, None)

    def position(self, stream: str) -> EntryId | None:
        """The last entry handed out, ``None`` before the first."""
        seen = self._seen.get(stream)
        return EntryId.parse(seen) if seen is not None else None

    # -- reading ------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Fix where reading starts, as the first read does; call it before emitting to see what you emit."""
        while self._waiting:
            stream, start = self._waiting[0]
            saved = await self._broker.load_cursor(stream, self._cursor) if self._cursor else None
            position = saved if saved is not None else await self._broker.resolve(stream, start)
            if self._waiting and self._waiting[0] == (stream, start):
                self._waiting.pop(0)
                self._positions[stream] = position

    async def read(self, *, block: timedelta | None = None) -> list[Message]:
        """What is there now, merged in id order; at most *count* per stream. Waits up to *block* for a first entry.

        Raises:
            UndecodableEntryError: An entry is not a message. Reading again goes on after it.
        """
        await self._save_cursors()
        if not self._ready:
            await self._fetch(block)
        messages: list[Message] = []
        while self._ready:
            stream, entry = self._ready[0]
            try:
                message = self._hand_out(stream, entry)
            except UndecodableEntryError:
                if messages:
                    break  # hand out what came before it; the next read meets it again
                self._pass_over(*self._ready.popleft())
                raise
            self._ready.popleft()
            if message is not None:
                messages.append(message)
        return messages

    async def save(self, positions: Mapping[str, RawId]) -> None:
        """Save the cursor at these last entries that were handled; for who will not read again. Needs a cursor."""
        for stream, position in positions.items():
            if self._cursor is not None and stream in self._positions:
                await self._broker.save_cursor(stream, self._cursor, position)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while self._ready:
                stream, entry = self._ready.popleft()
                try:
                    message = self._hand_out(stream, entry)
                except UndecodableEntryError:
                    self._pass_over(stream, entry)
                    raise
                if message is not None:
                    yield message
                    await self._save_cursors()
            await self._fetch(_BLOCK)

    def _hand_out(self, stream: str, entry: RawEntry) -> Message | None:
        message: Message | None = None
        try:
            message = self._layout.read(stream, entry[0], entry[1])
        except UndecodableEntryError as failure:
            if self._on_undecodable is None:
                raise
            self._on_undecodable(failure)
        self._seen[stream] = self._unsaved[stream] = entry[0]
        return message

    def _pass_over(self, stream: str, entry: RawEntry) -> None:
        self._seen[stream] = self._unsaved[stream] = entry[0]

    async def _fetch(self, block: timedelta | None) -> None:
        await self.prepare()
        wanted = {name: at for name, at in self._positions.items() if not self._buffer.get(name)}
        if not self._positions:
            # Nothing to read yet; a stream may be added meanwhile.
            await asyncio.sleep(0.05 if block else 0)
            return
        if not wanted:
            return
        may_wait = block if not any(self._buffer.values()) else None
        for stream, entries in await self._broker.read(wanted, count=self._count, block=may_wait):
            if entries and stream in self._positions:
                self._positions[stream] = entries[-1][0]
                self._buffer[stream] = entries
                if len(entries) >= self._count:
                    self._more_behind.add(stream)
                else:
                    self._more_behind.discard(stream)
        taken, self._buffer = merge_in_order(self._buffer, self._more_behind)
        self._ready.extend(taken)

    async def _save_cursors(self) -> None:
        if self._cursor is None:
            return
        for stream, position in list(self._unsaved.items()):  # streams may be removed meanwhile
            await self._broker.save_cursor(stream, self._cursor, position)
            if self._unsaved.get(stream) == position:
                del self._unsaved[stream]


def merge_in_order(
    buffer: dict[str, list[RawEntry]], more_behind: Set[str]
) -> tuple[list[tuple[str, RawEntry]], dict[str, list[RawEntry]]]:
    """Split what was fetched into what may be handed out in id order now, and what must wait.

    A stream whose last read came back full may have more below the ids that others already showed, so nothing above the
    lowest last id of those (*more_behind*) goes out before they were read again.
    """
    if len(buffer) == 1:
        [(stream, entries)] = buffer.items()
        return [(stream, entry) for entry in entries], {}
    keyed = {
        stream: [(EntryId.parse(entry[0]), number, entry) for entry in entries]
        for number, (stream, entries) in enumerate(buffer.items())
    }
    bounds = [entries[-1][0] for stream, entries in keyed.items() if stream in more_behind]
    bound = min(bounds, default=None)
    names = list(keyed)
    ready: list[tuple[str, RawEntry]] = []
    rest: dict[str, list[RawEntry]] = {}
    for place, number, entry in heapq.merge(*keyed.values(), key=lambda item: (item[0], item[1])):
        if bound is None or place <= bound:
            ready.append((names[number], entry))
        else:
            rest.setdefault(names[number], []).append(entry)
    return ready, rest


class TypedReader(Generic[T]):
    """Reads one event type in batches of decoded events: ``async for batch in reader``.

    Entries of other names in the stream are passed over.
    """

    def __init__(self, reader: StreamReader, type_: type[T]) -> None:
        self._reader = reader
        self._event_type: EventType = event_type(type_)
        self._left: deque[Message] = deque()

    @staticmethod
    def stream_of(type_: type) -> str:
        """The stream that the type's events are on. Raises `UsageError` for a type that is no event."""
        return event_type(type_).stream

    async def prepare(self) -> None:
        """Fix where reading starts; see `StreamReader.prepare`."""
        await self._reader.prepare()

    async def read(self, *, block: timedelta | None = None) -> list[T]:
        """The events that are there now; waits up to *block* for a first entry.

        Raises:
            CodecError: A body does not fit the type. What came before it was handed out, and reading again goes on
                after it.
        """
        if not self._left:
            self._left.extend(await self._reader.read(block=block))
        events: list[T] = []
        while self._left:
            try:
                events += self._decode(self._left[0])
            except CodecError:
                if events:
                    break  # hand out what came before it; the next read meets it again
                self._left.popleft()
                raise
            self._left.popleft()
        return events

    async def __aiter__(self) -> AsyncIterator[list[T]]:
        while True:
            if events := await self.read(block=_BLOCK):
                yield events

    def _decode(self, message: Message) -> list[T]:
        own = self._event_type
        if message.name != own.name:
            return []
        return [cast(T, own.decode(message.data, version=message.version, content_type=message.content_type))]
