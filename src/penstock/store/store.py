"""`EventStore`: what users hold. It turns their events into bytes and back, and leaves the rest to a backend."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, Unpack, cast, overload

from penstock.envelope import Declarations
from penstock.errors import UsageError
from penstock.store._encoding import AppendSaid, EventEncoder, check_name, names_of
from penstock.store._outcomes import accepted
from penstock.store._rules import ProtectedAfter, apply_rules
from penstock.store._transactions import AsyncWithin, SyncWithin
from penstock.store.abc import (
    Appended,
    EventFilter,
    Horizon,
    StoreBackend,
    StoredEvent,
    StoreWatch,
    StreamInfo,
    StreamMetadata,
)
from penstock.store.database import Database
from penstock.store.folding import Fold
from penstock.store.loading import EventReading, Loaded

__all__ = ["EventStore"]

S = TypeVar("S")
_Many: TypeAlias = list[Any] | tuple[Any, ...]

_PAGE = 1000


class EventStore:
    """One event store. Made by ``app.store()``; it connects when it is first asked for something.

    Every method may raise `StoreUnavailableError`, `StoreRefusedError`, and the first one `MissingMigrationError`.

    Args:
        name: The name of the store in settings.
        backend_for: The backend to use here, in this event loop or without one.
        encoder: Makes bytes of events.
        protected_after: The lowest position that some reader of the store still needs what follows of.
    """

    def __init__(
        self,
        name: str,
        backend_for: Callable[[], StoreBackend],
        *,
        encoder: EventEncoder | None = None,
        protected_after: ProtectedAfter | None = None,
    ) -> None:
        self.name = name
        self._backend_for = backend_for
        self._encoder = encoder or EventEncoder()
        self._declarations = Declarations()
        self.protected_after = protected_after
        """What `apply_rules` asks before it removes anything; ``None``: nothing reads this store."""

    def __repr__(self) -> str:
        return f"<EventStore {self.name}>"

    @property
    def backend(self) -> StoreBackend:
        """The level below, for this event loop; perhaps not open yet."""
        return self._backend_for()

    @property
    def database(self) -> Database:
        """The database that it is in."""
        return self.backend.database

    async def open(self) -> StoreBackend:
        """Connect, for those who want to know early. Idempotent. Raises `MissingMigrationError`."""
        backend = self._backend_for()
        await backend.open()
        return backend

    # -- appending ----------------------------------------------------------------------------------------------

    @overload
    def append(  # type: ignore[overload-overlap]  # a list is an object, too
        self, event: _Many, *, within: "SyncWithin", **said: Unpack[AppendSaid]
    ) -> list[Appended]: ...
    @overload
    def append(self, event: object, *, within: "SyncWithin", **said: Unpack[AppendSaid]) -> Appended: ...
    @overload
    def append(  # type: ignore[overload-overlap]  # a list is an object, too
        self,
        event: _Many,
        *,
        within: "AsyncWithin | None" = None,
        **said: Unpack[AppendSaid],
    ) -> Awaitable[list[Appended]]: ...
    @overload
    def append(
        self, event: object, *, within: "AsyncWithin | None" = None, **said: Unpack[AppendSaid]
    ) -> Awaitable[Appended]: ...
    def append(self, event: object, *, within: Any = None, **said: Any) -> Any:
        """Add one event, or a list of them together; where each is.

        *event* is an instance of a declared event class, or any value with ``name=``. Its stream is *event_stream*,
        else ``<category>-<key>`` (the category alone without a key). *expected_version* is what its stream must be at:
        a number of events, `NO_STREAM` or `EXISTS`. An event whose id (*event_id*, else a new UUIDv7) is there already
        is not added again, and its place says so (`Appended.is_new`): an append of unknown outcome may be repeated.

        *within* is a session or connection of yours: then the events are part of its transaction. With a synchronous
        one the append is done when this returns; with one of asyncio, and without any, it is to be awaited. Without
        one the store has a transaction of its own, and what is answered is on the disk.

        Raises:
            UsageError: An event cannot be appended as it is; nothing was.
            EncodeError: The same for its body.
            WrongVersionError: The stream is at another version; a caller's transaction is alive.
            ProtectedStreamError: A projection derives the stream.
            DeletedStreamError: The stream was deleted for good.
        """
        is_many = isinstance(event, (list, tuple))
        events = cast("Sequence[object]", event) if is_many else (event,)
        if within is None:
            return self._append(events, is_many, said)
        from penstock.store.within import append_within

        append = self._encoder.append(events, **said)
        outcome = append_within(self._backend_for(), within, append)

        def answer(found: Any) -> Any:
            places = accepted(append, found)
            return places if is_many else places[0]

        if isinstance(outcome, Awaitable):
            return _then(outcome, answer)
        return answer(outcome)

    async def _append(self, events: Sequence[object], is_many: bool, said: Mapping[str, Any]) -> Any:
        append = self._encoder.append(events, **said)
        if not append.events:
            return []
        places = accepted(append, await self._backend_for().append(append))
        return places if is_many else places[0]

    # -- reading ------------------------------------------------------------------------------------------------

    @overload
    def load(self, stream: str, *, after: int = 0, within: "SyncWithin") -> Loaded: ...
    @overload
    def load(
        self, stream: str, *, after: int = 0, within: "AsyncWithin | None" = None
    ) -> Awaitable[Loaded]: ...
    def load(self, stream: str, *, after: int = 0, within: Any = None) -> Any:
        """The events of one stream above version *after*, and its version, which is what to expect when appending.

        *within*: as that transaction sees it, with what it has appended itself; awaited or not as in `append`. All of
        them are in memory at once: take `read` for streams that are long.
        """
        check_name("event stream", stream)
        if within is None:
            return self._load(stream, after)
        from penstock.store.within import load_within

        def answer(found: Any) -> Loaded:
            events, version = found
            return Loaded(stream, version, events)

        outcome = load_within(self._backend_for(), within, stream, after=after)
        return _then(outcome, answer) if isinstance(outcome, Awaitable) else answer(outcome)

    async def _load(self, stream: str, after: int) -> Loaded:
        backend = await self.open()
        events: list[StoredEvent] = []
        version = after
        while page := await backend.read_stream(stream, after=version, limit=_PAGE):
            events += page
            version = page[-1].stream_version
            if len(page) < _PAGE:
                break
        if not events:
            info = await backend.stream(stream)
            version = info.version if info is not None else 0
        return Loaded(stream, version, events)

    def read(
        self,
        *streams: str,
        categories: Iterable[str] = (),
        names: Iterable[str | type] = (),
        keys: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        after: int = 0,
        through: int | None = None,
        backwards: bool = False,
        page: int = _PAGE,
    ) -> EventReading:
        """Events of any of these streams and categories (of all, if none is named), in the order of the store.

        ::

            async for event in store.read("order-17", categories=["customer"], names=[OrderPlaced]):
                ...

        Of those only the ones with one of *names* (names or event classes), one of *keys* and all of *headers*; above
        position *after* and up to *through*, which is the end of the store as it is when reading begins. *page*: how
        many are in memory at a time.
        """
        wanted = EventFilter(
            tuple(check_name("event stream", each) for each in streams),
            _texts("category", categories),
            names_of([names] if isinstance(names, (str, type)) else names, self._declarations),
            _texts("key", keys),
            dict(headers or {}),
        )
        return EventReading(self.open, wanted, after=after, through=through, page=page, backwards=backwards)

    async def fold(
        self,
        initial: S,
        functions: Mapping[Any, Callable[[S, Any], S | None]],
        *streams: str,
        categories: Iterable[str] = (),
        keys: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        after: int = 0,
        through: int | None = None,
    ) -> S:
        """What *functions* make of the events, beginning with *initial*: a question that is asked once.

        ::

            total = await store.fold(
                0, {OrderPlaced: lambda total, order: total + order.cents}, categories=["order"]
            )

        A function is for an event class and gets the event, or for a name or ``Any`` and gets the `StoredEvent`. It
        returns the new state; ``None`` stands for the one it got. Which events: as in `read`.
        """
        fold = Fold(functions)
        reading = self.read(
            *streams,
            categories=categories,
            names=fold.names or (),
            keys=keys,
            headers=headers,
            after=after,
            through=through,
        )
        state = initial
        async for event in reading:
            state = fold.apply(state, event)
        return state

    async def find(self, event_ids: str | Iterable[str]) -> list[Appended]:
        """Where the events of these ids are; those that are not there are left out."""
        ids = [event_ids] if isinstance(event_ids, str) else list(event_ids)
        backend = await self.open()
        return await backend.find(ids) if ids else []

    async def horizon(self) -> Horizon:
        """How far the store can be read now without ever missing an event, and who holds that up."""
        return await (await self.open()).horizon()

    def watch(self) -> StoreWatch:
        """Be told when there may be something new: ``await watch.wait()``. Close it. The store has to be open."""
        return self._backend_for().watch()

    # -- streams ------------------------------------------------------------------------------------------------

    async def stream(self, name: str) -> StreamInfo | None:
        """One stream: its version, how many events it has, what is said about it; ``None`` if it never was."""
        return await (await self.open()).stream(check_name("event stream", name))

    async def streams(
        self, *, category: str | None = None, after: str = "", limit: int = 1000
    ) -> list[StreamInfo]:
        """Up to *limit* streams by name, those after the name *after*: all of them, or of one category."""
        return await (await self.open()).streams(category=category, after=after, limit=limit)

    async def set_metadata(self, stream: str, metadata: StreamMetadata) -> None:
        """Say something about a stream, in place of what was said before; it need not have events yet."""
        check_name("event stream", stream)
        if metadata.max_count is not None and metadata.max_count < 1:
            raise UsageError(f"max_count is {metadata.max_count}; at least one event is kept")
        await (await self.open()).set_metadata(stream, metadata)

    async def delete(self, stream: str, *, through: int | None = None, for_good: bool = False) -> int:
        """Remove the events of a stream, or those up to version *through*; how many that were.

        Versions go on from where they were. *for_good*: nothing can be appended under this name any more. Projections
        that have not seen the events never will.
        """
        check_name("event stream", stream)
        backend = await self.open()
        removed = 0
        while gone := await backend.delete(stream, through=through, for_good=for_good):
            removed += gone
        return removed

    async def apply_rules(self, *, limit: int = 10_000) -> int:
        """Remove what the metadata of streams lets go, about *limit* events at most; how many that were.

        Nothing goes that some projection or relay of this store has still to see. Whoever keeps house calls this every
        so often.
        """
        return await apply_rules(await self.open(), self.protected_after, limit=limit)


def _texts(what: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [given]
    return tuple(check_name(what, each, may_be_empty=what == "key") for each in given)


async def _then(outcome: Awaitable[Any], answer: Callable[[Any], Any]) -> Any:
    return answer(await outcome)
