"""Reading more than one page at a time where pages are small: a transaction for each event is no query for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.projections._engine._sources import Stretch
from penstock.store.abc import EventFilter, EventPage, EventReader, StoredEvent

__all__ = ["AheadReader"]

_AT_LEAST: Final = 200
"""So many events are read at a time, however small the pages are."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What was read and not handled yet; good only for who goes on exactly *after*."""

    wanted: EventFilter
    after: int
    events: Sequence[StoredEvent]
    through: int


class AheadReader:
    """Reads pages in the order of a run. What was read and not handled is read again after any step aside."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._ahead: _Ahead | None = None

    def read(self, stretch: Stretch, limit: int) -> EventPage:
        """Up to *limit* events of a stretch."""
        ahead, wanted = self._ahead, stretch.wanted
        if (
            ahead is None
            or (ahead.wanted, ahead.after) != (wanted, stretch.after)
            or ahead.through > stretch.through
        ):
            page = self._reader.read(
                wanted, after=stretch.after, through=stretch.through, limit=max(limit, _AT_LEAST)
            )
            events, through = page.events, page.through
        else:
            events, through = ahead.events, ahead.through
        if len(events) <= limit:
            self._ahead = None
            return EventPage(events, through)
        last = events[limit - 1].position
        self._ahead = _Ahead(wanted, last, events[limit:], through)
        return EventPage(events[:limit], last)
