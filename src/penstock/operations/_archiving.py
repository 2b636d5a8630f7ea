"""The archive for people: moving messages there, looking at them, putting them back."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from penstock.app import App
from penstock.archive import (
    Archive,
    ArchivedMessage,
    ArchivePage,
    ArchivePlace,
    Archiver,
    Restored,
    Restorer,
)
from penstock.archive._pace import Pace
from penstock.errors import ArchiveError, ConfigurationError, UnknownGroupError, UsageError
from penstock.listeners import AfterAcknowledged
from penstock.operations._scope import Place, Scope
from penstock.operations._values import EntryView
from penstock.operations._views import view_of
from penstock.position import EntryId
from penstock.streams.abc import Cap, Hold, HoldKind, RawId, StreamBroker
from penstock.telemetry import LOGGER

__all__ = ["ArchiveOperations", "ArchivedDetail", "ArchivedList", "ArchivedStream"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ArchivedStream:
    """A stream with the number of its archived messages."""

    stream: str
    messages: int


@dataclass(frozen=True, slots=True)
class ArchivedDetail:
    """One archived message."""

    message: EntryView
    """As it stood in its stream."""
    original_id: EntryId | None
    """The entry id it had first, when it was archived and restored before."""
    archived_at: datetime
    layout: str
    """What its fields are written in; ``""`` when that could not be read."""


@dataclass(frozen=True, slots=True)
class ArchivedList:
    """A page of archived messages in the order of their places; `next` goes on after them, ``None`` at the end."""

    items: tuple[ArchivedDetail, ...]
    next: str | None


class ArchiveOperations:
    """What can be done with the archive of an app. Made by `Operations.archive`.

    Every method may raise `NoArchiveError`, `ConfigurationError`, `ArchiveUnavailableError` and `ArchiveError`; nothing
    is removed anywhere before it is sure that it is kept elsewhere.
    """

    def __init__(self, app: App, scope: Callable[[], Awaitable[Scope]]) -> None:
        self._app = app
        self._scope = scope

    # -- into the archive ---------------------------------------------------------------------------------------

    async def places(self, streams: Sequence[str] | None = None, *, pool: str | None = None) -> list[Place]:
        """Where the streams are (all that exist, unless named), the archive opened."""
        await self._app.open_archive()
        scope = await self._scope()
        if streams is None:
            return await scope.places(pool=pool)
        return [scope.place(stream, pool) for stream in dict.fromkeys(streams)]

    async def length(self, places: Sequence[Place]) -> int:
        """How many entries these streams have."""
        scope = await self._scope()
        return sum([await broker.length(place.stream) for place, broker in scope.brokers_of(list(places))])

    async def run(
        self,
        places: Sequence[Place],
        *,
        older_than: timedelta | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[ArchivePage, None]:
        """Archive what everybody has settled, stream by stream; what became of each page.

        Groups that settings and code declare count, whether or not they have begun. With *older_than* only what was
        added so long ago; with *force* also what is still needed. A stream that does not exist has nothing to be
        archived.
        """
        archiver = Archiver(await self._app.open_archive(), layout_for=self._app.layouts.of)
        scope = await self._scope()
        for place, broker in scope.brokers_of(list(places)):
            if not await broker.length(place.stream):
                continue
            if dry_run and not force and (absent := await _absent(scope, place, broker)):
                yield ArchivePage(place.stream, held_by=absent)
                continue
            if not dry_run:
                await broker.removal.register_groups(place.stream, sorted(scope.groups_of(place)))
            steps = archiver.run(broker, place.stream, older_than=older_than, force=force, dry_run=dry_run)
            async with aclosing(steps):
                async for step in steps:
                    yield step

    async def after_handled(self) -> AfterAcknowledged:
        """What archives messages as soon as they are handled: for `Work` and `Operations.failed_retry`.

        A message that somebody else still needs is left, for whoever needs it last or for `run`. An archive that does
        not take part is warned of, and the message stays.
        """
        archiver = Archiver(await self._app.open_archive(), layout_for=self._app.layouts.of)

        async def archive_handled(broker: StreamBroker, stream: str, entry_ids: Sequence[RawId]) -> None:
            ids = [EntryId.parse(entry_id) for entry_id in entry_ids]
            try:
                page = await archiver.archive_ids(broker, stream, ids)
            except (ArchiveError, ConfigurationError) as failure:
                LOGGER.warning("%d handled entries of stream %r stay in it: %s", len(ids), stream, failure)
                return
            for each in page.failed:
                LOGGER.warning(
                    "handled entry %s of stream %r stays in it: %s", each.entry_id, stream, each.error
                )

        return archive_handled

    # -- looking ------------------------------------------------------------------------------------------------

    async def streams(self) -> list[ArchivedStream]:
        """Every stream that has archived messages, by name."""
        archive = await self._app.open_archive()
        return [ArchivedStream(stream, count) for stream, count in (await archive.counts()).items()]

    async def messages(self, stream: str, *, after: str | None = None, limit: int = 100) -> ArchivedList:
        """One page of a stream's archived messages; give a page's `next` as *after* to go on."""
        if limit < 1:
            raise UsageError(f"limit is {limit}; a page has at least one message")
        archive, scope = await self._app.open_archive(), await self._scope()
        found = await archive.find_many(stream, after=_place(after), count=limit)
        more = len(found) == limit and await archive.find_many(stream, after=found[-1].place, count=1)
        following = f"{found[-1].entry_id}/{found[-1].event_id}" if more else None
        return ArchivedList(tuple(_detail(scope, message) for message in found), following)

    async def show(self, id: str, *, stream: str | None = None) -> list[ArchivedDetail]:  # noqa: A002
        """The archived messages with that event id or entry id, of one stream or of all."""
        archive, scope = await self._app.open_archive(), await self._scope()
        return [_detail(scope, message) async for message in self._named(archive, id, stream)]

    async def _named(
        self, archive: Archive, wanted: str, stream: str | None
    ) -> AsyncIterator[ArchivedMessage]:
        entry_id = _entry_id(wanted)
        for name in [stream] if stream is not None else await archive.counts():
            message = await archive.find(name, wanted)
            if message is None and entry_id is not None:
                message = await archive.find(name, entry_id)
            if message is not None:
                yield message

    async def damaged(self) -> list[str]:
        """What of the archive could not be read so far, where its driver can tell."""
        archive = await self._app.open_archive()
        # Files can be damaged one by one; what a database cannot read, it refuses as a whole.
        found: Sequence[ArchiveError] = getattr(archive, "damaged", ())
        return [str(each) for each in found]

    # -- out of the archive -------------------------------------------------------------------------------------

    async def restorable(self, *, stream: str | None = None, id: str | None = None) -> int:  # noqa: A002
        """How many messages `restore` would put back."""
        archive = await self._app.open_archive()
        if id is not None:
            return len([each async for each in self._named(archive, id, stream)])
        counts = await archive.counts()
        return sum(counts.values()) if stream is None else counts.get(stream, 0)

    async def restore(
        self,
        *,
        stream: str | None = None,
        id: str | None = None,  # noqa: A002
        group: str | None = None,
        listener: str | None = None,
        everything: bool = False,
    ) -> AsyncGenerator[Restored, None]:
        """Put archived messages back into their streams; what became of each.

        Each is added first, with its event id and its whole envelope, and then leaves the archive. With *group* nothing
        is added: that group alone handles the messages again, and they stay in the archive; with *listener* only that
        one of its listeners does.

        Raises:
            UsageError: Nothing narrows it down and *everything* is False; or a listener is named without its group.
            UnknownGroupError: The stream has no such group, and none is declared.
            ConfigurationError: The group settles in order: it takes nothing from outside its stream.
        """
        if stream is None and id is None and not everything:
            raise UsageError("this would restore everything; narrow it down, or say everything=True")
        if listener is not None and group is None:
            raise UsageError(f"listener {listener!r} is one of a group's; name the group, too")
        archive, scope = await self._app.open_archive(), await self._scope()
        restorer = Restorer(
            archive, layout_for=self._app.layouts.of, cap_for=self._cap_for, index_of=self._app.index_of
        )
        started: dict[str, datetime] = {}
        async for page in self._to_restore(archive, stream, id):
            place = scope.place(page[0].stream)
            broker = scope.broker(place.pool)
            assert broker is not None
            if place.stream not in started:
                started[place.stream] = _EPOCH + timedelta(microseconds=await broker.server_time_us())
                if group is not None:
                    await _check_group(scope, place, broker, group)
            # What others archive meanwhile, perhaps again, is not put back again.
            wanted = [message for message in page if message.archived_at <= started[place.stream]]
            if group is None:
                results = await restorer.restore(broker, wanted)
            else:
                results = await restorer.restore_to_group(broker, group, wanted, listener=listener or "*")
            for result in results:
                yield result

    async def _to_restore(
        self, archive: Archive, stream: str | None, wanted: str | None
    ) -> AsyncIterator[list[ArchivedMessage]]:
        if wanted is not None:
            async for message in self._named(archive, wanted, stream):
                yield [message]
            return
        for name in [stream] if stream is not None else await archive.counts():
            pace, after = Pace(), None
            while page := await archive.find_many(name, after=after, count=pace.count):
                pace.took(len(page), sum(len(part) for message in page for part in message.fields))
                after = page[-1].place
                yield page

    def _cap_for(self, stream: str) -> Cap | None:
        declared = self._app.settings.stream_settings.get(stream)
        if declared is None or (declared.max_entries is None and declared.max_age is None):
            return None
        return Cap(declared.max_entries, declared.max_age, declared.remove_needed)


async def _absent(scope: Scope, place: Place, broker: StreamBroker) -> tuple[Hold, ...]:
    """Declared groups that the server does not know yet: they need everything."""
    groups = await broker.groups(place.stream)
    known = {group.name for group in groups} | set(await broker.removal.registered_groups(place.stream))
    missing = sorted(scope.groups_of(place) - known)
    return tuple(Hold(HoldKind.ABSENT_GROUP, name, EntryId(0)) for name in missing)


async def _check_group(scope: Scope, place: Place, broker: StreamBroker, group: str) -> None:
    declared = scope.app.registry.groups.get(group) if scope.app is not None else None
    if declared is not None and declared.settings.mode != "parallel":
        raise ConfigurationError(
            f"group {group!r} settles in order and takes nothing from outside its stream; "
            "restore to the stream, without a group"
        )
    known = await broker.groups(place.stream) if place.stream in await broker.streams() else []
    if group not in scope.groups_of(place) and all(each.name != group for each in known):
        raise UnknownGroupError(place.stream, group)


def _detail(scope: Scope, message: ArchivedMessage) -> ArchivedDetail:
    entry = [bytes(message.entry_id), list(message.fields)]
    view = view_of(scope.place(message.stream).pool, message.stream, entry, scope.layouts)
    return ArchivedDetail(view, message.original_id, message.archived_at, message.layout)


def _entry_id(text: str) -> EntryId | None:
    try:
        return EntryId.parse(text)
    except UsageError:
        return None


def _place(text: str | None) -> ArchivePlace | None:
    if text is None:
        return None
    entry_id, separator, event_id = text.partition("/")
    if not separator:
        raise UsageError(f"{text!r} is not where a page of archived messages ended; take `next` of the page")
    return ArchivePlace(EntryId.parse(entry_id), event_id)
