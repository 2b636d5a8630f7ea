"""One lane from its lease to its end: parts started, drained in two beats, or cancelled when the lease is lost."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum

from penstock.errors import PenstockError, TransientError, UnknownGroupError
from penstock.listeners._backoff import Backoff, unless_quiet
from penstock.listeners._ordered._reading import LaneReading, lane_consumer
from penstock.listeners._ordered._settling import LaneSettling
from penstock.listeners._ordered._shared import LaneState, Shared
from penstock.listeners._ordered._unparking import LaneUnparking
from penstock.listeners._ordered._window import Window
from penstock.listeners._ordered._working import LaneWorking
from penstock.streams.abc import Lane
from penstock.streams.leasing import HeldLease
from penstock.telemetry import LOGGER

__all__ = ["Ended", "LaneRun"]

_SETTLE_AT_THE_END = 5.0


class Ended(Enum):
    """How a lane's run ended."""

    DRAINED = "drained"
    LOST = "lost"
    MISSING = "missing"
    """Its group, or its stream, was deleted underneath."""


class LaneRun:
    """One lane while this process holds its lease."""

    def __init__(self, shared: Shared, stream: str, held: HeldLease) -> None:
        self._shared = shared
        self._held = held
        consumer = lane_consumer(stream)
        settings = shared.settings
        self._state = LaneState(shared, Lane(stream, shared.group.name, consumer, held.lease))
        self._window = Window(most=settings.window, byte_budget=settings.byte_budget)
        self._settling = LaneSettling(self._state)
        self._reading = LaneReading(self._state, self._window, self._settling)
        self._working = LaneWorking(self._state, self._window, self._settling)
        self._unparking = LaneUnparking(self._state, self._window, self._settling, self._working)
        self._has_begun = False

    @property
    def stream(self) -> str:
        """The lane's stream."""
        return self._state.stream

    @property
    def is_quiet(self) -> bool:
        """Whether it takes nothing new any more."""
        return self._state.is_quiet

    @property
    def is_at_rest(self) -> bool:
        """Whether there is nothing to do now: all is handled, or waits for its next run."""
        window = self._window
        return (
            self._has_begun
            and not window.ready
            and not window.at_work
            and self._settling.is_idle
            and self._unparking.is_idle
            and self._reading.is_idle
        )

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended, or the drain timeout has passed."""
        self._state.stop()

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> Ended:
        """Work the lane until `stop`, or until the lease is lost. The lease is given up at the end.

        When cancelled, handlers are cancelled too.

        Raises:
            WorkerStopped: A listener failed and the group's policy is to halt.
            UnknownGroupError: The group was deleted and the policy is to halt.
            BrokerUnavailableError: The server was away for more tries than allowed.
            BrokerRefusedError: The server does not let us.
        """
        work = asyncio.create_task(self._work(), name=f"lane {self.stream}")
        losses = [asyncio.create_task(each.wait()) for each in (self._held.lost, self._state.lost)]
        try:
            await asyncio.wait({work, *losses}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for loss in losses:
                loss.cancel()
            is_lost = self._held.lost.is_set() or self._state.lost.is_set()
            await self._end(work, is_lost=is_lost)
        if is_lost:
            LOGGER.warning(
                "group %r: the lease of stream %r was lost; its handlers were cancelled, and nothing of them counts",
                self._shared.group.name,
                self.stream,
            )
            return Ended.LOST
        work.result()
        reason = self._state.stopped_by
        if isinstance(reason, UnknownGroupError) and self._shared.settings.on_missing != "halt":
            return Ended.MISSING
        if reason is not None:
            raise reason
        return Ended.DRAINED

    async def _end(self, work: "asyncio.Task[None]", *, is_lost: bool) -> None:
        """Cancel what still runs, give back what is not settled, and give the lease up."""
        self._state.stop()
        work.cancel()
        _, stuck = await asyncio.wait({work}, timeout=_SETTLE_AT_THE_END)
        if stuck:
            LOGGER.error(
                "group %r: handlers of stream %r refuse to be cancelled", self._shared.group.name, self.stream
            )
        elif not work.cancelled() and (failure := work.exception()) is not None:
            LOGGER.debug("stream %r: what failed while its lane ended: %s", self.stream, failure)
        self._working.cancel_waits()
        self._remember_place()
        with contextlib.suppress(TransientError):
            await asyncio.shield(self._give_up(is_lost=is_lost))

    async def _give_up(self, *, is_lost: bool) -> None:
        group = self._shared.group.name
        try:
            try:
                if not is_lost:
                    async with asyncio.timeout(_SETTLE_AT_THE_END):
                        await self._settle_at_the_end()
            finally:
                # Whatever went wrong: nobody must go on renewing it.
                async with asyncio.timeout(_SETTLE_AT_THE_END):
                    await self._held.release()
        except (PenstockError, TimeoutError) as failure:
            LOGGER.warning(
                "group %r: the lease of stream %r could not be given up and runs out by itself: %s",
                group,
                self.stream,
                "the server did not answer in time" if isinstance(failure, TimeoutError) else failure,
            )

    async def _settle_at_the_end(self) -> None:
        await self._settling.flush()
        if left := self._window.entry_ids():
            # So that the next owner knows that no process has died of them.
            shared = self._shared
            await shared.broker.release(self.stream, shared.group.name, self._state.lane.consumer, left)

    def _remember_place(self) -> None:
        """Up to where everything was settled, should the group be gone when the lane is ours again."""
        unsettled = [each for each in (self._window.lowest, self._settling.unsent) if each is not None]
        place = min(unsettled).previous() if unsettled else self._settling.settled_up_to
        if place is not None:
            self._shared.places[self.stream] = place

    # -- at work ------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        state, settings = self._state, self._shared.settings
        if not await self._begin():
            return
        concurrency = settings.concurrency if settings.mode == "keyed" else 1
        async with asyncio.TaskGroup() as tasks:

            def start(work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
                return tasks.create_task(self._guarded(work))

            settling, reading = start(self._settling.run), start(self._reading.run)
            handling = [start(self._working.run) for _ in range(concurrency)]
            handling.append(start(self._unparking.run))
            await state.quiet.wait()
            # First beat: nothing new. A waiting read is told; what it brings stays pending with the lane.
            self._working.cancel_waits()
            await self._shared.broker.interrupt(self._shared.group.name, state.lane.consumer)
            await asyncio.wait([reading], timeout=_SETTLE_AT_THE_END)
            # Second beat: what was begun comes to its end.
            await asyncio.wait(handling, timeout=settings.drain_timeout.total_seconds())
            for each in (settling, reading, *handling):
                each.cancel()

    async def _begin(self) -> bool:
        """Make ready, however long the server is away; False when stopped meanwhile."""
        shared = self._shared
        backoff = Backoff(
            f"starting on {self.stream} for {shared.group.name}",
            shared.clock,
            attempts=shared.reconnect_attempts,
            observer=shared.observer,
        )
        while not self._state.is_quiet:
            try:
                await self._reading.begin()
                await self._unparking.begin()
            except TransientError as failure:
                await unless_quiet(self._state.quiet.wait(), backoff.wait(failure))
            else:
                self._has_begun = True
                return True
        return False

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """What fails makes the lane quiet; the others come to their end."""
        try:
            await work()
        except Exception as failure:  # noqa: BLE001  raised again when the lane has ended
            self._state.stop(failure)
