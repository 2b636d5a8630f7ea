"""Removing what nobody needs any more: the safe floor, and what may go below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from penstock.position import EntryId
from penstock.streams.abc._entries import RawId

__all__ = ["Floor", "Hold", "HoldKind", "RemovalStore", "Removed", "Trimmed"]


class HoldKind(Enum):
    """What needs an entry."""

    GROUP = "group"
    CURSOR = "cursor"
    RELAY = "relay"
    ABSENT_GROUP = "absent group"
    """A registered group that has not been created yet: it needs everything."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One reader and the lowest entry that it still needs; everything below may go as far as it is concerned."""

    kind: HoldKind
    name: str
    needs: EntryId
    pending: int = 0
    since: datetime | None = None
    """For an absent group: when it was registered."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest entry of a stream that somebody still needs. ``None``: nobody needs anything."""

    entry_id: EntryId | None
    holds: tuple[Hold, ...]
    """Everyone who holds something, the lowest first."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one bounded step of trimming did."""

    removed: int
    more: bool
    """There is more to remove of what was asked: call again."""
    held_by: tuple[Hold, ...]
    """Who needs the oldest entry that was asked to go and stayed, the lowest first; empty when nothing was held."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of entries that were to be removed one by one."""

    removed: tuple[RawId, ...]
    missing: tuple[RawId, ...]
    """Those that were not in the stream any more."""
    held: Mapping[RawId, tuple[Hold, ...]]
    """Those that somebody still needs, and who; they are where they were."""


class RemovalStore(Protocol):
    """What may be removed from a stream. The floor is computed and applied in the same script.

    A group needs its lowest pending entry, else what comes after its last delivered; a durable cursor and a relay need
    what comes after their position; a registered group that does not exist needs everything. Failed and parked messages
    carry their payload and need nothing. Caps of streams (`Cap`) end at the same floor.
    """

    async def register_groups(self, stream: str, groups: Sequence[str]) -> None:
        """Say that these groups will read the stream, whether or not they exist yet. Idempotent."""
        ...

    async def unregister_group(self, stream: str, group: str) -> bool:
        """Expect the group no more (it, if it exists, counts all the same); whether it was registered.

        `StreamBroker.delete_group` does the same.
        """
        ...

    async def registered_groups(self, stream: str) -> dict[str, datetime]:
        """The groups that were registered, and when."""
        ...

    async def save_relay(self, stream: str, relay: str, position: RawId) -> None:
        """Keep how far a relay out of the stream has come. Never moves back."""
        ...

    async def relays(self, stream: str) -> dict[str, EntryId]:
        """How far every relay out of the stream has come."""
        ...

    async def delete_relay(self, stream: str, relay: str) -> bool:
        """Forget a relay; whether it was there."""
        ...

    async def floor(self, stream: str) -> Floor:
        """What is still needed, and by whom. A stream that does not exist has a floor of ``None`` without holds."""
        ...

    async def count_below(self, stream: str, entry_id: EntryId) -> int:
        """How many entries lie below an id, counted: what a removal up to there would take."""
        ...

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
        """Remove up to *limit* of the oldest entries that lie below the floor (with *force*, wherever they lie).

        With *below*, only entries below that id; with *keep*, only so many that the newest *keep* stay; with neither,
        everything below the floor. With *handled*, nothing while the stream has no reader at all: what nobody reads
        was handled by nobody. The cost is that of what is removed, not of what stays.

        Raises:
            UsageError: *keep* is below 0, or *limit* below 1.
        """
        ...

    async def remove(self, stream: str, entry_ids: Sequence[RawId], *, force: bool = False) -> Removed:
        """Remove single entries that every reader has settled: those delivered to every group and pending with none,
        not above a cursor or relay, none at all while a registered group is absent. *force* removes them regardless.

        Unlike `trim` it may leave a gap in the middle: an entry above the floor that all have settled may go.
        """
        ...
