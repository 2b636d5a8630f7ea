"""The relays of an app: declared in code or settings, made of its stores and servers when they are run."""

import asyncio
import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from penstock._declaring import Router
from penstock._histories import declared_events
from penstock._supervising import RelayParts as PartsToRun
from penstock._wiring import Brokers
from penstock.archive import Archive
from penstock.clock import Clock
from penstock.config import Settings
from penstock.errors import ConfigurationError, UnknownProjectionError, UnknownStoreError
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import LIVE
from penstock.relays import Relay
from penstock.relays._bridge import Bridge
from penstock.relays._copying import CopyHandlers
from penstock.relays._noting import read_through
from penstock.relays._packing import Packing
from penstock.relays._publishing import PublishHandlers
from penstock.relays._sink import StreamSink
from penstock.relays._stream_source import StreamSource
from penstock.relays._taking import TakeHandlers
from penstock.relays._tokens import positions
from penstock.relays._upkeep import Kept, Upkeep
from penstock.relays._worker import RelayParts, RelayWorker
from penstock.relays.abc import RelayPlan, stream_in
from penstock.store import EventStore
from penstock.store.abc import StoreBackend
from penstock.streams.layouts import Layouts

if TYPE_CHECKING:
    from penstock.store._rules import ProtectedAfter

__all__ = ["DeclaresRelays"]

_ALL = 2**63 - 1


class DeclaresRelays(Router, ABC):
    """The part of an app that knows its relays."""

    clock: Clock

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    @abstractmethod
    def layouts(self) -> Layouts:
        """The layout of every stream."""

    @property
    @abstractmethod
    def store_names(self) -> tuple[str, ...]:
        """The event stores that there are."""

    @abstractmethod
    def store(self, name: str = "local") -> EventStore:
        """An event store."""

    @abstractmethod
    async def open_archive(self) -> Archive:
        """The app's archive, open."""

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    @property
    def relays(self) -> Mapping[str, RelayPlan]:
        """All relays by name as they are in force, those of the settings included. Raises `ConfigurationError`."""
        plans, wrong = self.planned_relays()
        for failure in wrong.values():
            raise failure
        return MappingProxyType(plans)

    def planned_relays(self) -> tuple[dict[str, RelayPlan], dict[str, ConfigurationError]]:
        """Those of code and settings that can be, and what is wrong with the others, by name."""
        types = {each.name: each for each in declared_events(self.registry)}
        said, declared = self.settings.relays, self._declared_relays
        plans: dict[str, RelayPlan] = {}
        wrong: dict[str, ConfigurationError] = {}
        for name in dict.fromkeys((*declared, *said)):
            try:
                plans[name] = (declared.get(name) or Relay(name)).with_settings(said.get(name, {}), types)
            except ConfigurationError as failure:
                wrong[name] = failure
        return plans, wrong

    def relay_problems(self) -> list[str]:
        """What keeps relays from running, one each, in the words in which running them would be refused."""
        plans, wrong = self.planned_relays()
        problems = [str(failure) for failure in wrong.values()]
        for plan in plans.values():
            try:
                self._check_stores(plan)
            except UnknownStoreError as unknown:
                problems.append(f"relay {plan.name!r}: {unknown}")
        return problems

    def _check_stores(self, plan: RelayPlan) -> None:
        """Raises `UnknownStoreError` for a store that is not there."""
        for store in _stores_of(plan):
            self.store(store)

    # -- running ------------------------------------------------------------------------------------------------

    @property
    def relay_names(self) -> Sequence[str]:
        """All relays by name."""
        return tuple(self.relays)

    async def relay_parts(self, names: Sequence[str], *, until_idle: bool) -> PartsToRun:
        """These relays, ready to run. Raises `ConfigurationError`."""
        return PartsToRun(parts=[self.relay_worker(names, until_idle=until_idle)])

    async def catch_up(self, *names: str) -> None:
        """Run projections and relays (all, if none is named) until everything that is stored now is handled.

        Raises:
            UnknownProjectionError: There is none of that name.
            ConfigurationError: Something is wrong with a declaration; nothing was started.
            ProjectionHaltedError: One failed and its policy is to halt.
            ProjectionBusyError: Another process runs it.
        """
        relays = [name for name in self.relays if not names or name in names]
        others = [name for name in names if name not in relays]
        if relays:
            await self.relay_worker(relays, until_idle=True).run()
        if others or not names:
            await cast("Any", super()).catch_up(*others)

    def relay_worker(
        self,
        names: Sequence[str] = (),
        *,
        until_idle: bool = False,
        lease: timedelta = timedelta(seconds=10),
    ) -> RelayWorker:
        """What runs relays; all, if none is named. *lease*: how soon another process takes over from a dead one.

        Raises `UnknownProjectionError`, `ConfigurationError`.
        """
        known = self.relays
        for name in names:
            if name not in known:
                nearest = difflib.get_close_matches(name, [*known], n=1)
                raise UnknownProjectionError(name, nearest=next(iter(nearest), None))
        plans = [known[name] for name in dict.fromkeys(names or known)]
        for plan in plans:
            self._check_stores(plan)  # one that is not there is named now
        return RelayWorker(
            lambda: self._relay_parts(plans),
            lanes_of=self._lanes_of_relayed,
            until_idle=until_idle,
            lease=lease,
        )

    async def _lanes_of_relayed(self, stream: str) -> Sequence[str]:
        return await (await self._opened()).lanes_of(stream)

    async def _relay_parts(self, plans: Sequence[RelayPlan]) -> RelayParts:
        stores: dict[str, StoreBackend] = {
            name: self.store(name).backend for plan in plans for name in _stores_of(plan)
        }
        maker = _Maker(self, stores, Bridge(asyncio.get_running_loop()))
        supervised = [each for plan in plans for each in await maker.supervised(plan)]

        async def needed_after(store: str) -> int | None:
            return await asyncio.to_thread(self._needed_after(store))

        return RelayParts(
            supervised,
            stores,
            Upkeep(maker.kept, clock=self.clock, needed_after=needed_after),
            maker.lanes,
        )

    # -- what is needed -----------------------------------------------------------------------------------------

    def _needed_after(self, store: str) -> "ProtectedAfter":
        """What tells how far everything that reads *store* has come, as far as that is known here."""

        def lowest() -> int:
            readers = dict(self._readers(store))
            found = [position for name, position in self._noted(store).items() if name not in readers]
            found += [_position(self.store(into).backend, name) for name, into in readers.items()]
            return min(found, default=_ALL)

        return lowest

    def _readers(self, store: str) -> Iterator[tuple[str, str]]:
        """Who is declared here to read a store, each with the store that its checkpoint is in."""
        for plan in self.relays.values():
            if plan.source == store:
                yield plan.name, plan.source if plan.kind == "store to streams" else plan.target
        declared: Mapping[str, Any] = getattr(self, "projections", {})
        yield from ((each.name, each.into) for each in declared.values() if each.store == store)

    def _noted(self, store: str) -> Mapping[str, int]:
        """How far relays of others have come, as they say in the store itself."""
        database = self.store(store).backend.database
        with contextlib.closing(database.connect(application="penstock relays")) as connection:
            return positions(database, connection)


