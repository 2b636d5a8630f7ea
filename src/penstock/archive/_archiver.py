"""From the stream into the archive: stored first, then removed, so that a crash leaves both and never none.

Nobody ever removes a stored copy because its entry was gone: another archiver may have removed the entry relying on it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from penstock.archive._copies import copy_of
from penstock.archive._needed import needed, needed_above
from penstock.archive._pace import Pace
from penstock.archive.abc import Archive, ArchivedMessage, Created
from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError
from penstock.position import EntryId
from penstock.streams.abc import Hold, RawEntry, StreamBroker
from penstock.streams.layouts import NATIVE, Layout, UnknownLayout

__all__ = ["ArchivePage", "Archiver", "NotArchived"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class NotArchived:
    """A message that could not be archived. It is where it was."""

    entry_id: EntryId
    error: str


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """What one step did with some entries of a stream."""

    stream: str
    looked: int = 0
    archived: int = 0
    """In the archive and out of the stream; in a dry run: that would be."""
    gone: int = 0
    """In the archive; somebody else had taken them out of the stream."""
    held: int = 0
    """Left, because somebody needs them."""
    held_by: tuple[Hold, ...] = ()
    """Who needs entries that were to be archived, also ones that were not looked at one by one."""
    failed: tuple[NotArchived, ...] = ()
    last: EntryId | None = None
    """The last entry looked at."""


@dataclass(slots=True)
class _Outcome:
    archived: int = 0
    gone: int = 0
    held: int = 0
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict[tuple[str, str], Hold])
    failed: list[NotArchived] = field(default_factory=list[NotArchived])

    def hold(self, holds: Sequence[Hold]) -> None:
        self.held += 1
        self.note(holds)

    def note(self, holds: Sequence[Hold]) -> None:
        for each in holds:
            self.holds.setdefault((each.kind.value, each.name), each)


class Archiver:
    """Moves entries from streams into an archive. Any number may work at the same time."""

    def __init__(self, archive: Archive, *, layout_for: Callable[[str], Layout] = lambda _: NATIVE) -> None:
        self._archive = archive
        self._layout_for = layout_for

    async def run(
        self,
        broker: StreamBroker,
        stream: str,
        *,
        older_than: timedelta | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[ArchivePage, None]:
        """Archive what everybody has settled, from the oldest on; what became of each page.

        With *older_than* only entries that were added so long ago by the server's clock; with *force* also what is
        still needed. Broken off at any place, it goes on when it is run again.

        Raises:
            ArchiveUnavailableError: The archive does not take part; what was not stored is still in the stream.
            ConfigurationError: The stream's layout is declared by code that is not loaded.
            BrokerError: The server does not.
        """
        end = None if older_than is None else await _before(broker, older_than)
        limit = end
        holds: tuple[Hold, ...] = ()
        if not force:
            floor = await broker.removal.floor(stream)
            above = await needed_above(broker, stream, floor)
            if above is not None and (end is None or above < end):
                limit, holds = above, tuple(hold for hold in floor.holds if hold.needs <= above.next())
        pace, start = Pace(), EntryId(0)
        while limit is None or start <= limit:
            entries = await broker.range(stream, start, limit, count=pace.count)
            if not entries:
                break
            pace.took(len(entries), sum(len(part) for entry in entries for part in entry[1]))
            page = await self.archive(broker, stream, entries, force=force, dry_run=dry_run)
            yield page
            assert page.last is not None
            start = page.last.next()
            if start == page.last:
                break
        if holds and limit is not None and await broker.range(stream, limit.next(), end, count=1):
            yield ArchivePage(stream, held_by=holds)

    async def archive(
        self,
        broker: StreamBroker,
        stream: str,
        entries: Sequence[RawEntry],
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> ArchivePage:
        """Archive some entries, unless somebody needs them; what became of them. Raises as `run`."""
        ids = [EntryId.parse(entry[0]) for entry in entries]
        outcome = _Outcome()
        held = {} if force else await needed(broker, stream, ids)
        free: list[RawEntry] = []
        for entry_id, entry in zip(ids, entries, strict=True):
            if entry_id in held:
                outcome.hold(held[entry_id])
            else:
                free.append(entry)
        if dry_run:
            outcome.archived = len(free)
        elif free:
            await self._move(broker, stream, free, outcome, force=force)
        return ArchivePage(
            stream,
            looked=len(entries),
            archived=outcome.archived,
            gone=outcome.gone,
            held=outcome.held,
            held_by=tuple(outcome.holds.values()),
            failed=tuple(outcome.failed),
            last=max(ids, default=None),
        )

    async def archive_ids(
        self, broker: StreamBroker, stream: str, entry_ids: Sequence[EntryId], *, force: bool = False
    ) -> ArchivePage:
        """As `archive`, for entries by their ids; those that are gone from the stream are left out."""
        found = await asyncio.gather(*(broker.range(stream, each, each, count=1) for each in entry_ids))
        return await self.archive(broker, stream, [entry for one in found for entry in one], force=force)

    async def _move(
        self,
        broker: StreamBroker,
        stream: str,
        entries: Sequence[RawEntry],
        outcome: _Outcome,
        *,
        force: bool,
    ) -> None:
        """Store, then remove what is stored."""
        now = _EPOCH + timedelta(microseconds=await broker.server_time_us())
        layout = self._layout_for(stream)
        if isinstance(layout, UnknownLayout):
            # Read by another layout, a message would have another identity.
            raise ConfigurationError(
                f"stream {stream!r} has the layout {layout.name!r}, which code declares; name the app that does"
            )
        copies = [copy_of(stream, entry, layout, now) for entry in entries]
        stored = await self._store(copies, outcome)
        if not stored:
            return
        # Whoever reads a history without the archive must not take what is gone from the stream for lost.
        await broker.history.mark_archived(stream)
        removed = await broker.removal.remove(stream, [bytes(each.entry_id) for each in stored], force=force)
        outcome.archived += len(removed.removed)
        outcome.gone += len(removed.missing)
        for holds in removed.held.values():
            outcome.hold(holds)

    async def _store(self, copies: Sequence[ArchivedMessage], outcome: _Outcome) -> list[ArchivedMessage]:
        """Keep copies; those that the archive has now. One that it refuses does not stop the others."""
        answers: list[Created | ArchiveError] = []
        try:
            answers += await self._archive.create_many(copies)
        except ArchiveUnavailableError:
            raise
        except ArchiveError:
            for copy in copies:
                try:
                    answers.append(await self._archive.create(copy))
                except ArchiveUnavailableError:
                    raise
                except ArchiveError as failure:
                    answers.append(failure)
        stored: list[ArchivedMessage] = []
        for copy, answer in zip(copies, answers, strict=True):
            match answer:
                case Created.NEW | Created.THERE:
                    stored.append(copy)
                case Created.OTHER:
                    text = f"another message is archived under its event id {copy.event_id!r}"
                    outcome.failed.append(NotArchived(copy.entry_id, text))
                case ArchiveError():
                    outcome.failed.append(NotArchived(copy.entry_id, str(answer)))
        return stored


async def _before(broker: StreamBroker, age: timedelta) -> EntryId:
    """The highest id that an entry added more than *age* ago can have."""
    now = timedelta(microseconds=await broker.server_time_us())
    return EntryId(max(0, (now - age) // _MS)).previous()
