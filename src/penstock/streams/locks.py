"""A lock that processes share: a lease with a name of the user's, held for as long as a block runs.

It keeps two processes from doing the same work at the same time as long as both are heard by the server. What it cannot
do, nothing can that holds no more than a lock: stop a process that is paused beyond the lock's life before it goes on.
Such a process learns of it when it goes on, and whatever it writes may carry `Lock.fence`, so that the other side can
refuse the lower number.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from penstock.clock import Clock, parse_duration
from penstock.errors import LeaseBusyError, LeaseLostError, TransientError, UsageError
from penstock.streams.abc import LeaseInfo, LeaseStore
from penstock.streams.leasing import FOR_EVER, HeldLease, take_lease
from penstock.telemetry import LOGGER

__all__ = ["Lock"]

_LOG: Final = LOGGER.getChild("locks")
_PREFIX: Final = "lock:"
"""Before every user's name, so that it meets none of our own leases."""


class Lock:
    """A lock by name, as an async context manager; made by `App.lock`.

    Entering takes it, for *life*, and renews it at a third of that until the block ends. Busy, it is waited for as
    *wait* says: ``None`` not at all, a duration, or ``True`` for ever. When it is lost in the block (the server was
    away for too long, the process was paused, someone took it away), the block is cancelled and `LeaseLostError` is
    raised, unless *cancel_when_lost* is off: then `lost` is set, and the block decides.
    """

    def __init__(
        self,
        name: str,
        leases: Callable[[], Awaitable[LeaseStore]],
        *,
        life: timedelta | str,
        clock: Clock,
        wait: timedelta | str | bool | None = None,
        cancel_when_lost: bool = True,
        description: str | None = None,
    ) -> None:
        self.name = name
        self._leases = leases
        self._life = parse_duration(life)
        self._clock = clock
        self._wait = _duration_of(wait)
        self._cancel_when_lost = cancel_when_lost
        self._description = description
        self._held: HeldLease | None = None
        self._guard: _Guard | None = None
        if not name:
            raise UsageError("a lock needs a name; this one is empty")
        if self._life < timedelta(milliseconds=1):
            raise UsageError(f"lock {name!r} cannot be held for {self._life}; use at least a millisecond")

    def __repr__(self) -> str:
        return f"<lock {self.name!r}, {'held' if self.is_held else 'not held'}>"

    # -- taking and giving back ---------------------------------------------------------------------------------

    async def acquire(self) -> None:
        """Take the lock, waiting as was said.

        Raises:
            LeaseBusyError: Another has it, and the wait is over.
            UsageError: This very object has it.
            BrokerError: The server does not answer, or refuses.
        """
        if self._held is not None:
            raise UsageError(f"lock {self.name!r} is taken by this object; release it, or make another")
        taken = await take_lease(
            await self._leases(),
            _PREFIX + self.name,
            life=self._life,
            clock=self._clock,
            wait=self._wait,
            description=self._description,
        )
        if isinstance(taken, LeaseInfo):
            raise LeaseBusyError(self.name, taken.description or taken.token, remaining=taken.remaining)
        self._held = taken

    async def refresh(self, life: timedelta | str | None = None) -> None:
        """Renew now, for *life* if it is given, then and from then on. It is renewed by itself without this.

        Raises:
            LeaseLostError: It is not ours any more.
            UsageError: It was not taken, or *life* is below a millisecond.
        """
        held = self._taken()
        if not await held.refresh(None if life is None else parse_duration(life)):
            raise _lost_error(self.name, held)

    async def release(self) -> bool:
        """Give it up; False when it was not ours any more. Idempotent.

        Raises:
            BrokerError: The server does not answer: the lock ends with its life.
        """
        held, self._held = self._held, None
        return held is not None and await held.release()

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def fence(self) -> int:
        """A number that is higher for every later holder. Raises `UsageError` when it was not taken."""
        return self._taken().fence

    @property
    def is_held(self) -> bool:
        """Whether it is surely ours at this moment, as far as our own clock can tell."""
        return self._held is not None and self._held.is_held

    def remaining(self) -> timedelta:
        """How long it is surely ours if it were not renewed; zero when it is not."""
        return timedelta(0) if self._held is None else self._held.remaining()

    @property
    def lost(self) -> asyncio.Event:
        """Set when it is not ours any more without having been released. Raises `UsageError` when it was not taken."""
        return self._taken().lost

    # -- as a block ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.acquire()
        if self._cancel_when_lost:
            self._guard = _Guard(self._taken())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard, self._guard = self._guard, None
        was_cancelled = guard is not None and guard.end() and isinstance(error, asyncio.CancelledError)
        lost = await self.leave()
        if guard is not None and was_cancelled:
            raise (lost or _lost_error(self.name, guard.held)) from error
        if guard is not None and lost is not None and error is None:
            raise lost

    async def leave(self) -> LeaseLostError | None:
        """Give it up at the end of a block; the error to be raised when it was not ours until then.

        A server that does not answer is no error here: the lock ends with its life.
        """
        held, self._held = self._held, None
        if held is None:
            return None
        was_ours = held.is_held
        releasing = asyncio.ensure_future(held.release())
        try:
            was_ours = await asyncio.shield(releasing) and was_ours
        except TransientError as failure:
            _LOG.info("lock %r could not be released and ends with its life: %s", self.name, failure)
        return None if was_ours else _lost_error(self.name, held)

    def _taken(self) -> HeldLease:
        if self._held is None:
            raise UsageError(
                f"lock {self.name!r} is not taken; use it in `async with`, or call `acquire` first"
            )
        return self._held


class _Guard:
    """Cancels the task that it is made in when the lock is lost."""

    def __init__(self, held: HeldLease) -> None:
        self.held = held
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._has_cancelled = False
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        await self.held.lost.wait()
        self._has_cancelled = True
        self._task.cancel("the lock was lost")

    def end(self) -> bool:
        """Watch no more; whether the task was cancelled by us and by nobody else."""
        self._watching.cancel()
        return self._has_cancelled and self._task.uncancel() <= self._cancelled_before


def _duration_of(wait: timedelta | str | bool | None) -> timedelta:
    if wait is None or wait is False:
        return timedelta(0)
    return FOR_EVER if wait is True else parse_duration(wait)


def _lost_error(name: str, held: HeldLease) -> LeaseLostError:
    return LeaseLostError(name, held.lost_because or "it was not ours any more when it was to be released")
