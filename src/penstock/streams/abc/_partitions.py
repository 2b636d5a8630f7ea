"""Partitioned streams on the server: the layout that holds, marks of partitions, and what a router wrote where."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from penstock.errors import BrokerError
from penstock.position import EntryId
from penstock.streams.abc._entries import RawId

__all__ = [
    "LaneMark",
    "LayoutPhase",
    "PartitionLayout",
    "PartitionStore",
    "RouteEntry",
    "RouteMark",
    "Routed",
]


class LayoutPhase(Enum):
    """Where a stream's layout stands."""

    SETTLED = "settled"
    """Publishers write to the partitions under the present epoch."""
    DRAINING = "draining"
    """The partitions are being closed; nothing of the new layout is open yet, so that the change may be given up."""
    OPENING = "opening"
    """Every partition of the new layout may be open already: the change can only be finished."""


@dataclass(frozen=True, slots=True)
class PartitionLayout:
    """How a stream is cut into partitions. Changed only by `PartitionStore.put`, one change after another."""

    stream: str
    partitions: int
    epoch: int
    """What `NewEntry.epoch` has to be; grows with every layout, and even when the record was lost."""
    phase: LayoutPhase = LayoutPhase.SETTLED
    target: int | None = None
    """While it is being changed: the number of partitions to come."""
    ever: int = 0
    """The most partitions that the stream ever had or is to have: what readers read."""
    revision: int = 0
    """Grows with every change of the record."""


@dataclass(frozen=True, slots=True)
class LaneMark:
    """What is noted beside a partition: under which epoch it takes entries, if it takes any."""

    epoch: int
    is_open: bool


class Routed(Enum):
    """What became of an entry that a router wanted to add."""

    WRITTEN = "written"
    ALREADY_THERE = "already there"
    """An earlier run had added it; nothing was added now."""
    CLOSED = "closed"
    """The partition is closed or belongs to another layout: nothing was added."""
    FENCED = "fenced"
    """A router with a higher fence is at work: nothing was added, and nothing will be."""
    OUT_OF_TURN = "out of turn"
    """The entry before it is not there: nothing was added."""


@dataclass(frozen=True, slots=True)
class RouteMark:
    """How far a foreign stream has come into one partition under one layout."""

    lane: str
    epoch: int
    partitions: int
    last: EntryId


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """An entry of a foreign stream on its way into a partition, bytes as they are."""

    lane: str
    source_id: EntryId
    fields: Sequence[bytes]
    after: EntryId | None
    """The entry that this router sent to the same partition under the same layout before it, if it sent one."""


class PartitionStore(Protocol):
    """What is kept of partitioned streams. Every call is one script on one stream or partition."""

    async def layout(self, stream: str) -> PartitionLayout | None:
        """The layout that holds; ``None`` for a stream that has none."""
        ...

    async def put(self, layout: PartitionLayout) -> bool:
        """Replace the layout of the revision before this one's (0: make the first); False when that is not the present.

        Of two that change the same revision one succeeds.
        """
        ...

    async def open_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take entries under *epoch*, unless it has been marked with that epoch or a later one.

        Whether it is open under this epoch now: a partition that was closed since stays closed.
        """
        ...

    async def close_lane(self, lane: str, epoch: int) -> bool:
        """Let the partition take no more entries under *epoch*; False when it is marked with a later one (no change).

        When this has been answered, nothing more comes in under that epoch, now or later.
        """
        ...

    async def mark(self, lane: str) -> LaneMark | None:
        """What is noted beside the partition."""
        ...

    async def fence_route(self, lane: str, source: str, fence: int) -> list[RouteMark]:
        """Refuse routers of *source* with a lower fence from now on; how far it has come there.

        Under the last two layouts in which anything of the source came into the partition, the later one first.
        """
        ...

    async def route(
        self, source: str, entries: Sequence[RouteEntry], *, epoch: int, partitions: int, fence: int
    ) -> list[Routed | BrokerError]:
        """Add entries of *source* to their partitions, in order; what became of each.

        In each partition of one layout an entry is added once: what is not above the last one of the source there is
        already there. An entry whose `after` is above that last one is out of turn: whatever is refused or lost, each
        partition has the beginning of what was to go there, in order. What the server refused is an error as a value.

        Raises:
            BrokerUnavailableError: The connection broke: `fence_route` tells what is there.
        """
        ...

    async def advance_route(self, source: str, group: str, position: RawId) -> None:
        """Note in *group* of the foreign stream that everything up to *position* was routed; never moves back.

        Raises:
            UnknownGroupError: The group, or the stream, is gone.
        """
        ...
