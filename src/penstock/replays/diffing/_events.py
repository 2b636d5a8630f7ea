"""Which events a throw-away copy is made of, and a reader that gives these and no others."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.errors import UsageError
from penstock.store.abc import EventFilter, EventPage, EventReader, Horizon, StoredEvent

__all__ = ["Chosen", "ChosenReader", "Source", "checked", "position_at", "us_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE: Final = 1 << 64
_LATE_US: Final = 60 * 1_000_000
"""A transaction that is open for long may have recorded an event before others whose positions are lower."""
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events of a store."""

    through: int = 0
    """Up to this position."""
    until_us: int | None = None
    """Those that were recorded by then, in microseconds since the Unix epoch."""
    sample: float | None = None
    """Of so many keys: a share, above 0 and up to 1. The events of one key are in it together, or not at all."""
    keys: tuple[str, ...] = ()

    def fits(self, key: str | None, stream: str, recorded_us: int) -> bool:
        """Whether an event is one of them, wherever it stands and whatever its key, which the query looks at."""
        if self.until_us is not None and recorded_us > self.until_us:
            return False
        return self.sample is None or _share_of(stream if key is None else key) < self.sample

    @property
    def is_everything(self) -> bool:
        """Whether nothing has to be looked at."""
        return self.until_us is None and self.sample is None


def checked(chosen: Chosen) -> Chosen:
    """*chosen*, if it can be. Raises `UsageError`."""
    if chosen.sample is not None and not 0 < chosen.sample <= 1:
        raise UsageError(
            f"a sample of {chosen.sample} is not possible; it is a share of the keys, as in 0.1 for a tenth"
        )
    if chosen.through < 0:
        raise UsageError(f"there is no position {chosen.through}; the first event is at position 1")
    if any(not key for key in chosen.keys):
        raise UsageError("an event without a key cannot be chosen by its key; name a key")
    return chosen


def _share_of(entity: str) -> float:
    """Where an entity stands between 0 and 1: anywhere, and always at the same place."""
    digest = hashlib.blake2b(entity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _WHOLE


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from, and which."""

    open: Callable[[], EventReader]
    """Connects, in the thread that reads."""
    chosen: Chosen

    def reader(self) -> EventReader:
        """What a run reads by."""
        return ChosenReader(self.open(), self.chosen)


@dataclass
class ChosenReader:
    """An `EventReader` of a store that ends where it was said, and has some events only."""

    reader: EventReader
    chosen: Chosen

    def horizon(self) -> Horizon:
        """The end."""
        return Horizon(self.chosen.through, self.chosen.through)

    def read(self, wanted: EventFilter, *, after: int, through: int, limit: int) -> EventPage:
        """Up to *limit* events, fewer where some are left out."""
        page = self.reader.read(wanted, after=after, through=min(through, self.chosen.through), limit=limit)
        if self.chosen.is_everything:
            return page
        return EventPage([event for event in page.events if self._fits(event)], page.through)

    def _fits(self, event: StoredEvent) -> bool:
        return self.chosen.fits(event.meta.key, event.stream, event.recorded_us)

    def count(self, wanted: EventFilter, *, after: int, through: int, limit: int = 1_000_000) -> int:
        """How many there are before any are left out."""
        return self.reader.count(wanted, after=after, through=through, limit=limit)

    def close(self) -> None:
        """Disconnect."""
        self.reader.close()


def us_of(time: datetime) -> int:
    """Microseconds since the Unix epoch. Raises `UsageError` for a time without a zone."""
    if time.tzinfo is None:
        raise UsageError(
            f"the time {time.isoformat()} has no zone; write it as in 2026-05-03T10:00:00+02:00 or with Z"
        )
    return (time - _EPOCH) // timedelta(microseconds=1)


def position_at(reader: EventReader, us: int) -> int:
    """The last position that was recorded by a time; events below it may have been recorded later.

    Events are recorded in the order of their positions, except by transactions that were open at the same time: so the
    place is found by halving, and what was recorded up to a minute later is looked through.
    """
    end = reader.horizon().position
    last = _last_by(reader, us, end)
    bound = _last_by(reader, us + _LATE_US, end)
    place = last
    while place < bound:
        page = reader.read(EventFilter(), after=place, through=bound, limit=_PAGE)
        last = max([last, *(event.position for event in page.events if event.recorded_us <= us)])
        place = page.through
    return last


def _last_by(reader: EventReader, us: int, end: int) -> int:
    """The last position recorded by *us*, as if all were recorded in their order."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        event = _next(reader, middle, high)
        if event is None or event.recorded_us > us:
            high = middle
        else:
            low = event.position
    return low


def _next(reader: EventReader, after: int, through: int) -> StoredEvent | None:
    """The first event above a position."""
    while after < through:
        page = reader.read(EventFilter(), after=after, through=through, limit=1)
        if page.events:
            return page.events[0]
        after = page.through
    return None
