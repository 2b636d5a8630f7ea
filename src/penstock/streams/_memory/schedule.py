"""What enters a stream later, in memory: entries by due time, and the last ticks of what recurs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from penstock.errors import BrokerError, RepartitioningError, StreamFullError
from penstock.streams._later import Changes, check_later, milliseconds_of, time_of
from penstock.streams.abc import Cap, DelayedEntry, Moved, NewEntry, RawId, Tick

__all__ = ["MemorySchedule"]

_HELD_MS = 1000
"""How long a stream that takes nothing is left alone."""


class MemorySchedule:
    """`ScheduleStore` in memory. *add* puts an entry into its stream and wakes its readers; *check* refuses names."""

    def __init__(
        self, time_us: Callable[[], int], add: Callable[[NewEntry], RawId], check: Callable[[str], object]
    ) -> None:
        self._time_us = time_us
        self._add = add
        self._check = check
        self._changes = Changes()
        self._waiting: dict[str, dict[str, tuple[int, NewEntry]]] = {}
        """By stream and event id: when it is due, and what it is."""
        self._ticks: dict[str, dict[str, Tick]] = {}
        self._held: dict[str, int] = {}
        """Streams that take nothing, and until when they are left alone."""

    @property
    def _now_ms(self) -> int:
        return self._time_us() // 1000

    def forget_stream(self, stream: str) -> None:
        """Forget what was to enter a stream that was deleted."""
        self._waiting.pop(stream, None)
        self._ticks.pop(stream, None)
        self._held.pop(stream, None)

    # -- entries that wait --------------------------------------------------------------------------------------

    async def schedule(self, entry: NewEntry, event_id: str, *, due: datetime) -> datetime:
        """Keep an entry until *due*; when it is due."""
        check_later(entry, event_id)
        self._check(entry.stream)
        due_ms = milliseconds_of(due)
        kept = self._waiting.setdefault(entry.stream, {}).setdefault(event_id, (due_ms, entry))
        self._changes.tell()
        return time_of(kept[0])

    async def cancel(self, stream: str, event_id: str) -> bool:
        """Take a waiting entry away; False when it does not wait."""
        return self._waiting.get(stream, {}).pop(event_id, None) is not None

    async def replace(self, entry: NewEntry, event_id: str) -> bool:
        """Have an event that waits enter as *entry*, at its time."""
        check_later(entry, event_id)
        waiting = self._waiting.get(entry.stream, {})
        if event_id not in waiting:
            return False
        waiting[event_id] = (waiting[event_id][0], entry)
        return True

    async def delayed(
        self, stream: str, *, after: DelayedEntry | None = None, count: int = 100
    ) -> list[DelayedEntry]:
        """Up to *count* entries that wait, by due time and event id."""
        place = None if after is None else (milliseconds_of(after.due), after.event_id)
        found = [
            (due_ms, event_id)
            for due_ms, event_id in self._in_order(stream)
            if place is None or (due_ms, event_id) > place
        ]
        return [
            DelayedEntry(stream, event_id, time_of(due_ms), self._waiting[stream][event_id][1])
            for due_ms, event_id in found[:count]
        ]

    # -- moving what is due -------------------------------------------------------------------------------------

    async def streams(self) -> list[str]:
        """Every stream for which something waits, recurs, or did."""
        return sorted(self._waiting.keys() | self._ticks.keys())

    async def move_due(self, *, count: int = 100) -> Moved:
        """Add what is due to its streams, oldest due time first."""
        now_ms = self._now_ms
        moved: list[tuple[str, RawId]] = []
        full: list[str] = []
        closed: list[str] = []
        failure: BrokerError | None = None
        for stream in sorted(self._waiting):
            if self._held.pop(stream, 0) > now_ms:
                continue
            for due_ms, event_id in self._in_order(stream)[:count]:
                if due_ms > now_ms:
                    break
                try:
                    entry_id = self._add(self._waiting[stream][event_id][1])
                except BrokerError as refusal:
                    self._held[stream] = now_ms + _HELD_MS
                    match refusal:
                        case StreamFullError():
                            full.append(stream)
                        case RepartitioningError():
                            closed.append(stream)
                        case _:
                            failure = refusal
                    break
                del self._waiting[stream][event_id]
                moved.append((stream, entry_id))
        if failure is not None and not moved:
            raise failure
        return Moved(tuple(moved), await self.next_due(), tuple(full), tuple(closed))

    async def next_due(self) -> timedelta | None:
        """How long until something may be due."""
        first = [
            max(self._in_order(stream)[0][0], self._held.get(stream, 0))
            for stream, waiting in self._waiting.items()
            if waiting
        ]
        return timedelta(milliseconds=max(0, min(first) - self._now_ms)) if first else None

    @property
    def look_every(self) -> None:
        """Everything is scheduled here, and told."""
        return None

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have *tell* called when something is scheduled."""
        return self._changes.add(tell)

    async def check(self) -> None:
        """Nothing is ever announced incompletely."""

    # -- what recurs --------------------------------------------------------------------------------------------

    async def tick(
        self, stream: str, name: str, *, expected: datetime | None, tick: Tick, entries: Sequence[NewEntry]
    ) -> list[RawId] | None:
        """Record a tick and add its entries in one step, if the last tick is still *expected*."""
        for entry in entries:
            check_later(entry, name, stream=stream, beside=len(entries) - 1)
        self._check(stream)
        wanted = None if expected is None else milliseconds_of(expected)
        known = self._ticks.setdefault(stream, {})
        last = known.get(name)
        if (None if last is None else milliseconds_of(last.at)) != wanted:
            return None
        # The first makes room for all, so that none is refused after another was added.
        added = [
            self._add(NewEntry(stream, entry.fields, cap=_spared(entry.cap, left), index=entry.index))
            for left, entry in zip(reversed(range(len(entries))), entries, strict=True)
        ]
        following = None if tick.following is None else time_of(milliseconds_of(tick.following))
        known[name] = Tick(time_of(milliseconds_of(tick.at)), following, tick.rule)
        return added

    async def ticks(self, stream: str) -> dict[str, Tick]:
        """The last tick of everything that recurs into the stream."""
        return dict(sorted(self._ticks.get(stream, {}).items()))

    async def forget_tick(self, stream: str, name: str) -> bool:
        """Forget that something recurred; whether it was known."""
        return self._ticks.get(stream, {}).pop(name, None) is not None

    def _in_order(self, stream: str) -> list[tuple[int, str]]:
        return sorted((due_ms, event_id) for event_id, (due_ms, _) in self._waiting.get(stream, {}).items())


def _spared(cap: Cap | None, entries: int) -> Cap | None:
    if cap is None or cap.max_entries is None:
        return cap
    return replace(cap, max_entries=cap.max_entries - entries)
