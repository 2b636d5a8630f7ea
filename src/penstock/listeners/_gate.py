"""Handling alone: a suspicious entry runs while nothing else does in this process.

What killed a process is among the entries that it held. They are delivered again one at a time, each alone, so that the
next death points at one of them. Both waits are bounded, for a handler may run for hours: behind one that does not end
a suspect runs in company, which is not counted; and a suspect that does not end lets the others in.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["Gate"]

_PATIENCE_SECONDS: Final = 5.0
_SOLITUDE_SECONDS: Final = 5.0
_LEAST_PATIENCE: Final = 1 / 64


class Gate:
    """Many may be inside, or one alone. One gate per process, shared by all of its workers.

    Args:
        patience: How many seconds a suspect waits for those inside to end. Each time in vain halves the next wait, so
            that a hundred suspects behind one endless handler do not hold the others up a hundred times.
        solitude: For how many seconds a suspect keeps the others out.
    """

    def __init__(self, *, patience: float = _PATIENCE_SECONDS, solitude: float = _SOLITUDE_SECONDS) -> None:
        self.inside = 0
        """How many handlers run now; raised and lowered by the lanes themselves, which is all they pay."""
        self.is_closed = False
        """Whether someone is alone inside, or waits to be: nobody else may start."""
        self._patience = patience
        self._share_of_patience = 1.0
        self._solitude = solitude
        self._closings = 0
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()

    def left(self) -> None:
        """One handler ended while the gate is closed."""
        if self.inside == 0:
            self._empty.set()

    async def wait_open(self) -> None:
        """Wait until handlers may start."""
        while self.is_closed:
            await self._open.wait()

    @asynccontextmanager
    async def alone(self, on_company: Callable[[], None]) -> AsyncIterator[bool]:
        """Go inside as the only one; false if the others did not end in time, and one is inside among them.

        *on_company* is called when the others may come in: at once, in time, or at the end.
        """
        await self.wait_open()
        is_alone = await self._close()
        closing = self._closings
        self.inside += 1

        def let_in() -> None:
            self._reopen(closing)
            on_company()

        company = asyncio.get_running_loop().call_later(self._solitude if is_alone else 0, let_in)
        try:
            yield is_alone
        finally:
            company.cancel()
            on_company()
            self.inside -= 1
            self._reopen(closing)
            if self.is_closed:  # by another suspect, meanwhile
                self.left()

    async def _close(self) -> bool:
        """Keep others out and wait for those inside; open again if that takes too long."""
        self._closings += 1
        closing = self._closings
        self.is_closed = True
        self._open.clear()
        self._empty.clear()
        try:
            if self.inside > 0:
                async with asyncio.timeout(self._patience * self._share_of_patience):
                    await self._empty.wait()
        except TimeoutError:
            self._share_of_patience = max(self._share_of_patience / 2, _LEAST_PATIENCE)
            self._reopen(closing)
            return False
        except BaseException:
            self._reopen(closing)
            raise
        self._share_of_patience = 1.0
        return True

    def _reopen(self, closing: int) -> None:
        """Let the others in, unless the gate was opened since, and closed by another."""
        if closing == self._closings:
            self.is_closed = False
            self._open.set()
