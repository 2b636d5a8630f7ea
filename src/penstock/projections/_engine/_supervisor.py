"""Running all projections of a process: one head a store, one keeper a database, one seat a projection."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from penstock.errors import ConfigurationError, PenstockError, StoreError
from penstock.lifecycle import Lifecycle, State
from penstock.projections._engine._generations import FindsGenerations, SeatsBeside
from penstock.projections._engine._head import Head
from penstock.projections._engine._keeper import Keeper
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._seat import Seat
from penstock.projections.abc import LIVE, ProjectionState
from penstock.store.abc import StoreBackend
from penstock.telemetry import LOGGER

__all__ = ["ProjectionSupervisor"]

_IDLE_LOOK_SECONDS: Final = 0.005


class ProjectionSupervisor:
    """Runs projections and relays between stores, until stopped or, if asked to, until there is nothing left to do.

    Args:
        projections: What to run.
        stores: Every store that is read or written to, by name. They are opened, and not closed.
        lease: How long a lease lasts that is not renewed; another process takes over after that.
        poll: How often it is looked for what people ask for (stop, reset, retry).
        drain_timeout: How long `stop` waits for pages that have begun.
        until_idle: Whether to end when everything is handled.
        generations: What tells which generations that are not live are to be run as well.

    Raises:
        ConfigurationError: Two have one name, or a store is not there.
    """

    def __init__(
        self,
        projections: Sequence[Supervised],
        stores: Mapping[str, StoreBackend],
        *,
        name: str = "projections",
        lease: timedelta = timedelta(seconds=10),
        poll: timedelta = timedelta(seconds=1),
        drain_timeout: timedelta = timedelta(seconds=30),
        until_idle: bool = False,
        generations: FindsGenerations | None = None,
    ) -> None:
        _check(projections, stores)
        self.name = name
        self.projections = tuple(projections)
        self.life = Lifecycle(name)
        self.terms = LeaseTerms(lease)
        self._stores = stores
        self._poll = poll
        self._drain_timeout = drain_timeout
        self._until_idle = until_idle
        self.reloading: Callable[[], None] | None = None
        """Called when somebody asks for a reload, for who can begin again with the code as it is now."""
        self._quiet = asyncio.Event()
        self._seats: dict[tuple[str, str], Seat] = {}
        self._heads: dict[str, Head] = {}
        self._keepers: dict[str, Keeper] = {}
        self._moved_before = 0
        self._generations = generations
        self._beside: SeatsBeside | None = None

    @property
    def moved(self) -> int:
        """How many events it has got past with a handler, over all its runs."""
        beside = 0 if self._beside is None else self._beside.moved
        return self._moved_before + beside + sum(seat.moved for seat in self._seats.values())

    @property
    def states(self) -> Mapping[str, ProjectionState]:
        """How each stands in this process, by name."""
        return {name: seat.state for (name, _), seat in self._seats.items()}

    @property
    def runs(self) -> Mapping[str, int]:
        """How often each was started on something here, by name."""
        return {name: seat.runs for (name, _), seat in self._seats.items()}

    def wake(self, name: str) -> None:
        """Have one look at once whether there is something to do, instead of when its store rings."""
        for (each, _), seat in self._seats.items():
            if each == name:
                self._heads[seat.supervised.plan.source].look()
                seat.wake()
        if self._beside is not None:
            self._beside.wake(name)

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended. Idempotent."""
        if self.life.state in (State.STARTING, State.READY):
            self.life.move(State.QUIET)
        self._quiet.set()
        for seat in self._seats.values():
            seat.stop()

    async def run(self) -> None:
        """Run them.

        Raises:
            ConfigurationError: A store cannot be used; `MissingMigrationError` names the command.
            ProjectionError: Until idle, one of them cannot go on: `ProjectionHaltedError` and others.
        """
        self.life.move(State.STARTING)
        self._build()
        try:
            await self._work()
        except BaseException:
            self.life.move(State.FAILED)
            raise
        finally:
            self._quiet.clear()
        if self.life.state is not State.QUIET:
            self.life.move(State.QUIET)
        self.life.move(State.STOPPED)

    def _build(self) -> None:
        self._moved_before = self.moved
        plans = [each.plan for each in self.projections]
        self._heads = {name: Head(self._stores[name]) for name in sorted({plan.source for plan in plans})}
        self._keepers = {
            name: Keeper(
                self._stores[name].database,
                self.terms,
                poll=self._poll,
                looked=lambda name=name: self._looked(name),  # type: ignore[misc]
            )
            for name in sorted({plan.target for plan in plans})
        }
        declared = {plan.name for plan in plans}
        self._seats = {
            each.key: Seat(
                each,
                self._heads[each.plan.source],
                self._keepers[each.plan.target],
                self.terms,
                declared=declared,
            )
            for each in self.projections
        }
        self._beside = None
        if self._generations is not None:
            self._beside = self._build_beside(self._generations)

    def _build_beside(self, generations: FindsGenerations) -> SeatsBeside:
        beside = SeatsBeside(
            generations,
            heads=self._heads,
            keepers=self._keepers,
            terms=self.terms,
            poll=self._poll,
            drain_timeout=self._drain_timeout,
        )
        for (name, generation), seat in self._seats.items():
            if generation == LIVE:
                seat.is_awaited = partial(beside.is_awaited, name, seat.supervised.plan.version)
        return beside

    def _looked(self, target: str) -> None:
        for seat in self._seats.values():
            if seat.supervised.plan.target == target:
                seat.looked()
                if self.reloading is not None and seat.is_asked_to_reload:
                    self.reloading()
        if self._beside is not None:
            self._beside.looked(self._keepers[target])

    async def _work(self) -> None:
        for store in dict.fromkeys([*self._heads, *self._keepers]):
            await self._open(self._stores[store])
        beside = [
            *(asyncio.create_task(head.run(), name=f"head of {name}") for name, head in self._heads.items()),
            *(
                asyncio.create_task(each.run(), name=f"keeper of {name}")
                for name, each in self._keepers.items()
            ),
        ]
        try:
            for keeper in self._keepers.values():
                await keeper.first_look()
            if self._beside is not None:
                await self._beside.look_safely()
                beside.append(asyncio.create_task(self._beside.run(), name="generations"))
            seats = [
                asyncio.create_task(seat.run(), name=f"{seat.supervised.plan.kind} {name}")
                for (name, _), seat in self._seats.items()
            ]
            if self.life.state is State.STARTING:
                self.life.move(State.READY)
            try:
                await self._until_stopped(seats, beside)
            finally:
                stopping = self._beside.stop() if self._beside is not None else _nothing()
                await asyncio.gather(self._drain(seats), stopping)
        finally:
            if self._beside is not None:
                await self._beside.stop()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        for task in [*beside, *seats]:
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure
        if self._until_idle:
            self._raise_halted()

    async def _open(self, store: StoreBackend) -> None:
        """Open a store; one that is away is waited for by its head."""
        try:
            await store.open()
        except PenstockError as failure:
            if isinstance(failure, ConfigurationError):
                raise
            LOGGER.warning("store %r is not there yet: %s", store.name, failure)

    async def _until_stopped(
        self, seats: Sequence["asyncio.Task[None]"], beside: Sequence["asyncio.Task[None]"]
    ) -> None:
        quiet = asyncio.create_task(self._quiet.wait(), name=f"stop of {self.name}")
        idle = (
            [asyncio.create_task(self._wait_idle(), name=f"idleness of {self.name}")]
            if self._until_idle
            else []
        )
        try:
            # A seat or a head that ends by itself has failed in a way nobody thought of: all of them end.
            await asyncio.wait([quiet, *idle, *seats, *beside], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (quiet, *idle):
                task.cancel()
            await asyncio.gather(quiet, *idle, return_exceptions=True)

    async def _drain(self, seats: Sequence["asyncio.Task[None]"]) -> None:
        for seat in self._seats.values():
            seat.stop()
        if not seats:
            return
        _, late = await asyncio.wait(seats, timeout=self._drain_timeout.total_seconds())
        for task in late:
            LOGGER.warning(
                "%s did not end within %s; it is left to itself", task.get_name(), self._drain_timeout
            )
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    # -- until idle ---------------------------------------------------------------------------------------------

    async def _wait_idle(self) -> None:
        """Return when, at a look after all of them had ended, no store had anything more for any."""
        while True:
            # A store that is away has been told of by its head; it is waited for.
            with contextlib.suppress(StoreError):
                if self._are_idle and await self._nothing_came():
                    return
            await asyncio.sleep(_IDLE_LOOK_SECONDS)

    @property
    def _are_idle(self) -> bool:
        beside = self._beside is None or self._beside.are_idle
        return beside and all(seat.is_done or seat.halted is not None for seat in self._seats.values())

    async def _nothing_came(self) -> bool:
        """Look at every store and at what people asked for; whether there is nothing to do even so."""
        before = {name: head.position for name, head in self._heads.items()}
        for head in self._heads.values():
            await head.refresh()
        for keeper in self._keepers.values():
            await keeper.look()
        if self._beside is not None:
            await self._beside.refresh()
        return self._are_idle and before == {name: head.position for name, head in self._heads.items()}

    def _raise_halted(self) -> None:
        failures = [seat.halted for seat in self._seats.values() if seat.halted is not None]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("several projections cannot go on", failures)


async def _nothing() -> None:
    """Nothing to wait for."""


def _check(projections: Sequence[Supervised], stores: Mapping[str, StoreBackend]) -> None:
    seen: set[tuple[str, str]] = set()
    for each in projections:
        if each.key in seen:
            raise ConfigurationError(
                f"two projections or relays are called {each.plan.name!r}; each needs a name of its own"
            )
        seen.add(each.key)
        for store in (each.plan.source, each.plan.target):
            if store not in stores:
                raise ConfigurationError(
                    f"{each.plan.kind} {each.plan.name!r} needs store {store!r}, which is not there; configure it"
                )
