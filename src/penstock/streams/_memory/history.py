"""The history of one entity in memory: for each event name and identifier the places of its entries, in order."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._memory.ordered import entry_id_of, number_of
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import Chapter, HistoryPage, Index, RawEntry, RawId

__all__ = ["MemoryHistory"]


class _Places:
    """First places in order, and where each event stands now."""

    def __init__(self) -> None:
        self.first: list[int] = []
        self.now: dict[int, int] = {}

    def note(self, first: int, now: int) -> None:
        """Put an event at its place, or tell where it went."""
        if first not in self.now:
            self.first.insert(bisect_right(self.first, first), first)
        self.now[first] = now

    def forget(self, first: int) -> None:
        """Take an event out."""
        self.first.remove(first)
        del self.now[first]


class MemoryHistory:
    """`HistoryStore` in memory."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams
        self._histories: dict[str, dict[tuple[str, str], _Places]] = {}
        self._archived: set[str] = set()

    def note(self, stream: str, index: Index, entry_id: RawId) -> None:
        """Note an entry that has just been added."""
        if index.if_known and (index.name, index.identifier) not in self._histories.get(stream, {}):
            return
        number = number_of(entry_id)
        first = number if index.place is None else number_of(index.place)
        histories = self._histories.setdefault(stream, {})
        histories.setdefault((index.name, index.identifier), _Places()).note(first, number)

    def forget_stream(self, stream: str) -> None:
        """Forget the histories of a stream that was deleted."""
        self._histories.pop(stream, None)
        self._archived.discard(stream)

    async def page(
        self,
        stream: str,
        name: str,
        identifier: str,
        *,
        after: EntryId | None = None,
        count: int = 100,
        byte_budget: int = 1024 * 1024,
    ) -> HistoryPage:
        """Up to *count* events of the entity after a place, oldest first."""
        if count < 1:
            raise UsageError(f"count is {count}; a page has at least one event")
        places = self._find(stream, name, identifier)
        at = 0 if after is None else bisect_right(places.first, number_of(after))
        chapters: list[Chapter] = []
        size = 0
        for first in places.first[at : at + count]:
            if size >= byte_budget:
                break
            entry = self._entry(stream, places.now[first])
            size += sum(map(len, entry[1])) if entry is not None else 0
            chapters.append(Chapter(entry_id_of(first), entry_id_of(places.now[first]), entry))
        return HistoryPage(tuple(chapters), at + len(chapters) < len(places.first))

    async def length(self, stream: str, name: str, identifier: str) -> int:
        """How many events of the entity are indexed."""
        return len(self._find(stream, name, identifier).first)

    async def prune(
        self, stream: str, name: str, identifier: str, chapters: Sequence[Chapter], *, archive_asked: bool
    ) -> int:
        """Forget events that exist nowhere any more; how many were forgotten."""
        if stream in self._archived and not archive_asked:
            return 0
        places = self._find(stream, name, identifier)
        forgotten = 0
        for chapter in chapters:
            first, now = number_of(chapter.place), number_of(chapter.entry_id)
            if places.now.get(first) == now and self._entry(stream, now) is None:
                places.forget(first)
                forgotten += 1
        if not places.first:
            self._histories.get(stream, {}).pop((name, identifier), None)
        return forgotten

    async def mark_archived(self, stream: str) -> None:
        """Note that events of the stream go to an archive."""
        self._archived.add(stream)

    def _find(self, stream: str, name: str, identifier: str) -> _Places:
        return self._histories.get(stream, {}).get((name, identifier)) or _Places()

    def _entry(self, stream: str, number: int) -> RawEntry | None:
        place = self._streams.get(stream)
        found = None if place is None else place.entries.get(number)
        return None if found is None else [found[0], found[1].copy()]
