"""Partitioned streams: the layout beside the stream, the mark and the routes beside each partition.

``layout`` is a hash of the facts of `PartitionLayout`. ``lane`` beside a partition has the ``epoch`` and ``state`` that
``append.lua`` checks. ``routes`` beside a partition has, of each foreign stream that is routed into it, the fence, and
how far it came under the last two layouts. Nothing is changed over two slots at once.
"""

from collections.abc import Sequence
from typing import Any

from penstock.errors import BrokerError, UnknownGroupError
from penstock.position import EntryId
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.scripts import script
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import as_map
from penstock.streams.abc import (
    LaneMark,
    LayoutPhase,
    PartitionLayout,
    RawId,
    Routed,
    RouteEntry,
    RouteMark,
)

__all__ = ["ValkeyPartitions"]


class ValkeyPartitions:
    """`PartitionStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # -- layouts ------------------------------------------------------------------------------------------------

    async def layout(self, stream: str) -> PartitionLayout | None:
        """The layout that holds."""
        server = self._server
        found = as_map(await server.ask(server.looks, "HGETALL", self._layout(stream), stream=stream))
        if not found:
            return None
        target = int(found["target"])
        return PartitionLayout(
            stream=stream,
            partitions=int(found["partitions"]),
            epoch=int(found["epoch"]),
            phase=LayoutPhase(found["phase"].decode()),
            target=target or None,
            ever=int(found["ever"]),
            revision=int(found["revision"]),
        )

    async def put(self, layout: PartitionLayout) -> bool:
        """Replace the layout of the revision before this one's."""
        server = self._server
        facts: tuple[bytes | str | int, ...] = (
            *("partitions", layout.partitions, "epoch", layout.epoch, "phase", layout.phase.value),
            *("target", layout.target or 0, "ever", layout.ever, "revision", layout.revision),
        )
        arguments = (layout.revision - 1, *facts)
        done = await server.run(
            server.settles, "put_layout", (self._layout(layout.stream),), arguments, stream=layout.stream
        )
        return bool(done)

    # -- marks --------------------------------------------------------------------------------------------------

    async def open_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take entries under *epoch*, unless it was marked with that or a later one."""
        return await self._mark(lane, epoch, "open")

    async def close_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take no more entries under *epoch*."""
        return await self._mark(lane, epoch, "closed")

    async def mark(self, lane: str) -> LaneMark | None:
        """What is noted beside the partition."""
        server = self._server
        key = server.keys.beside(lane, "lane")
        epoch, state = await server.ask(server.looks, "HMGET", key, "epoch", "state", stream=lane)
        return None if epoch is None else LaneMark(int(epoch), state == b"open")

    # -- routes -------------------------------------------------------------------------------------------------

    async def fence_route(self, lane: str, source: str, fence: int) -> list[RouteMark]:
        """Refuse routers of *source* with a lower fence from now on; how far it has come there."""
        server = self._server
        key = server.keys.beside(lane, "routes")
        noted = await server.run(server.settles, "fence_route", (key,), (source, fence), stream=lane)
        return [_route_mark(lane, each.decode()) for each in noted if each]

    async def route(
        self, source: str, entries: Sequence[RouteEntry], *, epoch: int, partitions: int, fence: int
    ) -> list[Routed | BrokerError]:
        """Add entries of *source* to their partitions, in order; what became of each."""
        server = self._server
        called = script("route")
        commands: list[tuple[bytes | str | int, ...]] = [
            (
                *(b"EVALSHA", called.digest, 3, *self._route_keys(entry.lane)),
                *(source, fence, epoch, partitions),
                *_told(entry),
            )
            for entry in entries
        ]
        for lane in {entry.lane for entry in entries} - server.known.keys():
            server.remember(lane, await server.appends.ready())
        # The first of each partition go ahead: where a node does not know the script, a few learn of it, and not all.
        lanes = {entry.lane: number for number, entry in reversed(list(enumerate(entries)))}
        first = sorted(lanes.values())
        rest = sorted(set(range(len(entries))).difference(first))
        replies: dict[int, Any] = {}
        for numbers in (first, rest):
            answers = await server.ask_all(server.appends, [commands[number] for number in numbers])
            replies |= dict(zip(numbers, answers, strict=True))
        return [
            server.error(reply, "the script 'route'", entry.lane, key=self._route_keys(entry.lane)[0])
            if isinstance(reply := replies[number], ReplyError)
            else Routed(reply.decode())
            for number, entry in enumerate(entries)
        ]

    async def advance_route(self, source: str, group: str, position: RawId) -> None:
        """Note in *group* of the foreign stream that everything up to *position* was routed."""
        server = self._server
        key = server.keys.stream(source)
        if not await server.run(server.settles, "advance_route", (key,), (group, position), stream=source):
            raise UnknownGroupError(source, group)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _layout(self, stream: str) -> bytes:
        return self._server.keys.beside(stream, "layout")

    async def _mark(self, lane: str, epoch: int, state: str) -> bool:
        server = self._server
        key = server.keys.beside(lane, "lane")
        return bool(await server.run(server.settles, "mark_lane", (key,), (epoch, state), stream=lane))

    def _route_keys(self, lane: str) -> tuple[bytes, bytes, bytes]:
        keys = self._server.keys
        return keys.stream(lane), keys.beside(lane, "lane"), keys.beside(lane, "routes")


def _told(entry: RouteEntry) -> list[bytes]:
    after = b"" if entry.after is None else bytes(entry.after)
    return [bytes(entry.source_id), after, *entry.fields]


def _route_mark(lane: str, noted: str) -> RouteMark:
    epoch, partitions, last = noted.split(" ")
    return RouteMark(lane, int(epoch), int(partitions), EntryId.parse(last))
