"""Removing what nobody needs any more, in memory: one floor for caps, trimming and single removals."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams._memory.ordered import LARGEST, entry_id_of, number_of
from penstock.streams._memory.stream import Stream
from penstock.streams.abc import Floor, Hold, HoldKind, RawId, Removed, Trimmed

__all__ = ["MemoryRemovals"]


class MemoryRemovals:
    """`RemovalStore` in memory."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        cursors: Mapping[str, Mapping[str, int]],
        time_us: Callable[[], int],
    ) -> None:
        self._streams = streams
        self._cursors = cursors
        self._time_us = time_us
        self._registered: dict[str, dict[str, int]] = {}
        """When each group was registered, in microseconds."""
        self._relays: dict[str, dict[str, int]] = {}

    # -- who reads ----------------------------------------------------------------------------------------------

    async def register_groups(self, stream: str, groups: Sequence[str]) -> None:
        """Say that these groups will read the stream, whether or not they exist yet."""
        known = self._registered.setdefault(stream, {})
        for group in groups:
            known.setdefault(group, self._time_us() // 1000 * 1000)

    async def unregister_group(self, stream: str, group: str) -> bool:
        """Expect the group no more; whether it was registered."""
        return self._registered.get(stream, {}).pop(group, None) is not None

    async def registered_groups(self, stream: str) -> dict[str, datetime]:
        """The groups that were registered, and when."""
        return {group: _time(since) for group, since in sorted(self._registered.get(stream, {}).items())}

    async def save_relay(self, stream: str, relay: str, position: RawId) -> None:
        """Keep how far a relay has come, unless a higher position is kept."""
        kept = self._relays.setdefault(stream, {})
        kept[relay] = max(number_of(position), kept.get(relay, 0))

    async def relays(self, stream: str) -> dict[str, EntryId]:
        """How far every relay has come."""
        return {relay: entry_id_of(at) for relay, at in sorted(self._relays.get(stream, {}).items())}

    async def delete_relay(self, stream: str, relay: str) -> bool:
        """Forget a relay; whether it was there."""
        return self._relays.get(stream, {}).pop(relay, None) is not None

    def forget_stream(self, stream: str) -> None:
        """Forget who reads a stream that was deleted."""
        self._registered.pop(stream, None)
        self._relays.pop(stream, None)

    # -- what is needed -----------------------------------------------------------------------------------------

    def needed_from(self, stream: str) -> int:
        """The number of the lowest id that anybody still needs; above all ids when nobody needs anything."""
        return min((number_of(hold.needs) for hold in self._holds(stream)), default=LARGEST + 1)

    async def floor(self, stream: str) -> Floor:
        """What is still needed, and by whom."""
        holds = self._holds(stream)
        return Floor(holds[0].needs if holds else None, holds)

    def _holds(self, stream: str) -> tuple[Hold, ...]:
        place = self._streams.get(stream)
        if place is None:
            return ()
        holds = [
            Hold(HoldKind.GROUP, name, _needs(group.needed_from), len(group.pending))
            for name, group in place.groups.items()
        ]
        for kind, positions in (
            (HoldKind.CURSOR, self._cursors.get(stream, {})),
            (HoldKind.RELAY, self._relays.get(stream, {})),
        ):
            holds += [Hold(kind, name, _needs(at + 1)) for name, at in positions.items()]
        holds += [
            Hold(HoldKind.ABSENT_GROUP, name, EntryId(0), since=_time(since))
            for name, since in self._registered.get(stream, {}).items()
            if name not in place.groups
        ]
        return tuple(sorted(holds, key=lambda hold: (hold.needs, hold.kind.value, hold.name)))

    # -- removing -----------------------------------------------------------------------------------------------

    async def count_below(self, stream: str, entry_id: EntryId) -> int:
        """How many entries lie below an id."""
        place = self._streams.get(stream)
        return 0 if place is None else place.entries.count_below(number_of(entry_id))

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
        place = self._streams.get(stream)
        holds = self._holds(stream)
        if place is None or (handled and not holds):
            return Trimmed(0, more=False, held_by=())
        entries = place.entries
        asked = len(entries) if below is None else entries.count_below(number_of(below))
        asked = asked if keep is None else min(asked, len(entries) - keep)
        free = len(entries) if force or not holds else entries.count_below(number_of(holds[0].needs))
        removable = max(0, min(asked, free))
        removed = min(removable, limit)
        entries.drop_first(removed)
        if removed < removable:
            return Trimmed(removed, more=True, held_by=())
        oldest = entries.first
        if oldest is None or asked <= removed:
            return Trimmed(removed, more=False, held_by=())
        return Trimmed(removed, more=False, held_by=_needing(holds, oldest))

    async def remove(self, stream: str, entry_ids: Sequence[RawId], *, force: bool = False) -> Removed:
        """Remove single entries that every reader has settled."""
        place = self._streams.get(stream)
        removed: list[RawId] = []
        missing: list[RawId] = []
        held: dict[RawId, tuple[Hold, ...]] = {}
        holds = self._holds(stream)
        for entry_id in entry_ids:
            number = number_of(entry_id)
            if place is None or number not in place.entries:
                missing.append(entry_id)
                continue
            holding = () if force else tuple(hold for hold in holds if _holds_single(place, hold, number))
            if holding:
                held[entry_id] = holding
            else:
                place.entries.pop(number)
                removed.append(entry_id)
        return Removed(tuple(removed), tuple(missing), held)


def _needing(holds: Sequence[Hold], number: int) -> tuple[Hold, ...]:
    return tuple(hold for hold in holds if number_of(hold.needs) <= number)


def _holds_single(place: Stream, hold: Hold, number: int) -> bool:
    """Whether *hold* needs this very entry: a group has settled what was delivered to it and is not pending."""
    if hold.kind is not HoldKind.GROUP:
        return number >= number_of(hold.needs)
    group = place.groups[hold.name]
    return number > group.last_delivered or number in group.pending


def _needs(number: int) -> EntryId:
    return entry_id_of(min(number, LARGEST))


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
