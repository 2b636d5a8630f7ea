"""The event stores of an app: made when they are asked for, connected when they are used, closed with the app."""

import asyncio
import contextlib
import difflib
import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, Unpack, overload

from penstock.clock import Clock
from penstock.config import LOCAL_STORE, Settings, StoreSettings
from penstock.errors import UnknownStoreError, UsageError
from penstock.store import EventReading, EventStore, Loaded
from penstock.store._encoding import AppendSaid, EventEncoder
from penstock.store._needed import lowest_checkpoint
from penstock.store._rules import ProtectedAfter
from penstock.store._transactions import SyncWithin
from penstock.store.abc import Appended, Horizon, StoreBackend, StoredEvent, StreamInfo, StreamMetadata
from penstock.store.backends import make_backend
from penstock.store.database import Database

__all__ = ["HasStores", "SyncEventStore", "url_of"]

S = TypeVar("S")
_Loop = asyncio.AbstractEventLoop
_Many = list[Any] | tuple[Any, ...]

_ALL: Final = 2**63 - 1
_INHERITED: Final[list[StoreBackend]] = []
"""Of the process that we were forked from. A connection of SQLite must not even be closed in another process than its
own (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_), so they stay as they are."""


class HasStores(ABC):
    """The part of an app that knows its event stores."""

    name: str
    clock: Clock
    _backends: "_Backends | None" = None
    _url_for: Callable[[str], str] | None = None
    """Where stores are in place of what settings say."""
    _stores: dict[str, tuple[Settings, EventStore]] | None = None

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def store_names(self) -> tuple[str, ...]:
        """The event stores that there are, ``local`` first."""
        return tuple(dict.fromkeys((LOCAL_STORE, *self.settings.stores)))

    def store(self, name: str = LOCAL_STORE) -> EventStore:
        """An event store: the app's own, or another that settings name. It connects when it is first used.

        The same object may be used from any event loop, each of which has connections of its own, and for ``within=``
        from synchronous code. Raises `UnknownStoreError`.
        """
        settings = self.settings
        if self._stores is None:
            self._stores = {}
        if (known := self._stores.get(name)) is not None and known[0] is settings:
            return known[1]
        if name not in self.store_names:
            nearest = difflib.get_close_matches(name, self.store_names, n=1)
            raise UnknownStoreError(
                name, [*nearest, *(each for each in self.store_names if each not in nearest)]
            )
        encoder = EventEncoder(
            source=settings.source or self.name,
            max_body=settings.max_body,
            time_us=lambda: self.clock.time_us(),  # noqa: PLW0108  the clock may be changed
        )
        store = EventStore(
            name,
            lambda: self._backend_here(name),
            encoder=encoder,
            protected_after=lambda: self._lowest_needed(name),
        )
        self._stores[name] = settings, store
        return store

    def _backend_here(self, name: str) -> StoreBackend:
        if self._backends is None:
            self._backends = _Backends()
        return self._backends.here(name, lambda: self._make_backend(name))

    def _make_backend(self, name: str) -> StoreBackend:
        if self._url_for is not None:
            return make_backend(name, self._url_for(name))
        settings = self.settings
        said = settings.stores.get(name, StoreSettings(name))
        if not said.url:
            from penstock.store._sqlite import SqliteBackend

            return SqliteBackend(name, settings.data_folder / "events.db", make_folder=_make_data_folder)
        how = {"poll": said.poll, "listen_url": said.listen_url, "schema": said.schema}
        return make_backend(
            name,
            said.url,
            **{key: value for key, value in how.items() if value is not None},
        )

    @contextlib.asynccontextmanager
    async def _using_stores(self, url_for: Callable[[str], str] | None) -> AsyncIterator[None]:
        """Within the block, stores are where *url_for* says by name; connections from before stay as they are."""
        if url_for is None:
            yield
            return
        former, used = (self._backends, self._url_for), _Backends()
        self._backends, self._url_for = used, url_for
        try:
            yield
        finally:
            self._backends, self._url_for = former
            await used.close()

    def _protected_after(self, store: str) -> ProtectedAfter | None:
        """What tells how far everything that reads *store* has come."""
        return None

    def _lowest_needed(self, store: str) -> int:
        """How far all that is known to read *store* has come: what is declared, and whatever has a checkpoint."""
        declared = self._protected_after(store)
        found = [] if declared is None else [declared()]
        for name in self.store_names:
            if (lowest := lowest_checkpoint(self.store(name).database, store)) is not None:
                found.append(lowest)
        return min(found, default=_ALL)

    async def _close_stores(self) -> None:
        """Disconnect the stores of this event loop, and after the last one those of no loop."""
        if self._backends is not None:
            for backend in self._backends.take():
                await backend.close()


def url_of(store: Any) -> str:
    """The URL of a store that is given as such, or as a SQLAlchemy engine (also an asynchronous one)."""
    if isinstance(store, str):
        return store
    url: Any = getattr(store, "url", None)
    if url is None or not hasattr(url, "render_as_string"):
        raise UsageError(
            f"store= is a {type(store).__name__}; give a URL (sqlite:///shop.db, postgresql://HOST/NAME) or an engine"
        )
    scheme = str(url.get_backend_name())
    return str(url.set(drivername=scheme).render_as_string(hide_password=False))


def _make_data_folder(path: Path) -> None:
    from penstock.streams.embedded._data_folder import make_data_folder

    make_data_folder(path)


