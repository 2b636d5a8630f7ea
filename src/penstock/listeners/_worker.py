"""The worker: one consumer of one group, from taking its name to the last acknowledgement.

Its parts share a `Session` and each do one thing: `_intake` reads, `_lanes` handle, `_settling` records and
acknowledges, `_retrying` runs what is due again, `_upkeep` renews, claims and clears away.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError, TransientError
from penstock.lifecycle import Lifecycle, State
from penstock.listeners._backoff import Backoff
from penstock.listeners._gate import Gate
from penstock.listeners._hand import Hand
from penstock.listeners._handling import Handling
from penstock.listeners._intake import Intake
from penstock.listeners._lanes import Lanes
from penstock.listeners._names import HeldName, hold_name
from penstock.listeners._retrying import Retrying
from penstock.listeners._session import Counts, Session
from penstock.listeners._settling import Settling
from penstock.listeners._upkeep import Upkeep
from penstock.listeners.calls import Dependencies
from penstock.listeners.groups import Group, Middleware
from penstock.streams.abc import RetryClaim, StreamBroker
from penstock.streams.layouts import NATIVE, Layout
from penstock.telemetry import LOGGER, Observer

__all__ = ["GroupWorker"]

_SETTLE_AT_THE_END = 5.0
_LOOK_WHETHER_IDLE = timedelta(milliseconds=5)


class GroupWorker:
    """Works one consumer group until stopped: ``await worker.run()``. May be run again afterwards.

    Args:
        consumer: The consumer's name; left out, a stable one is found (host and slot).
        until_idle: End when everything there is has been handled: nothing new, nothing of our own pending, no retry
            due now. Retries that are due later are left to the next run.
        idle_exit: End when nothing has moved for so long.
        reclaim: Before anything else take over what others have left pending for so long.
        reconnect_attempts: How many tries in a row to reach the server are enough; left out, there is no end.
    """

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        *,
        dependencies: Dependencies | None = None,
        streams: Sequence[str] | None = None,
        middleware: Sequence[Middleware] = (),
        consumer: str | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
        gate: Gate | None = None,
        layout: Layout = NATIVE,
        until_idle: bool = False,
        idle_exit: timedelta | None = None,
        reclaim: timedelta | None = None,
        reconnect_attempts: int | None = None,
    ) -> None:
        self.group = group
        self.life = Lifecycle(f"worker of group {group.name!r}")
        self.counts = Counts()
        self._broker = broker
        self._streams = tuple(streams) if streams is not None else group.streams
        if not self._streams:
            raise ConfigurationError(
                f"group {group.name!r} has no streams; give it listeners or streams=[...]"
            )
        self._executor = ThreadPoolExecutor(
            group.settings.concurrency, thread_name_prefix=f"penstock-{group.name}"
        )
        self._handling = Handling(
            group, dependencies or Dependencies(), middleware=middleware, executor=self._executor
        )
        self._wanted_consumer = consumer
        self._clock = clock or SystemClock()
        self._observer = observer
        self._gate = gate or Gate()
        self._layout = layout
        self._until_idle = until_idle
        self._idle_exit = idle_exit
        self._reclaim = reclaim
        self._reconnect_attempts = reconnect_attempts
        self._session: Session | None = None

    @property
    def consumer(self) -> str | None:
        """The consumer's name while running."""
        return self._session.consumer if self._session is not None else None

    @property
    def paused_by(self) -> BaseException | None:
        """Why nothing moves at the moment; ``None`` when all is well."""
        return self._session.paused_by if self._session is not None else None

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it reads."""
        return self._streams

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`, or until what was asked for is done, then drain.

        Raises:
            ConsumerBusyError: A living process works under the wanted consumer name.
            WorkerStopped: A listener failed and the group's policy is to halt.
            UnknownGroupError: The group was deleted and the policy is to halt.
            BrokerUnavailableError: The server was away for more tries than allowed.
            BrokerRefusedError: The server does not let us.
        """
        self.life.move(State.STARTING)
        try:
            await self._insist_on_group()
            while await self._run_under_a_name():
                LOGGER.warning(
                    "group %r: the consumer name was lost; going on under another", self.group.name
                )
        except BaseException:
            self.life.move(State.FAILED)
            raise
        self.life.move(State.STOPPED)

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended, or the drain timeout has passed."""
        if self._session is not None:
            self._session.stop()
        if not self.life.is_quiet:
            self.life.move(State.QUIET)

    async def _insist_on_group(self) -> None:
        backoff = Backoff(
            f"starting group {self.group.name!r}",
            self._clock,
            attempts=self._reconnect_attempts,
            observer=self._observer,
        )
        while not self.life.is_quiet:
            try:
                await self._broker.open()
                for stream in self._streams:
                    await self._broker.create_group(stream, self.group.name, self.group.settings.start)
            except TransientError as failure:
                await backoff.wait(failure)
            else:
                backoff.succeeded()
                return

    async def _run_under_a_name(self) -> bool:
        """One session; whether another is wanted because the name was lost."""
        if self.life.is_quiet:
            return False
        name = await hold_name(self._broker, self.group.name, self._wanted_consumer)
        settling_first_done = _Later()
        session = self._session = Session(
            self._broker,
            self.group,
            self._streams,
            name.consumer,
            self._handling,
            Hand(settling_first_done),
            self._gate,
            self._clock,
            self._observer,
            self._reconnect_attempts,
            self.counts,
        )
        settling = Settling(session)
        settling_first_done.target = settling.on_first_done
        session.progressed()
        if self.life.state is State.STARTING:
            self.life.move(State.READY)
        try:
            return await self._work(session, settling, name)
        finally:
            self._session = None
            with contextlib.suppress(TransientError):
                await asyncio.shield(name.free())

    async def _work(self, session: Session, settling: Settling, name: HeldName) -> bool:
        retrying = Retrying(session, self._layout)
        lanes = Lanes(session, settling, self._layout, retrying.work)
        intake = Intake(session, settling, lanes)
        upkeep = Upkeep(session, settling, intake, lanes, retrying)
        name_lost = False

        async def keep_name() -> None:
            nonlocal name_lost
            await self._keep_name(session, name)
            name_lost = True

        if self._reclaim is not None:
            await self._claim_first(session, upkeep, self._reclaim)
        async with _tasks(
            settling.run(),
            upkeep.renew(),
            keep_name(),
            *(lanes.run() for _ in range(session.settings.concurrency)),
        ) as essential:
            async with _tasks(
                intake.run(),
                intake.run_suspects(),
                retrying.run(lanes),
                upkeep.claim(),
                upkeep.bury(),
                self._watch(session, lanes, intake, retrying),
            ) as taking:
                await _quiet_or_failed(session, [*essential, *taking])
                # First beat: nothing new. A waiting read is told, so that what it brings can be given back.
                await session.broker.interrupt(self.group.name, session.consumer)
                await _let_end(taking[0], _SETTLE_AT_THE_END)
            await self._drain(session, settling, lanes, retrying)
        if session.stopped_by is not None and not name_lost:
            raise session.stopped_by
        return name_lost

    async def _keep_name(self, session: Session, name: HeldName) -> None:
        while True:
            try:
                await name.keep(self._clock)
            except TransientError as failure:
                LOGGER.debug("group %r: renewing the consumer name failed: %s", self.group.name, failure)
            else:
                session.stop()
                return

    async def _claim_first(self, session: Session, upkeep: Upkeep, min_idle: timedelta) -> None:
        for stream in session.streams:
            moved = 1
            while moved:
                moved = await upkeep.take_over(stream, min_idle)

    async def _watch(self, session: Session, lanes: Lanes, intake: Intake, retrying: Retrying) -> None:
        """End the session when it was asked to end by itself and the time has come."""
        if not self._until_idle and self._idle_exit is None:
            return
        while not session.is_quiet:
            done = (
                intake.caught_up.is_set()
                and not intake.suspects
                and lanes.is_idle
                and not retrying.count
                and retrying.nothing_due.is_set()
                and not len(session.hand)
            )
            if done and self._until_idle:
                session.stop()
            idle = session.clock.monotonic() - session.counts.last_progress
            if done and self._idle_exit is not None and idle >= self._idle_exit.total_seconds():
                session.stop()
            await asyncio.sleep(_LOOK_WHETHER_IDLE.total_seconds())

    async def _drain(self, session: Session, settling: Settling, lanes: Lanes, retrying: Retrying) -> None:
        """Second beat: give back what was not begun, let what was begun end, settle it, give back the rest."""
        for work in lanes.drain():
            if isinstance(work, RetryClaim):
                await _try(retrying.give_back(work))
            else:
                await _try(settling.release(work[0], [work[1][0]]))
        deadline = asyncio.get_running_loop().time() + session.settings.drain_timeout.total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while lanes.busy:  # noqa: ASYNC110  once at the end of a life, for a moment
                    await asyncio.sleep(_LOOK_WHETHER_IDLE.total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_AT_THE_END):
                await settling.flush()
                for stream, entry_ids in session.hand.held().items():
                    LOGGER.warning(
                        "group %r: %d entries of stream %r did not end within the drain timeout and were given back",
                        self.group.name,
                        len(entry_ids),
                        stream,
                    )
                    await settling.release(stream, entry_ids)


class _Later:
    """A callback whose target is known a moment later."""

    target: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self.target is not None:
            self.target()


@contextlib.asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run *work* beside the block and cancel it at the block's end, waiting until it has ended."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _quiet_or_failed(session: Session, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until the session is quiet; a task that fails makes it so, and its error is what the run ends with."""
    quiet = asyncio.create_task(session.quiet.wait())
    try:
        waiting = {quiet, *tasks}
        while not quiet.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {quiet}:
                if not task.cancelled() and (failure := task.exception()) is not None:
                    session.stop(failure)
    finally:
        quiet.cancel()


async def _let_end(task: asyncio.Task[None], seconds: float) -> None:
    await asyncio.wait([task], timeout=seconds)


async def _try(action: Coroutine[Any, Any, None]) -> None:
    """At the end, what cannot be given back is claimed by others in time: no reason to fail."""
    with contextlib.suppress(TransientError):
        await action
