"""Listening without a group: every process sees every event, from its own place on.

There is no pending list and nobody to retry for, so a failing listener is logged and told to the observer, and reading
goes on. With a cursor the place survives a restart.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError, TransientError, UndecodableEntryError
from penstock.lifecycle import Lifecycle, State
from penstock.listeners._backoff import Backoff
from penstock.listeners._handling import Failed, Handling, Kept, Route, failure_of
from penstock.listeners._session import Counts
from penstock.listeners._settling import log_failure
from penstock.listeners.calls import Dependencies
from penstock.listeners.groups import Group, Middleware
from penstock.message import Message
from penstock.position import NEW, Start
from penstock.streams.abc import StreamBroker
from penstock.streams.layouts import NATIVE, Layout
from penstock.streams.reader import StreamReader
from penstock.telemetry import Observer

__all__ = ["BroadcastWorker"]

_BLOCK = timedelta(seconds=1)


class BroadcastWorker:
    """Runs listeners over every event of their streams. The options are those of `GroupWorker`."""

    def __init__(
        self,
        broker: StreamBroker,
        group: Group,
        *,
        dependencies: Dependencies | None = None,
        streams: Sequence[str] | None = None,
        middleware: Sequence[Middleware] = (),
        start: Start = NEW,
        cursor: str | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
        layout: Layout = NATIVE,
        until_idle: bool = False,
        idle_exit: timedelta | None = None,
        reconnect_attempts: int | None = None,
    ) -> None:
        self.group = group
        self.life = Lifecycle("broadcast listeners")
        self.counts = Counts()
        self.paused_by: BaseException | None = None
        self.consumer: str | None = None
        self.streams = tuple(streams) if streams is not None else group.streams
        if not self.streams:
            raise ConfigurationError("there is nothing to listen to; name an event")
        self._broker = broker
        self._handling = Handling(
            group,
            dependencies or Dependencies(),
            middleware=middleware,
            executor=ThreadPoolExecutor(group.settings.concurrency, thread_name_prefix="penstock-broadcast"),
        )
        self._reader = StreamReader(
            broker,
            self.streams,
            start=start,
            cursor=cursor,
            layout=layout,
            on_undecodable=self._tell_undecodable,
        )
        self._clock = clock or SystemClock()
        self._observer = observer
        self._until_idle = until_idle
        self._idle_exit = idle_exit
        self._reconnect_attempts = reconnect_attempts

    async def run(self) -> None:
        """Read and handle, in order, until `stop`. Raises as `GroupWorker.run`."""
        self.life.move(State.STARTING)
        backoff = Backoff(
            "listening", self._clock, attempts=self._reconnect_attempts, observer=self._observer
        )
        self.counts.last_progress = self._clock.monotonic()
        try:
            while not self.life.is_quiet:
                try:
                    await self._broker.open()
                    await self._reader.prepare()
                    if self.life.state is State.STARTING:
                        self.life.move(State.READY)
                    messages = await self._read()
                except TransientError as failure:
                    self.paused_by = failure
                    await backoff.wait(failure)
                    continue
                self.paused_by = None
                backoff.succeeded()
                for message in messages:
                    if self.life.is_quiet:
                        break
                    await self._handle(message)
                if not messages and self._is_over():
                    break
        except BaseException:
            self.life.move(State.FAILED)
            raise
        self.life.move(State.STOPPED)

    def stop(self) -> None:
        """End after the message that is being handled."""
        if not self.life.is_quiet:
            self.life.move(State.QUIET)

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


async def _nothing_to_acknowledge(_: Message) -> bool:
    return True
