"""What ordered settling comes to, as plain lists and sets: the model beside the random test of lanes."""

from dataclasses import dataclass, field

from penstock.position import EntryId
from penstock.streams.abc import Lease

__all__ = ["LaneModel", "Waiting"]


@dataclass(slots=True)
class Waiting:
    """One event in line: the attempts of each record, by listener."""

    attempts: dict[str, int]


@dataclass(slots=True)
class LaneModel:
    """One lane. An entry is in exactly one of *unread*, *pending*, *handled*, *failed*, *parked* and *gone*."""

    holder: Lease | None = None
    fence: int = 0
    former: list[Lease] = field(default_factory=list[Lease])
    """Every lease that there was, the present one included."""
    added: list[EntryId] = field(default_factory=list[EntryId])
    unread: list[EntryId] = field(default_factory=list[EntryId])
    pending: dict[EntryId, str] = field(default_factory=dict[EntryId, str])
    handled: set[EntryId] = field(default_factory=set[EntryId])
    failed: set[EntryId] = field(default_factory=set[EntryId])
    parked: dict[str, dict[EntryId, Waiting]] = field(default_factory=dict[str, dict[EntryId, Waiting]])
    asked: set[str] = field(default_factory=set[str])
    gone: set[EntryId] = field(default_factory=set[EntryId])
    """Unparked and handled, or discarded by a person."""

    def leave(self, key: str, entry_id: EntryId) -> None:
        """An event leaves its line; with the last one its key is open again."""
        del self.parked[key][entry_id]
        self.gone.add(entry_id)
        if not self.parked[key]:
            del self.parked[key]
            self.asked.discard(key)

    def first(self, key: str) -> EntryId | None:
        """The first event that waits under a key."""
        return next(iter(self.parked.get(key, ())), None)

    def places(self) -> list[EntryId]:
        """Every entry, as often as it is somewhere."""
        in_lines = [entry_id for line in self.parked.values() for entry_id in line]
        return sorted([*self.unread, *self.pending, *self.handled, *self.failed, *in_lines, *self.gone])
