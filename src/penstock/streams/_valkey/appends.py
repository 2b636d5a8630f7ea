"""Adding entries: one at a time from many tasks, or many in one write, and what became of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.errors import (
    BrokerError,
    BrokerUnavailableError,
    EntryIdTooSmallError,
    PublishError,
    RepartitioningError,
    StreamFullError,
    UsageError,
)
from penstock.streams._valkey.errors import ConnectionLostError, NodeAwayError, ReplyError
from penstock.streams._valkey.history import history_keys, index_arguments
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.redirections import next_step
from penstock.streams._valkey.removal import floor_keys
from penstock.streams._valkey.scripts import script
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds
from penstock.streams._valkey.wire import Replies
from penstock.streams.abc import AppendOutcome, Cap, Condition, NewEntry, RawId

__all__ = ["Appends"]

_CHUNK_BYTES: Final = 32 * 1024
"""What is packed before it is sent: small enough for the server to work on it while the next is being packed."""
_WRITTEN: Final = Condition.WRITTEN
_LANE_CLOSED: Final = -1


@dataclass(slots=True)
class _Write:
    """Entries of one call, by their numbers, that go to one node in one write; then the replies, or why none came."""

    line: Line
    numbers: list[int] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    size: int = 0
    is_scripted: bool = False
    sent: Replies | BrokerError | None = None


class Appends:
    """The appending half of `ValkeyBroker`."""

    _server: Server

    async def append(self, entry: NewEntry) -> RawId:
        """Add one entry and answer its id."""
        server = self._server
        key = server.known.get(entry.stream)
        if key is None or entry.entry_id is not None or _is_scripted(entry):
            command = self._command(entry)
        else:
            command = (b"XADD", key, b"*", *entry.fields)
        packed = pack(command)
        at = key or server.keys.stream(entry.stream)
        line = server.appends.at(at)
        wire = line.wire
        if wire is None or wire.crowded:
            wire = await server.exchange.wire(server.appends, at)
            line = server.appends.at(at)
        if key is None:
            server.remember(entry.stream, wire)
        try:
            reply = await wire.send(packed)
            if type(reply) is bytes:
                return reply
            if isinstance(reply, ReplyError):
                reply = await server.exchange.again(server.appends, command, line, reply)
        except ConnectionLostError as lost:
            raise PublishError(("unknown",), (None,), (lost,)) from lost
        if type(reply) is bytes:
            return reply
        raise self._refusal(entry, reply)

    async def append_many(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
        """Add entries in the given order in as few writes as possible; one outcome each, in the same order.

        In a cluster the writes to one node do not wait for those to another: the order is that of each stream.
        """
        outcomes: list[AppendOutcome | None] = [None] * len(entries)
        writes: list[_Write] = []
        filling: dict[Line, _Write] = {}
        # Where a stream is for the whole of this call: no entry may overtake one that was sent to the wrong node.
        lines: dict[str, Line] = {}
        key_of, line_at = self._server.keys.stream, self._server.appends.at
        write: _Write | None = None
        last: str | None = None
        for number, entry in enumerate(entries):
            stream = entry.stream
            try:
                scripted = _is_scripted(entry)
                if entry.entry_id is None and not scripted:
                    packed = pack((b"XADD", key_of(stream), b"*", *entry.fields))
                else:
                    packed = pack(self._command(entry))
            except UsageError as error:
                outcomes[number] = AppendOutcome(Condition.NOT_WRITTEN, None, error)
                continue
            if write is None or stream != last:
                line = lines.get(stream)
                if line is None:
                    line = lines[stream] = line_at(key_of(stream))
                write = filling.get(line)
                if write is None:
                    write = filling[line] = _Write(line)
                    writes.append(write)
                last = stream
            write.numbers.append(number)
            write.packed.append(packed)
            write.size += len(packed)
            if scripted:
                write.is_scripted = True
            if write.size >= _CHUNK_BYTES:
                del filling[write.line]
                full, write = write, None
                await self._send(full, entries)
                # The loop sends it, and others have their turn, while the rest is being packed.
                await asyncio.sleep(0)
        for write in filling.values():
            await self._send(write, entries)
        refused: dict[int, tuple[Line, ReplyError | NodeAwayError]] = {}
        for write in writes:
            await self._note(write, entries, outcomes, refused)
        if refused:
            await self._send_again(entries, outcomes, refused)
        return [outcome for outcome in outcomes if outcome is not None]

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _send(self, write: _Write, entries: Sequence[NewEntry]) -> None:
        server, packed = self._server, write.packed
        try:
            wire = await write.line.ready()
        except BrokerError as error:
            write.sent = error
            return
        for stream in {entries[number].stream for number in write.numbers} - server.known.keys():
            server.remember(stream, wire)
        if write.is_scripted:
            # Loaded along with those who use it, in one write: no entry overtakes one whose script was not known.
            packed.insert(0, pack(server.load(script("append"))))
        write.sent = wire.send_many(b"".join(packed), len(packed))

    async def _note(
        self,
        write: _Write,
        entries: Sequence[NewEntry],
        outcomes: list[AppendOutcome | None],
        refused: dict[int, tuple[Line, ReplyError | NodeAwayError]],
    ) -> None:
        """Enter the outcomes of a write; what may be sent again goes into *refused* as well."""
        numbers, sent = write.numbers, write.sent
        missing: BrokerError | None = None
        replies: list[Any] = []
        if isinstance(sent, Replies):
            try:
                await sent.done
            except BrokerUnavailableError as error:
                missing = error
            replies = sent.got[1:] if sent.wanted > len(numbers) else sent.got
        else:
            missing = sent
        for number, reply in zip(numbers, replies, strict=False):
            if type(reply) is bytes:
                outcomes[number] = AppendOutcome(_WRITTEN, reply)
                continue
            outcomes[number] = self._outcome(entries[number], reply)
            if isinstance(reply, ReplyError) and next_step(reply) is not None:
                refused[number] = (write.line, reply)
        for number in numbers[len(replies) :]:
            condition = (
                Condition.UNKNOWN if isinstance(missing, ConnectionLostError) else Condition.NOT_WRITTEN
            )
            outcomes[number] = AppendOutcome(condition, None, missing)
            if isinstance(missing, NodeAwayError):
                refused[number] = (write.line, missing)

    async def _send_again(
        self,
        entries: Sequence[NewEntry],
        outcomes: list[AppendOutcome | None],
        refused: dict[int, tuple[Line, ReplyError | NodeAwayError]],
    ) -> None:
        """Send what was certainly not written again, in order, except before what is or may be in the stream."""
        overtaken: set[str] = set()
        for number in range(len(entries) - 1, -1, -1):
            outcome, stream = outcomes[number], entries[number].stream
            if number in refused and stream in overtaken:
                del refused[number]
            elif outcome is not None and outcome.condition is not Condition.NOT_WRITTEN:
                overtaken.add(stream)
        exchange, lines = self._server.exchange, self._server.appends
        patience = exchange.patience()
        for number in sorted(refused):
            entry, (line, reply) = entries[number], refused[number]
            command = self._command(entry)
            try:
                if isinstance(reply, NodeAwayError) or reply.code == "ASK":
                    # Where a key is on its way to is true for a moment only.
                    answer = await exchange.one(lines, command, patience=patience)
                else:
                    answer = await exchange.again(lines, command, line, reply, patience=patience)
            except BrokerUnavailableError as error:
                lost = isinstance(error, ConnectionLostError)
                outcomes[number] = AppendOutcome(
                    Condition.UNKNOWN if lost else Condition.NOT_WRITTEN, None, error
                )
                continue
            outcomes[number] = (
                AppendOutcome(_WRITTEN, answer) if type(answer) is bytes else self._outcome(entry, answer)
            )

    def _outcome(self, entry: NewEntry, reply: Any) -> AppendOutcome:
        return AppendOutcome(Condition.NOT_WRITTEN, None, self._refusal(entry, reply))

    def _command(self, entry: NewEntry) -> tuple[bytes | str | int, ...]:
        stream, entry_id = entry.stream, entry.entry_id
        key = self._server.keys.stream(stream)
        at = b"*" if entry_id is None else bytes(entry_id)
        if not _is_scripted(entry):
            return (b"XADD", key, at, *entry.fields)
        keys = self._server.keys
        token, window_ms = b"", 0
        if entry.dedupe is not None:
            token, window_ms = entry.dedupe.token.encode(), milliseconds(entry.dedupe.window)
            if not token or window_ms < 1:
                raise UsageError(f"{entry.dedupe} needs a token, and a window of at least a millisecond")
        once, era = keys.beside(stream, "once", token.decode()), keys.beside(stream, "era")
        return (
            b"EVALSHA",
            script("append").digest,
            7 if entry.index is None else 9,
            key,
            once,
            era,
            *floor_keys(self._server, stream),
            keys.beside(stream, "lane"),
            *(history_keys(self._server, stream, entry.index) if entry.index is not None else ()),
            at,
            *limits(entry.cap),
            token,
            window_ms,
            b"" if entry.epoch is None else entry.epoch,
            *(index_arguments(entry.index)),
        ) + tuple(entry.fields)

    def _refusal(self, entry: NewEntry, reply: Any) -> BrokerError:
        if reply == _LANE_CLOSED:
            return RepartitioningError(entry.stream)
        if not isinstance(reply, ReplyError):
            return StreamFullError(entry.stream, limit=entry.cap.max_entries or 0 if entry.cap else 0)
        if entry.entry_id is not None and "XADD" in reply.text and reply.code == "ERR":
            return EntryIdTooSmallError(entry.stream, str(entry.entry_id))
        return self._server.error(reply, "XADD", entry.stream, key=self._server.keys.stream(entry.stream))


def _is_scripted(entry: NewEntry) -> bool:
    return (
        entry.cap is not None
        or entry.dedupe is not None
        or entry.epoch is not None
        or entry.index is not None
    )


def limits(cap: Cap | None) -> tuple[int, int, int]:
    if cap is None:
        return (0, 0, 0)
    if cap.max_entries is not None and cap.max_entries < 1:
        raise UsageError(f"a cap of {cap.max_entries} entries would keep none; use at least 1")
    return (
        cap.max_entries or 0,
        milliseconds(cap.max_age) if cap.max_age is not None else 0,
        int(cap.remove_needed),
    )
