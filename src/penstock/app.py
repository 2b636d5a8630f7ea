"""The app: what a user's module declares, wired to servers when it is first needed.

Declaring connects to nothing. ``async with app``, the first emit or read, and `App.run` do.
"""

import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from penstock._archiving import HasArchive
from penstock._building import Selection, group_consumer, load_configured
from penstock._emitting import Emits
from penstock._histories import TellsHistories
from penstock._housekeeping import Housekeeper, keeping_of
from penstock._locking import GivesLocks
from penstock._registering import register_groups
from penstock._registry import DeclaresStreams
from penstock._relaying import DeclaresRelays
from penstock._remembering import GivesValues
from penstock._replaying import HasReplays
from penstock._scheduling import DeclaresRecurring, mover_of, together
from penstock._storing import HasStores, url_of
from penstock._supervising import RunsParts, build_runner
from penstock._wiring import Brokers, Link, Links
from penstock.clock import Clock, SystemClock, parse_duration
from penstock.config import Settings, load_settings
from penstock.errors import ConfigurationError
from penstock.listeners.calls import Dependencies, Factory
from penstock.listeners.consuming import GroupConsumer
from penstock.listeners.inbox import Inboxes
from penstock.listeners.runner import Runner, keep_alive
from penstock.position import NEW, Start, parse_start
from penstock.store._rules import ProtectedAfter
from penstock.streams.abc import StreamBroker
from penstock.streams.following import FollowingReader
from penstock.streams.publisher import Publisher
from penstock.streams.reader import StreamReader, TypedReader
from penstock.streams.topics import with_shard
from penstock.telemetry import Observer

if TYPE_CHECKING:
    from penstock.sync import SyncApp

__all__ = ["App", "Selection"]

T = TypeVar("T")


