"""What enters a stream later: entries kept until they are due, and the ticks of what recurs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from penstock.streams.abc._entries import NewEntry, RawId

__all__ = ["DelayedEntry", "Moved", "ScheduleStore", "Tick"]


@dataclass(frozen=True, slots=True)
class DelayedEntry:
    """An entry that waits beside its stream for its time."""

    stream: str
    event_id: str
    due: datetime
    """By the server's clock, to the millisecond, in UTC."""
    entry: NewEntry
    """As it will be added."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What one look at everything that waits has done."""

    entry_ids: tuple[tuple[str, RawId], ...]
    """The entries that were added, with their streams."""
    wait: timedelta | None
    """How long until the next entry is due; ``None`` when nothing waits."""
    full: tuple[str, ...] = ()
    """Streams at their cap: what is due for them goes on waiting."""
    closed: tuple[str, ...] = ()
    """Partitions that do not exist under the present layout: what is due there waits until somebody moves it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The last run of something that recurs."""

    at: datetime
    """The time it was for, in UTC, to the millisecond."""
    following: datetime | None
    """The next time, as far as whoever recorded this knew."""
    rule: str
    """How it recurs, for people."""


class ScheduleStore(Protocol):
    """Entries that wait for their time, and the last ticks of what recurs. The server's clock decides what is due.

    Each waits beside its stream, and one script takes it away from there and adds it to the stream: it is in exactly
    one of the two places at any time, and any number of processes may move what is due.
    """

    async def schedule(self, entry: NewEntry, event_id: str, *, due: datetime) -> datetime:
        """Keep an entry until *due* (taken in whole milliseconds, rounded up); when it is due.

        An event id that waits already stays as it is, and its own time is answered, so that a call whose outcome is
        unknown may be repeated. A time that has passed means the next `move_due`.

        Raises:
            UsageError: *due* has no time zone, the event id is empty, or the entry has an id or a dedupe token.
        """
        ...

    async def cancel(self, stream: str, event_id: str) -> bool:
        """Take a waiting entry away; False when it does not wait (any more). It is never added after a True."""
        ...

    async def replace(self, entry: NewEntry, event_id: str) -> bool:
        """Have an event that waits for the entry's stream enter as *entry*, at its time; False when it waits not."""
        ...

    async def delayed(
        self, stream: str, *, after: DelayedEntry | None = None, count: int = 100
    ) -> list[DelayedEntry]:
        """Up to *count* entries that wait, by due time and event id; *after* pages on."""
        ...

    async def streams(self) -> list[str]:
        """Every stream of the namespace for which something waits, recurs, or did; sorted."""
        ...

    async def move_due(self, *, count: int = 100) -> Moved:
        """Add what is due to its streams, oldest due time first, up to *count* entries a stream and 100 streams.

        What is added gets the cap and the history that were given with it. Safe at any time from any process.
        """
        ...

    async def next_due(self) -> timedelta | None:
        """How long until something may be due, zero if it is; ``None`` when nothing waits. Never too late, cheap."""
        ...

    @property
    def look_every(self) -> timedelta | None:
        """How often to ask `next_due` for what other processes scheduled; ``None``: `on_change` tells of all of it."""
        ...

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have *tell* called when something is scheduled through this broker; what is answered ends that."""
        ...

    async def check(self) -> None:
        """Look at every stream whether something waits there that a process announced incompletely when it died."""
        ...

    async def tick(
        self, stream: str, name: str, *, expected: datetime | None, tick: Tick, entries: Sequence[NewEntry]
    ) -> list[RawId] | None:
        """Record a tick and add its entries in one step, if the last tick is still *expected* (``None``: none yet).

        ``None`` when it is not: another process has done it, and nothing was changed. All entries go to *stream*.

        Raises:
            StreamFullError: The stream is at its cap. Nothing was recorded.
            UsageError: An entry is for another stream, or has an id or a dedupe token; or a time has no time zone.
        """
        ...

    async def ticks(self, stream: str) -> dict[str, Tick]:
        """The last tick of everything that recurs into the stream, by name."""
        ...

    async def forget_tick(self, stream: str, name: str) -> bool:
        """Forget that something recurred; whether it was known."""
        ...
