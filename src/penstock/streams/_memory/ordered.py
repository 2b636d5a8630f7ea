"""Values in entry-id order, with ids as single numbers: comparing them is what a stream does most.

An id is ``milliseconds << 64 | counter``, which sorts as Valkey's ``streamID`` does and costs one comparison.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from penstock.position import EntryId

__all__ = ["LARGEST", "Ordered", "entry_id_of", "number_of", "raw_of"]

V = TypeVar("V")

_COUNTER: Final = (1 << 64) - 1
LARGEST: Final = (1 << 128) - 1
"""The number of the last id a stream can give."""


def number_of(entry_id: bytes | EntryId) -> int:
    """The id as one number."""
    if isinstance(entry_id, EntryId):
        return entry_id.ms << 64 | entry_id.sequence
    ms, _, counter = entry_id.partition(b"-")
    return int(ms) << 64 | int(counter or 0)


def raw_of(number: int) -> bytes:
    """The id as the server writes it."""
    return b"%d-%d" % (number >> 64, number & _COUNTER)


def entry_id_of(number: int) -> EntryId:
    """The id as a value."""
    return EntryId(number >> 64, number & _COUNTER)


class Ordered(Generic[V]):
    """A mapping from id numbers to values that is always in id order. Adding at the end is fast."""

    __slots__ = ("_ids", "_values")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._values: dict[int, V] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def __getitem__(self, number: int) -> V:
        return self._values[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __setitem__(self, number: int, value: V) -> None:
        if number not in self._values:
            if not self._ids or number > self._ids[-1]:
                self._ids.append(number)
            else:
                insort(self._ids, number)
        self._values[number] = value

    def get(self, number: int) -> V | None:
        """The value, or ``None``."""
        return self._values.get(number)

    def pop(self, number: int) -> V | None:
        """Remove and answer the value; ``None`` if it is not there."""
        if number not in self._values:
            return None
        del self._ids[bisect_left(self._ids, number)]
        return self._values.pop(number)

    def drop_first(self, count: int) -> None:
        """Remove the *count* lowest."""
        for number in self._ids[:count]:
            del self._values[number]
        del self._ids[:count]

    @property
    def first(self) -> int | None:
        """The lowest id number, ``None`` when empty."""
        return self._ids[0] if self._ids else None

    @property
    def last(self) -> int | None:
        """The highest id number, ``None`` when empty."""
        return self._ids[-1] if self._ids else None

    def after(self, number: int, count: int | None = None) -> list[int]:
        """Up to *count* id numbers above *number*, lowest first."""
        at = bisect_right(self._ids, number)
        return self._ids[at:] if count is None else self._ids[at : at + count]

    def between(self, start: int, end: int) -> list[int]:
        """The id numbers from *start* to *end*, both included."""
        return self._ids[bisect_left(self._ids, start) : bisect_right(self._ids, end)]

    def count_below(self, number: int) -> int:
        """How many ids are below *number*."""
        return bisect_left(self._ids, number)

    def count_after(self, number: int) -> int:
        """How many ids are above *number*."""
        return len(self._ids) - bisect_right(self._ids, number)
