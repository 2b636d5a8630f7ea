"""Working until a signal comes: the first one drains, the second stops at once."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from penstock.cli._errors import DONE, INTERRUPTED
from penstock.telemetry import LOGGER

__all__ = ["SUPERVISOR_PIPE", "Stoppable", "work_until_signalled"]

SUPERVISOR_PIPE: Final = "_PENSTOCK_SUPERVISOR_PIPE"
"""The descriptor whose end tells a worker process that its supervisor is gone, however that came about."""

_SIGNALS: Final = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
"""Those that the event loop can tell of: on Windows none."""


class Stoppable(Protocol):
    """What runs until it is stopped."""

    async def run(self) -> None:
        """Run to the end."""
        ...

    def stop(self) -> None:
        """Take nothing new."""
        ...

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is being done at this moment."""
        ...


class _Stopping:
    """Counts the reasons to stop."""

    def __init__(self, work: Stoppable, task: "asyncio.Task[None]") -> None:
        self._work, self._task = work, task
        self.asked = 0

    def ask(self, why: str) -> None:
        """Drain; asked once more, stop at once."""
        self.asked += 1
        if self.asked > 1:
            LOGGER.warning("%s: stopping at once; what was begun is left to others", why)
            self._task.cancel()
            return
        LOGGER.info("%s: finishing what was begun; once more stops at once", why)
        self._work.stop()
        if self._work.is_at_rest:
            # Nothing is being handled: it has not begun yet, or waits before another attempt.
            self._task.cancel()


async def work_until_signalled(
    work: Stoppable, *, say: Callable[[], None], ended: Callable[[], int] = lambda: DONE
) -> int:
    """Run *work* to its end; the exit code. *say* tells that it begins, once signals are heard. Raises as its run.

    *ended* gives the exit code of an end that no signal has brought about.
    """
    task = asyncio.create_task(work.run(), name="work")
    stopping = _Stopping(work, task)
    with _listening(stopping):
        say()
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not stopping.asked:  # we are being cancelled ourselves
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise
            await asyncio.gather(task, return_exceptions=True)
    if not stopping.asked:
        return ended()
    return INTERRUPTED if stopping.asked > 1 else DONE


@contextlib.contextmanager
def _listening(stopping: _Stopping) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # Taken out, since a descriptor means nothing to the processes that handlers start.
    pipe = int(os.environ.pop(SUPERVISOR_PIPE, "-1"))

    def orphaned() -> None:
        loop.remove_reader(pipe)
        stopping.ask("the supervisor is gone")

    for each in _SIGNALS:
        loop.add_signal_handler(each, stopping.ask, each.name)
    if pipe >= 0:
        loop.add_reader(pipe, orphaned)
    try:
        yield
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
        if pipe >= 0:
            loop.remove_reader(pipe)
