"""One projection in a process: when it runs, when it waits, and what it waits for.

A wake-up cannot be lost: what wakes it is remembered from before it looks whether there is work until it waits, and it
looks again after it has given its lease back.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Final

from penstock.errors import (
    PenstockError,
    ProjectionBusyError,
    ProjectionChangedError,
    ProjectionHaltedError,
    RenamedProjectionError,
    StaleRunnerError,
    StoreWentBackError,
)
from penstock.projections._engine import _resetting
from penstock.projections._engine._head import Head
from penstock.projections._engine._keeper import Control, Keeper
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._outcomes import NotWanted
from penstock.projections._engine._run import (
    CaughtUp,
    Interrupted,
    Outcome,
    ProjectionRun,
    Supervised,
    Waiting,
)
from penstock.projections._engine._threads import OwnThread
from penstock.projections.abc import LIVE, ProjectionState
from penstock.store.abc import Horizon
from penstock.telemetry import LOGGER

__all__ = ["Seat"]

_SHORTEST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_HOPELESS: Final = (
    ProjectionChangedError,
    ProjectionHaltedError,
    RenamedProjectionError,
    StoreWentBackError,
)
"""What only people can change."""
_UNSEEN: Final = Control()


class Seat:
    """The place of one projection among those that a supervisor runs."""

    def __init__(
        self,
        supervised: Supervised,
        head: Head,
        keeper: Keeper,
        terms: LeaseTerms,
        *,
        declared: Collection[str] = (),
    ) -> None:
        self.supervised, self.head, self.keeper, self.terms = supervised, head, keeper, terms
        self.state: ProjectionState = "idle"
        self.position: int | None = None
        """How far it is known to have come."""
        self.is_done = False
        """Whether there is nothing for it to do at this moment."""
        self.halted: PenstockError | None = None
        """Why it does not go on, when it is an event's or a declaration's fault."""
        self.runs = 0
        """How often it was started on something."""
        self._moved_before = 0
        self._declared = declared
        self._thread = OwnThread(f"penstock {supervised.plan.kind} {supervised.plan.name}")
        self._run: ProjectionRun | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._breaks = False
        """Read in the thread: the run is to end between two events."""
        self._not_before = 0.0
        self._pause = _SHORTEST_PAUSE
        self._waits = False
        """Whether it stands before an event."""
        self._reloaded_at = 0
        self._seen = _UNSEEN
        self.is_awaited: Callable[[], Awaitable[bool]] | None = None
        """Looks whether its version is in a replay, where the live read model is of another one."""
        head.follow(self.wake)

    # -- from outside -------------------------------------------------------------------------------------------

    @property
    def moved(self) -> int:
        """How many events it has got past with a handler here."""
        return self._moved_before + (self._run.moved if self._run is not None else 0)

    @property
    def control(self) -> Control:
        """What its row says, as far as it is there."""
        return self.keeper.rows.get(self.supervised.key) or Control()

    @property
    def is_asked_to_reload(self) -> bool:
        """Whether somebody asked for it since this process has begun, and nothing was done about it yet."""
        return self._is_to_reload(self.control)

    def wake(self) -> None:
        """There may be something to do."""
        self.is_done = False
        self._woken.set()

    def looked(self) -> None:
        """The rows were read again: take notice of what has changed in ours."""
        before, now = self._seen, self.control
        self._seen = now
        if before is _UNSEEN:
            # What was asked for before this process was there has been done by starting it.
            self._reloaded_at = now.reload_at
            self.wake()
        if now.is_with_another(self.terms):
            self.is_done = now.position >= self.head.position
        if before.retry_at != 0 and now.retry_at == 0:
            self._not_before = 0.0
        if self._waits and not now.stands and now.retry_at == 0:
            # Somebody said to try again; if not, what is noted of the event still keeps it.
            self._not_before = 0.0
            self.wake()
        self._breaks = self._stopping or self._has_orders(now)
        changes = (before.wanted, before.request, before.reload_at, before.wanted_failures, before.stands)
        if (
            changes != (now.wanted, now.request, now.reload_at, now.wanted_failures, now.stands)
            or (before.retry_at, before.version) != (now.retry_at, now.version)
            or (before.is_with_another(self.terms) and not now.is_with_another(self.terms))
        ):
            self.wake()

    def _has_orders(self, control: Control) -> bool:
        return control.wanted == "stop" or bool(control.request) or self._is_to_reload(control)

    def _is_to_reload(self, control: Control) -> bool:
        return control.reload_at != self._reloaded_at

    def stop(self) -> None:
        """End between two events; `run` then returns."""
        self._stopping = self._breaks = True
        if self._run is not None:
            self.state = "stopping"
        self._woken.set()

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run it until `stop`."""
        try:
            while not self._stopping:
                self._woken.clear()
                wait = await self._turn()
                if wait is None or self._stopping:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait if wait > 0 else None):
                        await self._woken.wait()
        except asyncio.CancelledError:
            # A handler that does not end is not waited for; what it did is kept if the fence still lets it.
            run, self._run = self._run, None
            self.keeper.held.discard(self.supervised.key)
            if run is not None:
                self._thread.post(run.close)
            raise
        finally:
            await self._leave()
            self._thread.end()
            if self.state not in ("failed", "halted", "stopped", "waiting"):
                self.state = "idle"

    async def _turn(self) -> float | None:
        """Do what there is to do; how long to wait afterwards: ``None`` not at all, 0 until woken."""
        control, loop = self.control, asyncio.get_running_loop()
        if control.request and not control.is_with_another(self.terms):
            await self._answer(control)
            return None
        if control.wanted == "stop":
            await self._leave()
            self.state, self.is_done = "stopped", True
            return 0
        if self._is_to_reload(control):
            self._reloaded_at = control.reload_at
            await self._leave()
            # Whoever has newer code may be first.
            return random.uniform(0, _SHORTEST_PAUSE)
        if self.head.horizon is None or not self.keeper.has_looked:
            return 0
        if control.version not in (0, self.supervised.plan.version) and await self._has_to_wait():
            await self._leave()
            self.state, self.is_done, self.halted = "waiting", True, None
            # What failed before somebody made the replay is no reason to be late when it is promoted.
            self._not_before = 0.0
            return 0
        if (left := self._not_before - loop.time()) > 0:
            return left
        if self._run is None and control.is_with_another(self.terms):
            return self._stand_by(control)
        if not self._has_work():
            return await self._rest()
        return await self._work()

    async def _has_to_wait(self) -> bool:
        """Whether what is of another version here is no mistake: a replay has ours, and there it is run."""
        if self.supervised.generation != LIVE:
            return True
        return self.is_awaited is not None and await self.is_awaited()

    def _has_work(self) -> bool:
        if self._waits:
            return not self.control.stands
        return (
            self.position is None
            or self.position < self.head.position
            or self.control.wanted_failures > 0
            or self.halted is not None
            or (self._run is None and self.supervised.plan.mode == "background")
        )

    def _stand_by(self, control: Control) -> float:
        """Another process has it: it is done when that one is; should it go away, the keeper's look says so."""
        self.state = "idle"
        self.position = None
        self.is_done = control.position >= self.head.position
        return 0

    async def _rest(self) -> float:
        """Nothing to do. On demand, lease and connection go back; then it is looked at again before it waits."""
        if self.supervised.plan.mode == "on_demand" and self._run is not None:
            await self._leave()
        if self.state in ("running", "catching_up"):
            self.state = "idle" if self._run is None else "running"
        self.is_done = not self._woken.is_set()
        return 0

    async def _work(self) -> float | None:
        self.is_done = False
        self.runs += 1
        try:
            outcome = await self._advance()
        except ProjectionBusyError as busy:
            await self._leave()
            await self._look()
            return min(busy.remaining.total_seconds() + 0.01, _LONGEST_PAUSE)
        except NotWanted:
            # It was asked for since the rows were read.
            await self._leave()
            await self._look()
            return _SHORTEST_PAUSE
        except StaleRunnerError as stale:
            LOGGER.warning("%s", stale)
            await self._leave()
            await self._look()
            self._wait_until(timedelta(0))
            return None
        except ProjectionChangedError as changed:
            if not await self._was_switched(changed):
                return await self._failed(changed)
            await self._leave()
            return None
        except Exception as failure:  # noqa: BLE001  shown, and begun again
            return await self._failed(failure)
        return self._took(outcome)

    async def _was_switched(self, changed: ProjectionChangedError) -> bool:
        """Whether it is of another version by a switch since the rows were read: no mistake, and looked at again."""
        if changed.fact != "version":
            return False
        await self._look()
        version = self.control.version
        return version == self.supervised.plan.version or (version != 0 and await self._has_to_wait())

    async def _advance(self) -> Outcome:
        if self._run is None:
            run = ProjectionRun(
                self.supervised,
                self.supervised.database or self.keeper.database,
                self.head.backend.reader,
                self.terms,
                lambda: self._breaks,
                self._declared,
                heeds=True,
            )
            self._run = run
            await self._thread.call(run.open)
            self.keeper.held.add(self.supervised.key)
        run, horizon = self._run, self.head.horizon or await self.head.refresh()
        self.state = self._named(run, horizon)
        retries = self.control.wanted_failures > 0
        outcome = await self._thread.call(lambda: run.advance(horizon, retries=retries))
        if retries:
            await self._look()
        return outcome

    def _named(self, run: ProjectionRun, horizon: Horizon) -> ProjectionState:
        behind = horizon.position - run.checkpoint.position
        return "catching_up" if behind > self.supervised.plan.page_events else "running"

    def _took(self, outcome: Outcome) -> float | None:
        loop = asyncio.get_running_loop()
        self._waits = isinstance(outcome, Waiting)
        match outcome:
            case CaughtUp(position):
                self.position, self.halted, self._pause = position, None, _SHORTEST_PAUSE
                self.state = "running"
                return None
            case Interrupted():
                self._breaks = self._stopping or self._has_orders(self.control)
                return None
            case Waiting(after, failure, event):
                halts = after is None or self.supervised.plan.on_failure == "halt"
                self.state = "halted" if halts else "failed"
                if halts and event is not None:
                    self.halted = ProjectionHaltedError(
                        self.supervised.plan.name,
                        position=event.position,
                        event_id=event.id,
                        reason=str(failure or "it failed before"),
                    )
                if after is None:
                    return 0
                self._not_before = loop.time() + after.total_seconds()
                return None

    async def _failed(self, failure: Exception) -> float | None:
        """Anything that is not an event's fault: show it, close everything, and begin again a little later."""
        hopeless = isinstance(failure, _HOPELESS)
        self.state = "failed"
        self.halted = failure if isinstance(failure, _HOPELESS) else None
        wait = timedelta(seconds=_LONGEST_PAUSE if hopeless else self._pause * random.uniform(0.8, 1.2))
        run = self._run
        if run is not None:
            await self._thread.call(lambda: run.report(failure, after=wait))
        await self._leave()
        self._wait_until(wait)
        return None

    def _wait_until(self, wait: timedelta) -> None:
        self._not_before = asyncio.get_running_loop().time() + wait.total_seconds()
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self.position = None

    async def _leave(self) -> None:
        """Give back lease and connection, in the thread that has them."""
        if self._run is not None:
            self._moved_before += self._run.moved
        run, self._run = self._run, None
        self.keeper.held.discard(self.supervised.key)
        if run is not None:
            await self._thread.call(run.close)

    async def _look(self) -> None:
        with contextlib.suppress(Exception):
            await self.keeper.look()

    # -- what people ask for --------------------------------------------------------------------------------------

    async def _answer(self, control: Control) -> None:
        await self._leave()
        options: dict[str, bool] = json.loads(control.options)
        is_delete = control.request == "delete"
        self.state = "stopping"

        def reset() -> None:
            _resetting.reset(
                self.supervised,
                self.keeper.database,
                self.terms,
                delete=is_delete,
                read_model=options.get("read_model", True),
                emitted=options.get("emitted", False),
                asked=control.request,
            )

        try:
            await self._thread.call(reset)
        except ProjectionBusyError:
            pass
        except Exception as failure:  # noqa: BLE001  a read model's own functions may raise anything
            LOGGER.error(
                "projection %r cannot be %s: %s",
                self.supervised.plan.name,
                "deleted" if is_delete else "reset",
                failure,
                exc_info=failure,
            )
            await asyncio.sleep(_SHORTEST_PAUSE)
        else:
            self.position, self.halted = None, None
            self._not_before, self._pause = 0.0, _SHORTEST_PAUSE
        await self._look()