class App(
    HasArchive,
    HasStores,
    DeclaresStreams,
    DeclaresRelays,
    HasReplays,
    RunsParts,
    Emits,
    DeclaresRecurring,
    TellsHistories,
    GivesLocks,
    GivesValues,
):
    """One service: its groups and listeners, its settings, its way to the streams.

    Args:
        name: What its events name as their source, and its default consumer group.
        streams: A server's URL (``redis://``, ``rediss://``, ``unix://``, ``memory://``), or a ``redis.asyncio`` client
            of yours. Left out: what the settings say, else a server of its own in the data folder.
        store: The URL of the local event store (``sqlite:///shop.db``, ``postgresql://...``), or a SQLAlchemy engine
            for its database. Left out: what the settings say, else a file in the data folder.
        config: The settings file; left out, ``penstock.toml`` (or ``[tool.penstock]``) is looked for from here upwards.
        observer: Told what happens; see `Observer`.
        clock: Whom everything asks for time (tests).
        broker: A backend that is there already (tests); it is opened, and not closed.
        settings: Further settings, by the names they have in the settings file; files and environment go before them.
    """

    def __init__(
        self,
        name: str,
        *,
        streams: object = None,
        store: object = None,
        config: str | Path | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
        broker: StreamBroker | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(default_group=name)
        self.name = name
        self.observer = observer
        self.clock = clock or SystemClock()
        self.dependencies = Dependencies()
        self.dependencies.provide_value(App, self)
        self.dependencies.provide_value(Inboxes, self._inboxes())
        self._code = dict(settings)
        if config is not None:
            self._code["config"] = str(config)
        self._overrides: dict[str, object] = {}
        self._client: object = None
        if isinstance(streams, str):
            self._code["streams"] = streams
        elif streams is not None:
            self._client = streams
        if store is not None:
            self._code["store"] = url_of(store)
        self._broker = broker
        self._settings: Settings | None = None
        self._own_layouts = {}
        self._links = Links()
        self._memory: dict[str, Any] = {}

    # -- settings -----------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force, read when first asked for. Raises `InvalidSettingsError` with everything wrong."""
        if self._settings is None:
            settings = load_settings(
                code=self._code,
                overrides=self._overrides,
                source=self.name,
                groups=self.registry.groups,
                layouts=self._own_layouts,
            )
            load_configured(self, settings)
            self._settings = settings
        return self._settings

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """An app that declares nothing and works by *settings* as they are: for tools, which load no code."""
        app = cls(settings.source or "penstock")
        app._settings = settings
        return app

    @property
    def is_embedded(self) -> bool:
        """Whether the default pool is a server of our own in the data folder."""
        return self._broker is None and self._client is None and self.settings.streams is None

    def configure(self, *, file: Path | None = None, **overrides: object) -> None:
        """Give settings that go before all others (the command line's). Only before the first connection."""
        if self._links:
            raise ConfigurationError(f"app {self.name!r} is connected; configure it before it is used")
        if file is not None:
            overrides["config"] = str(file)
        self._overrides |= overrides
        self._settings = None

    # -- declaring ----------------------------------------------------------------------------------------------

    def provide(
        self, type_: type, factory: Factory | None = None, *, shared: bool = False
    ) -> Callable[[Factory], Factory]:
        """Say how a dependency is made: ``app.provide(Gateway, make_gateway)``, or as a decorator of the factory.

        The factory is a function, coroutine function or (async) generator function; its own parameters are filled the
        same way. *shared*: one for the life of the app, else one per message, cleaned up after it. What raises while it
        is cleaned up after a message (a commit, say) has the listener fail; it cannot make a failing listener succeed.
        """

        def declare(factory: Factory) -> Factory:
            self.dependencies.provide(type_, factory, shared=shared)
            return factory

        if factory is not None:
            declare(factory)
        return declare

    @contextlib.contextmanager
    def override(self, type_: type, factory: Factory) -> Iterator[None]:
        """Within the block, *type_* is made by *factory* (tests)."""
        with self.dependencies.override(type_, factory):
            yield

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Idempotent. Raises `ConfigurationError`, `BrokerUnavailableError`, `BrokerRefusedError`.

        Each event loop has connections of its own: what is opened in one is closed in the same.
        """
        await register_groups(self, await self._opened())

    async def close(self) -> None:
        """Disconnect this event loop; after the last one, clean up what is shared. Idempotent; may be opened again."""
        self._forget_dead_loops()
        self.dependencies.value_of(Inboxes).close()
        await self._close_stores()
        link = self._links.take()
        if not self._links:
            await self.dependencies.close()
            await self._close_archive()
        if link is not None:
            await link.brokers.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """For ASGI frameworks: ``FastAPI(lifespan=app.lifespan)``."""
        async with self:
            yield

    @contextlib.asynccontextmanager
    async def using(
        self, *, broker: StreamBroker, clock: Clock | None = None, stores: Callable[[str], str] | None = None
    ) -> AsyncIterator[None]:
        """Within the block it works on *broker*, by *clock*, with its stores where *stores* says by name (tests)."""
        await self.close()
        former = self._broker, self._client, self.clock
        self._broker, self._client, self.clock = broker, None, clock or self.clock
        async with self._using_stores(stores):
            try:
                yield
            finally:
                await self.close()
                self._broker, self._client, self.clock = former

    async def _prepared(self) -> Brokers:
        link = self._link()
        await link.brokers.prepare()
        return link.brokers

    def _protected_after(self, store: str) -> ProtectedAfter:
        return self._needed_after(store)

    def _link(self) -> Link:
        link = self._links.here()
        if link is not None and link.pid == os.getpid():
            return link
        self._forget_dead_loops()
        return self._links.make(
            Brokers(
                self.settings,
                client=self._client,
                broker=self._broker,
                observer=self.observer,
                clock=self.clock,
                memory=self._memory,
            )
        )

    def _forget_dead_loops(self) -> None:
        if self._links.forget_dead() and not self._links:
            self.dependencies.forget()

    async def _opened(self) -> Brokers:
        brokers = await self._prepared()
        await brokers.open()
        return brokers

    async def brokers(self) -> Mapping[str, StreamBroker]:
        """The servers by the names of their pools, connected: the level below, for tools."""
        return (await self._opened()).pools

    async def broker_for(self, stream: str) -> StreamBroker:
        """The server that keeps *stream*, connected. Raises `UnregisteredStreamError` in strict mode."""
        return (await self._opened()).broker_for(stream)

    async def _publishing(self) -> Publisher:
        brokers = await self._opened()
        link = self._link()
        if link.publisher is None:
            await register_groups(self, brokers)
            link.publisher = Publisher(
                broker_for=brokers.broker_for,
                source=self.settings.source or self.name,
                max_body=self.settings.max_body,
                cap_for=brokers.cap_for,
                layout=self.layouts,
                observer=self.observer,
                time_us=self.clock.time_us,
                partitioned=brokers.partitioned,
                indexed=[each.name for each in self.settings.stream_settings.values() if each.history],
            )
        return link.publisher

    # -- reading ------------------------------------------------------------------------------------------------

    async def reader(
        self,
        *streams: str,
        start: Start | str = NEW,
        cursor: str | None = None,
        count: int = 100,
    ) -> StreamReader:
        """Read streams without a group: every reader sees every entry; see `StreamReader`.

        *start* is new, the beginning, an entry id (reading begins after it), or a time.
        """
        brokers = {id(broker): broker for broker in [await self.broker_for(stream) for stream in streams]}
        if len(brokers) > 1:
            raise ConfigurationError(
                f"{', '.join(streams)} are in different pools; their ids cannot be compared, so use a reader for each"
            )
        [broker] = brokers.values() or [(await self.brokers())["default"]]
        place = parse_start(start) if isinstance(start, str) else start
        how: dict[str, Any] = {"cursor": cursor, "count": count, "layout": self.layouts.reader}
        servers = await self._opened()
        if any(map(servers.is_partitioned, streams)):
            return FollowingReader(broker, streams, start=place, lanes_of=servers.lanes_of, **how)
        return StreamReader(broker, streams, start=place, **how)

    async def read(
        self,
        type_: type[T],
        *,
        stream: str | None = None,
        shard: str | None = None,
        start: Start | str = NEW,
        cursor: str | None = None,
        count: int = 100,
    ) -> TypedReader[T]:
        """Read one event type in batches of decoded events: ``async for batch in await app.read(OrderPlaced)``."""
        where = stream or TypedReader.stream_of(type_)
        if shard is not None:
            where = with_shard(where, shard)
        return TypedReader(await self.reader(where, start=start, cursor=cursor, count=count), type_)

    # -- running ------------------------------------------------------------------------------------------------

    async def runner(self, selection: "Selection | None" = None) -> Runner:
        """The workers, projections and relays (or the selected part), ready to run. Raises `ConfigurationError`."""
        return await build_runner(self, selection or Selection())

    async def run(
        self,
        *,
        only: Sequence[str] = (),
        until_idle: bool = False,
        idle_exit: timedelta | str | None = None,
        attempts: int | None = 0,
    ) -> None:
        """Work all groups, broadcast listeners, projections and relays until cancelled, or until idle if asked to.

        *only* names groups (``"billing"`` or ``"group:billing"``), projections and relays (``"projection:totals"``, or
        ``"projection"`` for all of them). *attempts*: how often to start again after an error
        that is no handler's; ``None`` for ever. Cancelling (Ctrl-C) cancels the handlers and gives back what they had;
        `Runner.stop` drains.

        Raises:
            ConfigurationError: A declaration or setting is wrong; nothing was started.
            WorkerStopped: A group halted by its policy.
            BrokerError: The server does not let us, or was away for too long.
        """
        selection = Selection(
            only=tuple(only),
            until_idle=until_idle,
            idle_exit=None if idle_exit is None else parse_duration(idle_exit),
        )
        runner = await self.runner(selection)
        if attempts == 0:
            await runner.run()
        else:
            await keep_alive(runner, attempts=attempts, clock=self.clock)

    async def keep_house(self) -> None:
        """Do what somebody has to do now and then (collecting above all) until cancelled; workers do it too."""
        brokers = await self._opened()
        await together(Housekeeper(keeping_of(self, brokers)).run, mover_of(self, brokers).run)()

    def consumer(self, group: str) -> GroupConsumer:
        """A consumer group in your own hands: numbered consumers that give batches to a function of yours.

        The group and its streams are declared in code or settings; its listeners, if it has any, do not run here.
        Raises `ConfigurationError` for one without streams.
        """
        return group_consumer(self, group)

    # -- without asyncio ----------------------------------------------------------------------------------------

    @functools.cached_property
    def sync(self) -> "SyncApp":
        """The same app for synchronous code, on an event loop thread of its own."""
        from penstock.sync import SyncApp

        return SyncApp(self)
