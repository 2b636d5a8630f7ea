"""The worker: one consumer of one group, from taking its name to the last acknowledgement.

Its parts share a `Session` and each do one thing: `_intake` reads, `_lanes` handle, `_settling` records and
acknowledges, `_retrying` runs what is due again, `_upkeep` renews, claims and clears away.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Unpack

from penstock.errors import PenstockError, TransientError
from penstock.lifecycle import State
from penstock.listeners._after import After, AfterAcknowledged
from penstock.listeners._backoff import Backoff, unless_quiet
from penstock.listeners._gate import Gate
from penstock.listeners._hand import Hand
from penstock.listeners._intake import Intake
from penstock.listeners._lanes import Lanes
from penstock.listeners._names import HeldName, hold_name
from penstock.listeners._retrying import Retrying
from penstock.listeners._session import Session
from penstock.listeners._settling import Settling
from penstock.listeners._speeds import publish_speeds, tell_speeds
from penstock.listeners._upkeep import Upkeep
from penstock.listeners._works import WorkerOptions, Works
from penstock.listeners.groups import Group
from penstock.streams.abc import RawId, StreamBroker
from penstock.telemetry import LOGGER

__all__ = ["GroupWorker"]

_SETTLE_AT_THE_END = 5.0
_LOOK_WHETHER_IDLE = timedelta(milliseconds=5)


class GroupWorker(Works):
    """Works one consumer group until stopped: ``await worker.run()``. May be run again afterwards.

    Args:
        find_streams: Asked at the start, and every `GroupSettings.refresh`, for further streams to read.
        consumer: The consumer's name; left out, a stable one is found (host and slot).
        until_idle: End when everything there is has been handled: nothing new, nothing of our own pending, no retry
            due now. Retries that are due later are left to the next run.
        idle_exit: End when nothing has moved for so long.
        reclaim: Before anything else take over what others have left pending for so long.
        reconnect_attempts: How many tries in a row to reach the server are enough; left out, there is no end.
        after: Called with what was acknowledged as handled, in batches, beside the work.
    """

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        *,
        consumer: str | None = None,
        gate: Gate | None = None,
        reclaim: timedelta | None = None,
        after: AfterAcknowledged | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        super().__init__(f"worker of group {group.name!r}", broker, group, **options)
        self._wanted_consumer = consumer
        self._gate = gate or Gate()
        self._reclaim = reclaim
        self._after = After(after) if after is not None else None
        self._session: Session | None = None
        self._found: tuple[str, ...] = ()
        self._left: dict[str, set[RawId]] = {}
        """What was left pending on purpose: a further run takes it up when it has been idle for long enough."""

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
        return self._session.streams if self._session is not None else self._streams

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`, or until what was asked for is done, then drain.

        When cancelled, handlers are cancelled too, and what was in hand is given back.

        Raises:
            ConsumerBusyError: A living process works under the wanted consumer name.
            WorkerStopped: A listener failed and the group's policy is to halt.
            UnknownGroupError: The group was deleted and the policy is to halt.
            BrokerUnavailableError: The server was away for more tries than allowed.
            BrokerRefusedError: The server does not let us.
            IllegalTransitionError: It runs already.
        """
        await super().run()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended, or the drain timeout has passed."""
        if self._session is not None:
            self._session.stop()
        super().stop()

    async def _run(self) -> None:
        while (name := await self._start()) is not None:
            if not await self._run_under(name):
                return
            LOGGER.warning("group %r: the consumer name was lost; going on under another", self.group.name)

    async def _start(self) -> HeldName | None:
        """Make sure of the group and get a name, however long the server is away; ``None`` when stopped meanwhile."""
        backoff = Backoff(
            f"starting group {self.group.name!r}",
            self._clock,
            attempts=self._reconnect_attempts,
            observer=self._observer,
        )
        while not self.life.is_quiet:
            try:
                await self._broker.open()
                found = await self._find_streams() if self._find_streams is not None else ()
                self._found = tuple(each for each in found if each not in self._streams)
                for stream in (*self._streams, *self._found):
                    # An app does so when it opens, but it does not know what a pattern finds; some workers have none.
                    await self._broker.removal.register_groups(stream, [self.group.name])
                    await self._broker.create_group(stream, self.group.name, self.group.settings.start)
                return await hold_name(self._broker, self.group.name, self._wanted_consumer)
            except TransientError as failure:
                await unless_quiet(self.life.wait_quiet(), backoff.wait(failure))
        return None

    async def _run_under(self, name: HeldName) -> bool:
        """One session; whether another is wanted because the name was lost."""
        settling_first_done = _Later()
        session = self._session = Session(
            self._broker,
            self.group,
            self._streams,
            name.consumer,
            self._handling,
            Hand(settling_first_done, self._left),
            self._gate,
            self._clock,
            self._observer,
            self._reconnect_attempts,
            self.counts,
            after=self._after,
        )
        session.read_also(self._found)
        settling = Settling(session)
        settling_first_done.target = settling.on_first_done
        session.progressed()
        if self.life.is_quiet:
            session.stop()
        elif self.life.state is State.STARTING:
            self.life.move(State.READY)
        try:
            try:
                return await self._work(session, settling, name)
            finally:
                await self._leave_nothing(session, settling)
        finally:
            self._session = None
            with contextlib.suppress(TransientError):
                await asyncio.shield(name.free())

    async def _work(self, session: Session, settling: Settling, name: HeldName) -> bool:
        retrying = Retrying(session, self._layout)
        lanes = Lanes(session, settling, self._layout, retrying.work)
        intake = Intake(session, settling, lanes, reclaim=self._reclaim)
        upkeep = Upkeep(session, settling, intake, retrying)
        name_lost = False

        async def keep_name() -> None:
            nonlocal name_lost
            await self._keep_name(session, name)
            name_lost = True

        concurrency = session.settings.concurrency
        async with _tasks(
            session,
            settling.run(),
            publish_speeds(session.handling.speeds, session.broker, session.group.name, session.clock),
            *([session.after.run(session)] if session.after is not None else []),
            upkeep.renew(),
            keep_name(),
            *(intake.run_suspects() for _ in range(concurrency)),
            *(lanes.run() for _ in range(concurrency)),
        ) as essential:
            async with _tasks(
                session,
                intake.run(),
                retrying.run(lanes),
                upkeep.claim(),
                upkeep.bury(),
                upkeep.find(self._find_streams),
                self._watch(session, lanes, intake, retrying),
            ) as taking:
                await _quiet_or_failed(session, [*essential, *taking])
                # First beat: nothing new. A waiting read is told, so that what it brings can be given back.
                lanes.hurry()
                intake.hurry()
                await session.broker.interrupt(self.group.name, session.consumer)
                await asyncio.wait([taking[0]], timeout=_SETTLE_AT_THE_END)
            await self._drain(session, settling, lanes, intake)
        if session.stopped_by is not None:
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

    async def _watch(self, session: Session, lanes: Lanes, intake: Intake, retrying: Retrying) -> None:
        """End the session when it was asked to end by itself and the time has come."""
        if not self._until_idle and self._idle_exit is None:
            return
        while not session.is_quiet:
            done = (
                intake.caught_up.is_set()
                and not intake.has_suspects
                and lanes.is_idle
                and retrying.is_idle
                and not len(session.hand)
            )
            if done and self._until_idle:
                session.stop()
            idle = session.clock.monotonic() - session.counts.last_progress
            if done and self._idle_exit is not None and idle >= self._idle_exit.total_seconds():
                session.stop()
            await asyncio.sleep(_LOOK_WHETHER_IDLE.total_seconds())

    async def _drain(self, session: Session, settling: Settling, lanes: Lanes, intake: Intake) -> None:
        """Second beat: give back what was not begun, and let what was begun come to its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(session.settings.drain_timeout.total_seconds()):
                for stream, entry_ids in lanes.drain().items():
                    await settling.release(stream, entry_ids)
                while lanes.busy or intake.handling:  # noqa: ASYNC110  once at the end of a life, for a moment
                    await asyncio.sleep(_LOOK_WHETHER_IDLE.total_seconds())

    async def _leave_nothing(self, session: Session, settling: Settling) -> None:
        """Handlers have ended or were cancelled: settle what they did, and give back what they did not."""
        try:
            async with asyncio.timeout(_SETTLE_AT_THE_END):
                await settling.flush()
                for stream, entry_ids in session.hand.held().items():
                    LOGGER.warning(
                        "group %r: %d entries of stream %r were not handled to an end and are given back",
                        self.group.name,
                        len(entry_ids),
                        stream,
                    )
                    await settling.release(stream, entry_ids)
                if session.after is not None:
                    await session.after.finish(session)
                await tell_speeds(session.handling.speeds, session.broker, session.group.name)
        except (PenstockError, TimeoutError) as failure:
            LOGGER.warning(
                "group %r: what was in hand could not be settled and is taken over by others after %s: %s",
                self.group.name,
                session.settings.min_idle,
                "the server did not answer in time" if isinstance(failure, TimeoutError) else failure,
            )


class _Later:
    """A callback whose target is known a moment later."""

    target: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self.target is not None:
            self.target()


@contextlib.asynccontextmanager
async def _tasks(
    session: Session, *work: Coroutine[Any, Any, None]
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run *work* beside the block and cancel it at the block's end, waiting until it has ended.

    What failed by itself is what the session ends with.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            if task.done() and not task.cancelled() and (failure := task.exception()) is not None:
                session.stop(failure)
            task.cancel()
        _, stuck = await asyncio.wait(tasks, timeout=_SETTLE_AT_THE_END)
        if stuck:
            LOGGER.error("group %r: %d handlers refuse to be cancelled", session.group.name, len(stuck))


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
