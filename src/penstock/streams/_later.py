"""What every backend asks of entries that are added later, and how it counts time: whole milliseconds since 1970."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.errors import UsageError
from penstock.streams.abc import NewEntry

__all__ = ["Changes", "check_later", "milliseconds_of", "time_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_LATEST_MS: Final = 253_402_300_799_000
"""The end of the year 9999, beyond which no time can be told."""


class Changes:
    """Those who want to know when something is scheduled."""

    def __init__(self) -> None:
        self._told: list[Callable[[], None]] = []

    def add(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Tell this one too; what is answered ends that."""
        self._told.append(tell)
        return lambda: self._told.remove(tell)

    def tell(self) -> None:
        """Tell everyone."""
        for tell in tuple(self._told):
            tell()


def check_later(entry: NewEntry, name: str, *, stream: str | None = None, beside: int = 0) -> None:
    """Refuse what cannot be added later, as one of *beside* others.

    Raises:
        UsageError: It has an id or a dedupe token, goes to another stream than it should, or has no fields or no name.
    """
    if not name:
        raise UsageError("what is scheduled needs a name or an event id; this one is empty")
    if stream not in (None, entry.stream):
        raise UsageError(
            f"{name!r} adds to stream {stream!r} and not to {entry.stream!r}; give it one stream"
        )
    if entry.entry_id is not None or entry.dedupe is not None:
        raise UsageError(
            "an entry that is added later gets its id then, and is added once; leave id and dedupe out"
        )
    if not entry.fields or len(entry.fields) % 2:
        raise UsageError(f"an entry is made of pairs of names and values, not of {len(entry.fields)} items")
    most = None if entry.cap is None else entry.cap.max_entries
    if most is not None and most <= beside:
        raise UsageError(f"a cap of {most} entries would not keep {beside + 1}; raise it, or add fewer")


def milliseconds_of(time: datetime) -> int:
    """A time in whole milliseconds, rounded up so that nothing is early. Raises `UsageError` without a time zone."""
    if time.tzinfo is None:
        raise UsageError(f"{time.isoformat()} has no time zone; write it with one, as in {time.isoformat()}Z")
    return min(max(0, -((_EPOCH - time) // _MS)), _LATEST_MS)


def time_of(ms: int) -> datetime:
    """Milliseconds as a time in UTC."""
    return _EPOCH + ms * _MS