class _Backends:
    """One backend for each event loop and store: connections may belong to the loop that made them.

    Outside of any loop, where synchronous code appends in its own transactions, there is one more, which connects to
    nothing by itself.
    """

    def __init__(self) -> None:
        self._by_loop: dict[tuple[_Loop | None, str], StoreBackend] = {}
        self._pid = os.getpid()

    def here(self, name: str, make: Callable[[], StoreBackend]) -> StoreBackend:
        """The backend for the running loop."""
        place = _running_loop(), name
        found = self._by_loop.get(place)
        if found is None or self._pid != os.getpid():
            self._forget_dead()
            found = self._by_loop[place] = make()
        return found

    def take(self) -> list[StoreBackend]:
        """Take out those of the running loop; if no other loop has any, also those of no loop."""
        self._forget_dead()
        here = _running_loop()
        taken = [place for place in self._by_loop if place[0] is here]
        if all(loop in (here, None) for loop, _ in self._by_loop):
            taken = list(self._by_loop)
        return [self._by_loop.pop(place) for place in taken]

    async def close(self) -> None:
        """Close all of them, each in the loop that it belongs to."""
        for backend in self.take():
            await backend.close()
        rest, self._by_loop = self._by_loop, {}
        for (loop, _), backend in rest.items():
            if loop is None:
                await backend.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(backend.close(), loop))
            else:
                backend.abandon()

    def _forget_dead(self) -> None:
        """Drop what belongs to closed loops and to the process that we were forked from."""
        if self._pid != os.getpid():
            _INHERITED.extend(self._by_loop.values())
            self._by_loop, self._pid = {}, os.getpid()
        for place in [place for place in self._by_loop if place[0] is not None and place[0].is_closed()]:
            self._by_loop.pop(place).abandon()


def _running_loop() -> _Loop | None:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


class SyncEventStore:
    """An `EventStore` for synchronous code; made by ``app.sync.store``. It raises what the other does."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], store: EventStore) -> None:
        self._run = run
        self._store = store

    @property
    def name(self) -> str:
        """The name of the store in settings."""
        return self._store.name

    @property
    def database(self) -> Database:
        """The database that it is in."""
        return self._store.database

    def open(self) -> None:
        """Connect, which on SQLite makes what is missing; see `EventStore.open`."""
        self._run(self._store.open())

    @overload
    def append(  # type: ignore[overload-overlap]  # a list is an object, too
        self, event: _Many, *, within: "SyncWithin | None" = None, **said: Unpack[AppendSaid]
    ) -> list[Appended]: ...
    @overload
    def append(
        self, event: object, *, within: "SyncWithin | None" = None, **said: Unpack[AppendSaid]
    ) -> Appended: ...
    def append(self, event: object, *, within: Any = None, **said: Any) -> Any:
        """Add one event, or a list of them together; see `EventStore.append`."""
        append: Callable[..., Any] = self._store.append
        return self._done(lambda: append(event, within=within, **said), within)

    def load(self, stream: str, *, after: int = 0, within: "SyncWithin | None" = None) -> Loaded:
        """The events of one stream, and its version; see `EventStore.load`."""
        loaded: Loaded = self._done(lambda: self._store.load(stream, after=after, within=within), within)
        return loaded

    def read(self, *streams: str, **wanted: Any) -> Iterator[StoredEvent]:
        """Events in the order of the store, a page in memory at a time; see `EventStore.read`."""
        return self._pages(self._store.read(*streams, **wanted))

    def _pages(self, reading: EventReading) -> Iterator[StoredEvent]:
        while (page := self._run(reading.next_page())) is not None:
            yield from page

    def fold(
        self, initial: S, functions: Mapping[Any, Callable[[S, Any], S | None]], *streams: str, **wanted: Any
    ) -> S:
        """What *functions* make of the events; see `EventStore.fold`."""
        state: S = self._run(self._store.fold(initial, functions, *streams, **wanted))
        return state

    def find(self, event_ids: str | Iterable[str]) -> list[Appended]:
        """Where the events of these ids are; see `EventStore.find`."""
        found: list[Appended] = self._run(self._store.find(event_ids))
        return found

    def horizon(self) -> Horizon:
        """How far the store can be read; see `EventStore.horizon`."""
        horizon: Horizon = self._run(self._store.horizon())
        return horizon

    def stream(self, name: str) -> StreamInfo | None:
        """One stream; see `EventStore.stream`."""
        found: StreamInfo | None = self._run(self._store.stream(name))
        return found

    def streams(self, *, category: str | None = None, after: str = "", limit: int = 1000) -> list[StreamInfo]:
        """Streams by name; see `EventStore.streams`."""
        found: list[StreamInfo] = self._run(self._store.streams(category=category, after=after, limit=limit))
        return found

    def set_metadata(self, stream: str, metadata: StreamMetadata) -> None:
        """Say something about a stream; see `EventStore.set_metadata`."""
        self._run(self._store.set_metadata(stream, metadata))

    def delete(self, stream: str, *, through: int | None = None, for_good: bool = False) -> int:
        """Remove events of a stream; see `EventStore.delete`."""
        removed: int = self._run(self._store.delete(stream, through=through, for_good=for_good))
        return removed

    def apply_rules(self, *, limit: int = 10_000) -> int:
        """Remove what the metadata of streams lets go; see `EventStore.apply_rules`."""
        removed: int = self._run(self._store.apply_rules(limit=limit))
        return removed

    def _done(self, call: Callable[[], Any], within: object) -> Any:
        if within is None:
            return self._run(call())
        if any(inspect.iscoroutinefunction(getattr(within, name, None)) for name in ("execute", "commit")):
            raise UsageError(
                f"app.sync appends within synchronous transactions, and this is a {type(within).__name__}; "
                "in a coroutine use the app itself: await app.store().append(...)"
            )
        # A caller's transaction belongs to its thread, so what joins it happens here and not in the loop's.
        return call()
