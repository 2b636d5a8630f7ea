"""A consumer group in memory: what was delivered to whom and is not settled yet.

The rules are those of ``XREADGROUP``, ``XCLAIM`` and their kin in Valkey's ``t_stream.c``: times in whole
milliseconds, a delivery count per pending entry, consumers that appear with their first read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock.position import EntryId
from penstock.streams._memory.ordered import Ordered, entry_id_of, number_of, raw_of
from penstock.streams.abc import Claimed, ConsumerInfo, PendingEntry, PendingSummary, RawEntry, RawId

__all__ = ["Entries", "Group", "Pending"]

Entries = Ordered[tuple[RawId, list[bytes]]]
"""What stands in a stream: the id as bytes and the flat fields, by id number."""

_MS = timedelta(milliseconds=1)


@dataclass(slots=True)
class Pending:
    """One delivered, unsettled entry; `alone` counts the handlings begun by `Group.begin_alone`."""

    consumer: str
    delivered_ms: int
    count: int
    alone: int = 0


class Group:
    """One group of one stream. Methods that need the time are given the server's milliseconds."""

    def __init__(self, name: str, last_delivered: int) -> None:
        self.name = name
        self.last_delivered = last_delivered
        self.pending: Ordered[Pending] = Ordered()
        self.seen_ms: dict[str, int] = {}
        """When each consumer last spoke."""

    @property
    def needed_from(self) -> int:
        """The lowest id the group needs: its lowest pending one, or the first after its last delivered."""
        undelivered = self.last_delivered + 1
        lowest = self.pending.first
        return undelivered if lowest is None else min(lowest, undelivered)

    def holds(self, number: int, consumer: str) -> Pending | None:
        """The pending entry if it is with *consumer*."""
        held = self.pending.get(number)
        return held if held is not None and held.consumer == consumer else None

    def deliver(self, entries: Entries, consumer: str, count: int, now_ms: int) -> list[RawEntry]:
        """Hand the next *count* undelivered entries to *consumer*."""
        self.seen_ms[consumer] = now_ms
        taken: list[RawEntry] = []
        for number in entries.after(self.last_delivered, count):
            raw, fields = entries[number]
            again = self.pending.get(number)
            if again is None:
                self.pending[number] = Pending(consumer, now_ms, 1)
            else:
                # Only after `move_group` went back: the server gives it to the reader, counting from one.
                again.consumer, again.delivered_ms, again.count = consumer, now_ms, 1
            taken.append([raw, fields.copy()])
            self.last_delivered = number
        return taken

    def own(self, entries: Entries, consumer: str, after: int, count: int, now_ms: int) -> list[RawEntry]:
        """Deliver again what is pending with *consumer*; gone entries show no fields and do not count."""
        self.seen_ms[consumer] = now_ms
        found: list[RawEntry] = []
        for number in self.pending.after(after):
            held = self.pending[number]
            if held.consumer != consumer:
                continue
            if len(found) == count:
                break
            entry = entries.get(number)
            if entry is None:
                found.append([raw_of(number), None])
                continue
            held.delivered_ms = now_ms
            held.count += 1
            found.append([entry[0], entry[1].copy()])
        return found

    def acknowledge(self, entry_ids: Sequence[RawId]) -> int:
        """Take entries off the pending list; how many were on it."""
        return sum(self.pending.pop(number_of(entry_id)) is not None for entry_id in entry_ids)

    def renew(self, consumer: str, entry_ids: Sequence[RawId], now_ms: int) -> list[RawId]:
        """Restart the idle time of what *consumer* holds; what it does not hold."""
        lost: list[RawId] = []
        for entry_id in entry_ids:
            held = self.holds(number_of(entry_id), consumer)
            if held is None:
                lost.append(entry_id)
            else:
                held.delivered_ms = now_ms
        return lost

    def release(self, consumer: str, entry_ids: Sequence[RawId]) -> int:
        """Let what *consumer* holds look idle since the epoch, not suspicious; how many it held."""
        released = 0
        for entry_id in entry_ids:
            held = self.holds(number_of(entry_id), consumer)
            if held is not None:
                held.delivered_ms = held.alone = 0
                released += 1
        return released

    def begin_alone(self, consumer: str, entry_id: RawId) -> int | None:
        """Count one handling alone of what *consumer* holds."""
        held = self.holds(number_of(entry_id), consumer)
        if held is None:
            return None
        held.alone += 1
        return held.alone

    def claim(
        self,
        entries: Entries,
        consumer: str,
        *,
        idle_ms: int,
        count: int,
        start: int,
        from_consumer: str | None,
        now_ms: int,
    ) -> Claimed:
        """Give entries that have been idle for *idle_ms* to *consumer*, and name those that are gone."""
        self.seen_ms[consumer] = now_ms
        claimed: list[RawEntry] = []
        vanished: list[RawId] = []
        for number in self.pending.after(start - 1):
            held = self.pending[number]
            if now_ms - held.delivered_ms < idle_ms or from_consumer not in (None, held.consumer):
                continue
            if len(claimed) + len(vanished) == count:
                return Claimed(claimed, vanished, entry_id_of(number))
            entry = entries.get(number)
            if entry is None:
                vanished.append(raw_of(number))
                continue
            held.consumer, held.delivered_ms = consumer, now_ms
            held.count += 1
            claimed.append([entry[0], entry[1].copy()])
        return Claimed(claimed, vanished, None)

    def remove_consumer(self, entries: Entries, consumer: str, heir: str, now_ms: int) -> int:
        """Move what *consumer* holds to *heir* as it is, then forget *consumer*.

        A server cannot give an entry that is gone to someone else: while *consumer* holds such, it stays.
        """
        if consumer not in self.seen_ms or consumer == heir:
            return 0
        held = [number for number in self.pending if self.holds(number, consumer)]
        movable = [number for number in held if number in entries]
        for number in movable:
            self.pending[number].consumer = heir
        if movable:
            self.seen_ms.setdefault(heir, now_ms)
        if len(movable) == len(held):
            del self.seen_ms[consumer]
        return len(movable)

    def list_pending(
        self, consumer: str | None, min_idle: timedelta, start: EntryId | None, count: int, now_ms: int
    ) -> list[PendingEntry]:
        """Up to *count* pending entries from *start* on that match."""
        found: list[PendingEntry] = []
        for number in self.pending.after(-1 if start is None else number_of(start) - 1):
            held = self.pending[number]
            idle = (now_ms - held.delivered_ms) * _MS
            if consumer not in (None, held.consumer) or idle < min_idle:
                continue
            if len(found) == count:
                break
            found.append(PendingEntry(entry_id_of(number), held.consumer, idle, held.count))
        return found

    def summary(self) -> PendingSummary:
        """The pending list in one look."""
        counts: dict[str, int] = {}
        for number in self.pending:
            holder = self.pending[number].consumer
            counts[holder] = counts.get(holder, 0) + 1
        lowest, highest = self.pending.first, self.pending.last
        return PendingSummary(
            count=len(self.pending),
            lowest=None if lowest is None else entry_id_of(lowest),
            highest=None if highest is None else entry_id_of(highest),
            consumers=dict(sorted(counts.items())),
        )

    def list_consumers(self, now_ms: int) -> list[ConsumerInfo]:
        """Every consumer, by name."""
        counts = self.summary().consumers
        return [
            ConsumerInfo(name, counts.get(name, 0), (now_ms - seen) * _MS)
            for name, seen in sorted(self.seen_ms.items())
        ]
