"""Settling in order on the server: under a lease, with lines of parked events.

Of a group, ``parked:<group>:<key>`` has the entry ids that wait under a key, by number of arrival; ``parked:<group>``
the keys, ``parked_since:<group>`` since when, ``unparking:<group>`` those whose owner was asked, and
``parked_records:<group>`` the failure records in state parked. What waits carries its payload in the hash of its
failure records, as every failed message does. Every change is one script, which checks the lease first.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from penstock.position import EntryId
from penstock.streams._valkey.records import (
    listener_facts,
    pack_fields,
    parking_keys,
    record_keys,
    unpack_fields,
)
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import pages, text
from penstock.streams.abc import (
    Lane,
    ListenerFailure,
    Parked,
    ParkedEvent,
    ParkedKey,
    RawId,
    Settled,
    behind,
    check_in_place,
    check_lane,
)
from penstock.streams.keys import escape, unescape

__all__ = ["ValkeyLanes"]

_IDS_A_SCRIPT: Final = 1000
_EVENTS_AT_ONCE: Final = 100
_WHOLE_MESSAGE: Final = "*"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JOINED: Final = (Parked.NOT_YOURS, Parked.DONE, Parked.OPEN)


class ValkeyLanes:
    """`LaneStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # -- settling -----------------------------------------------------------------------------------------------

    async def acknowledge(self, lane: Lane, entry_ids: Sequence[RawId]) -> int | None:
        """Settle entries as handled, in the given order; how many were pending with us. A thousand a script."""
        settled: int | None = None
        for page in pages(entry_ids, _IDS_A_SCRIPT):
            more = await self._on_pending("acknowledge_lane", lane, page)
            if more is None:
                return settled
            settled = (settled or 0) + more
        return settled if entry_ids else await self._on_pending("acknowledge_lane", lane, ())

    async def settle(
        self, lane: Lane, entry_id: RawId, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """As `FailureStore.settle`, under the lease."""
        check_in_place(failures)
        check_lane(lane)
        server = self._server
        keys = (
            *record_keys(server.keys, lane.stream, lane.group, text(entry_id)),
            server.keys.stream(lane.stream),
            server.keys.beside(lane.stream, "alone", lane.group),
            server.keys.lease(lane.lease.name, lane.stream),
        )
        arguments = (
            *(escape(lane.group), entry_id, lane.group, lane.consumer, lane.lease.token, lane.lease.fence),
            b"" if fields is None else pack_fields(list(fields)),
            *_facts(failures),
        )
        return _settled(await self._run("settle_lane", lane.stream, lane.group, keys, arguments))

    async def begin_alone(self, lane: Lane, entry_id: RawId) -> int | None:
        """Count one handling alone, under the lease."""
        count: int | None = await self._on_pending("begin_alone_lane", lane, (entry_id,))
        return count

    # -- parking ------------------------------------------------------------------------------------------------

    async def park(
        self,
        lane: Lane,
        key: str,
        entry_id: RawId,
        fields: Sequence[bytes],
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Put a failed event with its payload at the end of the key's line, record, acknowledge."""
        check_in_place(failures)
        return _settled(await self._put("park", lane, key, entry_id, fields, failures))

    async def join(self, lane: Lane, key: str, entry_id: RawId, fields: Sequence[bytes]) -> Parked:
        """Put a later event of a parked key behind those that wait, and acknowledge it."""
        return _JOINED[await self._put("join", lane, key, entry_id, fields, [behind()])]

    async def parked_keys(
        self, stream: str, group: str, *, after: str | None = None, count: int = 100
    ) -> list[ParkedKey]:
        """Keys with parked events, by key; *after* pages on."""
        server, beside = self._server, self._server.keys.beside
        low = "-" if after is None else f"({after}"
        names = await server.ask(
            server.looks,
            *(b"ZRANGEBYLEX", beside(stream, "parked", group), low, b"+", b"LIMIT", 0, count),
        )
        keys = [text(name) for name in names]
        asked = beside(stream, "parked_since", group), beside(stream, "unparking", group)
        looks = await server.run_all(
            server.looks,
            "parked_key",
            [((beside(stream, "parked", group, key), *asked), (key,)) for key in keys],
        )
        found = [(key, look) for key, look in zip(keys, looks, strict=True) if look is not None]
        firsts = await self._events(stream, group, [text(look[1]) for _, look in found], with_fields=False)
        return [
            _parked_key(stream, group, key, look, first)
            for (key, look), first in zip(found, firsts, strict=True)
        ]

    async def parked(
        self, stream: str, group: str, key: str, *, after: EntryId | None = None, count: int = 100
    ) -> list[ParkedEvent]:
        """What waits under a key, in order of arrival; *after* pages on, also when that one is gone meanwhile."""
        ids = await self._waiting(stream, group, key, after, count)
        events = await self._events(stream, group, ids, with_fields=True)
        return [
            _parked_event(entry_id, event)
            for entry_id, event in zip(ids, events, strict=True)
            if event is not None
        ]

    # -- unparking ----------------------------------------------------------------------------------------------

    async def unpark(self, stream: str, group: str, key: str) -> int:
        """Ask the owner to handle what waits under a key; how many events that is."""
        line, _, _, asked, _ = parking_keys(self._server.keys, stream, group, key)
        waiting: int = await self._run("unpark", stream, group, (line, asked), (key,))
        return waiting

    async def unparking(self, stream: str, group: str) -> list[str]:
        """The keys whose events the owner was asked to handle, sorted."""
        server = self._server
        asked = await server.ask(server.looks, b"SMEMBERS", server.keys.beside(stream, "unparking", group))
        return sorted(text(key) for key in asked)

    async def take_parked(self, lane: Lane, key: str) -> ParkedEvent | None:
        """The first event of a key that is being unparked, its attempts already counted; it stays in its place."""
        check_lane(lane)
        while ids := await self._waiting(lane.stream, lane.group, key, None, 1):
            taken = await self._on_parked("take_parked", lane, key, ids[0])
            if taken is None:
                return None
            # Someone may have discarded it in between.
            if taken:
                [event] = await self._events(lane.stream, lane.group, ids, with_fields=True)
                return _parked_event(ids[0], event or [0, b""])
        return None

    async def finish_parked(self, lane: Lane, key: str, entry_id: EntryId) -> Settled:
        """The first event was handled: remove it and its records."""
        check_lane(lane)
        return _settled(await self._on_parked("finish_parked", lane, key, str(entry_id)))

    async def fail_parked(
        self, lane: Lane, key: str, entry_id: EntryId, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """The first event failed again: these are its records now."""
        check_in_place(failures)
        check_lane(lane)
        return _settled(await self._on_parked("fail_parked", lane, key, str(entry_id), *_facts(failures)))

    async def discard_parked(self, stream: str, group: str, key: str, entry_id: EntryId | None = None) -> int:
        """Remove one parked event, or all of a key, with their records; one script for each."""
        if entry_id is not None:
            return await self._discard(stream, group, key, [str(entry_id)])
        discarded = 0
        while ids := await self._waiting(stream, group, key, None, _EVENTS_AT_ONCE):
            discarded += await self._discard(stream, group, key, ids)
        return discarded

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _run(
        self,
        script: str,
        stream: str,
        group: str,
        keys: Sequence[bytes],
        arguments: Sequence[bytes | str | int],
    ) -> Any:
        server = self._server
        return await server.run(server.settles, script, keys, arguments, stream=stream, group=group)

    async def _on_pending(self, script: str, lane: Lane, entry_ids: Sequence[RawId]) -> Any:
        check_lane(lane)
        names, lease = self._server.keys, lane.lease
        keys = (
            names.stream(lane.stream),
            names.beside(lane.stream, "alone", lane.group),
            names.lease(lease.name, lane.stream),
        )
        arguments: list[bytes | str | int] = [lane.group, lane.consumer, lease.token, lease.fence, *entry_ids]
        return await self._run(script, lane.stream, lane.group, keys, arguments)

    async def _put(
        self,
        script: str,
        lane: Lane,
        key: str,
        entry_id: RawId,
        fields: Sequence[bytes],
        failures: Sequence[ListenerFailure],
    ) -> int:
        check_lane(lane)
        names = self._server.keys
        keys = (
            *self._parked_keys(lane.stream, lane.group, key, text(entry_id)),
            names.lease(lane.lease.name, lane.stream),
            names.stream(lane.stream),
            names.beside(lane.stream, "alone", lane.group),
        )
        arguments: list[bytes | str | int] = [
            *(escape(lane.group), entry_id, key, lane.lease.token, lane.lease.fence),
            *(lane.group, lane.consumer, pack_fields(list(fields)), *_facts(failures)),
        ]
        answer: int = await self._run(script, lane.stream, lane.group, keys, arguments)
        return answer

    async def _on_parked(
        self, script: str, lane: Lane, key: str, entry_id: str, *facts: bytes | str | int
    ) -> Any:
        keys = (
            *self._parked_keys(lane.stream, lane.group, key, entry_id),
            self._server.keys.lease(lane.lease.name, lane.stream),
        )
        arguments = (escape(lane.group), entry_id, key, lane.lease.token, lane.lease.fence, *facts)
        return await self._run(script, lane.stream, lane.group, keys, arguments)

    async def _discard(self, stream: str, group: str, key: str, entry_ids: Sequence[str]) -> int:
        calls = [
            (self._parked_keys(stream, group, key, entry_id), (escape(group), entry_id, key, ""))
            for entry_id in entry_ids
        ]
        return sum(await self._server.run_all(self._server.settles, "discard_parked", calls))

    def _parked_keys(self, stream: str, group: str, key: str, entry_id: str) -> tuple[bytes, ...]:
        names = self._server.keys
        return *record_keys(names, stream, group, entry_id), *parking_keys(names, stream, group, key)

    async def _waiting(
        self, stream: str, group: str, key: str, after: EntryId | None, count: int
    ) -> list[str]:
        """Entry ids that wait under a key, in order of arrival."""
        server = self._server
        line = server.keys.beside(stream, "parked", group, key)
        first = 0
        if after is not None:
            rank = await server.ask(server.looks, b"ZRANK", line, str(after))
            first = rank + 1 if rank is not None else await self._rank_behind(line, after)
        return [
            text(raw) for raw in await server.ask(server.looks, b"ZRANGE", line, first, first + count - 1)
        ]

    async def _rank_behind(self, line: bytes, after: EntryId) -> int:
        """Where what comes behind an event stands that has gone from the front meanwhile."""
        server, first = self._server, 0
        while ids := await server.ask(server.looks, b"ZRANGE", line, first, first + _IDS_A_SCRIPT - 1):
            for place, raw in enumerate(ids, first):
                if EntryId.parse(raw) > after:
                    return place
            first += len(ids)
        return first

    async def _events(
        self, stream: str, group: str, entry_ids: Sequence[str], *, with_fields: bool
    ) -> list[list[Any] | None]:
        server = self._server
        calls = [
            ((server.keys.beside(stream, "failed", group, entry_id),), (int(with_fields),))
            for entry_id in entry_ids
        ]
        return await server.run_all(server.looks, "parked_event", calls)


def _facts(failures: Sequence[ListenerFailure]) -> list[bytes | str | int]:
    return [fact for failure in failures for fact in listener_facts(failure)]


def _settled(answer: int) -> Settled:
    return Settled.DONE if answer else Settled.NOT_YOURS


def _parked_event(entry_id: str, event: Sequence[Any]) -> ParkedEvent:
    attempts, packed, *records = event
    listeners = tuple(sorted(unescape(text(name)) for name in records[::3]))
    return ParkedEvent(
        entry_id=EntryId.parse(entry_id),
        attempts=attempts,
        fields=unpack_fields(packed) if packed else None,
        listeners=() if _WHOLE_MESSAGE in listeners else listeners,
    )


def _parked_key(
    stream: str, group: str, key: str, look: Sequence[Any], first: Sequence[Any] | None
) -> ParkedKey:
    events, entry_id, since_ms, is_asked = look
    records: Sequence[bytes] = () if first is None else first[2:]
    errors = sorted(
        (unescape(text(name)), text(error_type), text(error))
        for name, error_type, error in zip(records[::3], records[1::3], records[2::3], strict=True)
    )
    _, error_type, error = errors[0] if errors else ("", "", "")
    return ParkedKey(
        stream=stream,
        group=group,
        key=key,
        events=events,
        since=_EPOCH + timedelta(milliseconds=int(since_ms)),
        first=EntryId.parse(entry_id),
        error_type=error_type,
        error=error,
        unparking=bool(is_asked),
    )
