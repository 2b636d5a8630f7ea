"""Places in a stream: entry ids as Valkey writes them, and where a reader starts.

The layout follows ``streamID`` in Valkey's ``stream.h``: two unsigned 64-bit numbers.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Self, TypeAlias

from penstock.errors import MalformedEntryIdError, UsageError

__all__ = ["BEGINNING", "NEW", "EntryId", "Start", "StartPoint", "parse_start"]

_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
_LARGEST = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class EntryId:
    """A place in a stream: milliseconds since the Unix epoch, then a counter within that millisecond."""

    ms: int
    sequence: int = 0

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read ``"1700000000000-3"``; an absent counter means 0. Raises `MalformedEntryIdError`."""
        shown = text.decode("ascii", "replace") if isinstance(text, bytes) else text
        match = _ENTRY_ID.fullmatch(shown)
        if match is None:
            raise MalformedEntryIdError(shown)
        ms, sequence = int(match[1]), int(match[2] or 0)
        if ms > _LARGEST or sequence > _LARGEST:
            raise MalformedEntryIdError(shown)
        return cls(ms, sequence)

    @classmethod
    def at(cls, time: datetime) -> Self:
        """The lowest id an entry added at *time* (which must carry a time zone) can have."""
        if time.tzinfo is None:
            raise UsageError(
                f"{time.isoformat()} has no time zone; write it with one, as in {time.isoformat()}Z"
            )
        return cls(max(0, (time - _EPOCH) // timedelta(milliseconds=1)), 0)

    @property
    def time(self) -> datetime:
        """When the server says the entry was added, to the millisecond, in UTC."""
        return _EPOCH + timedelta(milliseconds=self.ms)

    def next(self) -> Self:
        """The lowest id above this one; the very last id is its own successor."""
        if self.sequence < _LARGEST:
            return type(self)(self.ms, self.sequence + 1)
        return type(self)(self.ms + 1, 0) if self.ms < _LARGEST else self

    def previous(self) -> Self:
        """The highest id below this one; the very first id is its own predecessor."""
        if self.sequence > 0:
            return type(self)(self.ms, self.sequence - 1)
        return type(self)(self.ms - 1, _LARGEST) if self.ms > 0 else self

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"

    def __bytes__(self) -> bytes:
        return b"%d-%d" % (self.ms, self.sequence)


class StartPoint(Enum):
    """A place that only the server can turn into an entry id."""

    NEW = "new"
    """After the last entry there is when reading begins."""
    BEGINNING = "beginning"
    """Before the first entry."""


NEW = StartPoint.NEW
"""After the last entry there is when reading begins."""

BEGINNING = StartPoint.BEGINNING
"""Before the first entry."""

Start: TypeAlias = StartPoint | EntryId | datetime
"""Where reading starts: new, the beginning, *after* an entry id, or at a time (inclusive)."""


def parse_start(text: str) -> Start:
    """Read ``new``, ``beginning``, an entry id, or an RFC 3339 time. Raises `UsageError` naming the four."""
    if text in ("new", "beginning"):
        return StartPoint(text)
    if _ENTRY_ID.fullmatch(text):
        return EntryId.parse(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no place to start; write 'new', 'beginning', an entry id as in '1700000000000-0', "
            "or a time as in '2026-01-31T12:00:00Z'"
        ) from None
    if time.tzinfo is None:
        raise UsageError(f"{text!r} has no time zone; write '{time.isoformat()}Z' for UTC")
    return time
