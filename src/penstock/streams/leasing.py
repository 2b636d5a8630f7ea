"""Holding a lease: taking it, waiting for it, renewing it, and noticing when it is lost.

The server decides whose a lease is, and its scripts check that in every step. What is here tells a process in time: a
lease counts as lost when the server says so, and also when no renewal was confirmed before its life ran out by our own
clock, counted from before the last confirmed request was sent. So a process never believes for longer than the server
does, however slow the way between them is.
"""

import asyncio
import os
import random
import socket
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Final, Self

from penstock.clock import Clock, format_duration
from penstock.errors import BrokerError, TransientError
from penstock.streams.abc import Lease, LeaseInfo, LeaseStore
from penstock.telemetry import LOGGER

__all__ = ["FOR_EVER", "HeldLease", "describe_process", "take_lease"]

FOR_EVER: Final = timedelta.max
"""Wait until it is ours, however long that takes."""

_NOT_AT_ALL: Final = timedelta(0)
_FIRST_PAUSE: Final = timedelta(milliseconds=10)
_LONGEST_PAUSE: Final = timedelta(milliseconds=500)
_LOG: Final = LOGGER.getChild("leases")


def describe_process() -> str:
    """Who we are, for others that find our lease in their way."""
    return f"process {os.getpid()} on {socket.gethostname()}"


async def take_lease(
    store: LeaseStore,
    name: str,
    *,
    life: timedelta,
    clock: Clock,
    stream: str | None = None,
    wait: timedelta = _NOT_AT_ALL,
    description: str | None = None,
) -> "HeldLease | LeaseInfo":
    """The lease, held and renewed from now on; or who holds it when *wait* is over (`FOR_EVER`: it never is).

    While it waits, a server that does not answer is asked again. Cancelled, it leaves at most a lease that nobody
    renews and that runs out after *life*.

    Raises:
        UsageError: *life* is below a millisecond, or the name is empty.
        BrokerError: The server refuses, or has not answered when *wait* is over.
    """
    token = uuid.uuid4().hex
    what = describe_process() if description is None else description
    began, pause = clock.monotonic(), _FIRST_PAUSE
    while True:
        asked, answer, failure = clock.monotonic(), None, None
        try:
            # Always with the same token: after an unknown outcome it answers with what we have.
            answer = await store.acquire(name, token=token, description=what, life=life, stream=stream)
        except TransientError as transient:
            failure = transient
        if isinstance(answer, Lease):
            return HeldLease(store, answer, life=life, clock=clock, confirmed=asked)
        left = _left(wait, clock.monotonic() - began)
        if left <= _NOT_AT_ALL:
            if failure is not None:
                raise failure
            assert answer is not None
            return answer
        # The spread keeps those who wait from asking all at once; near its end the lease is asked for when it is free.
        spread = pause * random.uniform(0.5, 1.5)
        until_free = answer.remaining if answer is not None else spread
        await clock.sleep(max(min(spread, until_free, left), timedelta(milliseconds=1)))
        pause = min(pause * 2, _LONGEST_PAUSE)


def _left(wait: timedelta, waited_s: float) -> timedelta:
    return wait if wait == FOR_EVER else wait - timedelta(seconds=waited_s)


class HeldLease:
    """A lease that is ours, renewed at a third of its life by a task of its own until it is released or lost.

    Made by `take_lease`. As an async context manager it is released at the end of the block.
    """

    def __init__(
        self, store: LeaseStore, lease: Lease, *, life: timedelta, clock: Clock, confirmed: float
    ) -> None:
        self._store = store
        self._lease = lease
        self._life = life
        self._clock = clock
        self._ours_until = confirmed + life.total_seconds()
        self._asking = asyncio.Lock()
        self._trouble = ""
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.lost = asyncio.Event()
        """Set once, when the lease is not ours any more without having been released."""
        self.lost_because = ""
        """Why it was lost, for people."""
        self._keep()

    def __repr__(self) -> str:
        return f"<lease {self.name!r}, fence {self.fence}, {'held' if self.is_held else 'not held'}>"

    @property
    def lease(self) -> Lease:
        """What scripts that change something under the lease are given."""
        return self._lease

    @property
    def name(self) -> str:
        """The lease's name."""
        return self._lease.name

    @property
    def fence(self) -> int:
        """The number that only grows from owner to owner."""
        return self._lease.fence

    @property
    def is_held(self) -> bool:
        """Whether the lease is surely ours at this moment, as far as our own clock can tell."""
        return bool(self._tasks) and not self.lost.is_set() and self.remaining() > _NOT_AT_ALL

    def remaining(self) -> timedelta:
        """How long it is surely ours if it is not renewed; zero when it is not."""
        if not self._tasks or self.lost.is_set():
            return _NOT_AT_ALL
        return max(_NOT_AT_ALL, timedelta(seconds=self._ours_until - self._clock.monotonic()))

    async def refresh(self, life: timedelta | None = None) -> bool:
        """Renew now, for *life* if it is given, then and from then on; False when the lease is not ours any more.

        Raises:
            UsageError: *life* is below a millisecond.
            BrokerError: The server refuses, or does not answer; the lease is kept as before.
        """
        async with self._asking:
            wanted = self._life if life is None else life
            if not self._tasks or not await self._renew(wanted):
                return False
            if self._tasks:
                # Both go by the life: they begin again with the new one.
                self._life = wanted
                self._stop()
                self._keep()
        return True

    async def release(self) -> bool:
        """Give the lease up and stop renewing; False when it was not ours any more. Idempotent.

        Raises:
            BrokerError: The server does not answer: nobody renews the lease, so that it ends with its life.
        """
        if not self._tasks:
            return False
        tasks = self._stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._asking:
            return await self._store.release(self._lease) and not self.lost.is_set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(TransientError):
            await self.release()

    # -- renewing -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._renew_in_time(), name=f"renewing lease {self.name!r}"),
            loop.create_task(self._watch(), name=f"watching lease {self.name!r}"),
        )

    def _stop(self) -> tuple["asyncio.Task[None]", ...]:
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        return tasks

    async def _renew_in_time(self) -> None:
        pause = self._life / 3
        while not self.lost.is_set():
            await self._clock.sleep(pause)
            try:
                async with self._asking:
                    if not await self._renew(self._life):
                        return
            except BrokerError as failure:
                _LOG.debug("lease %r could not be renewed yet: %s", self.name, failure)
                self._trouble = f"it could not be renewed ({failure})"
                pause = self._life / 12
            else:
                self._trouble = ""
                pause = self._life / 3

    async def _renew(self, life: timedelta) -> bool:
        asked = self._clock.monotonic()
        if not await self._store.renew(self._lease, life=life):
            self._lose("it ran out or was taken away")
            return False
        self._ours_until = asked + life.total_seconds()
        return True

    async def _watch(self) -> None:
        """Notice that the life has run out even while a renewal still waits for its answer."""
        while (left := self.remaining()) > _NOT_AT_ALL:
            await self._clock.sleep(left)
        self._lose(self._trouble or "no renewal was confirmed in time")

    def _lose(self, why: str) -> None:
        if self.lost.is_set() or not self._tasks:
            return
        self.lost_because = why
        self.lost.set()
        _LOG.warning("lease %r was lost: %s (its life is %s)", self.name, why, format_duration(self._life))
