"""Whether a store is still the one that a relay has read.

One that was put back to an earlier state and has grown since has other events at positions where the relay has been,
and would have them passed over in silence. The id of an event that was moved tells.
"""

from collections.abc import Sequence

import msgspec

from penstock.errors import StoreWentBackError
from penstock.store.abc import EventFilter, StoreBackend, StoredEvent
from penstock.streams.abc import RelayMark

__all__ = ["LastRead", "check_last_read", "check_mark"]

_ALL = EventFilter()


class LastRead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last event that a relay has read; noted with its checkpoint."""

    position: int
    event_id: str

    @classmethod
    def read(cls, state: bytes | None) -> "LastRead | None":
        """What was noted, if anything was."""
        return None if state is None else msgspec.json.decode(state, type=LastRead)

    def written(self) -> bytes:
        """As it is noted."""
        return msgspec.json.encode(self)


def check_last_read(source: StoreBackend, relay: str, last: LastRead) -> None:
    """Raises `StoreWentBackError` if *source* has another event at that position; it blocks."""
    reader = source.reader()
    try:
        found = reader.read(_ALL, after=last.position - 1, through=last.position, limit=1).events
        if _differs(last.event_id, found):
            raise _went_back(relay, last.position, last.event_id, found, reader.horizon().last)
    finally:
        reader.close()


async def check_mark(source: StoreBackend, relay: str, mark: RelayMark) -> None:
    """Raises `StoreWentBackError` if *source* has another event there than the one marked, or ends below it."""
    page = await source.read(_ALL, after=mark.position - 1, through=mark.position, limit=1)
    end = (await source.horizon()).last
    if _differs(mark.event_id, page.events) or end < mark.position:
        raise _went_back(relay, mark.position, mark.event_id, page.events, end)


def _differs(event_id: str, found: Sequence[StoredEvent]) -> bool:
    """An event that is there no more was deleted, and says nothing."""
    return any(event.id != event_id for event in found)


def _went_back(
    relay: str, position: int, had: str, found: Sequence[StoredEvent], end: int
) -> StoreWentBackError:
    if not found:
        return StoreWentBackError(relay, position=position, last=end)
    return StoreWentBackError(relay, position=position, last=end, had=had, has=found[0].id)
