"""What enters a stream later: kept beside it, and moved into it by one script.

Of a stream: ``waiting`` (event ids by due time in ms), ``delayed`` (packed entries by event id), ``ticks`` (the last
run of each thing that recurs). ``penstock:scheduled`` says of every stream when something may be due there. It lies in
another slot, so it is told before and after something is put beside a stream: before, so that a death in between leaves
a trace; after, because another process may have looked in between, found nothing, and put its own look off.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from penstock.errors import BrokerError, BrokerUnavailableError, StreamFullError
from penstock.streams._later import Changes, check_later, milliseconds_of, time_of
from penstock.streams._valkey.appends import limits
from penstock.streams._valkey.history import index_arguments
from penstock.streams._valkey.removal import floor_keys
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import pages
from penstock.streams.abc import Cap, DelayedEntry, Index, Moved, NewEntry, RawId, Tick
from penstock.streams.keys import escape, unescape

__all__ = ["ValkeySchedule"]

_STREAMS_A_MOVE: Final = 100
_STREAMS_A_CHECK: Final = 500
_LOOK_EVERY: Final = timedelta(milliseconds=200)


class ValkeySchedule:
    """`ScheduleStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._changes = Changes()

    # -- entries that wait --------------------------------------------------------------------------------------

    async def schedule(self, entry: NewEntry, event_id: str, *, due: datetime) -> datetime:
        """Keep an entry until *due*; when it is due."""
        check_later(entry, event_id)
        due_ms, server = milliseconds_of(due), self._server
        kept = _packed(entry)
        keys = self._waiting_keys(entry.stream)
        await self._announce(entry.stream, due_ms)
        arguments = (event_id, due_ms, kept)
        said = await server.run(server.settles, "schedule", keys, arguments, stream=entry.stream)
        await self._announce(entry.stream, due_ms)
        self._changes.tell()
        return time_of(int(said))

    async def cancel(self, stream: str, event_id: str) -> bool:
        """Take a waiting entry away; False when it does not wait."""
        server = self._server
        keys = self._waiting_keys(stream)
        return bool(await server.run(server.settles, "cancel", keys, (event_id,), stream=stream))

    async def replace(self, entry: NewEntry, event_id: str) -> bool:
        """Have an event that waits enter as *entry*, at its time."""
        check_later(entry, event_id)
        server = self._server
        keys = self._waiting_keys(entry.stream)
        arguments = (event_id, _packed(entry))
        return bool(await server.run(server.settles, "replace_delayed", keys, arguments, stream=entry.stream))

    async def delayed(
        self, stream: str, *, after: DelayedEntry | None = None, count: int = 100
    ) -> list[DelayedEntry]:
        """Up to *count* entries that wait, by due time and event id."""
        server = self._server
        place = ("-inf", "") if after is None else (milliseconds_of(after.due), after.event_id)
        keys = self._waiting_keys(stream)
        rows = await server.run(server.looks, "delayed", keys, (*place, count), stream=stream)
        return [
            DelayedEntry(stream, event_id.decode(), time_of(int(due)), _unpacked(stream, kept))
            for event_id, due, kept in rows
        ]

    # -- moving what is due -------------------------------------------------------------------------------------

    async def streams(self) -> list[str]:
        """Every stream for which something waits, recurs, or did."""
        server = self._server
        names = await server.ask(server.looks, b"ZRANGE", server.keys.scheduled, 0, -1)
        return sorted(name.decode() for name in names)

    async def move_due(self, *, count: int = 100) -> Moved:
        """Add what is due to its streams, oldest due time first."""
        server = self._server
        flat = await server.run(server.settles, "due", (server.keys.scheduled,), (_STREAMS_A_MOVE,))
        moved: list[tuple[str, RawId]] = []
        held: dict[str, list[str]] = {"full": [], "closed": []}
        failure: BrokerError | None = None
        for name, seen in zip(flat[::2], flat[1::2], strict=True):
            stream = name.decode()
            try:
                following, reason, entry_ids = await self._move(stream, count)
            except BrokerUnavailableError:
                raise
            except BrokerError as refusal:
                # What one stream refuses must not hold up the others.
                failure = failure or refusal
                continue
            moved += [(stream, entry_id) for entry_id in entry_ids]
            if reason:
                held[reason.decode()].append(stream)
            arguments = (stream, seen, following or b"+inf")
            await server.run(server.settles, "announce_next", (server.keys.scheduled,), arguments)
        if failure is not None and not moved:
            raise failure
        return Moved(tuple(moved), await self.next_due(), tuple(held["full"]), tuple(held["closed"]))

    async def next_due(self) -> timedelta | None:
        """How long until something may be due."""
        server = self._server
        wait_ms = await server.run(server.looks, "next_scheduled", (server.keys.scheduled,))
        return None if wait_ms is None else timedelta(milliseconds=wait_ms)

    @property
    def look_every(self) -> timedelta:
        """How often to ask for what other processes scheduled: one short command."""
        return _LOOK_EVERY

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have *tell* called when something is scheduled through this broker."""
        return self._changes.add(tell)

    async def check(self) -> None:
        """Look at every stream whether something waits there that was announced incompletely."""
        server = self._server
        for page in pages(await self.streams(), _STREAMS_A_CHECK):
            calls = [((server.keys.beside(stream, "waiting"),), ()) for stream in page]
            first = await server.run_all(server.looks, "first_waiting", calls)
            for stream, due_ms in zip(page, first, strict=True):
                if due_ms is not None:
                    await self._announce(stream, int(due_ms))

    # -- what recurs --------------------------------------------------------------------------------------------

    async def tick(
        self, stream: str, name: str, *, expected: datetime | None, tick: Tick, entries: Sequence[NewEntry]
    ) -> list[RawId] | None:
        """Record a tick and add its entries in one step, if the last tick is still *expected*."""
        for entry in entries:
            check_later(entry, name, stream=stream, beside=len(entries) - 1)
        server = self._server
        beside = server.keys.beside
        keys = (
            server.keys.stream(stream),
            beside(stream, "ticks"),
            *floor_keys(server, stream),
            beside(stream, "histories"),
        )
        following = "-" if tick.following is None else str(milliseconds_of(tick.following))
        arguments = (
            escape(name),
            "" if expected is None else milliseconds_of(expected),
            f"{milliseconds_of(tick.at)} {following} {tick.rule}",
            beside(stream, "history", ""),
            *map(_packed, entries),
        )
        await self._announce(stream, None)
        added = await server.run(server.settles, "tick", keys, arguments, stream=stream)
        if added == 0:
            raise StreamFullError(stream, limit=max((_cap_of(entry) for entry in entries), default=0))
        if added:
            await self._remember(stream)
        return None if added is None else list(added)

    async def ticks(self, stream: str) -> dict[str, Tick]:
        """The last tick of everything that recurs into the stream."""
        server = self._server
        key = server.keys.beside(stream, "ticks")
        flat = await server.ask(server.looks, b"HGETALL", key, stream=stream)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {unescape(name.decode()): _tick(kept.decode()) for name, kept in sorted(pairs)}

    async def forget_tick(self, stream: str, name: str) -> bool:
        """Forget that something recurred; whether it was known."""
        server = self._server
        key = server.keys.beside(stream, "ticks")
        return bool(await server.ask(server.settles, b"HDEL", key, escape(name), stream=stream))

    # -- helpers ------------------------------------------------------------------------------------------------

    def _waiting_keys(self, stream: str) -> tuple[bytes, bytes]:
        beside = self._server.keys.beside
        return beside(stream, "waiting"), beside(stream, "delayed")

    async def _announce(self, stream: str, due_ms: int | None) -> None:
        server = self._server
        score = b"+inf" if due_ms is None else due_ms
        await server.ask(server.settles, b"ZADD", server.keys.scheduled, b"LT", score, stream)

    async def _move(self, stream: str, count: int) -> tuple[bytes, bytes, list[RawId]]:
        server = self._server
        beside = server.keys.beside
        keys = (
            server.keys.stream(stream),
            *self._waiting_keys(stream),
            *floor_keys(server, stream),
            beside(stream, "lane"),
            beside(stream, "histories"),
        )
        arguments = (beside(stream, "history", ""), count)
        following, held, entry_ids = await server.run(
            server.settles, "move_due", keys, arguments, stream=stream
        )
        if entry_ids:
            await self._remember(stream)
        return following, held, entry_ids

    async def _remember(self, stream: str) -> None:
        server = self._server
        if stream not in server.known:
            server.remember(stream, await server.settles.ready())


def _cap_of(entry: NewEntry) -> int:
    return 0 if entry.cap is None else entry.cap.max_entries or 0


def _packed(entry: NewEntry) -> bytes:
    """An entry as ``shared/kept.lua`` takes it."""
    epoch = b"" if entry.epoch is None else b"%d" % entry.epoch
    head = [*(b"%d" % limit for limit in limits(entry.cap)), epoch, index_arguments(entry.index)[0]]
    return b"".join([b"%d:%b" % (len(part), part) for part in (*head, *entry.fields)])


def _unpacked(stream: str, kept: bytes) -> NewEntry:
    most, age_ms, needed, epoch, name, *fields = _parts(kept)
    limited = Cap(int(most) or None, timedelta(milliseconds=int(age_ms)) or None, needed == b"1")
    return NewEntry(
        stream,
        fields,
        cap=None if limited == Cap() else limited,
        epoch=int(epoch) if epoch else None,
        index=_index(name.decode()) if name else None,
    )


def _index(name: str) -> Index:
    event, _, identifier = name.partition(":")
    return Index(unescape(event), unescape(identifier))


def _parts(kept: bytes) -> list[bytes]:
    parts: list[bytes] = []
    at = 0
    while at < len(kept):
        colon = kept.index(b":", at)
        at = colon + 1 + int(kept[at:colon])
        parts.append(kept[colon + 1 : at])
    return parts


def _tick(kept: str) -> Tick:
    at, following, rule = kept.split(" ", 2)
    return Tick(time_of(int(at)), None if following == "-" else time_of(int(following)), rule)
