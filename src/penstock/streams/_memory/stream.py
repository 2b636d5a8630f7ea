"""A stream in memory: entries in id order, the rules for new ids, and caps that remove exactly the excess."""

from collections.abc import Callable
from datetime import timedelta

from penstock.errors import BrokerRefusedError, EntryIdTooSmallError, StreamFullError, UsageError
from penstock.position import NEW, EntryId, Start, StartPoint
from penstock.streams._memory.group import Entries, Group
from penstock.streams._memory.ordered import LARGEST, Ordered, entry_id_of, number_of, raw_of
from penstock.streams.abc import Cap, GroupInfo, NewEntry, RawEntry, RawId, StreamInfo

__all__ = ["Stream", "count_removed", "start_number"]

_MS = timedelta(milliseconds=1)


def count_removed(entries: Entries, cap: Cap, *, needed_from: int, now_ms: int) -> int | None:
    """How many of the oldest entries go so that *cap* admits one more; ``None``: the append must be refused.

    *needed_from* is the lowest id number that somebody still needs.
    """
    removable_below = LARGEST + 1 if cap.remove_needed else needed_from
    aged = 0
    if cap.max_age is not None:
        oldest_kept = max(0, now_ms - cap.max_age // _MS) << 64
        aged = entries.count_below(min(oldest_kept, removable_below))
    if cap.max_entries is None:
        return aged
    excess = len(entries) + 1 - cap.max_entries
    return max(aged, excess) if excess <= entries.count_below(removable_below) else None


class Stream:
    """One stream of a namespace, with its groups."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: Entries = Ordered()
        self.last_id = 0
        """The number of the highest id ever given."""
        self.groups: dict[str, Group] = {}

    def next_id(self, wanted: EntryId | None, now_ms: int) -> int:
        """The id number of an entry added now, as by ``streamNextID``. Raises `EntryIdTooSmallError`."""
        if wanted is not None:
            number = number_of(wanted)
            if number <= self.last_id:
                raise EntryIdTooSmallError(self.name, str(wanted))
            return number
        if self.last_id == LARGEST:
            raise BrokerRefusedError(
                f"stream {self.name!r} has given its last possible id; delete it, or write to another"
            )
        return max(now_ms << 64, self.last_id + 1)

    def add(self, entry: NewEntry, now_ms: int, needed_from: Callable[[str], int]) -> RawId:
        """Add an entry, removing what its cap says; *needed_from* tells the lowest id number of a stream still needed.

        Raises:
            UsageError: The fields are not pairs, or the cap keeps nothing.
            EntryIdTooSmallError: The explicit id is not above the last.
            StreamFullError: The cap is reached and what is there is still needed.
        """
        if not entry.fields or len(entry.fields) % 2:
            raise UsageError(
                f"an entry is made of pairs of names and values, not of {len(entry.fields)} items"
            )
        number = self.next_id(entry.entry_id, now_ms)
        if entry.cap is not None:
            if entry.cap.max_entries is not None and entry.cap.max_entries < 1:
                raise UsageError(f"a cap of {entry.cap.max_entries} entries would keep none; use at least 1")
            removed = count_removed(
                self.entries, entry.cap, needed_from=needed_from(self.name), now_ms=now_ms
            )
            if removed is None:
                raise StreamFullError(self.name, limit=entry.cap.max_entries or 0)
            self.entries.drop_first(removed)
        raw = raw_of(number)
        self.entries[number] = (raw, list(entry.fields))
        self.last_id = number
        return raw

    def position(self, start: Start) -> int:
        """The id number after which reading begins."""
        return self.last_id if start is NEW else start_number(start)

    def take(self, after: int, count: int) -> list[RawEntry]:
        """Up to *count* entries after an id number."""
        return [
            [raw, fields.copy()]
            for raw, fields in map(self.entries.__getitem__, self.entries.after(after, count))
        ]

    def info(self) -> StreamInfo:
        """The stream in one look."""
        first, last = self.entries.first, self.entries.last
        return StreamInfo(
            name=self.name,
            length=len(self.entries),
            first=None if first is None else entry_id_of(first),
            last=None if last is None else entry_id_of(last),
            last_id=entry_id_of(self.last_id),
            groups=len(self.groups),
        )

    def group_infos(self) -> list[GroupInfo]:
        """Every group, by name."""
        return [
            GroupInfo(
                name=name,
                consumers=len(group.seen_ms),
                pending=len(group.pending),
                last_delivered=entry_id_of(group.last_delivered),
                lag_entries=self.entries.count_after(group.last_delivered),
            )
            for name, group in sorted(self.groups.items())
        ]


def start_number(start: Start) -> int:
    """The id number after which reading begins in a stream that does not exist: new is its beginning."""
    if isinstance(start, StartPoint):
        return 0
    return number_of(start if isinstance(start, EntryId) else EntryId.at(start).previous())
