"""A stream, read as a store is read: entries as events whose position is their entry id, as one number.

The position is milliseconds times 2 to the 21st, plus the counter within the millisecond, so that every place of the
stream is found again from its position alone. With an archive, what lies there is merged in by its place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from penstock.archive import Archive
from penstock.archive.abc import ArchivePlace
from penstock.errors import PenstockError, StoreRefusedError, UndecodableEntryError, UnknownStreamError
from penstock.message import Message, Meta
from penstock.position import EntryId
from penstock.relays._bridge import Bridge
from penstock.store.abc import EventFilter, EventPage, Horizon, StoredEvent
from penstock.streams.abc import RawEntry, StreamBroker
from penstock.streams.layouts import Layouts
from penstock.streams.layouts.native import id_of_place

__all__ = ["StreamSource", "TakenEvent", "entry_id_at", "position_of"]

_COUNTER_BITS: Final = 21
_LARGEST: Final = 2**63 - 1
_MOST_BYTES: Final = 8 * 1024 * 1024
_FIRST_READ: Final = 64
_LOOK_EVERY: Final = timedelta(seconds=1)
_LAST_EVENT_ID: Final = "\U0010ffff"


def position_of(entry_id: EntryId) -> int:
    """The place as one number. Raises `StoreRefusedError` for one that is too large."""
    position = (entry_id.ms << _COUNTER_BITS) + entry_id.sequence
    if entry_id.sequence >> _COUNTER_BITS or position > _LARGEST:
        raise StoreRefusedError(
            f"entry id {entry_id} is too large to be counted; ids given by the server never are"
        )
    return position


def entry_id_at(position: int) -> EntryId:
    """The place that `position_of` was given."""
    return EntryId(position >> _COUNTER_BITS, position & ((1 << _COUNTER_BITS) - 1))


class TakenEvent(StoredEvent):
    """An entry of a stream on its way into a store. Its `stream` is that of the entry."""

    __slots__ = ("failure",)

    def __init__(
        self, stream: str, entry_id: EntryId, message: Message | None, failure: PenstockError | None
    ) -> None:
        super().__init__(
            position=position_of(entry_id),
            stream=stream,
            stream_version=0,
            id=message.id if message is not None else id_of_place(stream, str(entry_id)),
            name=message.name if message is not None else "",
            meta=message.meta if message is not None else Meta(time=entry_id.ms * 1000),
            data=message.data if message is not None else None,
            recorded_us=entry_id.ms * 1000,
        )
        self.raw_entry_id = bytes(entry_id)
        self.failure = failure
        """Why it cannot be read."""


class StreamSource:
    """One stream, or one partition of one, as the source of a relay.

    Args:
        stream: Its name; the partition's for a partition.
        open_archive: Gives the archive whose copies of the stream go first.
        reached: How far the relay has come, asked for once: a stream that was removed must not seem to have gone back.
    """

    def __init__(
        self,
        stream: str,
        broker: StreamBroker,
        *,
        layouts: Layouts,
        bridge: Bridge,
        open_archive: Callable[[], Awaitable[Archive]] | None = None,
        reached: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self.name = f"stream:{stream}"
        self.stream = stream
        self.broker = broker
        self.bridge = bridge
        self._layouts = layouts
        self._open_archive = open_archive
        self._reached = reached
        self._highest: int | None = None

    async def open(self) -> None:
        """Find out how far the relay has come. Idempotent."""
        if self._highest is None:
            self._highest = 0 if self._reached is None else await self._reached()

    async def close(self) -> None:
        """The servers are closed by their app."""

    def ring(self) -> None:
        """Entries are waited for where they are."""

    async def horizon(self) -> Horizon:
        """The end of the stream. A stream that was removed goes on with higher ids: it never goes back."""
        await self.open()
        try:
            last = position_of((await self.broker.info(self.stream)).last_id)
        except UnknownStreamError:
            last = 0
        if self._open_archive is not None:
            last = max(last, await self._last_archived(last))
        self._highest = max(last, self._highest or 0)
        return Horizon(self._highest, self._highest)

    def reader(self) -> "_Reader":
        """Blocking reads for a thread."""
        return _Reader(self)

    def watch(self) -> "_Watch":
        """Be told of new entries."""
        return _Watch(self)

    async def read(self, *, after: int, through: int, limit: int) -> EventPage:
        """Entries by place, those of the archive too."""
        limit = min(limit, _FIRST_READ) if after == 0 else limit
        # The stream first: what is moved to the archive between the two looks is found there.
        found, is_all = await self._of_stream(after, through, limit)
        ends = through if is_all else found[-1].position
        if self._open_archive is not None:
            archived, is_all = await self._of_archive(await self._open_archive(), after, through, limit)
            ends = ends if is_all else min(ends, archived[-1].position)
            merged = {event.position: event for event in (*archived, *found)}
            found = [merged[position] for position in sorted(merged) if position <= ends]
        if len(found) > limit:
            found = found[:limit]
            ends = found[-1].position
        return EventPage(found, ends)

    async def count(self, *, after: int, through: int, limit: int) -> int:
        """How many entries of the stream lie there; those that only the archive has are not counted."""
        below = await self.broker.removal.count_below(self.stream, entry_id_at(after).next())
        all_below = await self.broker.removal.count_below(self.stream, entry_id_at(through).next())
        return min(all_below - below, limit)

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _of_stream(self, after: int, through: int, limit: int) -> tuple[list[TakenEvent], bool]:
        """Some entries, and whether these were all."""
        start, end, wanted = entry_id_at(after).next(), entry_id_at(through), limit
        entries: list[RawEntry] = []
        size, step = 0, min(limit, _FIRST_READ)
        while wanted and size < _MOST_BYTES and start <= end:
            page = await self.broker.range(self.stream, start, end, count=min(step, wanted))
            entries += page
            if len(page) < min(step, wanted):
                return [self._taken(entry) for entry in entries], True
            size += sum(len(part) for entry in page for part in entry[1])
            wanted -= len(page)
            start = EntryId.parse(page[-1][0]).next()
            step *= 2 if size < _MOST_BYTES // 8 else 1
        return [self._taken(entry) for entry in entries], not entries

    async def _of_archive(
        self, archive: Archive, after: int, through: int, limit: int
    ) -> tuple[list[TakenEvent], bool]:
        place = ArchivePlace(entry_id_at(after), _LAST_EVENT_ID) if after else None
        copies = await archive.find_many(self.stream, after=place, count=limit)
        taken = [self._taken([bytes(copy.entry_id), list(copy.fields)]) for copy in copies]
        return [event for event in taken if event.position <= through], len(copies) < limit or (
            taken[-1].position >= through
        )

    async def _last_archived(self, last: int) -> int:
        """The end of the archive's part, where it lies above the stream's own end: the stream was removed."""
        assert self._open_archive is not None
        archive, found = await self._open_archive(), last
        place = ArchivePlace(entry_id_at(last), _LAST_EVENT_ID) if last else None
        while copies := await archive.find_many(self.stream, after=place):
            place = copies[-1].place
            found = position_of(place.entry_id)
        return found

    def _taken(self, entry: RawEntry) -> TakenEvent:
        entry_id = EntryId.parse(entry[0])
        try:
            message = self._layouts.read(self.stream, entry[0], entry[1])
        except UndecodableEntryError as failure:
            return TakenEvent(self.stream, entry_id, None, failure)
        return TakenEvent(self.stream, entry_id, message, None)


class _Reader:
    """`EventReader` over a stream. Filters are the relay's own affair: names are compared after reading."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source

    def horizon(self) -> Horizon:
        """The end of the stream."""
        return self._source.bridge.call(self._source.horizon)

    def read(self, wanted: EventFilter, *, after: int, through: int, limit: int) -> EventPage:
        """Entries by place."""
        page = self._source.bridge.call(lambda: self._source.read(after=after, through=through, limit=limit))
        return EventPage(_fitting(page.events, wanted), page.through)

    def count(self, wanted: EventFilter, *, after: int, through: int, limit: int = 1_000_000) -> int:
        """How many entries there are, whatever their names."""
        return self._source.bridge.call(lambda: self._source.count(after=after, through=through, limit=limit))

    def close(self) -> None:
        """There is nothing to give back."""


def _fitting(events: Sequence[StoredEvent], wanted: EventFilter) -> Sequence[StoredEvent]:
    """Those whose name is wanted, and those that have none, since they cannot be read."""
    if not wanted.names:
        return events
    return [event for event in events if event.name in wanted.names or not event.name]


class _Watch:
    """`StoreWatch` over a stream."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._last: bytes | None = None

    async def wait(self) -> None:
        """Return when there is a new entry, or after a second."""
        source = self._source
        last = self._last
        if last is None:
            try:
                last = bytes((await source.broker.info(source.stream)).last_id)
            except UnknownStreamError:
                last = b"0-0"
        try:
            for _, entries in await source.broker.read({source.stream: last}, count=1000, block=_LOOK_EVERY):
                last = entries[-1][0]
        except PenstockError:
            # Whoever reads will meet the same, and say so.
            await asyncio.sleep(_LOOK_EVERY.total_seconds())
        self._last = last

    async def close(self) -> None:
        """Look no more."""
