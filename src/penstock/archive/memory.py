"""An archive in memory, for tests: it ends with the process."""

from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.archive.abc import ArchivedMessage, ArchivePlace, Created, all_messages
from penstock.position import EntryId

__all__ = ["MemoryArchive"]


@dataclass(slots=True)
class _Kept:
    """The copies of one stream."""

    by_event: dict[str, ArchivedMessage] = field(default_factory=dict[str, ArchivedMessage])
    places: list[ArchivePlace] = field(default_factory=list[ArchivePlace])

    def put(self, message: ArchivedMessage) -> Created:
        there = self.by_event.get(message.event_id)
        if there is not None and there.digest != message.digest:
            return Created.OTHER
        if there is None or there.entry_id < message.entry_id:
            if there is not None:
                self.places.remove(there.place)
            self.by_event[message.event_id] = message
            insort(self.places, message.place)
        return Created.NEW if there is None else Created.THERE

    def take(self, place: ArchivePlace) -> bool:
        there = self.by_event.get(place.event_id)
        if there is None or there.place != place:
            return False
        del self.by_event[place.event_id]
        self.places.remove(place)
        return True


class MemoryArchive:
    """An `Archive` that keeps everything in memory."""

    def __init__(self) -> None:
        self._streams: dict[str, _Kept] = {}

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """What is kept stays as long as the object lives."""

    async def migrate(self) -> None:
        """Nothing to make."""

    async def create(self, message: ArchivedMessage) -> Created:
        """Keep one message."""
        return (await self.create_many([message]))[0]

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages; what became of each."""
        return [self._streams.setdefault(message.stream, _Kept()).put(message) for message in messages]

    async def find(self, stream: str, id: str | EntryId) -> ArchivedMessage | None:  # noqa: A002
        """One message by event id or entry id."""
        kept = self._streams.get(stream)
        if kept is None:
            return None
        if isinstance(id, str):
            return kept.by_event.get(id)
        messages = [kept.by_event[place.event_id] for place in kept.places]
        now = [message for message in messages if message.entry_id == id]
        return next(iter(now or [message for message in messages if message.first_id == id]), None)

    async def find_many(
        self, stream: str, *, after: ArchivePlace | None = None, count: int = 100
    ) -> list[ArchivedMessage]:
        """Up to *count* messages of a stream by place, from behind *after*."""
        kept = self._streams.get(stream)
        if kept is None:
            return []
        start = 0 if after is None else bisect_right(kept.places, after)
        return [kept.by_event[place.event_id] for place in kept.places[start : start + count]]

    def all(self) -> AsyncIterator[ArchivedMessage]:
        """Every message, by stream and place."""
        return all_messages(self)

    async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
        """Remove the copies at these places; how many there were."""
        kept = self._streams.get(stream)
        return 0 if kept is None else sum(kept.take(place) for place in places)

    async def counts(self) -> Mapping[str, int]:
        """How many messages each stream has."""
        return {name: len(kept.places) for name, kept in sorted(self._streams.items()) if kept.places}
