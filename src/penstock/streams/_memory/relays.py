"""Relays into streams in memory: entries, and how far each relay has come."""

from collections.abc import Callable, Mapping, Sequence

from penstock.errors import RepartitioningError, StreamFullError
from penstock.streams.abc import (
    NewEntry,
    RawId,
    RelayBatch,
    Relayed,
    RelayMark,
    RelayOutcome,
    check_relayed,
)

__all__ = ["MemoryRelays"]


class MemoryRelays:
    """`RelayStore` in memory. *add* puts an entry into its stream, and tells those who wait for it."""

    def __init__(self, add: Callable[[NewEntry], RawId]) -> None:
        self._add = add
        self._marks: dict[tuple[str, str], list[RelayMark]] = {}

    async def add(self, relay: str, batch: RelayBatch) -> Relayed:
        """Add the events above the relay's mark, in order, and move the mark."""
        check_relayed(batch)
        marks, epoch = self._marks.get((batch.stream, relay), []), batch.epoch or 0
        former = [mark for mark in marks if mark.epoch != epoch][:1]
        position = marks[0].position if marks and marks[0].epoch == epoch else 0
        if position < batch.after:
            return Relayed(RelayOutcome.BEHIND, position, 0)
        added = 0
        for entry in batch.entries:
            if entry.position <= position:
                continue
            new = NewEntry(batch.stream, entry.fields, cap=batch.cap, epoch=batch.epoch, index=entry.index)
            try:
                self._add(new)
            except RepartitioningError:
                return Relayed(RelayOutcome.CLOSED, position, added)
            except StreamFullError:
                return Relayed(RelayOutcome.FULL, position, added)
            added, position = added + 1, entry.position
            mark = RelayMark(position, entry.event_id, epoch, batch.partitions)
            self._marks[batch.stream, relay] = [mark, *former]
        return Relayed(RelayOutcome.DONE, position, added)

    async def marks(self, relay: str, streams: Sequence[str]) -> Mapping[str, Sequence[RelayMark]]:
        """How far the relay has come into each stream, under the last two layouts."""
        return {
            stream: list(self._marks[stream, relay]) for stream in streams if (stream, relay) in self._marks
        }

    async def forget(self, relay: str, stream: str) -> bool:
        """Remove the relay's marks in a stream."""
        return self._marks.pop((stream, relay), None) is not None
