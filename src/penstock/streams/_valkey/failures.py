"""Records of failed messages: one hash a message, an index by time of the last failure, another of what is due.

Of a stream's group: ``failed:<group>:<entry id>`` holds the entry's fields (MessagePack) once, and the facts of each
failed listener as ``<listener>/<fact>``; ``failures:<group>`` has a member ``<entry id>/<listener>`` for each record,
scored by its last failure; ``due:<group>`` has those that will run again, scored by when. All times are the server's,
in milliseconds. Every change is one script.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._valkey.records import (
    edit_text,
    facts_wanted,
    listener_facts,
    member_of,
    pack_fields,
    parking_keys,
    record_keys,
    record_of,
    split_member,
    unpack_fields,
)
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds, text
from penstock.streams.abc import (
    MOST_EDITS,
    DueRetry,
    Edited,
    FailureKey,
    FailureRecord,
    FailureState,
    ListenerFailure,
    RawId,
    RetryClaim,
    Settled,
    Tally,
    restored,
)
from penstock.streams.keys import escape, unescape

__all__ = ["ValkeyFailures"]

_LOOKED_AT_ONCE: Final = 200
_REMEMBERED_PAGES: Final = 256


class ValkeyFailures:
    """`FailureStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server
        # Where a page of `find` ended: its last record may be gone or have failed again when the next is asked for.
        self._page_ends: dict[FailureKey, tuple[int, str, bytes]] = {}

    # -- settling a pending entry -------------------------------------------------------------------------------

    async def settle(
        self,
        stream: str,
        group: str,
        consumer: str,
        entry_id: RawId,
        fields: Sequence[bytes] | None,
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Record the failures of one pending entry, then acknowledge it: one script that checks ownership first."""
        if not failures:
            raise UsageError(
                "settling as failed needs at least one failure; acknowledge an entry that has none"
            )
        entry = b"" if fields is None else pack_fields(list(fields))
        facts = [fact for failure in failures for fact in listener_facts(failure)]
        return await self._settling("settle", stream, group, entry_id, (consumer, entry, *facts))

    async def settle_vanished(self, stream: str, group: str, entry_id: RawId) -> Settled:
        """Record an entry that is pending but no longer in the stream, and acknowledge it, whoever holds it."""
        failure = ListenerFailure(
            listener="*",
            cause="vanished",
            error_type="",
            error="the entry was removed from the stream while it was pending",
            traceback="",
            due_in=None,
        )
        return await self._settling("settle_vanished", stream, group, entry_id, listener_facts(failure))

    async def enqueue(
        self, stream: str, group: str, entry_id: EntryId, fields: Sequence[bytes], *, listener: str = "*"
    ) -> bool:
        """Put a record that is due at once, unless there is one."""
        key = FailureKey(stream, group, entry_id, listener)
        arguments = (pack_fields(list(fields)), *listener_facts(restored(listener))[1:])
        return bool(await self._on_record("enqueue", key, arguments))

    # -- retries ------------------------------------------------------------------------------------------------

    async def due(self, groups: Sequence[tuple[str, str]], *, count: int) -> list[DueRetry]:
        """Retries due by the server's clock, oldest first, at most *count* per (stream, group)."""
        calls = [((self._key(stream, "due", group),), (count,)) for stream, group in groups]
        replies = await self._server.run_all(self._server.looks, "due", calls)
        found = [
            (int(due_ms), FailureKey(stream, group, *split_member(member)))
            for (stream, group), flat in zip(groups, replies, strict=True)
            for member, due_ms in zip(flat[::2], flat[1::2], strict=True)
        ]
        return [DueRetry(key) for _, key in sorted(found)]

    async def next_due(self, groups: Sequence[tuple[str, str]]) -> timedelta | None:
        """How long until the earliest retry of these (stream, group) is due; zero if one is; ``None`` without any."""
        calls = [((self._key(stream, "due", group),), ()) for stream, group in groups]
        waits = await self._server.run_all(self._server.looks, "next_due", calls)
        known = [wait for wait in waits if wait is not None]
        return timedelta(milliseconds=min(known)) if known else None

    async def claim_retry(
        self, key: FailureKey, *, token: str, visibility: timedelta, max_attempts: int, force: bool = False
    ) -> RetryClaim | None:
        """Take a due retry: count the attempt and hide it for *visibility*, before the handler starts."""
        if not token:
            raise UsageError("claiming a retry needs a token")
        arguments = (token, milliseconds(visibility), max_attempts, int(force))
        claimed = await self._on_record("claim_retry", key, arguments)
        if claimed is None:
            return None
        attempts, entry = claimed
        return RetryClaim(key, token, attempts, unpack_fields(entry) if entry else None)

    async def extend_retry(self, claim: RetryClaim, *, visibility: timedelta) -> Settled:
        """Hide a claimed retry for longer."""
        return _settled(
            await self._on_record("extend_retry", claim.key, (claim.token, milliseconds(visibility)))
        )

    async def succeed_retry(self, claim: RetryClaim) -> Settled:
        """Remove the record (and the payload with the message's last record)."""
        return _settled(await self._on_record("remove_record", claim.key, (claim.token,)))

    async def fail_retry(self, claim: RetryClaim, failure: ListenerFailure) -> Settled:
        """Update the record: error, last time, and due again or failed."""
        return _settled(
            await self._on_record("fail_retry", claim.key, (claim.token, *listener_facts(failure)[1:]))
        )

    async def split_retry(self, claim: RetryClaim, failures: Sequence[ListenerFailure]) -> Settled:
        """Replace a whole-message record (listener ``"*"``) by records of the listeners that failed; none = removed."""
        facts = [fact for failure in failures for fact in listener_facts(failure)]
        return _settled(await self._on_record("split_retry", claim.key, (claim.token, *facts)))

    async def return_retry(self, claim: RetryClaim) -> Settled:
        """Give a claimed retry back, due at once, and take the counted attempt off."""
        return _settled(await self._on_record("return_retry", claim.key, (claim.token,)))

    async def edit(self, key: FailureKey, fields: Sequence[bytes], *, who: str, why: str) -> Edited:
        """Replace the payload that a failed message is run with, and keep the first one."""
        server = self._server
        keys = (
            *record_keys(server.keys, key.stream, key.group, str(key.entry_id)),
            self._key(key.stream, "unparking", key.group),
        )
        arguments = (escape(key.listener), pack_fields(list(fields)), edit_text(who, why), MOST_EDITS)
        answer = await server.run(server.settles, "edit", keys, arguments, stream=key.stream, group=key.group)
        return Edited(text(answer))

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, key: FailureKey) -> FailureRecord | None:
        """One record with its payload, and the original one."""
        hash_key = self._key(key.stream, "failed", key.group, str(key.entry_id))
        entry, original, *facts = await self._server.ask(
            self._server.looks, b"HMGET", hash_key, b"entry", b"original", *facts_wanted(key.listener)
        )
        return record_of(
            key,
            facts,
            unpack_fields(entry) if entry else None,
            unpack_fields(original) if original else None,
        )

    async def find(
        self,
        stream: str,
        group: str | None = None,
        *,
        state: FailureState | None = None,
        entry_id: EntryId | None = None,
        listener: str | None = None,
        after: FailureKey | None = None,
        count: int = 100,
    ) -> list[FailureRecord]:
        """Records matching all that is given, oldest last failure first, without payloads; *after* pages on.

        A page that ended with a record which has gone or failed again since is continued from where that record was.
        """
        beyond = await self._page_end(after) if after is not None else None
        places: list[tuple[int, str, bytes]] = []
        records: dict[tuple[int, str, bytes], FailureRecord] = {}
        for name in [group] if group is not None else await self._groups(stream):
            first = 0 if beyond is None else beyond[0]
            offset, found = 0, 0
            while found < count:
                page = await self._page(stream, name, first, offset)
                offset += len(page)
                wanted = [
                    place
                    for place in page
                    if (beyond is None or place > beyond) and _matches(place[2], entry_id, listener)
                ]
                for place, record in zip(wanted, await self._records(stream, wanted), strict=True):
                    if record is not None and state in (None, record.state):
                        records[place] = record
                        found += 1
                if len(page) < _LOOKED_AT_ONCE:
                    break
        places = sorted(records)[:count]
        if places:
            self._remember_page_end(records[places[-1]].key, places[-1])
        return [records[place] for place in places]

    async def groups_of(self, stream: str, entry_id: EntryId) -> list[str]:
        """The groups that have a record of this entry."""
        groups = await self._groups(stream)
        commands: list[tuple[bytes | str | int, ...]] = [
            (b"EXISTS", self._key(stream, "failed", group, str(entry_id))) for group in groups
        ]
        there = await self._server.ask_all(self._server.looks, commands)
        return [group for group, exists in zip(groups, there, strict=True) if exists == 1]

    async def tally(self, stream: str) -> list[Tally]:
        """Counts by group and state."""
        groups = await self._groups(stream)
        commands: list[tuple[bytes | str | int, ...]] = [
            (command, self._key(stream, part, group))
            for group in groups
            for command, part in ((b"ZCARD", "failures"), (b"ZCARD", "due"), (b"SCARD", "parked_records"))
        ]
        counts = await self._server.ask_all(self._server.looks, commands)
        return [
            Tally(stream, group, retrying, total - retrying - parked, parked)
            for group, total, retrying, parked in zip(
                groups, counts[::3], counts[1::3], counts[2::3], strict=True
            )
            if total
        ]

    async def delete(self, key: FailureKey) -> bool:
        """Forget one record; whether it was there. One that runs at this moment is forgotten too."""
        server = self._server
        while True:
            removed: list[bytes] | int = await self._on_record("remove_record", key, (b"",))
            if not isinstance(removed, list):
                return bool(removed)
            # It is parked, under this key: its event leaves the key's line with its last record.
            parked_key = text(removed[0])
            keys = (
                *record_keys(server.keys, key.stream, key.group, str(key.entry_id)),
                *parking_keys(server.keys, key.stream, key.group, parked_key),
            )
            arguments = (escape(key.group), str(key.entry_id), parked_key, escape(key.listener))
            if await server.run(server.settles, "discard_parked", keys, arguments):
                return True

    # -- helpers ------------------------------------------------------------------------------------------------

    def _key(self, stream: str, part: str, *names: str) -> bytes:
        return self._server.keys.beside(stream, part, *names)

    async def _settling(
        self, name: str, stream: str, group: str, entry_id: RawId, arguments: Sequence[bytes | str | int]
    ) -> Settled:
        server = self._server
        keys = (
            *record_keys(self._server.keys, stream, group, entry_id.decode()),
            server.keys.stream(stream),
            self._key(stream, "alone", group),
        )
        answer = await server.run(
            server.settles,
            name,
            keys,
            (escape(group), entry_id, group, *arguments),
            stream=stream,
            group=group,
        )
        return _settled(answer)

    async def _on_record(self, name: str, key: FailureKey, arguments: Sequence[bytes | str | int]) -> Any:
        server = self._server
        keys = record_keys(self._server.keys, key.stream, key.group, str(key.entry_id))
        all_arguments = (escape(key.group), str(key.entry_id), escape(key.listener), *arguments)
        return await server.run(server.settles, name, keys, all_arguments, stream=key.stream, group=key.group)

    async def _groups(self, stream: str) -> list[str]:
        names = await self._server.ask(self._server.looks, b"SMEMBERS", self._key(stream, "groups"))
        return sorted(unescape(name.decode()) for name in names)

    async def _page(
        self, stream: str, group: str, first_ms: int, offset: int
    ) -> list[tuple[int, str, bytes]]:
        flat = await self._server.ask(
            self._server.looks,
            *(b"ZRANGEBYSCORE", self._key(stream, "failures", group), first_ms, b"+inf", b"WITHSCORES"),
            *(b"LIMIT", offset, _LOOKED_AT_ONCE),
        )
        return [(int(score), group, member) for member, score in zip(flat[::2], flat[1::2], strict=True)]

    async def _records(
        self, stream: str, places: Sequence[tuple[int, str, bytes]]
    ) -> list[FailureRecord | None]:
        keys = [FailureKey(stream, group, *split_member(member)) for _, group, member in places]
        commands: list[tuple[bytes | str | int, ...]] = [
            (
                b"HMGET",
                self._key(stream, "failed", key.group, str(key.entry_id)),
                *facts_wanted(key.listener),
            )
            for key in keys
        ]
        replies = await self._server.ask_all(self._server.looks, commands)
        return [record_of(key, facts, None) for key, facts in zip(keys, replies, strict=True)]

    async def _page_end(self, key: FailureKey) -> tuple[int, str, bytes] | None:
        if key in self._page_ends:
            return self._page_ends[key]
        member = member_of(key)
        score = await self._server.ask(
            self._server.looks, b"ZSCORE", self._key(key.stream, "failures", key.group), member
        )
        return None if score is None else (int(score), key.group, member)

    def _remember_page_end(self, key: FailureKey, place: tuple[int, str, bytes]) -> None:
        self._page_ends.pop(key, None)
        self._page_ends[key] = place
        if len(self._page_ends) > _REMEMBERED_PAGES:
            del self._page_ends[next(iter(self._page_ends))]


def _settled(answer: int) -> Settled:
    return Settled.DONE if answer else Settled.NOT_YOURS


def _matches(member: bytes, entry_id: EntryId | None, listener: str | None) -> bool:
    of_entry, of_listener = split_member(member)
    return entry_id in (None, of_entry) and listener in (None, of_listener)
