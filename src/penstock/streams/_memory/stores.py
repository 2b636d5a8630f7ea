"""The stores of `MemoryBroker`: what is kept beside the streams, each a promise of its own."""

from penstock.streams._memory.failures import MemoryFailureStore
from penstock.streams._memory.figures import MemoryFigures
from penstock.streams._memory.history import MemoryHistory
from penstock.streams._memory.lanes import MemoryLanes
from penstock.streams._memory.leases import MemoryLeases, MemoryMembers
from penstock.streams._memory.notes import MemoryNotes
from penstock.streams._memory.partitions import MemoryPartitions
from penstock.streams._memory.relays import MemoryRelays
from penstock.streams._memory.removal import MemoryRemovals
from penstock.streams._memory.schedule import MemorySchedule
from penstock.streams._memory.space import Space
from penstock.streams._memory.values_by_key import MemoryValues

__all__ = ["Stores"]


class Stores:
    """The part of `MemoryBroker` that names its stores."""

    _space: Space

    @property
    def leases(self) -> MemoryLeases:
        """Timed ownership of names, of streams and of lanes."""
        return self._space.leases

    @property
    def members(self) -> MemoryMembers:
        """Who shares the work of a group over partitions."""
        return self._space.members

    @property
    def lanes(self) -> MemoryLanes:
        """What the leased owner of an ordered group's stream settles and parks."""
        return self._space.lanes

    @property
    def figures(self) -> MemoryFigures:
        """How fast the handlers of groups are."""
        return self._space.figures

    @property
    def removal(self) -> MemoryRemovals:
        """What is still needed, and the removal of what is not."""
        return self._space.removal

    @property
    def notes(self) -> MemoryNotes:
        """Who did what to failed messages, and why."""
        return self._space.notes

    @property
    def partitions(self) -> MemoryPartitions:
        """How streams are cut into partitions."""
        return self._space.partitions

    @property
    def history(self) -> MemoryHistory:
        """The index of entries by event name and identifier."""
        return self._space.history

    @property
    def values(self) -> MemoryValues:
        """Small values by key."""
        return self._space.values

    @property
    def schedule(self) -> MemorySchedule:
        """Entries that wait for their time, and the last ticks of what recurs."""
        return self._space.schedule

    @property
    def relays(self) -> MemoryRelays:
        """How far relays have come into streams, and the adding of what they bring."""
        return self._space.relays

    @property
    def failures(self) -> MemoryFailureStore:
        """The records of failed messages."""
        return self._space.failures
