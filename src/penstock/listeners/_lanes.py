"""Lanes: as many tasks as the group's concurrency, each taking the next piece of work and seeing it through.

A handler that never waits costs no task switch: the lane that took it goes straight on to the next entry.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from penstock.errors import ConfigurationError, UndecodableEntryError
from penstock.listeners._handling import (
    HANDLED,
    Failed,
    Kept,
    Route,
    RouteSet,
    Verdict,
    failure_of,
)
from penstock.listeners._session import Session
from penstock.listeners._settling import Settling
from penstock.message import Message
from penstock.streams.abc import DueRetry, RawEntry, RawId
from penstock.streams.layouts import EntryReader

__all__ = ["Lanes", "Work"]

Work: TypeAlias = tuple[str, RawEntry] | DueRetry
"""An entry of a stream, or a retry that is due and is claimed when a lane comes to it."""

_SLICE_SECONDS = 0.01
"""How long a lane may go on without letting the event loop look at anything else."""


class Lanes:
    """Works off a buffer of entries and retries."""

    def __init__(
        self,
        session: Session,
        settling: Settling,
        layout: EntryReader,
        retry: Callable[[DueRetry], Awaitable[None]],
    ) -> None:
        self._session = session
        self._settling = settling
        self._layout = layout
        self._retry = retry
        self._buffer: deque[Work] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._wakings = 0
        self.busy = 0
        """Lanes that are handling something now."""
        self._hungry = asyncio.Event()
        self._hungry.set()
        self._changed = asyncio.Event()

    # -- the buffer ---------------------------------------------------------------------------------------------

    def put(self, stream: str, entries: list[RawEntry]) -> None:
        """Entries to be handled, taken in hand already."""
        if entries:
            self._buffer.extend([(stream, entry) for entry in entries])
            self._arrived()

    def put_retry(self, due: DueRetry) -> None:
        """A due retry to be claimed and run."""
        self._buffer.append(due)
        self._arrived()

    def _arrived(self) -> None:
        self._hungry.clear()
        self._changed.set()
        self._wake_one()

    async def wait_hungry(self, left: int = 0) -> None:
        """Wait until no more than *left* entries are in the buffer; with 0, a lane is free for more."""
        if len(self._buffer) > left or left == 0:
            await self._hungry.wait()

    @property
    def free(self) -> int:
        """Lanes without work, less the work that waits."""
        return max(0, self._session.settings.concurrency - self.busy - len(self._buffer))

    def drain(self) -> dict[str, list[RawId]]:
        """Take out what no lane has begun; the entries of it, by stream."""
        left: dict[str, list[RawId]] = {}
        for work in self._buffer:
            if not isinstance(work, DueRetry):
                left.setdefault(work[0], []).append(work[1][0])
        self._buffer.clear()
        return left

    def forget(self, stream: str) -> None:
        """Drop what no lane has begun of a stream whose group was made again: it is delivered once more."""
        left = [work for work in self._buffer if isinstance(work, DueRetry) or work[0] != stream]
        self._buffer.clear()
        self._buffer.extend(left)

    def hurry(self) -> None:
        """The session is quiet: batches do not wait for more, and nobody waits for a free lane."""
        self._changed.set()
        self._hungry.set()

    @property
    def is_idle(self) -> bool:
        """Nothing is being handled and nothing waits."""
        return self.busy == 0 and not self._buffer

    # -- the lanes ----------------------------------------------------------------------------------------------

    def _wake_one(self) -> None:
        # One at a time: the woken lane wakes the next if there is still work. A lane that takes everything without
        # ever waiting then costs the others one wake-up, not one each.
        if self._wakings == 0:
            while self._idle:
                waiter = self._idle.pop()
                if not waiter.done():
                    self._wakings = 1
                    waiter.set_result(None)
                    return

    async def run(self) -> None:
        """One lane. Ends when cancelled, or with its work once the session is quiet."""
        loop, buffer, gate = asyncio.get_running_loop(), self._buffer, self._session.gate
        is_quiet, now = self._session.quiet.is_set, time.monotonic
        while True:
            slice_end = now() + _SLICE_SECONDS
            while buffer and not is_quiet():
                if gate.is_closed:
                    await gate.wait_open()
                    continue
                work = buffer.popleft()
                if buffer and self._idle:
                    self._wake_one()
                gate.inside += 1
                self.busy += 1
                try:
                    if isinstance(work, DueRetry):
                        await self._retry(work)
                    else:
                        await self.handle(work[0], work[1])
                finally:
                    self.busy -= 1
                    gate.inside -= 1
                    if gate.is_closed:
                        gate.left()
                if now() > slice_end:
                    await asyncio.sleep(0)
                    slice_end = now() + _SLICE_SECONDS
            self._hungry.set()
            if is_quiet():
                return  # also one whose handler would not be cancelled
            waiter = loop.create_future()
            self._idle.append(waiter)
            try:
                await waiter
            finally:
                self._wakings = 0
            if buffer:
                self._wake_one()

    async def handle(self, stream: str, entry: RawEntry, *, alone: bool = False) -> None:
        """See one entry through: decode, call, settle. *alone*: it is suspicious, and settling it ends that."""
        session, settling = self._session, self._settling
        try:
            message = self._layout.read(stream, entry[0], entry[1])
        except UndecodableEntryError as failure:
            await settling.undecodable(stream, entry, failure)
            return
        found = session.handling.routes.of(message.name)
        if not found.routes:
            await settling.settle(stream, entry, self._unhandled(message), name=message.name, alone=alone)
            return
        if found.batches:
            await self._handle_together(stream, entry, message, found, alone=alone)
            return
        if (direct := found.direct) is not None:
            raised = await session.handling.handle_direct(message, direct)
            if raised is not None:
                verdict = session.handling.judge([(direct, raised)], message.attempt)
            elif alone:
                verdict = HANDLED
            else:
                session.hand.finish(stream, entry[0])
                return
        else:
            verdict = await session.handling.handle(message, found.routes, self._acknowledging(alone))
        await settling.settle(stream, entry, verdict, name=message.name, alone=alone)

    def _acknowledging(self, alone: bool) -> Callable[[Message], Awaitable[bool]]:
        settling = self._settling
        return lambda message: settling.acknowledge_now(message.stream, message.raw_entry_id, alone=alone)

    def _unhandled(self, message: Message) -> Verdict:
        session = self._session
        session.counts.unhandled += 1
        if session.observer is not None:
            session.observer.unhandled(session.group.name, message.stream, message.name)
        return unhandled_verdict(session.settings.unhandled, session.group.name, message.name)

    # -- batches ------------------------------------------------------------------------------------------------

    async def _handle_together(
        self, stream: str, entry: RawEntry, message: Message, found: RouteSet, *, alone: bool
    ) -> None:
        session, routes = self._session, found.routes
        entries, messages = [entry], [message]
        if not alone:
            size = min(route.listener.batch for route in routes if route.listener.batch)
            wait = max(route.listener.wait for route in routes)
            for more in await self._gather(stream, found.batch_of, size - 1, wait.total_seconds()):
                entries.append(more[0])
                messages.append(more[1])
        errors: list[list[tuple[Route, BaseException | Kept]]] = [[] for _ in messages]
        acknowledge = self._acknowledging(alone)
        for route in routes:
            if route.listener.batch:
                outcomes = await session.handling.handle_batch(messages, route, acknowledge)
            else:
                outcomes = [await session.handling.handle_one(each, route, acknowledge) for each in messages]
            for number, outcome in enumerate(outcomes):
                if outcome is not None:
                    errors[number].append((route, outcome))
        for number, each in enumerate(entries):
            verdict = session.handling.judge(errors[number], messages[number].attempt)
            await self._settling.settle(stream, each, verdict, name=messages[number].name, alone=alone)

    async def _gather(
        self, stream: str, batch_of: object, most: int, wait: float
    ) -> list[tuple[RawEntry, Message]]:
        """More entries of the same stream that may share the batch, waiting a while for them to come."""
        found = self._pick(stream, batch_of, most)
        deadline = asyncio.get_running_loop().time() + wait
        while len(found) < most and wait > 0 and not self._session.is_quiet:
            self._changed.clear()
            if not self._buffer:
                self._hungry.set()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
            found += self._pick(stream, batch_of, most - len(found))
        return found

    def _pick(self, stream: str, batch_of: object, most: int) -> list[tuple[RawEntry, Message]]:
        found: list[tuple[RawEntry, Message]] = []
        others: deque[Work] = deque()
        while self._buffer and len(found) < most:
            work = self._buffer.popleft()
            if not isinstance(work, DueRetry) and work[0] == stream:
                try:
                    message = self._layout.read(stream, work[1][0], work[1][1])
                except UndecodableEntryError:
                    message = None
                if (
                    message is not None
                    and self._session.handling.routes.of(message.name).batch_of == batch_of
                ):
                    found.append((work[1], message))
                    continue
            others.append(work)
        others.extend(self._buffer)
        self._buffer.clear()
        self._buffer.extend(others)
        return found


def unhandled_verdict(policy: str, group: str, name: str) -> Verdict:
    """What becomes of an event that no listener of the group handles."""
    if policy == "acknowledge":
        return HANDLED
    if policy == "leave_pending":
        return Kept(release=False)
    error = ConfigurationError(f"group {group!r} has no listener for {name!r}")
    return Failed((failure_of("*", error, None, cause="unhandled"),), (error,))
