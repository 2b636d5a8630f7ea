"""What every kind of worker does around its work: one run at a time, a stop at any moment, threads that end with it."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

from penstock.errors import IllegalTransitionError
from penstock.lifecycle import Lifecycle, State
from penstock.listeners._handling import Handling

__all__ = ["Runs"]


class Runs(ABC):
    """Something with a life, whose `run` may be called again when it has ended."""

    def __init__(self, thing: str, handling: Handling, *, threads: int) -> None:
        self.life = Lifecycle(thing)
        self._handling = handling
        self._threads = threads
        self._is_running = False

    async def run(self) -> None:
        """Work until `stop`, or until what was asked for is done. Ends at once if it was stopped before it began.

        Raises:
            IllegalTransitionError: It runs already.
        """
        if self._is_running:
            raise IllegalTransitionError(
                self.life.thing, state=self.life.state.value, wanted=State.STARTING.value
            )
        self._is_running = True
        try:
            if not self._was_stopped_before:
                self.life.move(State.STARTING)
                await self._run_with_threads()
        except BaseException:
            self.life.move(State.FAILED)
            raise
        else:
            self.life.move(State.STOPPED)
        finally:
            self._is_running = False

    @property
    def _was_stopped_before(self) -> bool:
        return self.life.state is State.QUIET

    async def _run_with_threads(self) -> None:
        name = f"penstock-{self._handling.group.name.strip('()')}"
        executor = self._handling.executor = ThreadPoolExecutor(self._threads, thread_name_prefix=name)
        try:
            await self._run()
        finally:
            # A handler that is still in its thread cannot be cancelled; the thread ends with it.
            executor.shutdown(wait=False, cancel_futures=True)

    @abstractmethod
    async def _run(self) -> None:
        """One run, from start to end."""

    def stop(self) -> None:
        """Take nothing new; `run` returns when what was begun has ended."""
        if not self.life.is_quiet:
            self.life.move(State.QUIET)
