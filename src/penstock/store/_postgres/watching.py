"""Being told of appends: rung for in this process, notified by others, and looked for every so often.

Notifications are sent outside of any append: in its transaction they would put all commits of a database in one row.
They say that there may be something, never what, so that a lost one costs time only.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import psycopg

from penstock.errors import StoreError
from penstock.store._postgres.database import PostgresDatabase

__all__ = ["Bell", "Lookout", "PostgresWatch"]

_AT_MOST_EVERY: Final = 0.010
_FIRST_LOOK: Final = 0.050


class Bell:
    """Rings for everybody, at most every 10 ms: watches of this loop by *nearby*, other processes by *notify*."""

    def __init__(self, nearby: Callable[[], None], notify: Callable[[], Awaitable[object]]) -> None:
        self._nearby = nearby
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    def ring(self) -> None:
        """Ring, from the loop's own thread."""
        self._nearby()
        if self._ringing is None:
            self._ringing = self._loop.create_task(self._ring(), name="penstock event store bell")
        else:
            self._again = True

    async def _ring(self) -> None:
        try:
            while True:
                self._again = False
                with contextlib.suppress(StoreError, psycopg.Error):
                    await self._notify()
                await asyncio.sleep(_AT_MOST_EVERY)
                if not self._again:
                    return
        finally:
            self._ringing = None

    async def close(self) -> None:
        """Ring no more."""
        await _ended(self._ringing)


class PostgresWatch:
    """A `StoreWatch`."""

    def __init__(self, forget: Callable[["PostgresWatch"], None]) -> None:
        self._something = asyncio.Event()
        self._forget = forget

    def wake(self) -> None:
        """There may be something."""
        self._something.set()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._something.wait()
        self._something.clear()

    async def close(self) -> None:
        """Look no more."""
        self._forget(self)


class Lookout:
    """Wakes all watches of one loop. It listens and looks for as long as there are any.

    Args:
        database: Where to listen.
        channel: What to listen to.
        listen_url: Another way to the same server, where the store's own goes through a pooler that shares sessions.
        look: Gives how far the store can be read.
        longest: How long to wait at most between two looks; less after something came.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        channel: str,
        *,
        listen_url: str | None,
        look: Callable[[], Awaitable[int]],
        longest: timedelta,
    ) -> None:
        self._database = database
        self._channel = channel
        self._listen_url = listen_url
        self._look = look
        self._longest = longest.total_seconds()
        self._watches: set[PostgresWatch] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: psycopg.AsyncConnection[Any] | None = None

    def watch(self) -> PostgresWatch:
        """Another watch."""
        watch = PostgresWatch(self._leave)
        self._watches.add(watch)
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._listen(), name="penstock event store listens"),
                loop.create_task(self._poll(), name="penstock event store looks"),
            ]
        return watch

    def wake(self) -> None:
        """Wake all."""
        for watch in self._watches:
            watch.wake()

    async def close(self) -> None:
        """Stop listening and looking."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await _ended(task)

    def abandon(self) -> None:
        """Disconnect where the loop is closed already."""
        self._tasks = []
        if self._listening is not None:
            self._listening.pgconn.finish()

    def _leave(self, watch: PostgresWatch) -> None:
        self._watches.discard(watch)
        if not self._watches:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    async def _listen(self) -> None:
        pause = _FIRST_LOOK
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await self._connect() as connection:
                    self._listening = connection
                    await connection.execute(f'LISTEN "{self._channel}"'.encode())
                    # What was sent before we listened, nobody will tell us.
                    self.wake()
                    pause = _FIRST_LOOK
                    async for _ in connection.notifies():
                        self.wake()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        return await psycopg.AsyncConnection[Any].connect(
            autocommit=True, **self._database.parameters("penstock listens", self._listen_url)
        )

    async def _poll(self) -> None:
        seen: int | None = None
        pause = _FIRST_LOOK
        while True:
            with contextlib.suppress(StoreError):
                found = await self._look()
                if found != seen:
                    # The first look wakes as well: what came before it was not seen by any watch.
                    seen, pause = found, _FIRST_LOOK
                    self.wake()
            await asyncio.sleep(min(pause, self._longest))
            pause = min(2 * pause, self._longest)


async def _ended(task: "asyncio.Task[None] | None") -> None:
    """Cancel *task* and wait until it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
