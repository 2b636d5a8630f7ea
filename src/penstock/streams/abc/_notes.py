"""Who did what to failed messages, when and why: a short log beside the stream."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

__all__ = ["MOST_NOTES", "Note", "NoteStore"]

MOST_NOTES: Final = 1000
"""So many notes of a stream are kept, the latest ones."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a person did."""

    who: str
    what: str
    """``retry``, ``flush``, ``edit`` or ``unpark``."""
    which: str
    """What it was done to, in words."""
    why: str
    count: int
    """How many messages it was done to."""
    when: datetime


class NoteStore(Protocol):
    """What people did, by stream; gone with the stream."""

    async def add(self, stream: str, *, who: str, what: str, which: str, why: str, count: int) -> None:
        """Note something under the server's time. Beyond `MOST_NOTES` the oldest are dropped."""
        ...

    async def latest(self, stream: str, *, count: int = 100) -> list[Note]:
        """What was noted, latest first, at most *count*."""
        ...
