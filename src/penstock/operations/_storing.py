"""Event stores for people: what is in them, who holds their head, taking events out and putting them in."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from typing import Any

from penstock.app import App
from penstock.errors import CodecError, UnknownEventStreamError, UsageError
from penstock.operations._event_lines import write_event_line
from penstock.operations._importing import (
    Arrival,
    Refused,
    append_events,
    import_events,
    lines_as_events,
)
from penstock.operations._prooph import prooph_events
from penstock.operations._stores import Stores, ask
from penstock.operations._storing_values import (
    EventStreamPage,
    EventView,
    ExportedPage,
    Imported,
    StoreDetail,
    StoreSummary,
)
from penstock.store.abc import (
    ANY,
    EXISTS,
    NO_STREAM,
    EventFilter,
    Expected,
    StoreBackend,
    StoredEvent,
    StreamInfo,
)
from penstock.store.database import Database

__all__ = ["StoreOperations", "parse_expected"]

_PAGE = 500
_LARGEST = 2**63 - 1  # what databases count to
_COUNTED_UP_TO = 1_000_000
"""Above that the database is asked what it estimates."""
_EVERYTHING = EventFilter()


class StoreOperations:
    """What can be done with the event stores of an app. Made by `Operations.stores`.

    Every method may raise `UnknownStoreError`, `MissingMigrationError`, `StoreUnavailableError`, `StoreRefusedError`.
    """

    def __init__(self, app: App) -> None:
        self._stores = Stores(app)

    # -- looking ------------------------------------------------------------------------------------------------

    def known(self) -> list[StoreSummary]:
        """Every configured store, `local` first; none is asked."""
        return [StoreSummary(each.name, each.dialect, each.shown) for each in self._stores.all()]

    async def show(self, store: str = "local") -> StoreDetail:
        """One store: how many events, how far they can be read, and who keeps readers from going on."""
        where = self._stores.where(store)
        if not where.exists:
            return StoreDetail(where.name, where.dialect, where.shown, exists=False)
        backend = await self._stores.opened(store)
        horizon = await backend.horizon()
        events, counted = await asyncio.to_thread(_count, backend, horizon.position)
        size = await asyncio.to_thread(_size, backend.database)
        return StoreDetail(
            where.name,
            where.dialect,
            where.shown,
            exists=True,
            events=events,
            counted=counted,
            last=horizon.last,
            horizon=horizon.position,
            holders=horizon.holders,
            size_bytes=size,
        )

    async def streams(
        self, store: str = "local", *, category: str | None = None, after: str = "", limit: int = 100
    ) -> EventStreamPage:
        """A page of event streams by name, those after *after*."""
        if not self._stores.where(store).exists:
            return EventStreamPage((), None)
        backend = await self._stores.opened(store)
        found = await backend.streams(category=category, after=after, limit=limit + 1)
        more = found[limit - 1].name if len(found) > limit else None
        return EventStreamPage(tuple(found[:limit]), more)

    async def stream(self, name: str, store: str = "local") -> StreamInfo:
        """One event stream. Raises `UnknownEventStreamError`."""
        if self._stores.where(store).exists:
            found = await (await self._stores.opened(store)).stream(name)
            if found is not None:
                return found
        raise UnknownEventStreamError(name)

    async def events(
        self,
        which: EventFilter = _EVERYTHING,
        store: str = "local",
        *,
        after: int = 0,
        last: int | None = None,
        follow: bool = False,
    ) -> AsyncGenerator[EventView, None]:
        """Events after a position (or the *last* ones there are), then with *follow* every further one as it comes.

        Raises:
            UnknownEventStreamError: *which* names a stream that does not exist, and nothing is to be waited for.
        """
        if not self._stores.where(store).exists and not follow:
            if which.streams:
                raise UnknownEventStreamError(which.streams[0])
            return
        backend = await self._stores.opened(store)
        if not follow:
            for name in which.streams:
                if await backend.stream(name) is None:
                    raise UnknownEventStreamError(name)
        position = after
        if last is not None:
            page = await _last(backend, which, after, last)
            position = (await backend.horizon()).position if not page else page[-1].position
            for event in page:
                yield _view(event)
        async for event in _from(backend, which, position, follow=follow):
            yield _view(event)

    # -- out and in ---------------------------------------------------------------------------------------------

    async def export(
        self, store: str = "local", which: EventFilter = _EVERYTHING, *, after: int = 0
    ) -> AsyncGenerator[ExportedPage, None]:
        """Events after a position as lines of JSON, up to what can be read now, in pages.

        A page may be empty and still come further.
        """
        if not self._stores.where(store).exists:
            return
        backend = await self._stores.opened(store)
        end = (await backend.horizon()).position
        while after < end:
            page = await backend.read(which, after=after, through=end, limit=_PAGE)
            after = max(page.through, page.events[-1].position if page.events else after)
            yield ExportedPage([write_event_line(event) for event in page.events], after, end)

    async def append_lines(
        self,
        lines: AsyncIterable[Sequence[tuple[int, bytes | None]]],
        store: str = "local",
        *,
        read: Callable[[bytes], object],
        said: Mapping[str, Any],
        skip_bad: bool = False,
        on_progress: Callable[[Imported], None] | None = None,
    ) -> Imported:
        """Append an event for each line, made of its text by *read*, with what is *said* of all to `EventStore.append`.

        Each is a new event: repeated, it is added again. It ends with the first bad line unless *skip_bad*.
        """
        await self._stores.opened(store)
        return await append_events(
            self._stores.store(store),
            lines_as_events(lines, lambda text: (read(text), None)),
            said=said,
            skip_bad=skip_bad,
            on_progress=on_progress,
        )

    async def import_lines(
        self,
        lines: AsyncIterable[Sequence[tuple[int, bytes | None]]],
        store: str = "local",
        *,
        skip_bad: bool = False,
        on_progress: Callable[[Imported], None] | None = None,
    ) -> Imported:
        """Append what an export wrote, or somebody else in the same form; lines come with their numbers.

        Events that the store has by their id are passed over, so that it may be repeated. It ends with the first bad
        line unless *skip_bad*.
        """
        return await self._import(lines_as_events(lines), store, skip_bad, on_progress)

    async def import_prooph(
        self,
        url: str,
        streams: Sequence[str] = (),
        store: str = "local",
        *,
        skip_bad: bool = False,
        on_progress: Callable[[Imported], None] | None = None,
    ) -> Imported:
        """Append the events of a PostgreSQL database that prooph's event store filled, of all or some of its streams.

        Raises:
            UsageError: The database is no such store, or lacks a stream that was named.
        """
        database = self._stores.foreign(url)
        return await self._import(prooph_events(database, streams), store, skip_bad, on_progress)

    async def _import(
        self,
        batches: AsyncIterable[Sequence[Arrival | Refused]],
        store: str,
        skip_bad: bool,
        on_progress: Callable[[Imported], None] | None,
    ) -> Imported:
        backend = await self._stores.opened(store)
        return await import_events(backend, batches, skip_bad=skip_bad, on_progress=on_progress)


def parse_expected(text: str) -> Expected:
    """What is expected of an event stream: ``any``, ``none``, ``exists``, or its number of events.

    Raises `UsageError`.
    """
    named = {"any": ANY, "none": NO_STREAM, "exists": EXISTS}
    if text in named:
        return named[text]
    if not text.isascii() or not text.isdigit() or int(text) > _LARGEST:
        raise UsageError(f"{text!r} is no version to expect; say any, none, exists, or a number of events")
    return int(text)


# -- reading --------------------------------------------------------------------------------------------------------


async def _last(backend: StoreBackend, which: EventFilter, after: int, count: int) -> Sequence[StoredEvent]:
    """The newest *count* events, oldest of them first."""
    found: list[StoredEvent] = []
    through: int | None = None
    while len(found) < count:
        page = await backend.read(
            which, after=after, through=through, limit=min(count - len(found), _PAGE), backwards=True
        )
        found += page.events
        through = min(page.through, page.events[-1].position if page.events else page.through) - 1
        if through <= after:
            break
    return found[::-1]


async def _from(
    backend: StoreBackend, which: EventFilter, after: int, *, follow: bool
) -> AsyncGenerator[StoredEvent, None]:
    watch = backend.watch() if follow else None
    try:
        while True:
            end = (await backend.horizon()).position
            while after < end:
                page = await backend.read(which, after=after, through=end, limit=_PAGE)
                for event in page.events:
                    yield event
                after = max(after, page.through)
            if watch is None:
                return
            await watch.wait()
    finally:
        if watch is not None:
            await watch.close()


def _view(event: StoredEvent) -> EventView:
    payload, reason = None, None
    try:
        payload = event.payload
    except CodecError as failure:
        reason = str(failure)
    return EventView(
        position=event.position,
        stream=event.stream,
        stream_version=event.stream_version,
        event_id=event.id,
        name=event.name,
        time=event.time,
        recorded_at=event.recorded_at,
        key=event.key,
        kind=event.kind,
        source=event.source,
        version=event.version,
        content_type=event.content_type,
        headers=event.headers,
        correlation=event.meta.correlation,
        causation=event.meta.causation,
        payload=payload,
        undecodable=reason,
    )


# -- figures --------------------------------------------------------------------------------------------------------


def _count(backend: StoreBackend, through: int) -> tuple[int, bool]:
    """How many events there are; of very many what the database estimates, and False."""
    reader = backend.reader()
    try:
        counted = reader.count(_EVERYTHING, after=0, through=through, limit=_COUNTED_UP_TO)
    finally:
        reader.close()
    if counted < _COUNTED_UP_TO:
        return counted, True
    estimate = ask(
        backend.database,
        "SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass('penstock_events')"
        if backend.dialect == "postgresql"
        else "SELECT count(*) FROM penstock_events",
    )
    return max(int(estimate or 0), counted), backend.dialect == "sqlite"


def _size(database: Database) -> int | None:
    """Bytes on disk."""
    if database.dialect == "postgresql":
        found = ask(database, "SELECT pg_total_relation_size(to_regclass('penstock_events'))")
    else:
        found = ask(database, "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
    return None if found is None else int(found)
