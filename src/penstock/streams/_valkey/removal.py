"""Removing what nobody needs any more: the floor, and what goes below it, each in one script.

Beside a stream lie ``registered`` (groups that will read it, and since when), ``cursors`` and ``relays`` (names and
positions), each one hash.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import pages, text
from penstock.streams.abc import Floor, Hold, HoldKind, RawId, Removed, Trimmed

__all__ = ["ValkeyRemovals", "floor_keys"]

_IDS_A_SCRIPT: Final = 500
_COUNTED_A_SCRIPT: Final = 1000


def floor_keys(server: Server, stream: str) -> tuple[bytes, bytes, bytes]:
    """The keys of those who read a stream besides its groups, as ``shared/floor.lua`` takes them."""
    beside = server.keys.beside
    return beside(stream, "registered"), beside(stream, "cursors"), beside(stream, "relays")


class ValkeyRemovals:
    """`RemovalStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # -- who reads ----------------------------------------------------------------------------------------------

    async def register_groups(self, stream: str, groups: Sequence[str]) -> None:
        """Say that these groups will read the stream, whether or not they exist yet."""
        server = self._server
        if not groups:
            return
        if stream not in server.known:
            server.remember(stream, await server.settles.ready())
        key = server.keys.beside(stream, "registered")
        await server.run(server.settles, "register_groups", (key,), groups, stream=stream)

    async def unregister_group(self, stream: str, group: str) -> bool:
        """Expect the group no more; whether it was registered."""
        return await self._forget(stream, "registered", group)

    async def registered_groups(self, stream: str) -> dict[str, datetime]:
        """The groups that were registered, and when."""
        since = await self._all(stream, "registered")
        return {group: _time(int(ms)) for group, ms in since.items()}

    async def save_relay(self, stream: str, relay: str, position: RawId) -> None:
        """Keep how far a relay has come. Never moves back."""
        server = self._server
        key = server.keys.beside(stream, "relays")
        await server.run(server.settles, "save_cursor", (key,), (relay, position), stream=stream)

    async def relays(self, stream: str) -> dict[str, EntryId]:
        """How far every relay has come."""
        return {relay: EntryId.parse(at) for relay, at in (await self._all(stream, "relays")).items()}

    async def delete_relay(self, stream: str, relay: str) -> bool:
        """Forget a relay; whether it was there."""
        return await self._forget(stream, "relays", relay)

    # -- what is needed, and removing what is not ---------------------------------------------------------------

    async def floor(self, stream: str) -> Floor:
        """What is still needed, and by whom."""
        server = self._server
        holds = _sorted(await server.run(server.looks, "holds", self._keys(stream), stream=stream))
        return Floor(holds[0].needs if holds else None, holds)

    async def count_below(self, stream: str, entry_id: EntryId) -> int:
        """How many entries lie below an id, counted a thousand a script."""
        server, key = self._server, self._server.keys.stream(stream)
        counted, start = 0, b"-"
        while entry_id > EntryId(0):
            arguments = (start, b"(" + bytes(entry_id), _COUNTED_A_SCRIPT)
            found, last = await server.run(server.looks, "count_range", (key,), arguments, stream=stream)
            counted += found
            if found < _COUNTED_A_SCRIPT:
                break
            start = b"(" + last
        return counted

    async def trim(
        self,
        stream: str,
        *,
        below: EntryId | None = None,
        keep: int | None = None,
        handled: bool = False,
        force: bool = False,
        limit: int = 10_000,
    ) -> Trimmed:
        """Remove up to *limit* of the oldest entries that nobody needs, of those that are asked for."""
        if keep is not None and keep < 0:
            raise UsageError(f"keep is {keep}; at least 0 entries can be kept")
        if limit < 1:
            raise UsageError(f"limit is {limit}; at least one entry is removed at a time")
        server = self._server
        arguments = (
            b"" if below is None else bytes(below),
            -1 if keep is None else keep,
            int(handled),
            int(force),
            limit,
        )
        removed, more, holding = await server.run(
            server.settles, "trim", self._keys(stream), arguments, stream=stream
        )
        return Trimmed(removed, bool(more), _sorted(holding))

    async def remove(self, stream: str, entry_ids: Sequence[RawId], *, force: bool = False) -> Removed:
        """Remove single entries that every reader has settled, five hundred a script."""
        server = self._server
        removed: list[RawId] = []
        missing: list[RawId] = []
        held: dict[RawId, tuple[Hold, ...]] = {}
        for page in pages(entry_ids, _IDS_A_SCRIPT):
            readers, answers = await server.run(
                server.settles, "remove", self._keys(stream), (int(force), *page), stream=stream
            )
            for entry_id, answer in zip(page, answers, strict=True):
                match answer:
                    case 1:
                        removed.append(entry_id)
                    case 0:
                        missing.append(entry_id)
                    case places:
                        held[entry_id] = _sorted([readers[place - 1] for place in places])
        return Removed(tuple(removed), tuple(missing), held)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _keys(self, stream: str) -> tuple[bytes, ...]:
        return (self._server.keys.stream(stream), *floor_keys(self._server, stream))

    async def _all(self, stream: str, part: str) -> dict[str, bytes]:
        server = self._server
        flat = await server.ask(server.looks, b"HGETALL", server.keys.beside(stream, part), stream=stream)
        return {text(name): value for name, value in sorted(zip(flat[::2], flat[1::2], strict=True))}

    async def _forget(self, stream: str, part: str, name: str) -> bool:
        server = self._server
        key = server.keys.beside(stream, part)
        return bool(await server.ask(server.settles, b"HDEL", key, name, stream=stream))


def _sorted(rows: Sequence[Sequence[Any]]) -> tuple[Hold, ...]:
    """Readers as the scripts tell them, the one that needs the lowest entry first."""
    holds = [
        Hold(
            HoldKind(text(kind)),
            text(name),
            EntryId.parse(needs),
            pending,
            _time(int(since)) if since else None,
        )
        for kind, name, needs, pending, since, *_ in rows
    ]
    return tuple(sorted(holds, key=lambda hold: (hold.needs, hold.kind.value, hold.name)))


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
