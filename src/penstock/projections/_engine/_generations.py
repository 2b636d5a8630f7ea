"""Running generations that are not live beside the live ones, as they come and go while a supervisor runs.

Which ones there are is told from above (`FindsGenerations`); here nobody knows what a replay is. What goes wrong with a
generation is shown where it is, and never ends or holds up what is live.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol, TypeAlias

from penstock.errors import PenstockError
from penstock.projections._engine._head import Head
from penstock.projections._engine._keeper import Keeper
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._outcomes import Supervised
from penstock.projections._engine._seat import Seat
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["Ask", "Beside", "FindsGenerations", "SeatsBeside"]

Ask: TypeAlias = Callable[[Callable[[Database, Connection], Any]], Awaitable[Any]]
"""Has a function run over the connection of a database that is looked at regularly; what it returns."""

_FRESH_SECONDS: Final = 0.05
"""Two that want to know at the same time look once."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What there is besides the live generations."""

    supervised: Sequence[Supervised] = ()
    """Those that are to be run here now."""
    awaited: frozenset[tuple[str, int]] = frozenset()
    """Projections and versions that some generation has: where the live one is of another version, it waits."""


class FindsGenerations(Protocol):
    """Tells which generations there are."""

    async def look(self, ask: Mapping[str, Ask]) -> Beside:
        """What there is now. *ask* are the databases of the stores that are written to, by name.

        As long as nothing about a generation changes, the same `Supervised` is given for it. Raises what the databases
        raise.
        """
        ...

    async def close(self) -> None:
        """Nobody looks any more: end what was begun."""
        ...


@dataclass(slots=True, eq=False)
class _Sitting:
    """One generation that is being run."""

    seat: Seat
    tasks: list["asyncio.Task[None]"] = field(default_factory=list["asyncio.Task[None]"])
    """The seat's own is the last one."""

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return bool(self.tasks) and self.tasks[-1].done()


class SeatsBeside:
    """The seats of generations that are not live, for one supervisor."""

    def __init__(
        self,
        finds: FindsGenerations,
        *,
        heads: Mapping[str, Head],
        keepers: Mapping[str, Keeper],
        terms: LeaseTerms,
        poll: timedelta,
        drain_timeout: timedelta,
    ) -> None:
        self.finds = finds
        self._heads, self._keepers, self._terms = heads, keepers, terms
        self._poll = poll
        self._drain_seconds = drain_timeout.total_seconds()
        self._sitting: dict[tuple[str, str], _Sitting] = {}
        self._awaited: frozenset[tuple[str, int]] = frozenset()
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._moved_before = 0
        self._is_stopping = False

    @property
    def seats(self) -> Sequence[Seat]:
        """Those that there are now."""
        return [each.seat for each in self._sitting.values()]

    @property
    def moved(self) -> int:
        """How many events were got past with a handler."""
        return self._moved_before + sum(seat.moved for seat in self.seats)

    @property
    def are_idle(self) -> bool:
        """Whether there is nothing to do for any of them."""
        return all(seat.is_done or seat.halted is not None for seat in self.seats)

    async def is_awaited(self, name: str, version: int) -> bool:
        """Whether some generation of a projection is of *version*; if none is known, by a fresh look."""
        if (name, version) not in self._awaited:
            await self.look_safely()
        return (name, version) in self._awaited

    async def look(self) -> None:
        """Look, take up what is new, and let go of what is gone. Raises what the look raises."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._looking:
            if self._looked_at > asked - _FRESH_SECONDS or self._is_stopping:
                return
            began = loop.time()
            found = await self.finds.look({name: keeper.ask for name, keeper in self._keepers.items()})
            self._awaited = found.awaited
            wanted = {each.key: each for each in found.supervised if each.plan.source in self._heads}
            for key, sitting in list(self._sitting.items()):
                if wanted.get(key) is not sitting.seat.supervised or sitting.has_ended:
                    await self._let_go(key)
            for key, new in wanted.items():
                if key not in self._sitting:
                    self._take_up(new)
            self._looked_at = began

    async def look_safely(self) -> None:
        """Look; what goes wrong is logged."""
        try:
            await self.look()
        except PenstockError as failure:
            LOGGER.debug("generations cannot be looked for: %s", failure)
        except Exception as failure:  # noqa: BLE001  the next look may do; what is live goes on
            LOGGER.warning("generations cannot be looked for: %s", failure, exc_info=failure)

    async def run(self) -> None:
        """Look every so often until cancelled."""
        while True:
            await asyncio.sleep(self._poll.total_seconds())
            await self.look_safely()

    def looked(self, keeper: Keeper) -> None:
        """The rows of a database were read again."""
        for seat in self.seats:
            if seat.keeper is keeper:
                seat.looked()

    async def refresh(self) -> None:
        """Have those with a database of their own read what people ask for."""
        for seat in self.seats:
            if seat.keeper not in self._keepers.values():
                with contextlib.suppress(Exception):
                    await seat.keeper.look()

    def wake(self, name: str) -> None:
        """Have those of one projection look whether there is something to do."""
        for seat in self.seats:
            if seat.supervised.plan.name == name:
                seat.wake()

    async def stop(self) -> None:
        """End all of them, between two pages."""
        self._is_stopping = True
        async with self._looking:
            for seat in self.seats:
                seat.stop()
            for key in list(self._sitting):
                await self._let_go(key)
        await self.finds.close()

    # -- one of them --------------------------------------------------------------------------------------------

    def _take_up(self, supervised: Supervised) -> None:
        own = None
        if supervised.database is None or supervised.database.dialect == "postgresql":
            # A generation in a schema has its rows where the live one has them, under its own label.
            keeper = self._keepers[supervised.plan.target]
        else:
            keeper = own = Keeper(
                supervised.database,
                self._terms,
                poll=self._poll,
                looked=lambda: self._looked_at_own(supervised),
            )
        seat = Seat(supervised, self._heads[supervised.plan.source], keeper, self._terms)
        sitting = self._sitting[supervised.key] = _Sitting(seat)
        name = f"{supervised.plan.name} of {supervised.generation}"
        if own is not None:
            sitting.tasks.append(asyncio.create_task(self._kept(own, seat), name=f"keeper of {name}"))
        else:
            seat.looked()
        sitting.tasks.append(asyncio.create_task(self._seated(sitting), name=f"projection {name}"))

    async def _kept(self, keeper: Keeper, seat: Seat) -> None:
        await keeper.first_look()
        if not keeper.has_looked:
            # Who waits until nothing is left to do does not wait for a copy that cannot be read.
            seat.is_done = True
        await keeper.run()

    def _looked_at_own(self, supervised: Supervised) -> None:
        sitting = self._sitting.get(supervised.key)
        if sitting is not None and sitting.seat.supervised is supervised:
            sitting.seat.looked()

    async def _seated(self, sitting: _Sitting) -> None:
        """Run a seat. One that ends by itself has failed in a way nobody thought of, and is taken up anew later."""
        seat = sitting.seat
        try:
            await seat.run()
        except Exception:  # noqa: BLE001  what is live goes on
            LOGGER.exception("projection %r, generation %r, failed", *seat.supervised.key)
            seat.is_done = True

    async def _let_go(self, key: tuple[str, str]) -> None:
        sitting = self._sitting.pop(key)
        seat = sitting.seat
        seat.stop()
        *beside, run = sitting.tasks
        _, late = await asyncio.wait([run], timeout=self._drain_seconds)
        for task in [*late, *beside]:
            task.cancel()
        await asyncio.gather(*late, *beside, return_exceptions=True)
        seat.head.unfollow(seat.wake)
        self._moved_before += seat.moved
