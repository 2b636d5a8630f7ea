"""A thread of its own for what has to stay in one: a connection, a private event loop, a slow handler."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["OwnThread"]

T = TypeVar("T")


class OwnThread:
    """Runs calls one after the other in one thread, which begins with the first and does not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[[], T]) -> T:
        """What *function* returns or raises. When the wait is cancelled the call goes on all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(outcome: Any, failure: BaseException | None) -> None:
            if future.done():
                return
            if failure is None:
                future.set_result(outcome)
            else:
                future.set_exception(failure)

        def work() -> None:
            outcome: Any = None
            failure: BaseException | None = None
            try:
                outcome = function()
            except StopIteration as stop:
                failure = RuntimeError(f"{stop!r} was raised in a thread")
            except BaseException as raised:  # noqa: BLE001  whoever waits for the call gets it
                failure = raised
            try:
                loop.call_soon_threadsafe(settle, outcome, failure)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self.post(work)
        return await future

    def post(self, function: Callable[[], None]) -> None:
        """Have *function*, which raises nothing, run there after what waits already."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work_off, args=(self._calls,), name=self._name, daemon=True
            )
            self._thread.start()
        self._calls.put(function)

    def end(self) -> None:
        """Let the thread end after what was begun; another call begins another thread."""
        if self._thread is not None:
            self._thread = None
            calls, self._calls = self._calls, queue.SimpleQueue()
            calls.put(None)


def _work_off(calls: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (call := calls.get()) is not None:
        call()
