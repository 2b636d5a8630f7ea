"""Learning that something was appended: rung for within a process, found by looking between processes."""

import asyncio
import sqlite3
import threading
import weakref
from contextlib import suppress
from typing import Final

from penstock.store._sqlite._database import SqliteDatabase
from penstock.store._sqlite._reading import last_position

__all__ = ["SqliteWatch", "ring"]

_SOONEST_SECONDS: Final = 0.02
_LATEST_SECONDS: Final = 0.1
_GROWTH: Final = 1.2

_watches: "weakref.WeakValueDictionary[int, SqliteWatch]" = weakref.WeakValueDictionary()
"""Every watch of this process, whichever backend made it."""
_changing = threading.Lock()


def ring(path: str) -> None:
    """Tell every watch of this process that looks at the file. From any thread."""
    with _changing:
        waiting = [each for each in _watches.values() if each.path == path]
    for each in waiting:
        each.ring()


class SqliteWatch:
    """Tells one event loop of new events; a `StoreWatch`."""

    def __init__(self, database: SqliteDatabase, path: str) -> None:
        self.path = path
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        # It only reads, and what it reads is never locked for more than a moment: it runs in the loop itself.
        self._connection = database.connect()
        self._connection.execute("PRAGMA busy_timeout=0")
        self._version, self._last = self._look()
        with _changing:
            _watches[id(self)] = self

    def ring(self) -> None:
        """Something was appended. From any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self) -> None:
        """Return when something may have been appended since the last return."""
        pause = _SOONEST_SECONDS
        while not self._rung.is_set() and not self._has_changed():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._rung.wait()
            pause = min(pause * _GROWTH, _LATEST_SECONDS)
        self._rung.clear()
        # Only now: what is committed after this look makes the next wait return.
        self._has_changed()

    async def close(self) -> None:
        """Look no more."""
        with _changing:
            _watches.pop(id(self), None)
        self._connection.close()

    def _has_changed(self) -> bool:
        """Whether events were added by anybody since the last look."""
        try:
            [version] = self._connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            last = last_position(self._connection)
        except sqlite3.OperationalError:
            return False  # locked for this moment; the next look comes soon
        changed, self._version, self._last = last != self._last, version, last
        return changed

    def _look(self) -> tuple[int, int]:
        [version] = self._connection.execute("PRAGMA data_version").fetchone()
        return version, last_position(self._connection)
