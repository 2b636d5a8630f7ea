"""Blocked readers: served by whoever adds an entry, in the order in which they began to wait.

Serving happens inside the call that added, as the server does it before it reads its next command. So one
that is cancelled between being served and waking up leaves its entries pending, as a lost connection does.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from penstock.clock import Clock
from penstock.errors import BrokerError

__all__ = ["Waiters"]

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Waiter(Generic[R]):
    attempt: Callable[[], list[R]]
    reader: tuple[str, str] | None
    served: "asyncio.Future[list[R]]"

    def serve(self) -> None:
        """Try once; an empty answer means that it goes on waiting."""
        if self.served.done():
            return
        try:
            found = self.attempt()
        except BrokerError as error:
            self.served.set_exception(error)
            return
        if found:
            self.served.set_result(found)

    def dismiss(self) -> None:
        """Answer with nothing."""
        if not self.served.done():
            self.served.set_result([])


class Waiters:
    """Everyone who waits for entries of the streams of one namespace."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Keys of a dict keep the order of waiting, which a set would lose.
        self._by_stream: dict[str, dict[_Waiter[Any], None]] = {}

    @property
    def count(self) -> int:
        """How many wait, once for each stream that they wait for."""
        return sum(map(len, self._by_stream.values()))

    async def wait(
        self,
        attempt: Callable[[], list[R]],
        streams: Iterable[str],
        block: timedelta,
        reader: tuple[str, str] | None = None,
    ) -> list[R]:
        """What *attempt* finds once one of *streams* changes; empty after *block* or an interrupt."""
        waiter = _Waiter(attempt, reader, asyncio.get_running_loop().create_future())
        watched = tuple(dict.fromkeys(streams))
        for stream in watched:
            self._by_stream.setdefault(stream, {})[waiter] = None
        timer = asyncio.ensure_future(self._clock.sleep(block))
        timer.add_done_callback(lambda _: waiter.dismiss())
        try:
            return await waiter.served
        finally:
            timer.cancel()
            for stream in watched:
                waiting = self._by_stream[stream]
                del waiting[waiter]
                if not waiting:
                    del self._by_stream[stream]

    def changed(self, stream: str) -> None:
        """Let those who wait for *stream* try again, longest waiting first."""
        for waiter in tuple(self._by_stream.get(stream, ())):
            waiter.serve()

    def interrupt(self, reader: tuple[str, str]) -> None:
        """Make this reader answer with nothing."""
        for waiting in tuple(self._by_stream.values()):
            for waiter in tuple(waiting):
                if waiter.reader == reader:
                    waiter.dismiss()

    def dismiss_all(self) -> None:
        """Make everyone answer with nothing."""
        for waiting in tuple(self._by_stream.values()):
            for waiter in tuple(waiting):
                waiter.dismiss()
