"""The projections of an app: declared in code or settings, run by one supervisor beside the groups."""

import asyncio
import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from penstock._building import load_object
from penstock._declaring import Router
from penstock.clock import Clock
from penstock.config import Settings
from penstock.errors import UnknownProjectionError
from penstock.listeners.calls import Dependencies
from penstock.listeners.inbox import Inboxes
from penstock.projections import Projection
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._generations import FindsGenerations
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.projections.abc import LIVE
from penstock.retry import Retry
from penstock.store import EventStore
from penstock.store.abc import StoreBackend

__all__ = ["DeclaresProjections"]


class DeclaresProjections(Router, ABC):
    """The part of an app that knows its projections."""

    name: str
    clock: Clock
    dependencies: Dependencies
    _configured: tuple[str, ...] = ()
    """Those that settings declare."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings in force."""

    @abstractmethod
    def store(self, name: str = "local") -> EventStore:
        """An event store."""

    @property
    @abstractmethod
    def store_names(self) -> tuple[str, ...]:
        """The event stores that there are."""

    def _keep(self, projection: Projection) -> None:
        projection.bind(self._read_projection_state)
        super()._keep(projection)

    def load_projections(self, settings: Settings) -> None:
        """Declare what *settings* declare, in place of what they did at an earlier reading; `ConfigurationError`."""
        for name in self._configured:
            self._declared_projections.pop(name, None)
        self._configured = ()
        for name, said in settings.consuming.items():
            options: dict[str, Any] = {**said.options}
            if "retry" in options:
                options["retry"] = Retry(**options["retry"])
            handler = load_object(said.said["handler"], f"projection {name!r}")
            self.projection(name, **options).add_handler(handler)
            self._configured = (*self._configured, name)

    @property
    def projections(self) -> Mapping[str, Projection]:
        """All projections by name, those of the settings included."""
        _ = self.settings  # declares what is said there
        return MappingProxyType(self._declared_projections)

    async def catch_up(self, *names: str) -> None:
        """Run projections (all, if none is named) until everything that is stored now is handled, then return.

        Raises:
            UnknownProjectionError: There is none of that name.
            ConfigurationError: Something is wrong with a declaration; nothing was started.
            ProjectionHaltedError: A handler failed and the policy is to halt.
            ProjectionBusyError: Another process runs it.
        """
        supervised = await self.supervised_projections(names)
        if supervised:
            await self.supervisor_of(supervised, until_idle=True).run()

    async def projection_state(self, name: str) -> Any:
        """What a state projection has folded so far. Raises `UnknownProjectionError`, `UsageError`."""
        known = self.projections
        if name not in known:
            raise UnknownProjectionError(name, nearest=_nearest(name, known))
        return await known[name].state()

    async def supervised_projections(self, names: Sequence[str] = ()) -> list[Supervised]:
        """Projections with their handlers compiled for this event loop; all, if none is named.

        Raises `UnknownProjectionError`, `ConfigurationError`.
        """
        known = self.projections
        for name in names:
            if name not in known:
                raise UnknownProjectionError(name, nearest=_nearest(name, known))
        self.dependencies.check()
        return [await self._supervised(known[name]) for name in dict.fromkeys(names or known)]

    async def _supervised(self, projection: Projection) -> Supervised:
        for store in (projection.store, projection.into):
            self.store(store)  # one that is not there is named now
        handlers = projection.compile(
            self.dependencies,
            target=self.store(projection.into).backend,
            source=self.settings.source or self.name,
        )
        # Handlers run in threads; what belongs to an event loop is made on this one.
        await self.dependencies.make_shared(handlers.routes.needs)
        return Supervised(projection.plan, handlers)

    def supervisor_of(self, supervised: Sequence[Supervised], *, until_idle: bool) -> ProjectionSupervisor:
        """What runs projections and relays, on the stores of this event loop."""
        names = {name for each in supervised for name in (each.plan.source, each.plan.target)}
        stores: dict[str, StoreBackend] = {name: self.store(name).backend for name in sorted(names)}
        beside = self._generations(supervised, until_idle=until_idle)
        return ProjectionSupervisor(supervised, stores, until_idle=until_idle, generations=beside)

    def _generations(self, supervised: Sequence[Supervised], *, until_idle: bool) -> FindsGenerations | None:
        """What tells a supervisor which generations that are not live it runs as well."""
        return None

    def _inboxes(self) -> Inboxes:
        """The inboxes of its listeners, for its dependencies: nothing is connected to."""
        return Inboxes(
            database_of=lambda name: self.store(name).database,
            open_store=lambda name: self.store(name).open(),
            time_us=lambda: self.clock.time_us(),  # noqa: PLW0108  the clock may be changed
            keep_for=lambda: self.settings.inbox_retention,
        )

    async def _read_projection_state(self, projection: Projection) -> bytes | None:
        """The saved state of a projection; ``None`` before its first page."""
        backend = await self.store(projection.into).open()

        def read() -> bytes | None:
            with contextlib.closing(backend.database.connect()) as connection:
                found = _checkpoints.read(backend.database, connection, projection.name, LIVE)
            return None if found is None else found.state

        return await asyncio.to_thread(read)


def _nearest(name: str, known: Mapping[str, Any]) -> str | None:
    return next(iter(difflib.get_close_matches(name, [*known], n=1)), None)
