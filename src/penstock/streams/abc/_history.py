"""The history of one entity: which entries of a stream are about it, in order, without looking at the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.position import EntryId
from penstock.streams.abc._entries import RawEntry

__all__ = ["Chapter", "HistoryPage", "HistoryStore"]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One event in the history of an entity."""

    place: EntryId
    """Where it stood first: this decides the order, also after it was put back from an archive."""
    entry_id: EntryId
    """Where it stands now, or stood last."""
    entry: RawEntry | None
    """The entry; ``None`` when it is gone from the stream."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some of an entity's events, oldest first."""

    chapters: tuple[Chapter, ...]
    more: bool
    """There are others after the last of these."""


class HistoryStore(Protocol):
    """The index of a stream's entries by event name and identifier, written by the step that adds the entry.

    An entry is indexed when its `NewEntry.index` says so. Removing entries leaves the index as it is: the events may
    have gone to an archive, and may come back. Deleting the stream deletes the index.
    """

    async def page(
        self,
        stream: str,
        name: str,
        identifier: str,
        *,
        after: EntryId | None = None,
        count: int = 100,
        byte_budget: int = 1024 * 1024,
    ) -> HistoryPage:
        """Up to *count* events of the entity after a place, oldest first, read in one step.

        A page ends early once its entries have *byte_budget* bytes, but has at least one event if there is one. The
        cost is that of the events given, whatever else is in the stream. An unknown identifier has none.

        Raises:
            UsageError: *count* is below 1.
        """
        ...

    async def length(self, stream: str, name: str, identifier: str) -> int:
        """How many events of the entity are indexed, gone ones included."""
        ...

    async def prune(
        self, stream: str, name: str, identifier: str, chapters: Sequence[Chapter], *, archive_asked: bool
    ) -> int:
        """Forget events that exist nowhere any more; how many were forgotten.

        One that is in the stream, or was put back since it was looked at, is kept. Unless the archive was asked for
        them, nothing is forgotten of a stream that was ever archived.
        """
        ...

    async def mark_archived(self, stream: str) -> None:
        """Note that events of the stream go to an archive, before the first one is removed. Idempotent."""
        ...
