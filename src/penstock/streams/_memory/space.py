"""Everything a server keeps under one namespace."""

from dataclasses import dataclass
from datetime import timedelta

from penstock.clock import Clock
from penstock.errors import UsageError
from penstock.streams._memory.failures import MemoryFailureStore
from penstock.streams._memory.figures import MemoryFigures
from penstock.streams._memory.history import MemoryHistory
from penstock.streams._memory.lanes import MemoryLanes
from penstock.streams._memory.leases import MemoryLeases, MemoryMembers
from penstock.streams._memory.notes import MemoryNotes
from penstock.streams._memory.partitions import MemoryPartitions
from penstock.streams._memory.relays import MemoryRelays
from penstock.streams._memory.removal import MemoryRemovals
from penstock.streams._memory.schedule import MemorySchedule
from penstock.streams._memory.stream import Stream
from penstock.streams._memory.values_by_key import MemoryValues
from penstock.streams._memory.waiting import Waiters
from penstock.streams.abc import Holder, NewEntry, RawId
from penstock.streams.keys import Keys

__all__ = ["Names", "Space"]

_US = timedelta(microseconds=1)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Written:
    """The first entry under a dedupe token, and until when it answers for later ones."""

    entry_id: RawId
    until_us: int


class Names:
    """Consumer names, each held by one token for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[tuple[str, str], tuple[Holder, int]] = {}

    def hold(self, name: tuple[str, str], wanted: Holder, life: timedelta, replace: str | None) -> Holder:
        """Give the name to *wanted* if free, its own, or held by the token *replace*; who holds it now."""
        now_us = self._clock.time_us()
        holder, until_us = self._held.get(name, (wanted, 0))
        if until_us > now_us and holder.token not in (wanted.token, replace):
            return holder
        self._held[name] = (wanted, now_us + life // _US)
        return wanted

    def free(self, name: tuple[str, str], token: str) -> bool:
        """Give the name back; whether *token* held it."""
        holder, until_us = self._held.get(name, (None, 0))
        if holder is None or holder.token != token:
            return False
        del self._held[name]
        return until_us > self._clock.time_us()


class Space:
    """Streams by name, and what is kept beside them."""

    def __init__(self, clock: Clock, namespace: str) -> None:
        self.streams: dict[str, Stream] = {}
        self.cursors: dict[str, dict[str, int]] = {}
        self.names = Names(clock)
        self.waiters = Waiters(clock)
        self.failures = MemoryFailureStore(self.streams, clock.time_us)
        self.removal = MemoryRemovals(self.streams, self.cursors, clock.time_us)
        self.figures = MemoryFigures(clock.time_us)
        self.notes = MemoryNotes(clock.time_us)
        self.partitions = MemoryPartitions(self.streams, self.add_and_tell)
        self.relays = MemoryRelays(self.add_and_tell)
        self.history = MemoryHistory(self.streams)
        self._clock = clock
        self._keys = Keys(namespace)
        self.leases = MemoryLeases(self._keys, clock.time_us)
        self.members = MemoryMembers(self._keys, clock.time_us)
        self.lanes = MemoryLanes(self.streams, self.leases, self.failures)
        self.values = MemoryValues(self._keys, clock.time_us)
        self.schedule = MemorySchedule(clock.time_us, self.add_and_tell, self._keys.stream)
        self._written: dict[str, dict[str, _Written]] = {}

    def add(self, entry: NewEntry, now_ms: int) -> RawId:
        """Add an entry, once under its dedupe token, to a new stream if need be. Raises as `Stream.add`."""
        now_us = self._clock.time_us()
        once = entry.dedupe
        if once is not None:
            if not once.token or once.window < _MS:
                raise UsageError(f"{once} needs a token, and a window of at least a millisecond")
            before = self._written.get(entry.stream, {}).get(once.token)
            if before is not None and before.until_us > now_us:
                return before.entry_id
        self.partitions.check(entry)
        stream = self.streams.get(entry.stream) or self._new(entry.stream)
        entry_id = stream.add(entry, now_ms, self.removal.needed_from)
        self.streams[entry.stream] = stream
        if entry.index is not None:
            self.history.note(entry.stream, entry.index, entry_id)
        if once is not None:
            tokens = self._written.setdefault(entry.stream, {})
            tokens[once.token] = _Written(entry_id, now_us + once.window // _US)
        return entry_id

    def add_and_tell(self, entry: NewEntry) -> RawId:
        """Add an entry now, and wake those who wait for one. Raises as `add`."""
        entry_id = self.add(entry, self._clock.time_us() // 1000)
        self.waiters.changed(entry.stream)
        return entry_id

    def ensure(self, name: str) -> Stream:
        """The stream of that name, made if need be. Raises `UsageError` for a name that no server could keep."""
        if name not in self.streams:
            self.streams[name] = self._new(name)
        return self.streams[name]

    def _new(self, name: str) -> Stream:
        # What a server refuses is refused here too, so that a test does not pass with a name that fails later.
        self._keys.stream(name)
        return Stream(name)

    def forget(self, stream: str) -> bool:
        """Remove a stream and everything kept beside it; whether it existed."""
        self.cursors.pop(stream, None)
        self._written.pop(stream, None)
        self.failures.forget_stream(stream)
        self.leases.forget_stream(stream)
        self.members.forget_stream(stream)
        self.removal.forget_stream(stream)
        self.figures.forget_stream(stream)
        self.notes.forget_stream(stream)
        self.history.forget_stream(stream)
        self.schedule.forget_stream(stream)
        self.partitions.forget_stream(stream)
        return self.streams.pop(stream, None) is not None
