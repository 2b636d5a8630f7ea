"""Handling alone: a suspicious entry runs while nothing else does in this process.

What killed a process is among the entries that it held. They are delivered again one at a time, each alone, so that the
next death points at one of them. Waiting for silence is bounded: a handler that runs for hours must not hold up the
others, so the wait is given up for a while and tried again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Gate"]

_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 10.0


class Gate:
    """Many may be inside, or one alone. One gate per process, shared by all of its workers."""

    def __init__(self) -> None:
        self.inside = 0
        """How many handlers run now; raised and lowered by the lanes themselves, which is all they pay."""
        self._alone = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self.is_closed = False
        """Whether someone is alone inside, or waits to be: nobody else may start."""

    def left(self) -> None:
        """One handler ended while the gate is closed."""
        if self.inside == 0:
            self._empty.set()

    async def wait_open(self) -> None:
        """Wait until handlers may start."""
        while self.is_closed:
            await self._open.wait()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be the only one inside. Retries for as long as it takes, letting others work in between."""
        async with self._alone:
            while not await self._close():  # noqa: ASYNC110  nothing tells when it is a good time to try again
                await asyncio.sleep(_PAUSE_SECONDS)  # others work meanwhile
            try:
                yield
            finally:
                self._reopen()

    async def _close(self) -> bool:
        self.is_closed = True
        self._open.clear()
        self._empty.clear()
        try:
            if self.inside > 0:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._empty.wait()
        except TimeoutError:
            self._reopen()
            return False
        except BaseException:
            self._reopen()
            raise
        return True

    def _reopen(self) -> None:
        self.is_closed = False
        self._open.set()
