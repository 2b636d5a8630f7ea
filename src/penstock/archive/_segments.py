"""One segment file: some messages of one stream and one day, compressed, with an index in front.

```text
header   8 bytes of magic, CRC-32 of the hashes, length of the index
hashes   8 bytes for each event id (and each first entry id of a restored message), in no order
index    gzip of MessagePack: stream, and for each message entry id, event id, first entry id, digest
body     gzip of MessagePack: the messages
```

The name says the rest: lowest and highest entry id, number of messages, of hashes, of bytes before compression. So
whether a segment may have an event id is known after reading a few kilobytes, and where it stands without the body.
"""

import gzip
import hashlib
import re
import struct
import uuid
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from penstock.archive._records import Record, read_record, write_record
from penstock.archive.abc import ArchivedMessage, ArchivePlace
from penstock.errors import ArchiveDamagedError
from penstock.position import EntryId

__all__ = [
    "Index",
    "Row",
    "Segment",
    "day_of",
    "folder_name",
    "hash_of",
    "hash_of_first",
    "index_of",
    "messages_of",
    "read_hashes",
    "stream_of_folder",
    "written",
]

_MAGIC: Final = b"PSTKARC1"
_HEADER: Final = struct.Struct(">8sII")
_NAME: Final = re.compile(r"(\d{20}-\d{20})_(\d{20}-\d{20})_(\d+)\.(\d+)\.(\d+)_[0-9a-f]{32}\.seg")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS: Final = 86_400_000
_LAST_DAY: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(days=1)
_LONGEST_NAME: Final = 200
_DAMAGE: Final = (msgspec.MsgspecError, OSError, EOFError, ValueError, zlib.error)


class Row(msgspec.Struct, array_like=True, gc=False):
    """What the index says of a message."""

    entry_id: str
    event_id: str
    first_id: str
    digest: bytes

    @property
    def place(self) -> ArchivePlace:
        """Where the copy stands."""
        return ArchivePlace(EntryId.parse(self.entry_id), self.event_id)


class Index(msgspec.Struct, array_like=True, gc=False):
    """The index of a segment, its rows in the order of the body."""

    stream: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as its name tells it."""

    path: str
    first: EntryId
    last: EntryId
    count: int
    hashes: int
    size: int
    """Bytes of its messages, before they were compressed."""

    @classmethod
    def parse(cls, folder: str, name: str) -> "Segment | None":
        """The segment of that name; ``None`` for another kind of file."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        first, last = (EntryId(*map(int, text.split("-"))) for text in match.group(1, 2))
        return cls(f"{folder}/{name}", first, last, int(match[3]), int(match[4]), int(match[5]))

    @property
    def index_end(self) -> int:
        """Up to where the file has to be read for the hashes."""
        return _HEADER.size + 8 * self.hashes


def written(stream: str, messages: Sequence[ArchivedMessage]) -> tuple[str, bytes]:
    """The name and the bytes of a new segment with these messages."""
    ordered = sorted(messages, key=lambda message: message.place)
    rows = [Row(str(each.entry_id), each.event_id, str(each.first_id), each.digest) for each in ordered]
    hashes = array("Q", [hash_of(row.event_id) for row in rows])
    hashes.extend(hash_of_first(row.first_id) for row in rows if row.first_id != row.entry_id)
    index = _packed(Index(stream, rows))
    raw = _bytes_of(hashes)
    data = b"".join(
        (
            _HEADER.pack(_MAGIC, zlib.crc32(raw), len(index)),
            raw,
            index,
            _packed([write_record(message) for message in ordered]),
        )
    )
    ends = (f"{each.entry_id.ms:020d}-{each.entry_id.sequence:020d}" for each in (ordered[0], ordered[-1]))
    size = sum(len(part) for each in ordered for part in each.fields)
    return f"{'_'.join(ends)}_{len(rows)}.{len(hashes)}.{size}_{uuid.uuid4().hex}.seg", data


def read_hashes(segment: Segment, data: bytes) -> "array[int]":
    """The hashes, from a file's beginning. Raises `ArchiveDamagedError`."""
    raw = data[_HEADER.size : segment.index_end]
    if len(data) < segment.index_end or data[:8] != _MAGIC:
        raise ArchiveDamagedError(segment.path, "it is cut off, or no segment")
    if zlib.crc32(raw) != _HEADER.unpack_from(data)[1]:
        raise ArchiveDamagedError(segment.path, "its hashes were changed")
    hashes = array("Q")
    hashes.frombytes(raw)
    if _SWAPS:
        hashes.byteswap()
    return hashes


def index_of(segment: Segment, data: bytes) -> Index:
    """The index, from the whole file. Raises `ArchiveDamagedError`."""
    read_hashes(segment, data)
    start = segment.index_end
    try:
        index = msgspec.msgpack.decode(gzip.decompress(data[start : start + _index_length(data)]), type=Index)
    except _DAMAGE as failure:
        raise ArchiveDamagedError(segment.path, f"its index is damaged ({failure})") from failure
    return index


def messages_of(segment: Segment, data: bytes) -> list[ArchivedMessage]:
    """The messages, in the order of the index. Raises `ArchiveDamagedError`."""
    index = index_of(segment, data)
    try:
        body = gzip.decompress(data[segment.index_end + _index_length(data) :])
        records = msgspec.msgpack.decode(body, type=list[Record])
        return [read_record(index.stream, record) for record in records]
    except _DAMAGE as failure:
        raise ArchiveDamagedError(segment.path, f"its messages are damaged ({failure})") from failure


def hash_of(event_id: str) -> int:
    """What stands for an event id among the hashes."""
    return int.from_bytes(hashlib.sha256(b"e" + event_id.encode()).digest()[:8], "big")


def hash_of_first(first_id: str) -> int:
    """What stands for the first entry id of a message that was restored."""
    return int.from_bytes(hashlib.sha256(b"f" + first_id.encode()).digest()[:8], "big")


def day_of(entry_id: EntryId) -> str:
    """The folder of an entry's day; ids beyond the calendar have their day's number."""
    day = entry_id.ms // _DAY_MS
    return f"d{day}" if day > _LAST_DAY else (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


def folder_name(stream: str) -> str:
    """A stream's folder: lower case and percent signs only, so that every file system keeps names apart."""
    kept = b"abcdefghijklmnopqrstuvwxyz0123456789._-"
    name = "".join(chr(byte) if byte in kept else f"%{byte:02x}" for byte in stream.encode())
    if name.startswith("."):
        name = f"%2e{name[1:]}"
    if len(name) > _LONGEST_NAME:
        return f"{name[:100]}~{hashlib.sha256(stream.encode()).hexdigest()}"
    return name


def stream_of_folder(name: str) -> str | None:
    """The stream of a folder; ``None`` where only its segments tell."""
    return None if "~" in name else unquote_to_bytes(name).decode("utf-8", "replace")


_SWAPS: Final = struct.pack("=H", 1) != struct.pack(">H", 1)
"""Whether this machine's numbers have to be turned round."""


def _bytes_of(numbers: "array[int]") -> bytes:
    copy = array("Q", numbers)
    if _SWAPS:
        copy.byteswap()
    return copy.tobytes()


def _index_length(data: bytes) -> int:
    return int(_HEADER.unpack_from(data)[2])


def _packed(value: object) -> bytes:
    # Without a time in it: the same messages give the same bytes.
    return gzip.compress(msgspec.msgpack.encode(value), compresslevel=6, mtime=0)
