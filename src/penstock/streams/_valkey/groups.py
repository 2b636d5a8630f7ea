"""Consumer groups: their life, reading for a consumer, and everything that settles or moves pending entries."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from penstock.errors import PenstockError, UnknownGroupError
from penstock.position import EntryId, Start
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.redirections import Command
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds, pages, start_position
from penstock.streams.abc import Batch, Claimed, GroupRead, Holder, RawEntry, RawId, Settled

__all__ = ["Groups"]

_IDS_A_COMMAND: Final = 1000
_IDS_A_SCRIPT: Final = 500
_MOVED_A_SCRIPT: Final = 100


class Groups:
    """The part of `ValkeyBroker` that works for consumers."""

    _server: Server

    # -- reading and acknowledging ------------------------------------------------------------------------------

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
        """Acknowledge what is given, then deliver new entries to the consumer, in one write to the server."""
        server = self._server
        reader = server.reader(group, consumer)
        names = {server.keys.stream(stream): stream for stream in streams}
        along: list[Command] = []
        acknowledging: list[str] = []
        for stream, entry_ids in (acknowledge or {}).items():
            for page in pages(entry_ids, _IDS_A_COMMAND):
                along.append((b"XACK", server.keys.stream(stream), group, *page))
                acknowledging.append(stream)
        if any(stream not in server.known for stream in streams):
            wire = await server.settles.ready()
            for stream in streams:
                if stream not in server.known:
                    server.remember(stream, wire)
        answers = await reader.read(
            list(names),
            lambda keys, block: _read_command(group, consumer, count, block, keys),
            block=block,
            along=along,
        )
        acknowledged: dict[str, int] = {}
        for stream, reply in zip(acknowledging, answers.along, strict=True):
            if isinstance(reply, ReplyError):
                raise server.error(reply, "XACK", stream, group, server.keys.stream(stream))
            acknowledged[stream] = acknowledged.get(stream, 0) + reply
        batches: list[Batch] = []
        refusals: list[Exception] = []
        for keys, reply in answers.reads:
            if isinstance(reply, ReplyError):
                refusals.append(self._read_error(reply, group, {key: names[key] for key in keys}))
            else:
                batches += [(names[key], entries) for key, entries in reply or ()]
        if refusals and not batches:
            # With entries in hand it is told by the next read: these are handed over first.
            raise refusals[0]
        return GroupRead(batches, acknowledged)

    async def interrupt(self, group: str, consumer: str) -> None:
        """Make a waiting `read_group` of this consumer answer at once. It may come too late to matter; never raises."""
        try:
            await self._server.interrupt(group, consumer)
        except PenstockError:
            # With the server away, the waiting read ends by itself.
            return

    async def own_pending(
        self, stream: str, group: str, consumer: str, *, after: RawId, count: int
    ) -> list[RawEntry]:
        """Entries already pending with the consumer, after an id, in id order; gone ones have fields ``None``."""
        server = self._server
        key = server.keys.stream(stream)
        reply = await server.ask(
            server.looks,
            *(b"XREADGROUP", b"GROUP", group, consumer, b"COUNT", count, b"STREAMS", key, after),
            stream=stream,
            group=group,
        )
        entries: list[RawEntry] = reply[0][1] if reply else []
        return entries

    async def acknowledge(self, stream: str, group: str, entry_ids: Sequence[RawId]) -> int:
        """Settle entries as handled; how many were pending. Works at the server's memory limit too."""
        server, settled = self._server, 0
        key = server.keys.stream(stream)
        for page in pages(entry_ids, _IDS_A_COMMAND):
            settled += await server.ask(
                server.settles, b"XACK", key, group, *page, stream=stream, group=group
            )
        return settled

    async def renew(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> list[RawId]:
        """Restart the idle time of entries that are still pending with the consumer; answers those that are not."""
        lost: list[RawId] = []
        for page in pages(entry_ids, _IDS_A_SCRIPT):
            lost += await self._on_pending("renew", stream, group, (group, consumer, *page))
        return lost

    # -- taking over --------------------------------------------------------------------------------------------

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
        """Take over entries that nobody has touched for *min_idle* (whole milliseconds), looking from *start* on."""
        low = b"-" if start is None else bytes(start)
        entries, vanished, last_seen = await self._on_pending(
            "claim", stream, group, (group, consumer, milliseconds(min_idle), count, low, from_consumer or "")
        )
        return Claimed(entries, vanished, EntryId.parse(last_seen).next() if last_seen else None)

    async def release(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> int:
        """Make entries pending with the consumer look idle since for ever, so that anyone's next claim takes them."""
        released = 0
        for page in pages(entry_ids, _IDS_A_SCRIPT):
            released += await self._on_pending("release", stream, group, (group, consumer, *page))
        return released

    async def begin_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> int | None:
        """Count one handling alone of a suspicious entry, before it starts; the count, ``None`` if it is not ours."""
        count: int | None = await self._on_pending("begin_alone", stream, group, (group, consumer, entry_id))
        return count

    async def acknowledge_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> Settled:
        """Acknowledge an entry that was handled alone and forget its `begin_alone` count; one script, checked first."""
        done = await self._on_pending("acknowledge_alone", stream, group, (group, consumer, entry_id))
        return Settled.DONE if done else Settled.NOT_YOURS

    async def remove_consumer(self, stream: str, group: str, consumer: str, *, heir: str) -> int:
        """Move everything pending with *consumer* to *heir* (counts and idle times stay), then remove it.

        A hundred entries a step, each step one script. Vanished entries cannot be moved: while there are any, the
        consumer stays, until claims have named them and they are settled.
        """
        moved, start = 0, b"-"
        while start:
            more, start = await self._on_pending(
                "remove_consumer", stream, group, (group, consumer, heir, _MOVED_A_SCRIPT, start)
            )
            moved += more
        await self._server.close_reader(group, consumer)
        return moved

    # -- names --------------------------------------------------------------------------------------------------

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
        """Take or renew the right to work under a consumer name for *life*; the holder now, which is us on success."""
        server = self._server
        key = server.keys.consumer(group, consumer)
        arguments = (token, description, max(1, milliseconds(life)), replace or "")
        holding, holder = await server.run(server.settles, "hold_name", (key,), arguments, group=group)
        return Holder(holding.decode(), holder.decode())

    async def free_name(self, group: str, consumer: str, *, token: str) -> bool:
        """Give the name back if the token holds it."""
        server = self._server
        key = server.keys.consumer(group, consumer)
        freed = bool(await server.run(server.settles, "free_name", (key,), (token,), group=group))
        if freed:
            await server.close_reader(group, consumer)
        return freed

    # -- a group's life -----------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start: Start) -> bool:
        """Create the group, and the stream if it is missing; False if the group was there (and is left as it is)."""
        server = self._server
        if stream not in server.known:
            server.remember(stream, await server.settles.ready())
        key = server.keys.stream(stream)
        command = (b"XGROUP", b"CREATE", key, group, start_position(start), b"MKSTREAM")
        reply = await server.try_ask(server.settles, *command)
        if isinstance(reply, ReplyError):
            if reply.code == "BUSYGROUP":
                return False
            raise server.error(reply, "XGROUP CREATE", stream, group, key)
        return True

    async def delete_group(self, stream: str, group: str) -> bool:
        """Remove the group with its pending list (failure records stay); whether it was there."""
        server = self._server
        keys = (
            server.keys.stream(stream),
            server.keys.beside(stream, "alone", group),
            server.keys.beside(stream, "registered"),
        )
        return bool(
            await server.run(server.settles, "delete_group", keys, (group,), stream=stream, group=group)
        )

    async def move_group(self, stream: str, group: str, start: Start) -> None:
        """Set what the group was last delivered. Raises `UnknownGroupError`."""
        server = self._server
        key = server.keys.stream(stream)
        reply = await server.try_ask(server.settles, b"XGROUP", b"SETID", key, group, start_position(start))
        if isinstance(reply, ReplyError):
            if reply.code == "NOGROUP" or "requires the key to exist" in reply.text:
                raise UnknownGroupError(stream, group)
            raise server.error(reply, "XGROUP SETID", stream, group, key)

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _on_pending(
        self, name: str, stream: str, group: str, arguments: tuple[bytes | str | int, ...]
    ) -> Any:
        server = self._server
        keys = (server.keys.stream(stream), server.keys.beside(stream, "alone", group))
        return await server.run(server.settles, name, keys, arguments, stream=stream, group=group)

    def _read_error(self, reply: ReplyError, group: str, names: Mapping[bytes, str]) -> Exception:
        # The server names the key; a stream or group that goes away under a waiting read is told by UNBLOCKED, too.
        named = [name for key, name in names.items() if f"'{key.decode()}'" in reply.text]
        stream = (named or list(names.values()))[0]
        if reply.code == "UNBLOCKED":
            return UnknownGroupError(stream, group)
        return self._server.error(reply, "XREADGROUP", stream, group, self._server.keys.stream(stream))


def _read_command(
    group: str, consumer: str, count: int, block: timedelta | None, keys: Sequence[bytes]
) -> Command:
    waiting = (b"BLOCK", milliseconds(block)) if block else ()
    new = (b">",) * len(keys)
    return (b"XREADGROUP", b"GROUP", group, consumer, b"COUNT", count, *waiting, b"STREAMS", *keys, *new)
