"""Processes that take one step of a replay each, and may be killed in it."""

import asyncio
import subprocess
import sys

__all__ = ["Players"]


class Players:
    """Processes one after the other, forked from one that has imported everything."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.replays.core.player"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def run(self, what: str = "start", *, moments: int = -1, kill_after_ms: int = 0) -> int:
        """One process, to its end; its exit code."""
        return await asyncio.to_thread(self.run_sync, what, moments=moments, kill_after_ms=kill_after_ms)

    def run_sync(self, what: str = "start", *, moments: int = -1, kill_after_ms: int = 0) -> int:
        """As `run`, for who has no event loop."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{kill_after_ms} {moments} {self.url} {what}\n")
        stdin.flush()
        return int(stdout.readline())

    def end(self) -> None:
        """End them."""
        self._server.communicate(timeout=60)
