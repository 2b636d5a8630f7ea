"""Streams without a server: a broker for one process and one event loop, which users' tests run on.

It behaves as a Valkey server does, to the millisecond of its clock, and passes the same contract suite.
Nothing survives the process. Several brokers can share one `MemoryServer`, as processes share a server.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from penstock.clock import Clock, SystemClock
from penstock.errors import BrokerError, UnknownGroupError, UnknownStreamError, UsageError
from penstock.position import EntryId, Start
from penstock.streams._memory.group import Group
from penstock.streams._memory.ordered import LARGEST, entry_id_of, number_of, raw_of
from penstock.streams._memory.space import Space
from penstock.streams._memory.stores import Stores
from penstock.streams._memory.stream import Stream, start_number
from penstock.streams.abc import (
    AppendOutcome,
    Batch,
    Capabilities,
    Claimed,
    Condition,
    ConsumerInfo,
    GroupInfo,
    GroupRead,
    Holder,
    NewEntry,
    PendingEntry,
    PendingSummary,
    RawEntry,
    RawId,
    Settled,
    StreamInfo,
)

__all__ = ["MemoryBroker", "MemoryServer"]

_MS = timedelta(milliseconds=1)
_CAPABILITIES = Capabilities(
    product="memory",
    version=(1, 0, 0),
    commands=frozenset(),
    maxmemory_policy="noeviction",
    appendfsync="off",
)


class MemoryServer:
    """What brokers of one process share: the streams of every namespace, and one clock."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._spaces: dict[str, Space] = {}

    def space(self, namespace: str) -> Space:
        """What is kept under a namespace."""
        if namespace not in self._spaces:
            self._spaces[namespace] = Space(self.clock, namespace)
        return self._spaces[namespace]


