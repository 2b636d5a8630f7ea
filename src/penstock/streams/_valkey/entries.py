"""Entries without a group: reading, removing, looking at streams, and durable cursors."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from penstock.errors import UnknownStreamError
from penstock.position import EntryId, Start, StartPoint
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.redirections import Command
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import entry_id, milliseconds, pages, start_position
from penstock.streams.abc import Batch, RawEntry, RawId, StreamInfo

__all__ = ["Entries"]

_IDS_A_COMMAND = 1000


class Entries:
    """The part of `ValkeyBroker` that knows streams and no groups."""

    _server: Server

    async def server_time_us(self) -> int:
        """The server's clock, microseconds since the Unix epoch."""
        seconds, microseconds = await self._server.ask(self._server.looks, b"TIME")
        return int(seconds) * 1_000_000 + int(microseconds)

    async def range(
        self,
        stream: str,
        start: EntryId | None = None,
        end: EntryId | None = None,
        *,
        count: int | None = None,
        reverse: bool = False,
    ) -> list[RawEntry]:
        """Entries from *start* to *end*, both included, ``None`` = that end; newest first if *reverse*."""
        server = self._server
        low = b"-" if start is None else bytes(start)
        high = b"+" if end is None else bytes(end)
        limit: tuple[bytes | int, ...] = () if count is None else (b"COUNT", count)
        ends = (b"XREVRANGE", high, low) if reverse else (b"XRANGE", low, high)
        command, key = ends[0], server.keys.stream(stream)
        found: list[RawEntry] = await server.ask(server.looks, command, key, *ends[1:], *limit, stream=stream)
        return found

    async def read(
        self, positions: Mapping[str, RawId], *, count: int, block: timedelta | None = None
    ) -> list[Batch]:
        """Entries after the given position of each stream, at most *count* per stream; waits up to *block* for one."""
        if not positions:
            return []
        server = self._server
        names = {server.keys.stream(stream): stream for stream in positions}
        after = dict(zip(names, positions.values(), strict=True))

        def read_command(keys: Sequence[bytes], block: timedelta | None) -> Command:
            waiting = (b"BLOCK", milliseconds(block)) if block else ()
            return (b"XREAD", b"COUNT", count, *waiting, b"STREAMS", *keys, *(after[key] for key in keys))

        if unknown := positions.keys() - server.known.keys():
            wire = await server.looks.ready()
            for stream in unknown:
                server.remember(stream, wire)
        if block:
            reader = server.borrow()
            try:
                reads = (await reader.read(list(names), read_command, block=block)).reads
            finally:
                server.give_back(reader)
        else:
            slots = server.looks.by_slot(list(names))
            commands = [read_command(keys, None) for keys in slots]
            reads = list(zip(slots, await server.exchange.many(server.looks, commands), strict=True))
        batches: list[Batch] = []
        for keys, reply in reads:
            if isinstance(reply, ReplyError):
                raise server.error(reply, "XREAD", names[keys[0]], key=b", ".join(keys))
            batches += [(names[key], entries) for key, entries in reply or ()]
        return batches

    async def resolve(self, stream: str, start: Start) -> RawId:
        """The position *after which* reading begins for *start*; new = the stream's last id, ``0-0`` without any."""
        if start is not StartPoint.NEW:
            return start_position(start)
        facts = await self._look(stream)
        return facts[3] if facts else b"0-0"

    async def length(self, stream: str) -> int:
        """How many entries the stream has; 0 if it does not exist."""
        server = self._server
        length: int = await server.ask(server.looks, b"XLEN", server.keys.stream(stream), stream=stream)
        return length

    async def delete(self, stream: str, entry_ids: Sequence[EntryId]) -> int:
        """Remove entries from the stream; how many there were. Pending ones stay pending and are vanished."""
        server, removed = self._server, 0
        for page in pages(entry_ids, _IDS_A_COMMAND):
            key = server.keys.stream(stream)
            removed += await server.ask(server.settles, b"XDEL", key, *map(bytes, page), stream=stream)
        return removed

    async def delete_stream(self, stream: str) -> bool:
        """Remove a stream, its groups and everything kept beside it; whether it existed."""
        server = self._server
        key, base = server.keys.stream(stream), server.keys.base(stream)
        existed = False
        more = 1
        while more:
            was_there, more = await server.run(
                server.settles, "delete_stream", (key,), (base,), stream=stream
            )
            existed = existed or bool(was_there)
        server.known.pop(stream, None)
        await server.remembered()
        await server.try_ask(server.settles, b"SREM", server.keys.streams, stream)
        return existed

    async def info(self, stream: str) -> StreamInfo:
        """The stream in one look. Raises `UnknownStreamError`."""
        server = self._server
        facts = await self._look(stream)
        if not facts:
            raise UnknownStreamError(stream)
        length, first, last, last_id, groups = facts
        memory = await server.try_ask(server.looks, b"MEMORY", b"USAGE", server.keys.stream(stream))
        return StreamInfo(
            name=stream,
            length=length,
            first=entry_id(first or None),
            last=entry_id(last or None),
            last_id=EntryId.parse(last_id),
            groups=groups,
            memory_bytes=memory if isinstance(memory, int) else None,
        )

    async def streams(self) -> list[str]:
        """Every stream that was written or read through this namespace and exists, sorted."""
        server = self._server
        await server.remembered()
        names = sorted(
            name.decode() for name in await server.ask(server.looks, b"SMEMBERS", server.keys.streams)
        )
        found: list[str] = []
        for page in pages(names, _IDS_A_COMMAND):
            kinds = await server.ask_all(server.looks, [(b"TYPE", server.keys.stream(name)) for name in page])
            found += [name for name, kind in zip(page, kinds, strict=True) if kind == b"stream"]
        return found

    # -- cursors ------------------------------------------------------------------------------------------------

    async def save_cursor(self, stream: str, name: str, position: RawId) -> None:
        """Keep how far the reader *name* has come. Never moves back."""
        server = self._server
        cursors = server.keys.beside(stream, "cursors")
        await server.run(server.settles, "save_cursor", (cursors,), (name, position), stream=stream)

    async def load_cursor(self, stream: str, name: str) -> RawId | None:
        """How far the reader *name* has come."""
        server = self._server
        position: RawId | None = await server.ask(
            server.looks, b"HGET", server.keys.beside(stream, "cursors"), name
        )
        return position

    async def delete_cursor(self, stream: str, name: str) -> bool:
        """Forget the reader *name*; whether it was there."""
        server = self._server
        return bool(await server.ask(server.settles, b"HDEL", server.keys.beside(stream, "cursors"), name))

    async def cursors(self, stream: str) -> dict[str, EntryId]:
        """Every durable cursor of the stream."""
        server = self._server
        flat = await server.ask(server.looks, b"HGETALL", server.keys.beside(stream, "cursors"))
        return {name.decode(): EntryId.parse(at) for name, at in zip(flat[::2], flat[1::2], strict=True)}

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _look(self, stream: str) -> list[Any] | None:
        """Length, first id, last id, highest id ever given, groups; ``None`` when there is no such stream."""
        server = self._server
        found: list[Any] | None = await server.run(
            server.looks, "look", (server.keys.stream(stream),), stream=stream
        )
        return found
