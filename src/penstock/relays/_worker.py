"""Running the relays of an app: under the supervisor of projections, with what is done for them beside."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from penstock.errors import PenstockError
from penstock.lifecycle import Lifecycle, State
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.projections.abc import ProjectionState
from penstock.relays._upkeep import Upkeep
from penstock.store.abc import StoreBackend
from penstock.telemetry import LOGGER

__all__ = ["RelayParts", "RelayWorker"]

_ASK_EVERY: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class RelayParts:
    """Everything that runs relays."""

    supervised: Sequence[Supervised]
    stores: Mapping[str, StoreBackend]
    """Every store, and every stream that is read as one, by name."""
    upkeep: Upkeep
    lanes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Of each stream that is read, the partitions that it has, or itself."""


class RelayWorker:
    """Runs relays until stopped, or until nothing is left.

    A stream whose partitions change while it is read has the relays built anew, so that the new ones are read too.
    *lease*: how long after the death of a process another one takes its relays over.
    """

    def __init__(
        self,
        build: Callable[[], Awaitable[RelayParts]],
        *,
        lanes_of: Callable[[str], Awaitable[Sequence[str]]],
        until_idle: bool = False,
        lease: timedelta = timedelta(seconds=10),
        name: str = "relays",
    ) -> None:
        self.name = name
        self.life = Lifecycle(name)
        self._build = build
        self._lanes_of = lanes_of
        self._until_idle = until_idle
        self._lease = lease
        self._supervisor: ProjectionSupervisor | None = None
        self._stopping = False
        self.reloading: Callable[[], None] | None = None
        """As that of `ProjectionSupervisor`."""
        self.moved = 0
        """How many events were moved, the last run's when that has ended."""

    @property
    def states(self) -> Mapping[str, ProjectionState]:
        """How each relay stands in this process."""
        return self._supervisor.states if self._supervisor is not None else {}

    def wake(self, name: str) -> None:
        """Have one look at once whether there is something to do."""
        if self._supervisor is not None:
            self._supervisor.wake(name)

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended."""
        self._stopping = True
        if not self.life.is_quiet:
            self.life.move(State.QUIET)
        if self._supervisor is not None:
            self._supervisor.stop()

    async def run(self) -> None:
        """Run them. Raises as `ProjectionSupervisor.run`."""
        if self._stopping:
            self._stopping = False
            self.life.move(State.STOPPED)
            return
        self.life.move(State.STARTING)
        try:
            while not self._stopping:
                if not await self._run_once():
                    break
        except BaseException:
            self.life.move(State.FAILED)
            raise
        finally:
            self._stopping = False
            self._supervisor = None
        self.life.move(State.STOPPED)

    async def _run_once(self) -> bool:
        """Run what there is now; whether to build it anew."""
        parts = await self._build()
        if self._until_idle:
            await parts.upkeep.look_once()
        supervisor = ProjectionSupervisor(
            parts.supervised, parts.stores, name=self.name, lease=self._lease, until_idle=self._until_idle
        )
        supervisor.reloading = self.reloading
        self._supervisor = supervisor
        changed = asyncio.Event()
        beside = [
            asyncio.create_task(parts.upkeep.run(), name="upkeep of relays"),
            asyncio.create_task(self._watch_lanes(parts, changed), name="partitions of relays"),
            asyncio.create_task(self._tell_ready(supervisor), name="readiness of relays"),
        ]
        running = asyncio.create_task(supervisor.run(), name=self.name)
        waiting = asyncio.create_task(changed.wait(), name="change of partitions")
        try:
            if self._stopping:
                supervisor.stop()
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                supervisor.stop()
            await running
        except BaseException:
            running.cancel()
            with contextlib.suppress(BaseException):
                await running
            raise
        finally:
            self.moved += sum(getattr(each.handlers, "moved", 0) for each in parts.supervised)
            ending: list[asyncio.Task[Any]] = [*beside, waiting]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
        if self._until_idle:
            await parts.upkeep.look_once()
        return changed.is_set()

    async def _tell_ready(self, supervisor: ProjectionSupervisor) -> None:
        await supervisor.life.wait_ready()
        if self.life.state is State.STARTING:
            self.life.move(State.READY)

    async def _watch_lanes(self, parts: RelayParts, changed: asyncio.Event) -> None:
        while parts.lanes:
            await asyncio.sleep(_ASK_EVERY.total_seconds())
            for stream, known in parts.lanes.items():
                try:
                    lanes = await self._lanes_of(stream)
                except PenstockError as failure:
                    LOGGER.debug("the partitions of stream %r are not known: %s", stream, failure)
                    continue
                if set(lanes) - set(known):
                    changed.set()
                    return
