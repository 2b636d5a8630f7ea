"""The head of one store: how far it can be read, looked up once for everybody in the process who reads it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from penstock.errors import StoreError
from penstock.store.abc import Horizon, StoreBackend, StoreWatch
from penstock.telemetry import LOGGER

__all__ = ["Head"]

_LOOK_SECONDS: Final = 1.0
"""A look every so often, whatever the watch says."""
_OPEN_SECONDS: Final = 0.02
"""While open transactions hold the end back: their commit or rollback tells nobody."""
_LONGEST_OPEN_SECONDS: Final = 0.25
_SHORTEST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0


class Head:
    """The safe end of a store, kept up to date while `run` runs; whoever follows is called when it moves."""

    def __init__(self, backend: StoreBackend) -> None:
        self.backend = backend
        self.horizon: Horizon | None = None
        self._followers: list[Callable[[], None]] = []
        self._hurry = asyncio.Event()

    def follow(self, moved: Callable[[], None]) -> None:
        """Have *moved* called, in the event loop, whenever there may be more to read."""
        self._followers.append(moved)

    def unfollow(self, moved: Callable[[], None]) -> None:
        """Call *moved* no more."""
        with contextlib.suppress(ValueError):
            self._followers.remove(moved)

    @property
    def position(self) -> int:
        """How far it is safe to read; 0 as long as that is not known."""
        return self.horizon.position if self.horizon is not None else 0

    def look(self) -> None:
        """Have the next look come at once."""
        self._hurry.set()

    async def refresh(self) -> Horizon:
        """Look now. Raises `StoreError`."""
        horizon = await self.backend.horizon()
        has_moved = self.horizon is None or horizon.position != self.horizon.position
        self.horizon = horizon
        if has_moved:
            for moved in self._followers:
                moved()
        return horizon

    async def run(self) -> None:
        """Watch the store until cancelled; one that is away is waited for. Raises `ConfigurationError`."""
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self.backend.open()
                async with contextlib.AsyncExitStack() as stack:
                    watch = self.backend.watch()
                    stack.push_async_callback(watch.close)
                    await self.refresh()
                    pause = _SHORTEST_PAUSE
                    await self._follow(watch)
            except StoreError as failure:
                LOGGER.warning(
                    "store %r cannot be watched: %s; looking again in %.1f s",
                    self.backend.name,
                    failure,
                    pause,
                )
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _follow(self, watch: StoreWatch) -> None:
        task = asyncio.create_task(self._watch(watch), name=f"watch {self.backend.name}")
        held = _OPEN_SECONDS
        try:
            while True:
                is_held = self.horizon is not None and self.horizon.position < self.horizon.last
                hurried = False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(held if is_held else _LOOK_SECONDS):
                        hurried = await self._hurry.wait()
                # Before the look: what comes during it is looked for again.
                self._hurry.clear()
                if task.done():
                    task.result()
                held = min(held * 1.5, _LONGEST_OPEN_SECONDS) if is_held and not hurried else _OPEN_SECONDS
                await self.refresh()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, watch: StoreWatch) -> None:
        try:
            while True:
                await watch.wait()
                self._hurry.set()
        finally:
            self._hurry.set()
