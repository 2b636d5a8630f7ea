"""A clock that a test owns: time stands still until the test advances it, and nobody waits for real."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from penstock.errors import UsageError

__all__ = ["ManualClock"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_TURNS: Final = 25
"""Passes of the event loop after each waking: enough for a task to act on it and for those it wakes in turn."""


class ManualClock:
    """A `penstock.clock.Clock` that moves only by `advance`.

    *start* must carry a time zone. Tasks that `sleep` wake in the order of their deadlines, those with the same
    deadline in the order in which they fell asleep.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise UsageError(f"{start.isoformat()} has no time zone; write datetime(..., tzinfo=UTC)")
        self._start_us = self._now_us = (start - _EPOCH) // _US
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def time_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self._now_us

    def now(self) -> datetime:
        """The present time in UTC."""
        return _EPOCH + self._now_us * _US

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return (self._now_us - self._start_us) / 1_000_000

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    async def sleep(self, duration: timedelta) -> None:
        """Wait until the clock was advanced by *duration*; nothing or less only lets others run."""
        if duration <= timedelta(0):
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_us + duration // _US, next(self._order), sleeper))
        await sleeper

    async def advance(self, duration: timedelta) -> None:
        """Move time forward, stopping at each deadline on the way so that whoever it wakes acts at that moment.

        Tasks that are ready run first, so one that was only just started is asleep before time moves. Threads are
        not waited for. Raises `UsageError` for a negative *duration*.
        """
        if duration < timedelta(0):
            raise UsageError(f"time does not go back; advance by {-duration} instead of {duration}")
        until_us = self._now_us + duration // _US
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= until_us:
            deadline_us, _, sleeper = heapq.heappop(self._sleepers)
            if sleeper.done():
                continue
            self._now_us = max(self._now_us, deadline_us)
            sleeper.set_result(None)
            await _let_others_run()
        self._now_us = max(self._now_us, until_us)


async def _let_others_run() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
