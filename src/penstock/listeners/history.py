"""The history of one entity: its events in order, and the state they fold to, at any time, through stream and archive.

Only the entity's own events are read, a bounded page at a time: the script that adds an entry notes it for its entity,
and a page is found and read in one step. Events that are gone from the stream are asked for in the archive.
"""

import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Any, Final, Protocol, TypeVar, cast, overload

from penstock.errors import BrokerRefusedError, UsageError
from penstock.event import event_type, is_event
from penstock.message import Message
from penstock.position import EntryId
from penstock.streams.abc import Chapter, StreamBroker

__all__ = ["Find", "History", "HistorySource", "Until", "identifier_of", "names_of", "parse_until"]

T = TypeVar("T")

Until = EntryId | datetime
"""The last moment, or the last place, of a history that is asked for; both are included."""

Find = Callable[[str, EntryId], Awaitable[Message | None]]
"""Looks up a message in the archive, by stream and by its last entry id there; ``None`` when it is not there."""

_PAGE: Final = 100


class _Reads(Protocol):
    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message: ...


@dataclass(frozen=True, slots=True)
class HistorySource:
    """One stream that may have events of the entity, and their name."""

    broker: StreamBroker
    stream: str
    name: str


class History:
    """The events of one entity. Made by `App.history`; nothing is read before it is asked for.

    The order is that in which the events entered their streams: by the server's time and counter, and by event id where
    two streams gave the same. An event that was put back from the archive keeps its first place.
    """

    def __init__(
        self,
        identifier: str,
        sources: Callable[[], Awaitable[Sequence[HistorySource]]],
        layouts: _Reads,
        *,
        archive: Callable[[], Awaitable[Find | None]] | None = None,
        page: int = _PAGE,
    ) -> None:
        self.identifier = identifier
        self._sources = sources
        self._layouts = layouts
        self._archive = archive
        self._page = page

    async def events(self, until: Until | None = None) -> AsyncGenerator[Message, None]:
        """The entity's events, oldest first.

        With *until* a time (which must have a zone), those whose own time is at or before it, to the microsecond; with
        an entry id, those at or before that place. Events that are neither in their stream nor in the archive are
        passed over. An unknown identifier has none.

        Raises:
            UsageError: *until* has no time zone.
            UndecodableEntryError: An entry is no message that its stream's layout can read.
        """
        _check(until)
        sources = await self._sources()
        find = await self._archive() if self._archive is not None else None
        runs = [self._chapters(source, find, until) for source in sources]
        try:
            async for message in _merged(runs):
                if not isinstance(until, datetime) or message.time <= until:
                    yield message
        finally:
            for run in runs:
                await run.aclose()

    @overload
    async def state(self, until: Until | None = None) -> dict[str, Any]: ...
    @overload
    async def state(
        self, until: Until | None = None, *, fold: Callable[[T, Message], T], initial: T
    ) -> T: ...
    async def state(
        self,
        until: Until | None = None,
        *,
        fold: Callable[[Any, Message], Any] | None = None,
        initial: Any = None,
    ) -> Any:
        """What the entity's events up to *until* (included, as in `events`) make of it; empty without any.

        Oldest first, the top-level fields of each body over those of the earlier ones; an event without a body changes
        nothing. Or give *fold*, which makes the next state of a state and an event, beginning with *initial*.

        Raises:
            DecodeError: A body has no fields; give *fold* for such events.
        """
        if fold is not None:
            async for message in self.events(until):
                initial = fold(initial, message)
            return initial
        state: dict[str, Any] = {}
        async for message in self.events(until):
            if message.data is not None:
                state |= message.without()
        return state

    # -- one stream ---------------------------------------------------------------------------------------------

    async def _chapters(
        self, source: HistorySource, find: Find | None, until: Until | None
    ) -> AsyncGenerator[tuple[EntryId, Message], None]:
        after: EntryId | None = None
        while True:
            page = await source.broker.history.page(
                source.stream, source.name, self.identifier, after=after, count=self._page
            )
            gone: list[Chapter] = []
            for chapter in page.chapters:
                if isinstance(until, EntryId) and chapter.place > until:
                    return
                message = await self._message(source, chapter, find)
                if message is None and find is not None:
                    # Restored since the page was read, it is in the stream again, and the archive has let go of it.
                    message = await self._again(source, chapter, after=after)
                if message is None:
                    gone.append(chapter)
                else:
                    yield chapter.place, message
                after = chapter.place
            if gone:
                await self._prune(source, gone, archive_asked=find is not None)
            if not page.more:
                return

    async def _message(self, source: HistorySource, chapter: Chapter, find: Find | None) -> Message | None:
        if chapter.entry is not None:
            return self._layouts.read(source.stream, chapter.entry[0], chapter.entry[1])
        return None if find is None else await find(source.stream, chapter.entry_id)

    async def _again(
        self, source: HistorySource, chapter: Chapter, *, after: EntryId | None
    ) -> Message | None:
        page = await source.broker.history.page(
            source.stream, source.name, self.identifier, after=after, count=1
        )
        [found] = page.chapters or (chapter,)
        return await self._message(source, found, None) if found.place == chapter.place else None

    async def _prune(self, source: HistorySource, gone: Sequence[Chapter], *, archive_asked: bool) -> None:
        # Who may only read leaves it to others.
        with contextlib.suppress(BrokerRefusedError):
            await source.broker.history.prune(
                source.stream, source.name, self.identifier, gone, archive_asked=archive_asked
            )


async def _merged(runs: "Sequence[AsyncIterator[tuple[EntryId, Message]]]") -> AsyncIterator[Message]:
    waiting: list[tuple[EntryId, str, int, Message]] = []

    async def take(number: int) -> None:
        async for place, message in runs[number]:
            heappush(waiting, (place, message.id, number, message))
            return

    for number in range(len(runs)):
        await take(number)
    heapify(waiting)
    while waiting:
        _, _, number, message = heappop(waiting)
        yield message
        await take(number)


def _check(until: Until | None) -> None:
    if isinstance(until, datetime) and until.tzinfo is None:
        raise UsageError(
            f"{until.isoformat()} has no time zone; write it with one, as in {until.isoformat()}Z"
        )


def parse_until(text: str) -> Until:
    """Read an entry id, or an RFC 3339 time with its zone. Raises `UsageError`."""
    if text.replace("-", "", 1).isdigit() and not text.startswith("-") and text.count("-") <= 1:
        return EntryId.parse(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither an entry id nor a time; write '1700000000000-0', or '2026-01-31T12:00:00Z'"
        ) from None
    _check(time)
    return time


def identifier_of(value: object) -> str:
    """An identifier as events carry it: text, a whole number or a UUID. Raises `UsageError` for anything else."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, uuid.UUID):
        return str(value)
    raise UsageError(f"{value!r} identifies nothing; give text, a whole number or a UUID")


def names_of(events: object) -> list[tuple[str, str]]:
    """The names of events, each with the stream it is on: of a class, of a name, or of several of them.

    Raises:
        UsageError: One of them is no event, or there is none.
    """
    several = isinstance(events, (list, tuple, set, frozenset))
    listed = list(cast("Iterable[object]", events)) if several else [events]
    found: dict[tuple[str, str], None] = {}
    for each in listed:
        if isinstance(each, str) and each:
            found[each, each] = None
        elif is_event(each):
            declared = event_type(each)
            found[declared.name, declared.stream] = None
        else:
            raise UsageError(f"{each!r} is no event; give an event class or the name of an event")
    if not found:
        raise UsageError("a history is of at least one event; give an event class or a name")
    return list(found)
