"""Looking at groups: who is in them, what is pending, and how far behind they are."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from penstock.errors import UnknownGroupError, UnknownStreamError
from penstock.position import EntryId
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import as_map, entry_id, milliseconds, text
from penstock.streams.abc import ConsumerInfo, GroupInfo, PendingEntry, PendingSummary

__all__ = ["Inspection"]

_COUNTED_A_STEP: Final = 1000
_STEPS: Final = 100


class Inspection:
    """The part of `ValkeyBroker` that looks at groups and changes nothing."""

    _server: Server

    async def groups(self, stream: str) -> list[GroupInfo]:
        """The stream's groups, by name. Raises `UnknownStreamError`."""
        server = self._server
        key = server.keys.stream(stream)
        replies = await server.ask_all(server.looks, [(b"XINFO", b"GROUPS", key)])
        if isinstance(replies[0], ReplyError):
            if "no such key" in replies[0].text:
                raise UnknownStreamError(stream)
            raise server.error(replies[0], "XINFO GROUPS", stream, key=key)
        found: list[GroupInfo] = []
        for facts in map(as_map, replies[0]):
            lag = await self._lag(stream, facts["last-delivered-id"], facts.get("entries-read"))
            last = EntryId.parse(facts["last-delivered-id"])
            found.append(GroupInfo(text(facts["name"]), facts["consumers"], facts["pending"], last, lag))
        return sorted(found, key=lambda group: group.name)

    async def consumers(self, stream: str, group: str) -> list[ConsumerInfo]:
        """The group's consumers, by name. Raises `UnknownGroupError`."""
        server = self._server
        key = server.keys.stream(stream)
        reply = await server.try_ask(server.looks, b"XINFO", b"CONSUMERS", key, group)
        if isinstance(reply, ReplyError):
            if "no such key" in reply.text:
                raise UnknownGroupError(stream, group)
            raise server.error(reply, "XINFO CONSUMERS", stream, group, key)
        found = [
            ConsumerInfo(text(facts["name"]), facts["pending"], timedelta(milliseconds=facts["idle"]))
            for facts in map(as_map, reply)
        ]
        return sorted(found, key=lambda consumer: consumer.name)

    async def pending_summary(self, stream: str, group: str) -> PendingSummary:
        """The group's pending entries in one look. Raises `UnknownGroupError`."""
        server = self._server
        key = server.keys.stream(stream)
        count, lowest, highest, consumers = await server.ask(
            server.looks, b"XPENDING", key, group, stream=stream, group=group
        )
        held = {text(name): int(number) for name, number in consumers or ()}
        return PendingSummary(count, entry_id(lowest), entry_id(highest), held)

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
        """Up to *count* pending entries from *start* on, in id order. Raises `UnknownGroupError`."""
        server = self._server
        key = server.keys.stream(stream)
        idle = (b"IDLE", milliseconds(min_idle)) if min_idle else ()
        low = b"-" if start is None else bytes(start)
        of = () if consumer is None else (consumer,)
        rows: Sequence[Any] = await server.ask(
            server.looks, b"XPENDING", key, group, *idle, low, b"+", count, *of, stream=stream, group=group
        )
        return [
            PendingEntry(EntryId.parse(at), text(holder), timedelta(milliseconds=idle_ms), deliveries)
            for at, holder, idle_ms, deliveries in rows
        ]

    # -- lag ----------------------------------------------------------------------------------------------------

    async def _lag(self, stream: str, last_delivered: bytes, entries_read: int | None) -> int:
        """How many entries the stream has after *last_delivered*.

        The server's own figure is kept only where it cannot be wrong: no entry was ever removed from the middle, and it
        knows how many the group has read (both from Redis 7 on). Else entries are counted, by thousands, from that
        place towards both ends at once, so that the shorter way decides. After a hundred thousand the rest is taken to
        lie as densely as what was counted.
        """
        server = self._server
        key = server.keys.stream(stream)
        known, length, ahead = await server.run(
            server.looks,
            "lag",
            (key,),
            (last_delivered, -1 if entries_read is None else entries_read),
            stream=stream,
        )
        if known:
            return int(ahead)
        after, before = last_delivered, last_delivered
        counted_after = counted_before = 0
        for _ in range(_STEPS):
            counts = await server.run(
                server.looks, "count", (key,), (after, before, _COUNTED_A_STEP), stream=stream
            )
            more_after, after, more_before, before = counts
            counted_after, counted_before = counted_after + more_after, counted_before + more_before
            if more_after < _COUNTED_A_STEP:
                return int(counted_after)
            if more_before < _COUNTED_A_STEP:
                return int(max(counted_after, length - counted_before))
        return await self._estimate(stream, last_delivered, after, counted_after)

    async def _estimate(self, stream: str, start: bytes, reached: bytes, counted: int) -> int:
        server = self._server
        key = server.keys.stream(stream)
        facts = await server.run(server.looks, "look", (key,), stream=stream)
        if not facts:
            return 0
        return estimate_lag(
            facts[0], EntryId.parse(start), EntryId.parse(reached), EntryId.parse(facts[2]), counted
        )


def estimate_lag(length: int, start: EntryId, reached: EntryId, last: EntryId, counted: int) -> int:
    """How many entries lie after *start*, when *counted* of them lie up to *reached* and the last one is *last*."""
    span_ms = max(1, reached.ms - start.ms)
    return min(length, counted + counted * max(0, last.ms - reached.ms) // span_ms)
