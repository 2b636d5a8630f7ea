"""The life of anything that runs: ready, quiet, drained, stopped; and the two beats of a graceful stop.

First beat, *quiet*: take nothing new. Second beat, the *drain deadline*: what has not finished by then is cancelled and
handed back. Legal moves are data.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum
from types import MappingProxyType
from typing import Final

from penstock.errors import IllegalTransitionError

__all__ = ["LEGAL_MOVES", "Lifecycle", "State", "side_by_side"]


class State(Enum):
    """Where something that runs stands."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    QUIET = "quiet"
    """Takes nothing new; finishes what it has."""
    STOPPED = "stopped"
    FAILED = "failed"


LEGAL_MOVES: Final = MappingProxyType(
    {
        State.NEW: frozenset({State.STARTING, State.QUIET, State.STOPPED}),
        State.STARTING: frozenset({State.READY, State.QUIET, State.FAILED, State.STOPPED}),
        State.READY: frozenset({State.QUIET, State.FAILED, State.STOPPED}),
        State.QUIET: frozenset({State.STOPPED, State.FAILED}),
        # A stopped or failed runner may be started again: it is an object one can reuse.
        State.STOPPED: frozenset({State.STARTING}),
        State.FAILED: frozenset({State.STARTING}),
    }
)
"""From each state to those it may move to."""


class Lifecycle:
    """One runner's state, with waits for the moments others care about."""

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.state = State.NEW
        self._ready = asyncio.Event()
        self._quiet = asyncio.Event()
        self._stopped = asyncio.Event()

    def move(self, state: State) -> None:
        """Go to *state*. Raises `IllegalTransitionError` when the table does not lead there."""
        if state is self.state:
            return
        if state not in LEGAL_MOVES[self.state]:
            raise IllegalTransitionError(self.thing, state=self.state.value, wanted=state.value)
        self.state = state
        if state is State.STARTING:
            self._ready.clear()
            self._quiet.clear()
            self._stopped.clear()
        elif state is State.READY:
            self._ready.set()
        elif state is State.QUIET:
            self._quiet.set()
        else:
            self._quiet.set()
            self._stopped.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing new may be taken."""
        return self._quiet.is_set()

    async def wait_ready(self) -> None:
        """Wait until it takes work."""
        await self._ready.wait()

    async def wait_quiet(self) -> None:
        """Wait until someone asked it to stop."""
        await self._quiet.wait()

    async def wait_stopped(self) -> None:
        """Wait until it has stopped, well or badly."""
        await self._stopped.wait()


async def side_by_side(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all of *tasks*, which have ended when this does: what fails, and a cancellation, cancels the others.

    Raises what the first that failed has raised.
    """
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
