"""Reading the segments of an archive of files, and remembering a bounded part of what was read."""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from penstock.archive._folders import Folder
from penstock.archive._segments import (
    Index,
    Row,
    Segment,
    folder_name,
    hash_of,
    index_of,
    messages_of,
    read_hashes,
)
from penstock.archive.abc import ArchivedMessage
from penstock.errors import ArchiveDamagedError
from penstock.telemetry import LOGGER

__all__ = ["GONE", "Living", "Shelf"]

K = TypeVar("K")
V = TypeVar("V")

Living: TypeAlias = Mapping[Segment, set[int]]
"""Segments, with the numbers of their messages that are gone."""

GONE: Final = ".gone-"
"""What stands between the name of a segment and that of a list of what is gone from it."""

_HASHES_KEPT: Final = 64 * 1024 * 1024
_INDEXES_KEPT: Final = 64
_BODIES_KEPT: Final = 4


class _Recent(Generic[K, V]):
    """What was read lately, up to a size."""

    def __init__(self, most: int, size: Callable[[V], int] = lambda _: 1) -> None:
        self._most, self._size, self._total = most, size, 0
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, read: Callable[[], V]) -> V:
        """What is kept under a key, read if it is not."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = read()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value
                self._total += self._size(value)
            while self._total > self._most and len(self._kept) > 1:
                self._total -= self._size(self._kept.popitem(last=False)[1])
        return value


class Shelf:
    """The segments in a folder. What cannot be read is passed over, and told once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._hashes: _Recent[str, array[int]] = _Recent(_HASHES_KEPT, lambda hashes: 8 * len(hashes) + 200)
        self._indexes: _Recent[str, Index] = _Recent(_INDEXES_KEPT)
        self._bodies: _Recent[str, list[ArchivedMessage]] = _Recent(_BODIES_KEPT)
        self.damaged: dict[str, ArchiveDamagedError] = {}
        """By path."""

    def segments(self, stream: str, day: str | None = None) -> dict[Segment, set[int]]:
        """The segments of a stream, or of one day of it, with the numbers of their messages that are gone."""
        return self.segments_in(folder_name(stream), day)

    def segments_in(self, folder: str, day: str | None = None) -> dict[Segment, set[int]]:
        """Every segment with the numbers of its messages that are gone."""
        found: dict[Segment, set[int]] = {}
        for each in [day] if day is not None else self._folder.names(folder):
            where = f"{folder}/{each}"
            names = self._folder.names(where)
            by_name: dict[str, Segment] = {}
            for name in names:
                segment = Segment.parse(where, name)
                if segment is not None:
                    by_name[name] = segment
                    found[segment] = set()
            for name in names:
                of, separator, _ = name.partition(GONE)
                if separator and of in by_name:
                    found[by_name[of]] |= self._gone(f"{where}/{name}")
        return found

    def _gone(self, path: str) -> set[int]:
        try:
            return msgspec.msgpack.decode(self._folder.read(path), type=set[int])
        except msgspec.MsgspecError:
            self._note_path(path, ArchiveDamagedError(path, "it does not say what was removed"))
            return set()

    def matching(self, segments: Living, event_ids: Sequence[str]) -> Iterator[tuple[Segment, int, Row]]:
        """The living rows of these event ids, the lower places first."""
        wanted = {hash_of(event_id) for event_id in event_ids}
        names = set(event_ids)
        having = {each: gone for each, gone in segments.items() if wanted.intersection(self.hashes_of(each))}
        found = [each for each in self.rows(having) if each[2].event_id in names]
        yield from sorted(found, key=lambda each: each[2].place)

    def rows(self, segments: Living) -> Iterator[tuple[Segment, int, Row]]:
        """Every row that is not gone, with its segment and its number there."""
        for segment, gone in segments.items():
            try:
                rows = self.index(segment).rows
            except ArchiveDamagedError as failure:
                self.note(segment, failure)
                continue
            for number, row in enumerate(rows):
                if number not in gone:
                    yield segment, number, row

    def hashes_of(self, segment: Segment) -> "array[int]":
        """What stands for the ids in a segment; nothing where it is damaged."""

        def read() -> "array[int]":
            return read_hashes(segment, self._folder.read(segment.path, 0, segment.index_end))

        try:
            return self._hashes.get(segment.path, read)
        except ArchiveDamagedError as failure:
            self.note(segment, failure)
            return array("Q")

    def index(self, segment: Segment) -> Index:
        """The index of a segment. Raises `ArchiveDamagedError`."""
        return self._indexes.get(segment.path, lambda: index_of(segment, self._folder.read(segment.path)))

    def body(self, segment: Segment) -> list[ArchivedMessage]:
        """The messages of a segment. Raises `ArchiveDamagedError`."""
        return self._bodies.get(segment.path, lambda: messages_of(segment, self._folder.read(segment.path)))

    def note(self, segment: Segment, failure: ArchiveDamagedError) -> None:
        """A segment cannot be read."""
        self._note_path(segment.path, failure)

    def _note_path(self, path: str, failure: ArchiveDamagedError) -> None:
        if path not in self.damaged:
            self.damaged[path] = failure
            LOGGER.error("archive in %s: %s", self._folder.shown, failure)
