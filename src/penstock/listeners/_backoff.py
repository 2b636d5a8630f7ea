"""Waiting for a server that is away: longer each time, never in step with others."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from penstock.clock import Clock
from penstock.errors import BrokerFullError, TransientError
from penstock.listeners.groups import Group
from penstock.telemetry import LOGGER, Observer

__all__ = ["Backoff", "Insistent", "unless_quiet"]

T = TypeVar("T")

_SHORTEST = 0.1
_LONGEST = 15.0


class Backoff:
    """Counts failures in a row and waits between them; endless unless *attempts* says how many are enough."""

    def __init__(
        self, what: str, clock: Clock, *, attempts: int | None = None, observer: Observer | None = None
    ) -> None:
        self._what = what
        self._clock = clock
        self._attempts = attempts
        self._observer = observer
        self.failures = 0

    async def wait(self, failure: TransientError) -> None:
        """Wait before the next try. Raises *failure* when there have been enough."""
        self.failures += 1
        if self._attempts is not None and self.failures > self._attempts:
            raise failure
        longest = min(_LONGEST, _SHORTEST * 2 ** min(self.failures - 1, 20))
        delay = timedelta(seconds=longest * random.uniform(0.5, 1))
        LOGGER.warning(
            "%s: %s; trying again in %.1f s (attempt %d)",
            self._what,
            failure,
            delay.total_seconds(),
            self.failures,
        )
        if self._observer is not None:
            self._observer.reconnecting(self._what, self.failures, delay, failure)
        await self._clock.sleep(delay)

    def succeeded(self) -> None:
        """The server answered."""
        if self.failures:
            LOGGER.info("%s: working again after %d attempts", self._what, self.failures)
            if self._observer is not None:
                self._observer.reconnected(self._what)
            self.failures = 0


class Insistent:
    """What a worker does on the server until it is done; mixed into that which its parts share."""

    group: Group
    clock: Clock
    observer: Observer | None
    reconnect_attempts: int | None
    paused_by: BaseException | None
    """Why nothing can be settled at the moment; readiness is red while this is set."""

    async def insist(self, what: str, action: Callable[[], Awaitable[T]]) -> T:
        """Do something that must happen for an entry to be accounted for, however long the server is away or full.

        Every action given is safe to repeat: its script checks ownership, a lease or a token first.
        """
        backoff = Backoff(
            f"{self.group.name}: {what}", self.clock, attempts=self.reconnect_attempts, observer=self.observer
        )
        while True:
            try:
                result = await action()
            except (BrokerFullError, TransientError) as failure:
                self.paused_by = failure
                await backoff.wait(failure)
            else:
                if backoff.failures:
                    self.paused_by = None
                backoff.succeeded()
                return result


async def unless_quiet(quiet_comes: Coroutine[Any, Any, object], waiting: Coroutine[Any, Any, None]) -> None:
    """Wait for *waiting*, but no longer than for *quiet_comes*. Raises what *waiting* raises."""
    wait, quiet = asyncio.create_task(waiting), asyncio.create_task(quiet_comes)
    try:
        await asyncio.wait({wait, quiet}, return_when=asyncio.FIRST_COMPLETED)
        if wait.done():
            wait.result()
    finally:
        wait.cancel()
        quiet.cancel()
