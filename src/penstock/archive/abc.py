"""What an archive promises: whole messages kept by stream, found by event id or place, read in pages.

Identity is the event id within a stream. A message may be archived, restored and archived again: each round gives it a
new place, and the archive has one copy all the while, which moves forward with it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from penstock.message import Meta
from penstock.position import EntryId

__all__ = ["Archive", "ArchivePlace", "ArchivedMessage", "Created", "all_messages", "pages"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE = 100


class Created(Enum):
    """What became of a message that was to be kept."""

    NEW = "new"
    THERE = "there"
    """There was a copy of it already, which now has the later of the two places."""
    OTHER = "other"
    """Another message is kept under the same event id: nothing was changed."""


@dataclass(frozen=True, slots=True, order=True)
class ArchivePlace:
    """Where a copy stands in the order of its stream's copies: by entry id, then by event id.

    Entry ids alone do not order them: a stream that was deleted may give an id again.
    """

    entry_id: EntryId
    event_id: str


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """One message as it stood in its stream: the entry byte for byte, and its envelope readable beside it."""

    stream: str
    entry_id: EntryId
    """Its place in the stream when it was archived."""
    event_id: str
    name: str
    """The event's name; ``""`` for an entry that its layout could not read."""
    meta: Meta
    """The rest of the envelope."""
    layout: str
    """The name of the layout that the fields are written in; ``""`` when it could not read them."""
    fields: tuple[bytes, ...] = field(repr=False)
    """The entry's flat names and values."""
    digest: bytes = field(repr=False)
    """SHA-256 over what it says (`Message.content_hash`): the same for every copy of a message, from whatever round."""
    archived_at: datetime
    """To the microsecond, in UTC."""

    @property
    def place(self) -> ArchivePlace:
        """Where the copy stands among those of its stream."""
        return ArchivePlace(self.entry_id, self.event_id)

    @property
    def time(self) -> datetime:
        """When the event was made."""
        return _EPOCH + timedelta(microseconds=self.meta.time)

    @property
    def original_id(self) -> EntryId | None:
        """The entry id it had first, when it was archived and restored before."""
        return self.meta.first_entry_id

    @property
    def first_id(self) -> EntryId:
        """The entry id it had first."""
        return self.original_id or self.entry_id


class Archive(Protocol):
    """Where archived messages are kept. One instance serves many tasks, of any number of event loops.

    Whatever is answered as kept is on disk, as far as the storage can promise that.

    Every method may raise `ArchiveUnavailableError` (calling again is safe) and `ArchiveError`.
    """

    async def open(self) -> None:
        """Be ready, making what is missing (`migrate`). Idempotent. Raises `ConfigurationError` where it must not."""
        ...

    async def close(self) -> None:
        """Let go of connections and files. Idempotent; `open` works again afterwards."""
        ...

    async def migrate(self) -> None:
        """Make or lift to the present form whatever the archive keeps its messages in. Idempotent."""
        ...

    async def create(self, message: ArchivedMessage) -> Created:
        """Keep one message; as `create_many`."""
        ...

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages; one answer each. When this raises, any of them may be kept: doing it again is safe.

        There is one copy of an event id in a stream. Is there one already that says the same (`ArchivedMessage.digest`)
        at a lower entry id, the given one replaces it: the message was restored meanwhile. One at a higher entry id
        stays, and one that says something else does, too.
        """
        ...

    async def find(self, stream: str, id: str | EntryId) -> ArchivedMessage | None:  # noqa: A002  the field's own word
        """One message: by event id, or by the entry id that it had when it was archived (else, that it had first)."""
        ...

    async def find_many(
        self, stream: str, *, after: ArchivePlace | None = None, count: int = _PAGE
    ) -> list[ArchivedMessage]:
        """Up to *count* messages of a stream in the order of their places, from behind *after*."""
        ...

    def all(self) -> AsyncIterator[ArchivedMessage]:
        """Every message, by stream and place, read in pages."""
        ...

    async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
        """Remove the copies that are at these places; how many there were. One that has moved on stays."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """How many messages there are, by stream, sorted; streams without any are left out."""
        ...


async def pages(
    archive: Archive, stream: str, *, after: ArchivePlace | None = None, count: int = _PAGE
) -> AsyncIterator[list[ArchivedMessage]]:
    """The messages of a stream, a page at a time: what `Archive.all` of a driver is made of."""
    while page := await archive.find_many(stream, after=after, count=count):
        yield page
        if len(page) < count:
            return
        after = page[-1].place


async def all_messages(archive: Archive, *, count: int = _PAGE) -> AsyncIterator[ArchivedMessage]:
    """Every message of an archive, by stream and place: `Archive.all` for a driver that has no better way."""
    for stream in await archive.counts():
        async for page in pages(archive, stream, count=count):
            for message in page:
                yield message
