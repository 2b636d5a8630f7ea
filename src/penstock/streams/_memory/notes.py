"""Who did what to failed messages, in memory."""

from collections import deque
from collections.abc import Callable

from penstock.streams._memory.records import moment
from penstock.streams.abc import MOST_NOTES, Note

__all__ = ["MemoryNotes"]


class MemoryNotes:
    """`NoteStore` in memory."""

    def __init__(self, time_us: Callable[[], int]) -> None:
        self._time_us = time_us
        self._notes: dict[str, deque[Note]] = {}

    async def add(self, stream: str, *, who: str, what: str, which: str, why: str, count: int) -> None:
        """Note something under the clock's time."""
        # Whole milliseconds, as a server would have it.
        when = moment(self._time_us() // 1000 * 1000)
        notes = self._notes.setdefault(stream, deque(maxlen=MOST_NOTES))
        notes.appendleft(Note(who, what, which, why, count, when))

    async def latest(self, stream: str, *, count: int = 100) -> list[Note]:
        """What was noted, latest first."""
        return list(self._notes.get(stream, ()))[:count]

    def forget_stream(self, stream: str) -> None:
        """Forget what was noted of a stream that was deleted."""
        self._notes.pop(stream, None)
