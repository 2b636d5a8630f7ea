"""Seeing entries through: call the listeners, run failing ones again in their place, settle what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from penstock.errors import ConfigurationError, WorkerStopped
from penstock.listeners._handling import Kept, Route, failure_of
from penstock.listeners._ordered._settling import LaneSettling
from penstock.listeners._ordered._shared import LaneState
from penstock.listeners._ordered._tries import Again, Done, GivenUp, next_step
from penstock.listeners._ordered._window import Item, Window
from penstock.listeners._tried import Tried
from penstock.message import Message
from penstock.streams.abc import ListenerFailure

__all__ = ["LaneWorking"]

_SLICE_SECONDS = 0.01
"""How long handlers that never wait may go on without letting the event loop look at anything else."""


class LaneWorking:
    """Handles what is in the window of one lane."""

    def __init__(self, state: LaneState, window: Window, settling: LaneSettling) -> None:
        self._state = state
        self._window = window
        self._settling = settling
        self._wakers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Handle one entry after the other until the lane is quiet; as many such tasks run as may go side by side."""
        state, window = self._state, self._window
        slice_end = time.monotonic() + _SLICE_SECONDS
        while not state.is_quiet and not state.lost.is_set():
            item = window.start()
            if item is None:
                state.came.clear()
                await state.came.wait()
                continue
            await self._see_through(item)
            if time.monotonic() > slice_end:
                await asyncio.sleep(0)
                slice_end = time.monotonic() + _SLICE_SECONDS

    def cancel_waits(self) -> None:
        """Events that wait for their next run are left pending."""
        for waker in self._wakers:
            waker.cancel()

    # -- one entry ----------------------------------------------------------------------------------------------

    async def _see_through(self, item: Item) -> None:
        if item.fields is None:
            await self._settling.vanished(item)
        elif item.undecodable is not None:
            await self._settling.undecodable(item, item.undecodable)
        elif item.key in self._state.parked and await self._settling.join(item):
            pass
        else:
            assert item.message is not None
            await self._handle_in_turn(item, item.message)
            return
        self._leave(item)

    async def _handle_in_turn(self, item: Item, message: Message) -> None:
        shared = self._state.shared
        tried = shared.group.tried.get((self._state.stream, item.entry_id), Tried())
        wait = tried.due - shared.clock.monotonic()
        if wait > 0:
            self._wait(item, timedelta(seconds=wait))
        elif item.is_suspect:
            await self._handle_alone(item, message, tried)
        else:
            async with shared.slots:
                await self.enter(lambda: self._handle(item, message, tried))

    async def enter(self, handle: Callable[[], Awaitable[None]]) -> None:
        """Run handlers when nobody in this process has to be alone."""
        gate = self._state.shared.gate
        while gate.is_closed:
            await gate.wait_open()
        gate.inside += 1
        try:
            await handle()
        finally:
            gate.inside -= 1
            if gate.is_closed:
                gate.left()

    async def _handle_alone(self, item: Item, message: Message, tried: Tried) -> None:
        state, shared = self._state, self._state.shared
        async with shared.gate.alone(lambda: None) as is_alone:
            if state.is_quiet:
                self._window.free(item.turn)
                return
            if is_alone:
                count = await shared.insist(
                    "counting a delivery",
                    lambda: shared.broker.lanes.begin_alone(state.lane, item.entry_id),
                )
                if count is None:
                    state.lost.set()
                    return
                if count > shared.settings.max_deliveries:
                    await self._condemn(item, count - 1)
                    return
            item.is_suspect = False
            await self._handle(item, message, tried)
            if not item.is_settled and item.entry_id in self._window:
                # Its handlers came to an end, so it is not what a process may die of.
                await shared.insist(
                    "clearing a suspect",
                    lambda: shared.broker.release(
                        state.stream, shared.group.name, state.lane.consumer, [item.entry_id]
                    ),
                )

    async def _handle(self, item: Item, message: Message, tried: Tried) -> None:
        shared, where = self._state.shared, (self._state.stream, item.entry_id)
        found = shared.handling.routes.of(message.name)
        if not found.routes:
            await self._unhandled(item, message)
            return
        message.attempt = tried.attempts + 1
        if tried.attempts:
            shared.counts.retried += 1
        if (direct := found.direct) is not None:
            failure = await shared.handling.handle_direct(message, direct)
            outcomes = [(direct, failure)] if failure is not None else []
        else:
            outcomes = await self.call(message, _left_to_run(found.routes, tried), item)
        match next_step(outcomes, tried) if outcomes or tried.given_up else Done():
            case Done():
                if not item.is_settled:
                    self._settling.handled(item.entry_id)
                self._leave(item)
            case Again(next_tried, after, failures, errors):
                due = shared.clock.monotonic() + after.total_seconds()
                shared.group.tried[where] = replace(next_tried, due=due)
                self._settling.log(item, failures, errors)
                self._wait(item, after)
            case GivenUp(failures, errors):
                await self._give_up(item, failures, errors)

    async def call(
        self, message: Message, routes: Sequence[Route], item: Item | None = None
    ) -> list[tuple[Route, BaseException]]:
        """Run listeners over one message, each whatever became of the others; those that raised."""
        outcomes: list[tuple[Route, BaseException]] = []

        async def acknowledge(_: Message) -> bool:
            return True if item is None else await self._settling.acknowledge_now(item)

        for route in routes:
            outcome = await self._state.shared.handling.handle_one(message, route, acknowledge)
            if outcome is not None and not isinstance(outcome, Kept):
                outcomes.append((route, outcome))
        return outcomes

    async def _unhandled(self, item: Item, message: Message) -> None:
        shared = self._state.shared
        shared.counts.unhandled += 1
        if shared.observer is not None:
            shared.observer.unhandled(shared.group.name, message.stream, message.name)
        if shared.settings.unhandled == "acknowledge":
            self._settling.handled(item.entry_id)
            self._leave(item)
            return
        error = ConfigurationError(f"group {shared.group.name!r} has no listener for {message.name!r}")
        await self._give_up(item, (failure_of("*", error, None, cause="unhandled"),), (error,))

    # -- what comes of it ---------------------------------------------------------------------------------------

    async def _give_up(
        self, item: Item, failures: Sequence[ListenerFailure], errors: Sequence[BaseException]
    ) -> None:
        """The event has failed for good: what the group's policy says."""
        state, shared = self._state, self._state.shared
        if item.is_settled:
            self._settling.log(item, failures, errors)
        elif shared.settings.on_failure == "halt":
            self._settling.log(item, failures, errors)
            self._window.hold(item.turn)
            state.stop(WorkerStopped(shared.group.name, state.stream, item.entry_id.decode()))
            return
        elif shared.settings.on_failure == "park":
            await self._settling.park(item, failures, errors)
        else:
            await self._settling.record(item, failures, errors)
        self._leave(item)

    async def _condemn(self, item: Item, deliveries: int) -> None:
        """What processes die of is put aside, in a group that halts too: nobody could go on otherwise."""
        text = (
            f"handled alone {deliveries} times and never to an end: the process died, or was killed, "
            "while nothing else ran in it"
        )
        failure = ListenerFailure("*", "poison", "penstock.Poison", text, "", None)
        if self._state.shared.settings.on_failure == "park":
            await self._settling.park(item, [failure], [])
        else:
            await self._settling.record(item, [failure])
        self._leave(item)

    def _leave(self, item: Item) -> None:
        state = self._state
        state.shared.group.tried.pop((state.stream, item.entry_id), None)
        self._window.settle(item)
        state.left.set()
        if self._window.ready:
            state.came.set()

    def _wait(self, item: Item, duration: timedelta) -> None:
        """Let the entry's turn rest for a while."""
        self._window.hold(item.turn)
        self._state.left.set()
        waker = asyncio.create_task(self._wake(item.turn, duration))
        self._wakers.add(waker)
        waker.add_done_callback(self._wakers.discard)

    async def _wake(self, turn: str, duration: timedelta) -> None:
        await self._state.shared.clock.sleep(duration)
        self._window.wake(turn)
        self._state.came.set()


def _left_to_run(routes: Sequence[Route], tried: Tried) -> Sequence[Route]:
    if tried.listeners is None:
        return routes
    return [route for route in routes if route.listener.name in tried.listeners]
