"""`SqliteBackend`: the event store in one file."""

import asyncio
import os
import queue
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from penstock.errors import StoreUnavailableError, UsageError
from penstock.store import migrating
from penstock.store._sqlite import _reading as reading
from penstock.store._sqlite import _streams as streams
from penstock.store._sqlite._appending import append_steps
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store._sqlite._errors import explained, speaking_of
from penstock.store._sqlite._watching import SqliteWatch, ring
from penstock.store._sqlite._writer import Writer
from penstock.store.abc import (
    Append,
    Appended,
    AppendSteps,
    Conflict,
    EventFilter,
    EventPage,
    EventReader,
    Horizon,
    StoredEvent,
    StoreWatch,
    StreamInfo,
    StreamMetadata,
)
from penstock.store.database import Dialect

__all__ = ["SqliteBackend"]

T = TypeVar("T")

_READERS: Final = 4


class SqliteBackend:
    """A `StoreBackend` in a SQLite file, which is made, with its folder, when it is first opened.

    Any number of processes may use the file at the same time, and any number of event loops this object. What is
    answered as appended is on the disk (``synchronous=FULL``).

    Args:
        name: The name of the store in settings.
        url_or_path: ``sqlite:///shop.db``, or a path.
        lock_wait_seconds: How long an append waits while another process writes, before `StoreUnavailableError`.
        make_folder: Makes the folder that it is in, where that is missing.
    """

    dialect: Dialect = "sqlite"

    def __init__(
        self,
        name: str,
        url_or_path: str | Path,
        *,
        lock_wait_seconds: float = 10.0,
        make_folder: Callable[[Path], None] | None = None,
    ) -> None:
        self.name = name
        self.database = SqliteDatabase(
            name, url_or_path, lock_wait_seconds=lock_wait_seconds, make_folder=make_folder
        )
        self._path = os.path.realpath(self.database.path)
        self._writer = Writer(self.database, self.ring)
        self._threads: ThreadPoolExecutor | None = None
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()

    def __repr__(self) -> str:
        return f"<SqliteBackend {self.name}: {self.database.path}>"

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make what is missing: folder, file, tables. Idempotent.

        Raises:
            OtherMigrationError: The file is of another version of penstock.
            StoreUnavailableError: The file cannot be opened, or is locked.
            StoreRefusedError: It is no database, or may not be written.
        """
        if self._threads is None:
            await asyncio.to_thread(self.prepare)
            self._threads = self._threads or ThreadPoolExecutor(
                _READERS, f"penstock store {self.name} reader"
            )

    def prepare(self) -> None:
        """Make what is missing, as `open` does, in this thread. Raises as that."""
        self.database.make_folder()
        with speaking_of(self.database.shown):
            migrating.apply(self.database)

    async def close(self) -> None:
        """Write what waits, and close every connection. Idempotent; may be opened again."""
        threads, self._threads = self._threads, None
        self._writer.hand_over()
        await asyncio.to_thread(self._shut, threads)

    def abandon(self) -> None:
        """Close everything at once."""
        threads, self._threads = self._threads, None
        self._shut(threads)

    def _shut(self, threads: ThreadPoolExecutor | None) -> None:
        self._writer.stop()
        if threads is not None:
            threads.shutdown()
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        self.database.dispose()

    # -- appending ----------------------------------------------------------------------------------------------

    async def append(self, append: Append) -> list[Appended] | Conflict:
        """Add events; appends of many tasks share one commit."""
        if self._threads is None:
            await self.open()
        outcome: list[Appended] | Conflict = await self._writer.write(append)
        return outcome

    def steps(self, append: Append) -> AppendSteps:
        """The statements of an append, for a caller's own transaction. The first one takes the write lock."""
        return append_steps(append)

    # -- reading ------------------------------------------------------------------------------------------------

    async def read(
        self,
        wanted: EventFilter,
        *,
        after: int = 0,
        through: int | None = None,
        limit: int,
        backwards: bool = False,
    ) -> EventPage:
        """Events by position."""
        return await self._read(
            lambda connection: reading.read_page(
                connection, wanted, after=after, through=through, limit=limit, backwards=backwards
            )
        )

    async def read_stream(
        self, stream: str, *, after: int = 0, through: int | None = None, limit: int, backwards: bool = False
    ) -> Sequence[StoredEvent]:
        """Events of one stream by version."""
        return await self._read(
            lambda connection: reading.read_stream(
                connection, stream, after=after, through=through, limit=limit, backwards=backwards
            )
        )

    async def find(self, event_ids: Sequence[str]) -> list[Appended]:
        """Where the events of these ids are."""
        return await self._read(lambda connection: reading.find(connection, event_ids))

    async def horizon(self) -> Horizon:
        """The last position: one writes at a time, so nothing comes below it any more."""
        last = await self._read(reading.last_position)
        return Horizon(last, last)

    def reader(self) -> EventReader:
        """Blocking reads for a thread."""
        return reading.SqliteReader(self.database)

    # -- streams ------------------------------------------------------------------------------------------------

    async def stream(self, name: str) -> StreamInfo | None:
        """One stream."""
        return await self._read(lambda connection: streams.stream_info(connection, name))

    async def streams(
        self, *, category: str | None = None, after: str = "", limit: int = 1000, with_rules: bool = False
    ) -> list[StreamInfo]:
        """Streams by name."""
        return await self._read(
            lambda connection: streams.stream_infos(
                connection, category=category, after=after, limit=limit, with_rules=with_rules
            )
        )

    async def set_metadata(self, stream: str, metadata: StreamMetadata) -> None:
        """Say something about a stream."""
        await self._write(lambda connection: streams.set_metadata(connection, stream, metadata))

    async def delete(
        self, stream: str, *, through: int | None = None, for_good: bool = False, limit: int = 10_000
    ) -> int:
        """Remove events of a stream."""
        if for_good and through is not None:
            raise UsageError(
                f"stream {stream!r} is deleted for good as a whole, or up to version {through}; say one"
            )
        return await self._write(
            lambda connection: streams.delete(
                connection, stream, through=through, for_good=for_good, limit=limit
            )
        )

    # -- being told ---------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Tell whoever watches in this process; others look for themselves."""
        ring(self._path)

    def watch(self) -> StoreWatch:
        """Be told of what is appended."""
        return SqliteWatch(self.database, self._path)

    # -- threads ------------------------------------------------------------------------------------------------

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        await self.open()
        outcome: T = await self._writer.write(change)
        return outcome

    async def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        threads = self._threads
        if threads is None:
            await self.open()
            threads = self._threads
        if threads is None:
            raise StoreUnavailableError(f"store {self.name!r} was closed meanwhile; open it again")
        return await asyncio.get_running_loop().run_in_executor(threads, self._look, look)

    def _look(self, look: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self.database.connect()
            connection.execute("PRAGMA query_only=1")
        try:
            found = look(connection)
        except sqlite3.Error as failure:
            connection.close()
            if (ours := explained(self.database.shown, failure)) is not None:
                raise ours from failure
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return found
