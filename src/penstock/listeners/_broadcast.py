"""Listening without a group: every process sees every event, from its own place on.

There is no pending list and nobody to retry for, so a failing listener is logged and told to the observer, and reading
goes on. With a cursor the place survives a restart.
"""

import asyncio
import contextlib
from collections import deque
from datetime import timedelta
from typing import Unpack

from penstock.errors import TransientError, UndecodableEntryError
from penstock.lifecycle import State
from penstock.listeners._backoff import Backoff, unless_quiet
from penstock.listeners._handling import Failed, Kept, Route, failure_of
from penstock.listeners._settling import log_failure
from penstock.listeners._works import WorkerOptions, Works
from penstock.listeners.groups import Group
from penstock.message import Message
from penstock.position import BEGINNING, NEW, Start
from penstock.streams.abc import RawId, StreamBroker
from penstock.streams.following import FollowingReader, LanesOf

__all__ = ["BroadcastWorker"]

_BLOCK = timedelta(seconds=1)


class BroadcastWorker(Works):
    """Runs listeners over every event of their streams. The options are those of `GroupWorker`."""

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        *,
        lanes_of: LanesOf | None = None,
        start: Start = NEW,
        cursor: str | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        super().__init__("broadcast listeners", broker, group, **options)
        self.paused_by: BaseException | None = None
        self.consumer: str | None = None
        self._look_again = 0.0
        self._reader = FollowingReader(
            broker,
            self._streams,
            lanes_of=lanes_of or _each_is_one,
            start=start,
            cursor=cursor,
            layout=self._layout,
            on_undecodable=self._tell_undecodable,
        )
        self._left: deque[Message] = deque()
        """What was read and not handled yet; a stop leaves it to the next run."""
        self._done: dict[str, RawId] = {}
        """The last message handled of each stream."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it reads."""
        return self._streams

    async def run(self) -> None:
        """Read and handle, in order, until `stop`, which lets the present message end. Raises as `GroupWorker.run`."""
        await super().run()

    async def _run(self) -> None:
        backoff = Backoff(
            "listening", self._clock, attempts=self._reconnect_attempts, observer=self._observer
        )
        self.counts.last_progress = self._clock.monotonic()
        while not self.life.is_quiet:
            try:
                await self._broker.open()
                await self._find()
                await self._reader.prepare()
                if self.life.state is State.STARTING:
                    self.life.move(State.READY)
                if not self._left:
                    self._left.extend(await self._read())
            except TransientError as failure:
                self.paused_by = failure
                await unless_quiet(self.life.wait_quiet(), backoff.wait(failure))
                continue
            self.paused_by = None
            backoff.succeeded()
            if not self._left and self._is_over():
                break
            while self._left and not self.life.is_quiet:
                message = self._left[0]
                await self._handle(message)
                self._left.popleft()
                self._done[message.stream] = message.raw_entry_id
        with contextlib.suppress(TransientError):
            await self._reader.save(self._done)

    async def _find(self) -> None:
        """Read streams that have come to match a pattern: at the start as asked for, later from their beginning."""
        now = self._clock.monotonic()
        if self._find_streams is None or now < self._look_again:
            return
        is_first = self._look_again == 0.0
        self._look_again = now + self.group.settings.refresh.total_seconds()
        for stream in await self._find_streams():
            if stream not in self._streams:
                self._streams = (*self._streams, stream)
                self._reader.add(stream, None if is_first else BEGINNING)

    async def _read(self) -> list[Message]:
        if self._until_idle:
            return await self._reader.read()
        read = asyncio.create_task(self._reader.read(block=_BLOCK))
        quiet = asyncio.create_task(self.life.wait_quiet())
        try:
            await asyncio.wait({read, quiet}, return_when=asyncio.FIRST_COMPLETED)
            return read.result() if read.done() else []
        finally:
            quiet.cancel()
            if not read.done():
                read.cancel()
                with contextlib.suppress(asyncio.CancelledError, TransientError):
                    await read

    def _is_over(self) -> bool:
        idle = self._clock.monotonic() - self.counts.last_progress
        return self._until_idle or (self._idle_exit is not None and idle >= self._idle_exit.total_seconds())

    async def _handle(self, message: Message) -> None:
        self.counts.delivered += 1
        self.counts.last_progress = self._clock.monotonic()
        routes = self._handling.routes.of(message.name).routes
        if not routes:
            self.counts.unhandled += 1
            return
        errors: list[tuple[Route, BaseException | Kept]] = []
        for route in routes:
            outcome = await self._handling.handle_one(message, route, _nothing_to_acknowledge)
            if outcome is not None:
                errors.append((route, outcome))
        self.counts.handled += 1
        verdict = self._handling.judge(errors, 1)
        if isinstance(verdict, Failed):
            self.counts.failed += 1
            for failure, error in zip(verdict.failures, verdict.errors, strict=True):
                log_failure("(none)", message.stream, str(message.entry_id), message.name, failure, error)
                if self._observer is not None:
                    self._observer.failed("(none)", message.stream, failure.listener, error, 1)

    def _tell_undecodable(self, failure: UndecodableEntryError) -> None:
        recorded = failure_of("*", failure, None, cause="undecodable")
        log_failure("(none)", failure.stream, failure.entry_id, "", recorded, failure)


async def _each_is_one(stream: str) -> tuple[str, ...]:
    return (stream,)


async def _nothing_to_acknowledge(_: Message) -> bool:
    return True
