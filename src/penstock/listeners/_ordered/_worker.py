"""The worker of an ordered group: it holds lanes, keeps to its share of them, and runs each while its lease is ours."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Unpack

from penstock.clock import wait_set
from penstock.errors import (
    LaneBusyError,
    PenstockError,
    TransientError,
    UnknownStreamError,
)
from penstock.lifecycle import State
from penstock.listeners._after import After, AfterAcknowledged
from penstock.listeners._backoff import Backoff, unless_quiet
from penstock.listeners._gate import Gate
from penstock.listeners._ordered._checks import check_mode
from penstock.listeners._ordered._members import LanesOf, Members
from penstock.listeners._ordered._run import LaneRun
from penstock.listeners._ordered._share import in_own_order
from penstock.listeners._ordered._shared import Shared
from penstock.listeners._speeds import publish_speeds, tell_speeds
from penstock.listeners._works import WorkerOptions, Works
from penstock.listeners.groups import Group
from penstock.streams.abc import LeaseInfo, StreamBroker
from penstock.streams.leasing import HeldLease, take_lease
from penstock.telemetry import LOGGER

__all__ = ["OrderedWorker"]

_LOOK_EVERY = timedelta(seconds=1)
_LOOK_WHETHER_IDLE = timedelta(milliseconds=5)
_ASK_WHETHER_DONE = timedelta(milliseconds=200)
_END_WITHIN_SECONDS = 10.0


class OrderedWorker(Works):
    """Works one ordered group until stopped: ``await worker.run()``. May be run again afterwards.

    Args:
        find_streams: Asked at the start, and every `GroupSettings.refresh`, for further streams to work.
        lanes_of: Asked as often which lanes a stream has; left out, each stream is one.
        until_idle: End when everything there is has been handled, by whomever. What failed and waits for its next run
            is left pending, with all that has to wait for it.
        idle_exit: End when nothing has moved for so long.
        reconnect_attempts: How many tries in a row to reach the server are enough; left out, there is no end.
        after: Called with what was acknowledged as handled, in batches, beside the work.
    """

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        *,
        lanes_of: LanesOf | None = None,
        gate: Gate | None = None,
        after: AfterAcknowledged | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        check_mode(group)
        super().__init__(f"worker of group {group.name!r}", broker, group, **options)
        self._shared = Shared(
            broker,
            group,
            self._handling,
            gate or Gate(),
            self._clock,
            self._layout,
            self._observer,
            self.counts,
            self._reconnect_attempts,
            asyncio.Semaphore(group.settings.concurrency),
            After(after) if after is not None else None,
        )
        self._runs: dict[str, tuple[LaneRun, asyncio.Task[None]]] = {}
        self._free_since: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._members = Members(
            broker, group, self._clock, self._streams, self._find_streams, lanes_of, self._changed.set
        )
        self._failure: BaseException | None = None
        self._has_looked = False

    @property
    def consumer(self) -> str | None:
        """``None``: the consumers of an ordered group are its lanes, whoever has them."""
        return None

    @property
    def paused_by(self) -> BaseException | None:
        """Why nothing moves at the moment; ``None`` when all is well."""
        return self._shared.paused_by

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it reads, as far as others do not."""
        return tuple(self._members.lanes) or self._streams

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that it holds now."""
        return tuple(sorted(self._runs))

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`, or until what was asked for is done, then drain and give the lanes up.

        When cancelled, handlers are cancelled too, and the lanes are given up.

        Raises:
            LaneBusyError: Another member works a stream of the group, and the policy is to refuse.
            WorkerStopped: A listener failed and the group's policy is to halt.
            UnknownGroupError: The group was deleted and the policy is to halt.
            BrokerUnavailableError: The server was away for more tries than allowed.
            BrokerRefusedError: The server does not let us.
            IllegalTransitionError: It runs already.
        """
        await super().run()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended, or the drain timeout has passed."""
        super().stop()
        for run, _ in self._runs.values():
            run.stop()
        self._changed.set()

    async def _run(self) -> None:
        self._failure, self._has_looked = None, False
        self._shared.progressed()
        await self._open()
        after = self._shared.after
        works: list[Callable[[], Awaitable[None]]] = [
            self._members.keep_joined,
            self._members.keep_looking,
            self._watch,
            functools.partial(
                publish_speeds, self._handling.speeds, self._broker, self.group.name, self._clock
            ),
        ]
        if after is not None:
            works.append(functools.partial(after.run, self._shared))
        parts = [asyncio.create_task(self._guarded(work)) for work in works]
        try:
            await self._keep_lanes()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await self._end_lanes()
            await self._leave()
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """What fails ends the run."""
        try:
            await work()
        except Exception as failure:  # noqa: BLE001  raised again at the end
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        self._changed.set()

    async def _open(self) -> None:
        backoff = self._backoff("starting")
        while not self.life.is_quiet:
            try:
                await self._broker.open()
                await self._members.look()
            except TransientError as failure:
                await unless_quiet(self.life.wait_quiet(), backoff.wait(failure))
            else:
                return

    def _backoff(self, what: str) -> Backoff:
        return Backoff(
            f"{what} group {self.group.name!r}",
            self._clock,
            attempts=self._reconnect_attempts,
            observer=self._observer,
        )

    async def _leave(self) -> None:
        with contextlib.suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(_END_WITHIN_SECONDS):
                if self._shared.after is not None:
                    await self._shared.after.finish(self._shared)
                await tell_speeds(self._handling.speeds, self._broker, self.group.name)
                await self._members.leave()

    # -- lanes --------------------------------------------------------------------------------------------------

    async def _keep_lanes(self) -> None:
        """Ask for lanes, give back what is too much, until quiet or failed."""
        backoff = self._backoff("looking for lanes of")
        while not self.life.is_quiet and self._failure is None:
            self._changed.clear()
            try:
                await self._look()
            except TransientError as failure:
                self._shared.paused_by = failure
                await unless_quiet(self.life.wait_quiet(), backoff.wait(failure))
                continue
            if backoff.failures:
                self._shared.paused_by = None
            backoff.succeeded()
            self._has_looked = True
            if self.life.state is State.STARTING:
                self.life.move(State.READY)
            pause = min(_LOOK_EVERY, self.group.settings.lease_life / 3)
            await wait_set(self._changed, self._clock, at_most=pause)

    async def _look(self) -> None:
        lanes, share = self._members.all_lanes, self._members.share
        for lane, (run, _) in self._runs.items():
            if lane not in lanes:
                run.stop()
        held = [run for run, _ in self._runs.values() if not run.is_quiet]
        for run in held[share:]:
            LOGGER.info(
                "group %r: another member is due stream %r; giving it back", self.group.name, run.stream
            )
            run.stop()
            break  # one at a time: others may leave while it drains
        for lane in in_own_order(lanes, self._members.token):
            if lane in self._runs:
                continue
            if self.life.is_quiet or self._failure is not None:
                return
            if len(self._runs) < share or self._is_long_free(lane):
                await self._ask_for(lane)
            else:
                await self._note_free(lane)

    def _is_long_free(self, lane: str) -> bool:
        """Whether nobody who may take more lanes than we has taken this one for a whole life: then we do."""
        since = self._free_since.get(lane)
        life = self.group.settings.lease_life.total_seconds()
        return since is not None and self._clock.monotonic() - since > life

    async def _note_free(self, lane: str) -> None:
        if await self._broker.leases.look(self._lease_name, stream=lane) is not None:
            self._free_since.pop(lane, None)
        else:
            self._free_since.setdefault(lane, self._clock.monotonic())

    @property
    def _lease_name(self) -> str:
        return f"group:{self.group.name}"

    async def _ask_for(self, lane: str) -> None:
        settings = self.group.settings
        answer = await take_lease(
            self._broker.leases, self._lease_name, life=settings.lease_life, clock=self._clock, stream=lane
        )
        if isinstance(answer, LeaseInfo):
            self._free_since.pop(lane, None)
            if settings.busy == "refuse" and not self._has_looked:
                raise LaneBusyError(self.group.name, lane, answer.description)
            return
        self._free_since.pop(lane, None)
        self._start(lane, answer)

    def _start(self, lane: str, held: HeldLease) -> None:
        run = LaneRun(self._shared, lane, held)
        task = asyncio.create_task(self._see_to_its_end(run), name=f"group {self.group.name} on {lane}")
        self._runs[lane] = run, task

    async def _see_to_its_end(self, run: LaneRun) -> None:
        try:
            await run.run()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001  raised again at the end
            self._fail(failure)
        finally:
            del self._runs[run.stream]
            self._changed.set()

    async def _end_lanes(self) -> None:
        """Let every lane come to its end; when cancelled meanwhile, at once."""
        tasks = [task for _, task in self._runs.values()]
        for run, _ in self._runs.values():
            run.stop()
        task = asyncio.current_task()
        try:
            if tasks and task is not None and not task.cancelling():
                await asyncio.wait(tasks)
        finally:
            for each in tasks:
                each.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_END_WITHIN_SECONDS)

    # -- ending by itself ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Stop when it was asked to end by itself and the time has come."""
        if not self._until_idle and self._idle_exit is None:
            return
        while True:
            await asyncio.sleep(_LOOK_WHETHER_IDLE.total_seconds())
            if not self._has_looked or not all(run.is_at_rest for run, _ in self._runs.values()):
                continue
            idle = self._clock.monotonic() - self.counts.last_progress
            if self._idle_exit is not None and idle >= self._idle_exit.total_seconds():
                self.stop()
                return
            if self._until_idle:
                if await self._is_all_handled():
                    self.stop()
                    return
                await asyncio.sleep(_ASK_WHETHER_DONE.total_seconds())

    async def _is_all_handled(self) -> bool:
        """Whether the lanes that others have are through as well."""
        try:
            for lane in self._members.all_lanes:
                if lane not in self._runs and not await self._is_through(lane):
                    return False
        except TransientError:
            return False
        return True

    async def _is_through(self, lane: str) -> bool:
        try:
            groups = await self._broker.groups(lane)
        except UnknownStreamError:
            return True
        found = [each for each in groups if each.name == self.group.name]
        if not found:
            return not await self._broker.length(lane)
        return not (found[0].pending or found[0].lag_entries)
