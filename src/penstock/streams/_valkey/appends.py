"""Adding entries: one at a time from many tasks, or many in one write, and what became of each."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from penstock.errors import (
    BrokerError,
    BrokerUnavailableError,
    EntryIdTooSmallError,
    PenstockError,
    PublishError,
    StreamFullError,
    UsageError,
)
from penstock.streams._valkey.errors import ConnectionLostError, ReplyError
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.scripts import script
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds
from penstock.streams._valkey.wire import Replies
from penstock.streams.abc import AppendOutcome, Cap, Condition, NewEntry, RawId

__all__ = ["Appends"]

_CHUNK_BYTES: Final = 32 * 1024
"""What is packed before it is sent: small enough for the server to work on it while the next is being packed."""
_WRITTEN: Final = Condition.WRITTEN
_Chunk: TypeAlias = tuple[Sequence[NewEntry], Replies | PenstockError | None]
"""Entries of one write, with the replies to come, or why there was none."""


class Appends:
    """The appending half of `ValkeyBroker`."""

    _server: Server

    async def append(self, entry: NewEntry) -> RawId:
        """Add one entry and answer its id."""
        server = self._server
        key = server.known.get(entry.stream)
        if key is None or entry.entry_id is not None or entry.cap is not None or entry.dedupe is not None:
            command = self._command(entry)
        else:
            command = pack((b"XADD", key, b"*", *entry.fields))
        wire = server.appends.wire
        if wire is None or wire.crowded:
            wire = await server.appends.ready()
        if key is None:
            server.remember(entry.stream, wire)
        try:
            reply = await wire.send(command)
            if type(reply) is bytes:
                return reply
            if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
                # Nothing was written, so that sending it again is safe.
                _, reply = await wire.send_many(pack(server.load(script("append"))) + command, 2).done
        except ConnectionLostError as lost:
            raise PublishError(("unknown",), (None,), (lost,)) from lost
        if type(reply) is bytes:
            return reply
        raise self._refusal(entry, reply)

    async def append_many(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
        """Add entries in the given order in as few writes as possible; one outcome each, in the same order."""
        chunks: list[_Chunk] = []
        packed: list[bytes] = []
        first = size = 0
        scripted = False
        key_of = self._server.keys.stream
        for number, entry in enumerate(entries):
            try:
                if entry.cap is None and entry.dedupe is None and entry.entry_id is None:
                    command = pack((b"XADD", key_of(entry.stream), b"*", *entry.fields))
                else:
                    command = self._command(entry)
                    scripted = scripted or entry.cap is not None or entry.dedupe is not None
            except UsageError as error:
                chunks += [await self._send(entries[first:number], packed, scripted), ([entry], error)]
                packed, first, size, scripted = [], number + 1, 0, False
                continue
            packed.append(command)
            size += len(command)
            if size >= _CHUNK_BYTES:
                chunks.append(await self._send(entries[first : number + 1], packed, scripted))
                packed, first, size, scripted = [], number + 1, 0, False
                # The loop sends it, and others have their turn, while the rest is being packed.
                await asyncio.sleep(0)
        chunks.append(await self._send(entries[first:], packed, scripted))
        outcomes: list[AppendOutcome] = []
        for chunk in chunks:
            outcomes += await self._outcomes(*chunk)
        return outcomes

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _send(self, entries: Sequence[NewEntry], packed: list[bytes], scripted: bool) -> _Chunk:
        server = self._server
        if not packed:
            return entries, None
        try:
            wire = await server.appends.ready()
        except BrokerError as error:
            return entries, error
        for stream in {entry.stream for entry in entries} - server.known.keys():
            server.remember(stream, wire)
        if scripted:
            # Loaded along with those who use it, in one write: no entry overtakes one whose script was not known.
            packed.insert(0, pack(server.load(script("append"))))
        return entries, wire.send_many(b"".join(packed), len(packed))

    async def _outcomes(
        self, entries: Sequence[NewEntry], sent: Replies | PenstockError | None
    ) -> list[AppendOutcome]:
        if sent is None:
            return []
        if isinstance(sent, PenstockError):
            return [AppendOutcome(Condition.NOT_WRITTEN, None, sent)] * len(entries)
        missing: AppendOutcome | None = None
        try:
            await sent.done
        except ConnectionLostError as lost:
            missing = AppendOutcome(Condition.UNKNOWN, None, lost)
        except BrokerUnavailableError as not_sent:
            missing = AppendOutcome(Condition.NOT_WRITTEN, None, not_sent)
        replies = sent.got[1:] if sent.wanted > len(entries) else sent.got
        outcomes = [
            AppendOutcome(_WRITTEN, reply) if type(reply) is bytes else self._outcome(entry, reply)
            for entry, reply in zip(entries, replies, strict=False)
        ]
        if missing is not None:
            outcomes += [missing] * (len(entries) - len(outcomes))
        return outcomes

    def _outcome(self, entry: NewEntry, reply: Any) -> AppendOutcome:
        return AppendOutcome(Condition.NOT_WRITTEN, None, self._refusal(entry, reply))

    def _command(self, entry: NewEntry) -> bytes:
        stream, entry_id = entry.stream, entry.entry_id
        key = self._server.keys.stream(stream)
        at = b"*" if entry_id is None else bytes(entry_id)
        if entry.cap is None and entry.dedupe is None:
            return pack((b"XADD", key, at, *entry.fields))
        keys = self._server.keys
        token, window_ms = b"", 0
        if entry.dedupe is not None:
            token, window_ms = entry.dedupe.token.encode(), milliseconds(entry.dedupe.window)
            if not token or window_ms < 1:
                raise UsageError(f"{entry.dedupe} needs a token, and a window of at least a millisecond")
        once, era = keys.beside(stream, "once", token.decode()), keys.beside(stream, "era")
        return pack(
            (
                b"EVALSHA",
                script("append").digest,
                3,
                key,
                once,
                era,
                at,
                *_limits(entry.cap),
                token,
                window_ms,
            )
            + tuple(entry.fields)
        )

    def _refusal(self, entry: NewEntry, reply: Any) -> BrokerError:
        if not isinstance(reply, ReplyError):
            return StreamFullError(entry.stream, limit=entry.cap.max_entries or 0 if entry.cap else 0)
        if entry.entry_id is not None and "XADD" in reply.text and reply.code == "ERR":
            return EntryIdTooSmallError(entry.stream, str(entry.entry_id))
        return self._server.error(reply, "XADD", entry.stream, key=self._server.keys.stream(entry.stream))


def _limits(cap: Cap | None) -> tuple[int, int, int]:
    if cap is None:
        return (0, 0, 0)
    if cap.max_entries is not None and cap.max_entries < 1:
        raise UsageError(f"a cap of {cap.max_entries} entries would keep none; use at least 1")
    return (
        cap.max_entries or 0,
        milliseconds(cap.max_age) if cap.max_age is not None else 0,
        int(cap.remove_needed),
    )
