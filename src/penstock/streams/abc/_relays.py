"""Relays into streams: events of a store are added with a mark of how far the relay has come, in the same step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Protocol

import msgspec

from penstock.errors import UsageError
from penstock.streams.abc._entries import Cap, Index

__all__ = ["RelayBatch", "RelayEntry", "RelayMark", "RelayOutcome", "RelayStore", "Relayed", "check_relayed"]


class RelayEntry(msgspec.Struct, frozen=True, gc=False):
    """One event of a store as an entry to be added."""

    position: int
    """Its place in the store."""
    event_id: str
    fields: Sequence[bytes]
    index: Index | None = None
    """Also note the entry in the history of its entity, in the same step."""


class RelayBatch(msgspec.Struct, frozen=True, gc=False):
    """Events for one stream, or one partition of one, by ascending position."""

    stream: str
    entries: Sequence[RelayEntry]
    after: int = 0
    """The position that the relay's mark there must have reached; 0 for any. A server that lost more adds nothing."""
    cap: Cap | None = None
    epoch: int | None = None
    """For a partition: the layout that chose it."""
    partitions: int = 0
    """For a partition: how many the stream has in that layout."""


class RelayOutcome(Enum):
    """What became of a batch."""

    DONE = "done"
    """Every event of it is in the stream, or was at some time: added now or before."""
    CLOSED = "closed"
    """The partition is closed or belongs to another layout; what the mark does not reach was not added."""
    BEHIND = "behind"
    """The mark has not reached `RelayBatch.after`: the server has lost something. Nothing was added."""
    FULL = "full"
    """The stream is at its cap and a reader needs its oldest entry. What the mark reaches was added."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """The outcome of one `RelayStore.add`."""

    outcome: RelayOutcome
    position: int
    """The relay's mark in the stream now; 0 for none."""
    added: int
    """How many entries this call has added."""


@dataclass(frozen=True, slots=True)
class RelayMark:
    """How far a relay has come into one stream: its last event there."""

    position: int
    event_id: str
    epoch: int = 0
    """The layout under which the event came into a partition; 0 where there are no partitions."""
    partitions: int = 0
    """How many partitions the stream had in that layout."""


class RelayStore(Protocol):
    """Relays into the streams of the server. Marks stay when a stream is removed: its events are not added again."""

    async def add(self, relay: str, batch: RelayBatch) -> Relayed:
        """Add the events that lie above the relay's mark in the stream, in order, and move the mark. One script.

        Under each layout of a partitioned stream an event is added once, however often and by however many it is sent.

        Raises:
            UsageError: The positions do not ascend, or there is no event.
            BrokerUnavailableError: The connection broke, and some of it may be there; sending it again is safe.
        """
        ...

    async def marks(self, relay: str, streams: Sequence[str]) -> Mapping[str, Sequence[RelayMark]]:
        """How far the relay has come into each stream, under the last two layouts, the later one first.

        Streams that it has never written to are left out.
        """
        ...

    async def forget(self, relay: str, stream: str) -> bool:
        """Remove the relay's marks in a stream: what is sent next is added, whatever its position. Whether there were
        any.
        """
        ...


def check_relayed(batch: RelayBatch) -> None:
    """Raises `UsageError` for a batch that no backend takes."""
    positions = [entry.position for entry in batch.entries]
    if not positions or positions[0] < 1 or any(a >= b for a, b in pairwise(positions)):
        raise UsageError(
            f"a batch for stream {batch.stream!r} needs events with positions that ascend from 1, not {positions[:10]}"
        )
