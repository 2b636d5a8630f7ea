"""From a projection's thread to the event loop that the servers' connections belong to."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Final, TypeVar

from penstock.errors import BrokerUnavailableError

__all__ = ["Bridge"]

T = TypeVar("T")
_LOOK_EVERY_S: Final = 0.5


class Bridge:
    """Runs coroutines on *loop* for other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the coroutine that *make* makes, waited for in this thread.

        Raises:
            BrokerUnavailableError: The loop has ended.
        """
        if self._loop.is_closed():
            raise _ended()
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        while True:
            try:
                return future.result(_LOOK_EVERY_S)
            except NotYet:
                if future.done():
                    raise
                if not self._loop.is_running():
                    future.cancel()
                    raise _ended() from None
            except asyncio.CancelledError:
                raise _ended() from None


def _ended() -> BrokerUnavailableError:
    return BrokerUnavailableError(
        "the event loop of the servers has ended; it is tried again by the next run"
    )
