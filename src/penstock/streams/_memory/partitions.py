"""Partitioned streams in memory: layouts, marks of partitions, and how far foreign streams were routed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.errors import BrokerError, RepartitioningError, UnknownGroupError
from penstock.position import EntryId
from penstock.streams._memory.ordered import number_of
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import LaneMark, NewEntry, PartitionLayout, RawId, Routed, RouteEntry, RouteMark

__all__ = ["MemoryPartitions"]


@dataclass(slots=True)
class _Route:
    """What is known of one foreign stream in one partition."""

    fence: int = 0
    marks: list[RouteMark] = field(default_factory=list[RouteMark])
    """Under the last two layouts, the later one first."""

    def last(self, epoch: int) -> EntryId | None:
        return self.marks[0].last if self.marks and self.marks[0].epoch == epoch else None


class MemoryPartitions:
    """`PartitionStore` in memory. *add* puts an entry into its stream, and tells those who wait for it."""

    def __init__(self, streams: Mapping[str, Stream], add: Callable[[NewEntry], RawId]) -> None:
        self._streams = streams
        self._add = add
        self._layouts: dict[str, PartitionLayout] = {}
        self._marks: dict[str, LaneMark] = {}
        self._routes: dict[tuple[str, str], _Route] = {}

    def check(self, entry: NewEntry) -> None:
        """Raises `RepartitioningError` for an entry that another layout chose the partition for."""
        if entry.epoch is not None and self._marks.get(entry.stream) != LaneMark(entry.epoch, True):
            raise RepartitioningError(entry.stream)

    def forget_stream(self, stream: str) -> None:
        """Drop what is kept beside a stream that is removed."""
        self._layouts.pop(stream, None)
        self._marks.pop(stream, None)
        for key in [key for key in self._routes if key[0] == stream]:
            del self._routes[key]

    # -- layouts and marks --------------------------------------------------------------------------------------

    async def layout(self, stream: str) -> PartitionLayout | None:
        """The layout that holds."""
        return self._layouts.get(stream)

    async def put(self, layout: PartitionLayout) -> bool:
        """Replace the layout of the revision before this one's."""
        present = self._layouts.get(layout.stream)
        if (present.revision if present is not None else 0) != layout.revision - 1:
            return False
        self._layouts[layout.stream] = layout
        return True

    async def open_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take entries under *epoch*, unless it was marked with that or a later one."""
        known = self._marks.get(lane)
        if known is None or known.epoch < epoch:
            self._marks[lane] = LaneMark(epoch, True)
        return self._marks[lane] == LaneMark(epoch, True)

    async def close_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take no more entries under *epoch*."""
        known = self._marks.get(lane)
        if known is not None and known.epoch > epoch:
            return False
        self._marks[lane] = LaneMark(epoch, False)
        return True

    async def mark(self, lane: str) -> LaneMark | None:
        """What is noted beside the partition."""
        return self._marks.get(lane)

    # -- routes -------------------------------------------------------------------------------------------------

    async def fence_route(self, lane: str, source: str, fence: int) -> list[RouteMark]:
        """Refuse routers of *source* with a lower fence from now on; how far it has come there."""
        route = self._routes.setdefault((lane, source), _Route())
        route.fence = max(route.fence, fence)
        return list(route.marks)

    async def route(
        self, source: str, entries: Sequence[RouteEntry], *, epoch: int, partitions: int, fence: int
    ) -> list[Routed | BrokerError]:
        """Add entries of *source* to their partitions, in order; what became of each."""
        return [self._route_one(source, entry, epoch, partitions, fence) for entry in entries]

    async def advance_route(self, source: str, group: str, position: RawId) -> None:
        """Note in *group* of the foreign stream that everything up to *position* was routed."""
        stream = self._streams.get(source)
        if stream is None or group not in stream.groups:
            raise UnknownGroupError(source, group)
        moved = stream.groups[group]
        moved.last_delivered = max(moved.last_delivered, number_of(position))

    def _route_one(
        self, source: str, entry: RouteEntry, epoch: int, partitions: int, fence: int
    ) -> Routed | BrokerError:
        route = self._routes.setdefault((entry.lane, source), _Route())
        last = route.last(epoch)
        if route.fence > fence:
            return Routed.FENCED
        if last is not None and last >= entry.source_id:
            return Routed.ALREADY_THERE
        if self._marks.get(entry.lane) != LaneMark(epoch, True):
            return Routed.CLOSED
        if entry.after is not None and (last is None or last < entry.after):
            return Routed.OUT_OF_TURN
        try:
            self._add(NewEntry(entry.lane, entry.fields))
        except BrokerError as refusal:
            return refusal
        mark = RouteMark(entry.lane, epoch, partitions, entry.source_id)
        route.marks = [mark, *(route.marks[:1] if last is None else route.marks[1:])]
        route.fence = fence
        return Routed.WRITTEN
