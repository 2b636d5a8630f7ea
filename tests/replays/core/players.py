"""Processes that take one step of a replay each, and may be killed in it."""

import asyncio

from tests.forking import Forks

__all__ = ["Players"]


class Players(Forks):
    """Processes one after the other, forked from one that has imported everything."""

    def __init__(self, url: str = "") -> None:
        super().__init__("tests.replays.core.player")
        self.url = url

    async def run(self, what: str = "start", *, moments: int = -1, kill_after_ms: int = 0) -> int:
        """One process, to its end; its exit code."""
        return await asyncio.to_thread(self.run_sync, what, moments=moments, kill_after_ms=kill_after_ms)

    def run_sync(self, what: str = "start", *, moments: int = -1, kill_after_ms: int = 0) -> int:
        """As `run`, for who has no event loop."""
        return self.ask(kill_after_ms, moments, self.url, what)[0]
