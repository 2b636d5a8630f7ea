"""Which entries somebody still needs, looked up before anything is stored: what is needed is not archived.

The look decides nothing: removing checks again, in one step with the removal.
"""

from collections.abc import Sequence

from penstock.position import EntryId
from penstock.streams.abc import Floor, Hold, HoldKind, StreamBroker

__all__ = ["needed", "needed_above"]

_PENDING_AT_ONCE = 1000


async def needed_above(broker: StreamBroker, stream: str, floor: Floor) -> EntryId | None:
    """The highest id that may be free: everything above it is needed for sure. ``None``: nothing is."""
    if not floor.holds:
        return None
    delivered = await _delivered(broker, stream)
    return min(
        delivered.get(hold.name, hold.needs.previous())
        if hold.kind is HoldKind.GROUP
        else hold.needs.previous()
        for hold in floor.holds
    )


async def needed(
    broker: StreamBroker, stream: str, entry_ids: Sequence[EntryId]
) -> dict[EntryId, tuple[Hold, ...]]:
    """Those of *entry_ids* that somebody needs, and who."""
    found: dict[EntryId, list[Hold]] = {}
    if not entry_ids:
        return {}
    lowest, highest = min(entry_ids), max(entry_ids)
    floor = await broker.removal.floor(stream)
    holding = [hold for hold in floor.holds if hold.needs <= highest]
    delivered = await _delivered(broker, stream) if holding else {}
    for hold in holding:
        if hold.kind is HoldKind.GROUP and hold.name in delivered:
            pending = await _pending(broker, stream, hold.name, lowest, highest)
            holds_it = [each for each in entry_ids if each > delivered[hold.name] or each in pending]
        else:
            holds_it = [each for each in entry_ids if each >= hold.needs]
        for entry_id in holds_it:
            found.setdefault(entry_id, []).append(hold)
    return {entry_id: tuple(holds) for entry_id, holds in found.items()}


async def _delivered(broker: StreamBroker, stream: str) -> dict[str, EntryId]:
    return {group.name: group.last_delivered for group in await broker.groups(stream)}


async def _pending(
    broker: StreamBroker, stream: str, group: str, lowest: EntryId, highest: EntryId
) -> set[EntryId]:
    found: set[EntryId] = set()
    start = lowest
    while True:
        page = await broker.pending(stream, group, start=start, count=_PENDING_AT_ONCE)
        found |= {each.entry_id for each in page if each.entry_id <= highest}
        if len(page) < _PENDING_AT_ONCE or page[-1].entry_id >= highest:
            return found
        start = page[-1].entry_id.next()
