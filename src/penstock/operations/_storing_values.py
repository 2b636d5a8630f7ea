"""What operations on event stores answer with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.store.abc import Dialect, HeadHolder, StreamInfo

__all__ = [
    "BadLine",
    "EventStreamPage",
    "EventView",
    "ExportedPage",
    "Imported",
    "StoreDetail",
    "StoreSummary",
]


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """A configured event store, which nobody has asked anything."""

    name: str
    dialect: Dialect
    url: str
    """Without the password."""


@dataclass(frozen=True, slots=True)
class StoreDetail:
    """An event store in one look. One that is not there yet, because nothing was ever appended, has no events."""

    name: str
    dialect: Dialect
    url: str
    """Without the password."""
    exists: bool
    events: int = 0
    counted: bool = True
    """False: `events` is what the database estimates, since there are very many."""
    last: int = 0
    """The last position handed out, also by transactions that are open or were rolled back."""
    horizon: int = 0
    """Every event up to here is there or never will be: how far readers go."""
    holders: tuple[HeadHolder, ...] = ()
    """Who keeps readers from what is above the horizon, the lowest floor first."""
    size_bytes: int | None = None
    """Events with their indexes; of the whole file on SQLite."""


@dataclass(frozen=True, slots=True)
class EventStreamPage:
    """Event streams by name; `next` goes on after them, ``None`` at the end."""

    items: tuple[StreamInfo, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class EventView:
    """An event of a store, for people. A body that cannot be read says why in `undecodable`."""

    position: int
    stream: str
    stream_version: int
    event_id: str
    name: str
    time: datetime
    recorded_at: datetime
    key: str | None = None
    kind: str = "event"
    source: str | None = None
    version: int = 1
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    correlation: str | None = None
    causation: str | None = None
    payload: Any = None
    undecodable: str | None = None


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """Some lines of an export."""

    lines: Sequence[bytes]
    """One event each, with its line break."""
    through: int
    """How far the export has come: to go on after it, begin after this position."""
    horizon: int
    """How far it will go."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or a row, that was not imported."""

    where: str
    """``line 17``, or a table and the number in it."""
    error: str


@dataclass
class Imported:
    """What became of an import so far."""

    appended: int = 0
    known: int = 0
    """Events that the store had already, by their ids."""
    renumbered: int = 0
    """Appended events whose number in their stream is another than where they came from."""
    bad: int = 0
    problems: list[BadLine] = field(default_factory=list[BadLine])
    """The first twenty that were not imported."""
    stopped: str | None = None
    """Why it ended early; everything before is imported."""

    _MOST_NAMED = 20

    def refuse(self, where: str, error: str) -> None:
        """Count one that was not imported."""
        self.bad += 1
        if len(self.problems) < self._MOST_NAMED:
            self.problems.append(BadLine(where, error))
