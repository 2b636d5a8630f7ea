"""An archive of compressed files: one folder a stream, one folder a day in it, small segments that never change.

Removing writes a list of what is gone beside a segment; where little is left, or where many small segments lie, they
are written anew as one. On a local folder a lock keeps processes from doing so at the same time. Elsewhere nothing can
be locked: several may archive (what two of them wrote twice counts once), and only `FilesArchive.compact` merges.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeVar

import msgspec

from penstock.archive._folders import Folder, open_folder
from penstock.archive._segments import (
    Row,
    Segment,
    day_of,
    folder_name,
    hash_of_first,
    messages_of,
    stream_of_folder,
    written,
)
from penstock.archive._shelf import GONE, Living, Shelf
from penstock.archive.abc import ArchivedMessage, ArchivePlace, Created, all_messages
from penstock.errors import ArchiveDamagedError, ArchiveUnavailableError
from penstock.position import EntryId

__all__ = ["FilesArchive"]

T = TypeVar("T")

_MANY_SMALL: Final = 32
"""So many small segments of a day are merged."""
_MOST_ROWS: Final = 5000
_MOST_BYTES: Final = 16 * 1024 * 1024
_SMALL: Final = 4
"""A small segment has less than so many a part of what one may hold; so merging always leaves fewer."""
_TRIES: Final = 5


class FilesArchive:
    """An `Archive` of files.

    Args:
        url: A local folder, or a URL that fsspec knows (``s3://bucket/archive``; extra ``[files]``, and the package
            that fsspec wants for it).
    """

    def __init__(self, url: str) -> None:
        self._folder: Folder = open_folder(url)
        self._shelf = Shelf(self._folder)

    def __repr__(self) -> str:
        return f"<FilesArchive in {self._folder.shown}>"

    @property
    def damaged(self) -> Sequence[ArchiveDamagedError]:
        """Segments that could not be read, each once."""
        return tuple(self._shelf.damaged.values())

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the folder if it is missing."""
        await self.migrate()

    async def close(self) -> None:
        """Forget what was read."""
        self._shelf = Shelf(self._folder)

    async def migrate(self) -> None:
        """Make the folder."""
        await asyncio.to_thread(self._folder.make)

    # -- keeping ------------------------------------------------------------------------------------------------

    async def create(self, message: ArchivedMessage) -> Created:
        """Keep one message."""
        return (await self.create_many([message]))[0]

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages: a segment for each stream and day; what became of each."""
        return await asyncio.to_thread(self._create_many, messages)

    def _create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        found: dict[int, Created] = {}
        by_stream: dict[str, list[int]] = {}
        for number, message in enumerate(messages):
            by_stream.setdefault(message.stream, []).append(number)
        for stream, numbers in by_stream.items():
            given = [messages[number] for number in numbers]
            with self._folder.lock(folder_name(stream)):
                answers = self._again(lambda: self._keep(stream, given))  # noqa: B023  called at once
            found.update(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(messages))]

    def _keep(self, stream: str, messages: Sequence[ArchivedMessage]) -> list[Created]:
        segments = self._shelf.segments(stream)
        there = {
            row.event_id: row
            for _, _, row in self._shelf.matching(segments, [each.event_id for each in messages])
        }
        answers: list[Created] = []
        fresh: dict[str, ArchivedMessage] = {}
        replaced: set[ArchivePlace] = set()
        for message in messages:
            known = there.get(message.event_id)
            if known is None:
                answers.append(Created.NEW)
            elif known.digest != message.digest:
                answers.append(Created.OTHER)
                continue
            else:
                answers.append(Created.THERE)
                if known.place.entry_id >= message.entry_id:
                    continue
                replaced.add(known.place)
            fresh[message.event_id] = message
            there[message.event_id] = Row(
                str(message.entry_id), message.event_id, str(message.first_id), message.digest
            )
        days: dict[str, list[ArchivedMessage]] = {}
        for message in fresh.values():
            days.setdefault(day_of(message.entry_id), []).append(message)
        for day, together in days.items():
            for part in _parts(together):
                self._write(stream, day, part)
        # The later copy first: a crash in between leaves both, and the later one counts.
        self._bury(segments, replaced)
        if self._folder.locks:
            for day in days:
                self._merge_small(stream, day)
        return answers

    def _write(self, stream: str, day: str, messages: Sequence[ArchivedMessage]) -> None:
        name, data = written(stream, messages)
        self._folder.write(f"{folder_name(stream)}/{day}/{name}", data)

    async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
        """Remove the copies at these places; how many there were."""
        return await asyncio.to_thread(self._delete, stream, set(places))

    def _delete(self, stream: str, places: set[ArchivePlace]) -> int:
        if folder_name(stream) not in self._folder.names(""):
            return 0
        with self._folder.lock(folder_name(stream)):
            return self._again(lambda: self._bury(self._shelf.segments(stream), places))

    def _bury(self, segments: Living, places: set[ArchivePlace]) -> int:
        """Note copies as gone, in every segment that has them."""
        buried: dict[Segment, list[int]] = {}
        removed: set[ArchivePlace] = set()
        for segment, number, row in self._shelf.matching(segments, [place.event_id for place in places]):
            if row.place in places:
                buried.setdefault(segment, []).append(number)
                removed.add(row.place)
        for segment, numbers in buried.items():
            gone = segments[segment] | set(numbers)
            self._folder.write(f"{segment.path}{GONE}{uuid.uuid4().hex}", msgspec.msgpack.encode(numbers))
            if len(gone) == segment.count:
                self._drop(segment)
            elif self._folder.locks and len(gone) * 2 > segment.count:
                self._rewrite({segment: gone})
        return len(removed)

    # -- merging ------------------------------------------------------------------------------------------------

    async def compact(self, stream: str) -> int:
        """Write small and half-empty segments of a stream anew, as few; how many there are less.

        Where files cannot be locked, run it while nobody archives or restores that stream.
        """
        return await asyncio.to_thread(self._compact, stream)

    def _compact(self, stream: str) -> int:
        with self._folder.lock(folder_name(stream)):
            before = self._shelf.segments(stream)
            for day in {segment.path.split("/")[1] for segment in before}:
                self._merge_small(stream, day, least=2)
            return len(before) - len(self._shelf.segments(stream))

    def _merge_small(self, stream: str, day: str, *, least: int = _MANY_SMALL) -> None:
        small = {
            segment: gone
            for segment, gone in self._shelf.segments(stream, day).items()
            if segment.count * _SMALL < _MOST_ROWS
            and segment.size * _SMALL < _MOST_BYTES
            and segment.path not in self._shelf.damaged
        }
        if len(small) >= least:
            self._rewrite(small)

    def _rewrite(self, segments: Living) -> None:
        """Put what is left of *segments* into as few new ones, then remove these."""
        left: dict[ArchivePlace, ArchivedMessage] = {}
        good: list[Segment] = []
        for segment, gone in segments.items():
            try:
                messages = messages_of(segment, self._folder.read(segment.path))
            except ArchiveDamagedError as failure:
                self._shelf.note(segment, failure)
                continue
            good.append(segment)
            left.update(
                (message.place, message) for number, message in enumerate(messages) if number not in gone
            )
        for part in _parts(list(left.values())):
            self._write(part[0].stream, day_of(part[0].entry_id), part)
        for segment in good:
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        """Remove a segment, and then what was noted about it."""
        folder, _, name = segment.path.rpartition("/")
        self._folder.remove(segment.path)
        for each in self._folder.names(folder):
            if each.startswith(f"{name}{GONE}"):
                self._folder.remove(f"{folder}/{each}")

    # -- finding ------------------------------------------------------------------------------------------------

    async def find(self, stream: str, id: str | EntryId) -> ArchivedMessage | None:  # noqa: A002
        """One message by event id or entry id. Raises `ArchiveDamagedError` where its file is damaged."""
        return await asyncio.to_thread(self._again, lambda: self._find(stream, id))

    def _find(self, stream: str, wanted: str | EntryId) -> ArchivedMessage | None:
        segments = self._shelf.segments(stream)
        if isinstance(wanted, str):
            found = list(self._shelf.matching(segments, [wanted]))
        else:
            text = str(wanted)
            at = {each: gone for each, gone in segments.items() if each.first <= wanted <= each.last}
            found = [each for each in self._shelf.rows(at) if each[2].entry_id == text]
            if not found:
                wanted_hash = hash_of_first(text)
                once = {
                    each: segments[each] for each in segments if wanted_hash in self._shelf.hashes_of(each)
                }
                found = [each for each in self._shelf.rows(once) if each[2].first_id == text]
        if not found:
            return None
        segment, number, _ = max(found, key=lambda each: each[2].place)
        return self._shelf.body(segment)[number]

    async def find_many(
        self, stream: str, *, after: ArchivePlace | None = None, count: int = 100
    ) -> list[ArchivedMessage]:
        """Up to *count* messages of a stream by place, from behind *after*. Damaged segments are passed over."""
        return await asyncio.to_thread(self._again, lambda: self._find_many(stream, after, count))

    def _find_many(self, stream: str, after: ArchivePlace | None, count: int) -> list[ArchivedMessage]:
        segments = {
            each: gone
            for each, gone in self._shelf.segments(stream).items()
            if after is None or each.last >= after.entry_id
        }
        while True:
            chosen = self._first_places(segments, after, count)
            found: list[ArchivedMessage] = []
            for place in sorted(chosen):
                segment, number = chosen[place]
                try:
                    found.append(self._shelf.body(segment)[number])
                except ArchiveDamagedError as failure:
                    self._shelf.note(segment, failure)
                    del segments[segment]
                    break
            else:
                return found

    def _first_places(
        self, segments: Living, after: ArchivePlace | None, count: int
    ) -> dict[ArchivePlace, tuple[Segment, int]]:
        """The first *count* places behind *after*, and where they are."""
        chosen: dict[ArchivePlace, tuple[Segment, int]] = {}
        for segment in sorted(segments, key=lambda each: (each.first, each.path)):
            if len(chosen) >= count and segment.first > max(chosen).entry_id:
                break
            for _, number, row in self._shelf.rows({segment: segments[segment]}):
                place = row.place
                if after is None or place > after:
                    chosen.setdefault(place, (segment, number))
            chosen = {place: chosen[place] for place in sorted(chosen)[:count]}
        return chosen

    def all(self) -> AsyncIterator[ArchivedMessage]:
        """Every message, by stream and place. Damaged segments are passed over."""
        return all_messages(self)

    async def counts(self) -> Mapping[str, int]:
        """How many messages each stream has: told by the names of the files."""
        return await asyncio.to_thread(self._again, self._counts)

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for folder in self._folder.names(""):
            segments = self._shelf.segments_in(folder)
            stream = stream_of_folder(folder) or self._stream_in(segments)
            if stream is not None and (count := self._count(segments)):
                counts[stream] = count
        return dict(sorted(counts.items()))

    def _count(self, segments: Living) -> int:
        ordered = sorted(segments, key=lambda each: each.first)
        if all(one.last < next_one.first for one, next_one in pairwise(ordered)):
            return sum(segment.count - len(gone) for segment, gone in segments.items())
        # Where segments overlap, a message may have been written by two at the same time.
        return len({row.event_id for _, _, row in self._shelf.rows(segments)})

    def _stream_in(self, segments: Living) -> str | None:
        for segment in segments:
            try:
                return self._shelf.index(segment).stream
            except ArchiveDamagedError as failure:
                self._shelf.note(segment, failure)
        return None

    def _again(self, work: Callable[[], T]) -> T:
        """Do it, and once more where a file went away underneath: others merge and remove."""
        for _ in range(_TRIES):
            try:
                return work()
            except FileNotFoundError:
                continue
        raise ArchiveUnavailableError(
            f"files of the archive in {self._folder.shown} keep going away; try again"
        )


def _parts(messages: Sequence[ArchivedMessage]) -> Iterator[Sequence[ArchivedMessage]]:
    """Messages in pieces that a segment may hold."""
    part: list[ArchivedMessage] = []
    size = 0
    for message in messages:
        own = sum(map(len, message.fields))
        if part and (len(part) >= _MOST_ROWS or size + own > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += own
    if part:
        yield part