class MemoryBroker(Stores):
    """A `StreamBroker` that keeps everything in memory.

    Entry ids, idle times, due times and blocked reads go by *clock* (the system's, unless given), so a test
    that owns the clock owns them all. With *server* the broker shares what other brokers of that server see.
    """

    def __init__(
        self, clock: Clock | None = None, *, namespace: str = "", server: MemoryServer | None = None
    ) -> None:
        if clock is not None and server is not None:
            raise UsageError("a shared server has a clock of its own; give the clock to `MemoryServer`")
        self._server = server or MemoryServer(clock)
        self._space = self._server.space(namespace)
        self._streams = self._space.streams
        self._waiters = self._space.waiters

    @property
    def _now_ms(self) -> int:
        return self._server.clock.time_us() // 1000

    def _find_group(self, stream: str, group: str) -> Group | None:
        place = self._streams.get(stream)
        return None if place is None else place.groups.get(group)

    def _group(self, stream: str, group: str) -> Group:
        found = self._find_group(stream, group)
        if found is None:
            raise UnknownGroupError(stream, group)
        return found

    def _stream(self, stream: str) -> Stream:
        if stream not in self._streams:
            raise UnknownStreamError(stream)
        return self._streams[stream]

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Let waiting reads answer with nothing. What is stored stays as long as the server object lives."""
        self._waiters.dismiss_all()

    @property
    def capabilities(self) -> Capabilities:
        """A server that never evicts and never writes to disk."""
        return _CAPABILITIES

    async def server_time_us(self) -> int:
        """The clock, microseconds since the Unix epoch."""
        return self._server.clock.time_us()

    # -- adding and reading without a group ------------------------------------------------------------------

    async def append(self, entry: NewEntry) -> RawId:
        """Add one entry and answer its id. Raises `EntryIdTooSmallError`, `StreamFullError`."""
        entry_id = self._space.add(entry, self._now_ms)
        self._waiters.changed(entry.stream)
        return entry_id

    async def append_many(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
        """Add entries in order; one outcome each. Waiting readers see them together."""
        now_ms = self._now_ms
        outcomes: list[AppendOutcome] = []
        for entry in entries:
            try:
                outcomes.append(AppendOutcome(Condition.WRITTEN, self._space.add(entry, now_ms)))
            except (BrokerError, UsageError) as refusal:
                outcomes.append(AppendOutcome(Condition.NOT_WRITTEN, cause=refusal))
        for stream in dict.fromkeys(entry.stream for entry in entries):
            self._waiters.changed(stream)
        return outcomes

    async def range(
        self,
        stream: str,
        start: EntryId | None = None,
        end: EntryId | None = None,
        *,
        count: int | None = None,
        reverse: bool = False,
    ) -> list[RawEntry]:
        """Entries from *start* to *end*, both included."""
        if stream not in self._streams:
            return []
        entries = self._streams[stream].entries
        numbers = entries.between(
            0 if start is None else number_of(start), LARGEST if end is None else number_of(end)
        )
        if reverse:
            numbers.reverse()
        return [[raw, fields.copy()] for raw, fields in map(entries.__getitem__, numbers[:count])]

    async def read(
        self, positions: Mapping[str, RawId], *, count: int, block: timedelta | None = None
    ) -> list[Batch]:
        """Entries after the position of each stream; waits up to *block* for the first."""
        after = {stream: number_of(position) for stream, position in positions.items()}

        def attempt() -> list[Batch]:
            found = (
                (stream, self._streams[stream].take(number, count))
                for stream, number in after.items()
                if stream in self._streams
            )
            return [batch for batch in found if batch[1]]

        # Others get their turn on every read, as they would while a server answers.
        await asyncio.sleep(0)
        return attempt() or (await self._waiters.wait(attempt, after, block) if block else [])

    async def resolve(self, stream: str, start: Start) -> RawId:
        """The position after which reading begins for *start*."""
        place = self._streams.get(stream)
        return raw_of(start_number(start) if place is None else place.position(start))

    async def length(self, stream: str) -> int:
        """How many entries the stream has."""
        return len(self._streams[stream].entries) if stream in self._streams else 0

    async def delete(self, stream: str, entry_ids: Sequence[EntryId]) -> int:
        """Remove entries; how many there were."""
        if stream not in self._streams:
            return 0
        entries = self._streams[stream].entries
        return sum(entries.pop(number_of(entry_id)) is not None for entry_id in entry_ids)

    async def delete_stream(self, stream: str) -> bool:
        """Remove the stream and everything kept beside it; readers that wait in its groups learn of it."""
        existed = self._space.forget(stream)
        self._waiters.changed(stream)
        return existed

    async def info(self, stream: str) -> StreamInfo:
        """The stream in one look. Raises `UnknownStreamError`."""
        return self._stream(stream).info()

    async def streams(self) -> list[str]:
        """Every stream of the namespace, sorted."""
        return sorted(self._streams)

    async def save_cursor(self, stream: str, name: str, position: RawId) -> None:
        """Keep the position unless a higher one is kept."""
        kept = self._space.cursors.setdefault(stream, {})
        kept[name] = max(number_of(position), kept.get(name, 0))

    async def load_cursor(self, stream: str, name: str) -> RawId | None:
        """The kept position."""
        number = self._space.cursors.get(stream, {}).get(name)
        return None if number is None else raw_of(number)

    async def delete_cursor(self, stream: str, name: str) -> bool:
        """Forget the position."""
        return self._space.cursors.get(stream, {}).pop(name, None) is not None

    async def cursors(self, stream: str) -> dict[str, EntryId]:
        """Every kept position of the stream."""
        return {name: entry_id_of(number) for name, number in self._space.cursors.get(stream, {}).items()}

    # -- groups ----------------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start: Start) -> bool:
        """Create the group and, when missing, the stream."""
        place = self._space.ensure(stream)
        if group in place.groups:
            return False
        place.groups[group] = Group(group, place.position(start))
        return True

    async def delete_group(self, stream: str, group: str) -> bool:
        """Remove the group; its waiting readers learn of it at once."""
        await self._space.removal.unregister_group(stream, group)
        if self._find_group(stream, group) is None:
            return False
        del self._streams[stream].groups[group]
        self._waiters.changed(stream)
        return True

    async def move_group(self, stream: str, group: str, start: Start) -> None:
        """Set what was last delivered; a waiting reader of the group sees at once what that makes new."""
        moved = self._group(stream, group)
        moved.last_delivered = self._streams[stream].position(start)
        self._waiters.changed(stream)

    async def groups(self, stream: str) -> list[GroupInfo]:
        """The stream's groups, by name."""
        return self._stream(stream).group_infos()

    async def consumers(self, stream: str, group: str) -> list[ConsumerInfo]:
        """The group's consumers, by name."""
        return self._group(stream, group).list_consumers(self._now_ms)

    async def pending_summary(self, stream: str, group: str) -> PendingSummary:
        """The group's pending entries in one look."""
        return self._group(stream, group).summary()

    async def pending(
        self,
        stream: str,
        group: str,
        *,
        consumer: str | None = None,
        min_idle: timedelta = timedelta(0),
        start: EntryId | None = None,
        count: int = 100,
    ) -> list[PendingEntry]:
        """Up to *count* pending entries from *start* on."""
        return self._group(stream, group).list_pending(consumer, min_idle, start, count, self._now_ms)

    async def read_group(
        self,
        group: str,
        consumer: str,
        streams: Sequence[str],
        *,
        count: int,
        block: timedelta | None = None,
        acknowledge: Mapping[str, Sequence[RawId]] | None = None,
    ) -> GroupRead:
        """Acknowledge, then deliver new entries to the consumer, waiting up to *block*."""

        def attempt() -> list[Batch]:
            # All groups are looked up before any delivers: a missing one must not leave a read half done.
            members = [(stream, self._group(stream, group)) for stream in streams]
            now_ms = self._now_ms
            found = [
                (stream, member.deliver(self._streams[stream].entries, consumer, count, now_ms))
                for stream, member in members
            ]
            return [batch for batch in found if batch[1]]

        await asyncio.sleep(0)
        acknowledged = {
            stream: await self.acknowledge(stream, group, entry_ids)
            for stream, entry_ids in (acknowledge or {}).items()
        }
        batches = attempt()
        if not batches and block:
            batches = await self._waiters.wait(attempt, streams, block, (group, consumer))
        return GroupRead(batches, acknowledged)

    async def interrupt(self, group: str, consumer: str) -> None:
        """Make a waiting `read_group` of this consumer answer at once."""
        self._waiters.interrupt((group, consumer))

    async def own_pending(
        self, stream: str, group: str, consumer: str, *, after: RawId, count: int
    ) -> list[RawEntry]:
        """Entries pending with the consumer, delivered to it again."""
        owner, entries = self._group(stream, group), self._streams[stream].entries
        return owner.own(entries, consumer, number_of(after), count, self._now_ms)

    async def acknowledge(self, stream: str, group: str, entry_ids: Sequence[RawId]) -> int:
        """Take entries off the pending list; how many were on it."""
        owner = self._find_group(stream, group)
        return 0 if owner is None else owner.acknowledge(entry_ids)

    async def renew(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> list[RawId]:
        """Restart the idle time of the consumer's entries; those that are not its own."""
        owner = self._find_group(stream, group)
        return list(entry_ids) if owner is None else owner.renew(consumer, entry_ids, self._now_ms)

    async def claim(
        self,
        stream: str,
        group: str,
        consumer: str,
        *,
        min_idle: timedelta,
        count: int,
        start: EntryId | None = None,
        from_consumer: str | None = None,
    ) -> Claimed:
        """Take over idle entries, looking from *start* on."""
        return self._group(stream, group).claim(
            self._streams[stream].entries,
            consumer,
            idle_ms=min_idle // _MS,
            count=count,
            start=0 if start is None else number_of(start),
            from_consumer=from_consumer,
            now_ms=self._now_ms,
        )

    async def release(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> int:
        """Make the consumer's entries free for anyone's next claim."""
        owner = self._find_group(stream, group)
        return 0 if owner is None else owner.release(consumer, entry_ids)

    async def begin_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> int | None:
        """Count one handling alone."""
        owner = self._find_group(stream, group)
        return None if owner is None else owner.begin_alone(consumer, entry_id)

    async def acknowledge_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> Settled:
        """Acknowledge what the consumer holds, its `begin_alone` count with it."""
        owner = self._find_group(stream, group)
        if owner is None or owner.holds(number_of(entry_id), consumer) is None:
            return Settled.NOT_YOURS
        owner.pending.pop(number_of(entry_id))
        return Settled.DONE

    async def remove_consumer(self, stream: str, group: str, consumer: str, *, heir: str) -> int:
        """Move what the consumer holds to *heir*, then remove it."""
        owner = self._find_group(stream, group)
        if owner is None:
            return 0
        return owner.remove_consumer(self._streams[stream].entries, consumer, heir, self._now_ms)

    async def hold_name(
        self,
        group: str,
        consumer: str,
        *,
        token: str,
        description: str,
        life: timedelta,
        replace: str | None = None,
    ) -> Holder:
        """Take or renew a consumer name; who holds it now."""
        return self._space.names.hold((group, consumer), Holder(token, description), life, replace)

    async def free_name(self, group: str, consumer: str, *, token: str) -> bool:
        """Give the name back if the token holds it."""
        return self._space.names.free((group, consumer), token)