def _stores_of(plan: RelayPlan) -> list[str]:
    """The stores that a relay needs."""
    source = [plan.source] if stream_in(plan.source) is None else []
    return source if plan.kind == "store to streams" else [*source, plan.target]


def _position(store: StoreBackend, name: str) -> int:
    """How far a reader has come that keeps its checkpoint in *store*; what failed is needed for another try."""
    database = store.database
    with contextlib.closing(database.connect(application="penstock relays")) as connection:
        return read_through(database, connection, name)


class _Maker:
    """Makes what runs of plans."""

    def __init__(self, app: DeclaresRelays, stores: dict[str, StoreBackend], bridge: Bridge) -> None:
        self._app = app
        self._stores = stores
        self._bridge = bridge
        self.kept: list[Kept] = []
        self.lanes: dict[str, tuple[str, ...]] = {}

    async def supervised(self, plan: RelayPlan) -> list[Supervised]:
        """What runs one relay: out of a partitioned stream, one for each partition."""
        match plan.kind:
            case "store to streams":
                return [await self._publishing(plan)]
            case "store to store":
                target = self._stores[plan.target]
                self.kept.append(Kept(plan, self._stores[plan.source], target))
                source = self._stores[plan.source]
                return [Supervised(plan.engine_plan(), CopyHandlers(plan, source=source, target=target))]
            case "stream to store":
                return await self._taking(plan)

    async def _publishing(self, plan: RelayPlan) -> Supervised:
        app, source = self._app, self._stores[plan.source]
        brokers = await app._opened()  # pyright: ignore[reportPrivateUsage]
        settings = app.settings
        handlers = PublishHandlers(
            plan,
            source=source,
            packing=Packing(
                plan,
                layouts=app.layouts,
                max_body=settings.max_body,
                indexed=[each.name for each in settings.stream_settings.values() if each.history],
                check_stream=brokers.broker_for,
            ),
            sink=StreamSink(
                broker_for=brokers.broker_for, cap_for=brokers.cap_for, partitioned=brokers.partitioned
            ),
            bridge=self._bridge,
        )
        self.kept.append(Kept(plan, source, source, handlers))
        return Supervised(plan.engine_plan(), handlers)

    async def _taking(self, plan: RelayPlan) -> list[Supervised]:
        app, target, stream = self._app, self._stores[plan.target], stream_in(plan.source) or ""
        brokers = await app._opened()  # pyright: ignore[reportPrivateUsage]
        lanes = self.lanes[stream] = tuple(await brokers.lanes_of(stream))
        found: list[Supervised] = []
        for lane in lanes:
            generation = LIVE if lane == stream else lane
            source = StreamSource(
                lane,
                brokers.broker_for(lane),
                layouts=app.layouts,
                bridge=self._bridge,
                open_archive=app.open_archive if plan.archive else None,
                reached=_reached(target, plan.name, generation),
            )
            self._stores[source.name] = cast("StoreBackend", source)
            found.append(
                Supervised(
                    plan.engine_plan(source.name),
                    TakeHandlers(plan, source=source, target=target),
                    generation,
                )
            )
        return found


def _reached(target: StoreBackend, name: str, generation: str) -> Callable[[], Awaitable[int]]:
    def look() -> int:
        with contextlib.closing(target.database.connect(application="penstock relays")) as connection:
            found = _checkpoints.read(target.database, connection, name, generation)
        return 0 if found is None else found.position

    async def reached() -> int:
        await target.open()
        return await asyncio.to_thread(look)

    return reached
