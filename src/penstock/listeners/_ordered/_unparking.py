"""Unparking: a person has asked for a key, and the owner handles what waits under it, in order, one after the other.

Between two parked events the key's turn is given back for a moment, so that newer events in the window join those that
wait instead of filling it. With the last one the key is open again.
"""

import asyncio
import functools
from datetime import timedelta

from penstock.clock import wait_set
from penstock.errors import ConfigurationError, TransientError, UndecodableEntryError
from penstock.listeners._handling import Route, failure_of
from penstock.listeners._ordered._settling import LaneSettling
from penstock.listeners._ordered._shared import LaneState
from penstock.listeners._ordered._window import Item, Window
from penstock.listeners._ordered._working import LaneWorking
from penstock.message import Message
from penstock.streams.abc import ListenerFailure, ParkedEvent, Settled
from penstock.telemetry import LOGGER

__all__ = ["LaneUnparking"]

_LOOK_EVERY = timedelta(seconds=1)
_PAGE = 1000


class LaneUnparking:
    """Works off parked events of one lane."""

    def __init__(
        self, state: LaneState, window: Window, settling: LaneSettling, working: LaneWorking
    ) -> None:
        self._state = state
        self._window = window
        self._settling = settling
        self._working = working
        self._running: dict[str, asyncio.Task[None]] = {}
        self._has_looked = False

    async def begin(self) -> None:
        """Learn which keys are parked; from now on only this lane parks."""
        state, shared = self._state, self._state.shared
        after: str | None = None
        while True:
            page = await shared.broker.lanes.parked_keys(
                state.stream, shared.group.name, after=after, count=_PAGE
            )
            state.parked.update(parked.key for parked in page)
            if len(page) < _PAGE:
                return
            after = page[-1].key

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being unparked, as far as we have looked."""
        return not self._running and self._has_looked

    async def run(self) -> None:
        """Look for keys to be unparked until the lane is quiet."""
        state = self._state
        try:
            async with asyncio.TaskGroup() as tasks:
                while not state.is_quiet:
                    await self._look(tasks)
                    await wait_set(self._state.quiet, self._state.shared.clock, at_most=_LOOK_EVERY)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        state, shared = self._state, self._state.shared
        if not state.parked:
            self._has_looked = True
            return
        try:
            keys = await shared.broker.lanes.unparking(state.stream, shared.group.name)
        except TransientError as failure:
            LOGGER.debug("group %r: looking for keys to unpark failed: %s", shared.group.name, failure)
            return
        for key in keys:
            if key not in self._running:
                task = self._running[key] = tasks.create_task(self._unpark(key))
                task.add_done_callback(functools.partial(self._ended, key))
        self._has_looked = True

    def _ended(self, key: str, _task: "asyncio.Task[None]") -> None:
        self._running.pop(key, None)

    # -- one key ------------------------------------------------------------------------------------------------

    async def _unpark(self, key: str) -> None:
        """Handle what waits under a key, until nothing is left, one has failed again, or the lane is quiet."""
        state, shared = self._state, self._state.shared
        turn = key if shared.settings.mode == "keyed" else ""
        state.parked.add(key)
        goes_on = True
        while goes_on and await self._seize(turn):
            try:
                async with shared.slots:
                    goes_on = await self._next(key)
            finally:
                self._window.free(turn)
                state.came.set()
                state.left.set()
            await asyncio.sleep(0)

    async def _seize(self, turn: str) -> bool:
        """Wait until nothing of a turn is being handled, and have it for ourselves; False when the lane is quiet."""
        state = self._state
        self._window.reserve(turn)
        while not state.is_quiet:
            if self._window.seize(turn):
                return True
            state.left.clear()
            await state.left.wait()
        self._window.forgo(turn)
        return False

    async def _next(self, key: str) -> bool:
        """Handle the first event of a key; whether there may be another."""
        state, shared = self._state, self._state.shared
        lane = state.lane
        event = await shared.insist("unparking", lambda: shared.broker.lanes.take_parked(lane, key))
        if event is None:
            if not await shared.broker.lanes.parked(state.stream, shared.group.name, key, count=1):
                state.parked.discard(key)
            return False
        failures: list[ListenerFailure] = []

        async def handle() -> None:
            failures.extend(await self._handle(key, event))

        await self._working.enter(handle)
        if failures:
            settled = await shared.insist(
                "parking again",
                lambda: shared.broker.lanes.fail_parked(lane, key, event.entry_id, failures),
            )
        else:
            settled = await shared.insist(
                "unparking", lambda: shared.broker.lanes.finish_parked(lane, key, event.entry_id)
            )
        shared.progressed()
        if settled is Settled.NOT_YOURS:
            shared.counts.lost += 1
            LOGGER.warning(
                "entry %s of stream %r, parked under %r, was handled and was not ours any more",
                event.entry_id,
                state.stream,
                key,
            )
            return True
        shared.counts.retried += 1
        return not failures

    async def _handle(self, key: str, event: ParkedEvent) -> list[ListenerFailure]:
        """Run the listeners that have failed, or all of them if the event only stood behind another."""
        state, shared = self._state, self._state.shared
        entry_id = bytes(event.entry_id)
        if event.fields is None:
            return []
        try:
            message = shared.layout.read(state.stream, entry_id, event.fields)
        except UndecodableEntryError as failure:
            return [failure_of("*", failure, None, cause="undecodable")]
        message.attempt, message.fence = event.attempts, state.lane.lease.fence
        routes = shared.handling.routes.of(message.name).routes
        wanted = [name for name in event.listeners if name != "*"]
        missing = [name for name in wanted if all(route.listener.name != name for route in routes)]
        if missing or not routes:
            error = ConfigurationError(
                f"group {shared.group.name!r} has no listener {missing[0] if missing else ''!r} for {message.name!r}"
            )
            failures = [failure_of(name, error, None) for name in missing or ["*"]]
            errors: list[BaseException] = [error] * len(failures)
        else:
            chosen = [route for route in routes if not wanted or route.listener.name in wanted]
            failures, errors = await self._call(message, chosen)
        if failures:
            item = Item(entry_id, event.fields, key, message)
            self._settling.log(item, failures, errors)
        return failures

    async def _call(
        self, message: Message, routes: list[Route]
    ) -> tuple[list[ListenerFailure], list[BaseException]]:
        outcomes = await self._working.call(message, routes)
        return (
            [failure_of(route.listener.name, error, None) for route, error in outcomes],
            [error for _, error in outcomes],
        )
