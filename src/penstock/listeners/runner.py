"""Running several workers as one: they start together, and when one ends badly the others are drained too."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Protocol, cast

from penstock.clock import Clock, SystemClock, wait_set
from penstock.errors import PenstockError, UsageError
from penstock.lifecycle import Lifecycle
from penstock.listeners._session import Counts
from penstock.listeners.groups import Group
from penstock.telemetry import LOGGER

__all__ = ["Part", "Runner", "Worker", "keep_alive"]

_SHORTEST_RESTART = timedelta(seconds=0.5)
_LONGEST_RESTART = timedelta(seconds=30)


class Part(Protocol):
    """What a runner runs: the workers of groups, and whatever else has a life like theirs."""

    life: Lifecycle

    async def run(self) -> None:
        """Work until stopped, or until there is nothing left to do."""
        ...

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended."""
        ...


class Worker(Part, Protocol):
    """A part that works a consumer group."""

    group: Group
    counts: Counts

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it reads."""
        ...


class Runner:
    """Runs workers until all have ended, or one has failed and the others were drained.

    What runs *beside* them is cancelled when they have ended. With *due*, which makes ready what is due at this moment
    and tells how much that was, they run again until there is nothing more; so they do as long as *again*, asked when
    all have ended, says that one of them may have made work for another.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        parts: Sequence[Part] = (),
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        due: Callable[[], Awaitable[int]] | None = None,
        again: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.workers = tuple(workers)
        self.parts: tuple[Part, ...] = (*self.workers, *parts)
        """Everything it runs, the workers included."""
        self._beside = beside
        self._due = due
        self._again = again
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Drain all of them. A runner that was stopped stays so: `run` returns at once."""
        self._stopping.set()
        self._drain()

    async def sleep(self, clock: Clock, duration: timedelta) -> None:
        """Wait for a while, or until `stop`."""
        await wait_set(self._stopping, clock, at_most=duration)

    def _drain(self) -> None:
        for part in self.parts:
            part.stop()

    async def wait_ready(self) -> None:
        """Wait until every part takes work."""
        await asyncio.gather(*(part.life.wait_ready() for part in self.parts))

    async def run(self) -> None:
        """Run them. Raises what the first failing one raised, after the others have ended."""
        if self._due is not None:
            await self._due()
        while not self._stopping.is_set():
            await self._run_once()
            is_due = self._due is not None and await self._due() > 0
            if not is_due and not (self._again is not None and await self._again()):
                return

    async def _run_once(self) -> None:
        tasks = [asyncio.create_task(part.run(), name=part.life.thing) for part in self.parts]
        beside = [asyncio.create_task(self._beside(), name="housekeeping")] if self._beside else []
        try:
            if not tasks and self._due is None:
                await self._stopping.wait()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION) if tasks else ((), ())
            if any(task.exception() for task in done if not task.cancelled()):
                self._drain()
            await asyncio.gather(*tasks, return_exceptions=True)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            await _end(beside)
        failures = [failure for task in tasks if (failure := task.exception()) is not None]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup("several parts failed", failures)


async def _end(beside: Sequence["asyncio.Task[None]"]) -> None:
    """End what ran beside the workers; that it failed is no failure of theirs."""
    for task in beside:
        task.cancel()
    for outcome in await asyncio.gather(*beside, return_exceptions=True):
        if isinstance(outcome, Exception):
            LOGGER.error("housekeeping ended: %s", outcome, exc_info=outcome)


async def keep_alive(runner: Runner, *, attempts: int | None, clock: Clock | None = None) -> None:
    """Run, and start again after an error that is no handler's, each time a little later; positions are not rewound.

    Raises the last error once *attempts* restarts are used up.
    """
    if attempts is not None and attempts < 1:
        raise UsageError(f"max attempts is {attempts}; it is at least 1")
    restarts, clock = 0, clock or SystemClock()
    while True:
        try:
            await runner.run()
        except (PenstockError, BaseExceptionGroup) as failure:
            if not _is_ours(failure):
                raise
            restarts += 1
            if attempts is not None and restarts > attempts:
                raise
            delay = min(_SHORTEST_RESTART * 2 ** min(restarts - 1, 10), _LONGEST_RESTART)
            left = "" if attempts is None else f", {attempts - restarts} restarts left"
            LOGGER.error(
                "listening ended: %s; starting again in %s s%s", _said(failure), delay.total_seconds(), left
            )
            await runner.sleep(clock, delay)
        else:
            return


def _is_ours(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return all(map(_is_ours, group.exceptions))
    return isinstance(failure, PenstockError)


def _said(failure: BaseException) -> str:
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return "; ".join(map(_said, group.exceptions))
    return str(failure)
