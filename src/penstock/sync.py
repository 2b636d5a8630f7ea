"""The app without asyncio: every coroutine mirrored on an event loop that runs in a thread of its own."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, overload

from penstock._locking import SyncLock
from penstock._remembering import SyncValues
from penstock._replaying import SyncReplayManager
from penstock._storing import SyncEventStore
from penstock.clock import parse_duration
from penstock.errors import UsageError
from penstock.listeners.history import History, Until
from penstock.message import Message
from penstock.position import NEW, Start
from penstock.streams.publisher import Published, Said
from penstock.streams.scheduling import Scheduled

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.streams.reader import StreamReader, TypedReader

__all__ = ["SyncApp", "SyncHistory", "SyncReader"]

T = TypeVar("T")


_WIND_UP_SECONDS = 30.0
_LOOK_FOR_SIGNALS_SECONDS = 1.0


class _LoopThread:
    """An event loop in a daemon thread, started when first used; a forked child starts one of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it. Raises what it raises.

        Interrupted (Ctrl-C), it cancels the coroutine and lets it wind up.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise UsageError(
                "app.sync would block this event loop; in a coroutine use the app itself: await app.emit(...)"
            )
        running = _Running(work, self._started())
        try:
            running.begin()
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            # Forked: the thread stayed with the parent, and it may have held the lock.
            self._lock, self._loop, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=loop.run_forever, name="penstock sync", daemon=True)
                self._thread.start()
            return self._loop

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


class _Running(Generic[T]):
    """A coroutine in the loop of another thread.

    The loop alone knows how far it is: an interrupt may hit the one who waits at any moment, also while beginning.
    """

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self._task: asyncio.Task[T] | None = None
        self._ended = threading.Event()

    def begin(self) -> None:
        """Have it run."""
        self._loop.call_soon_threadsafe(self._begin)

    def result(self) -> T:
        """What comes of it. No wait is endless: a signal that arrives just before one begins is seen when it ends."""
        while not self._ended.wait(_LOOK_FOR_SIGNALS_SECONDS):
            pass
        assert self._task is not None
        return self._task.result()

    def cancel(self) -> None:
        """Cancel it unless it has ended, and let it wind up."""
        if not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._cancel)
            self._ended.wait(_WIND_UP_SECONDS)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(lambda _: self._ended.set())

    def _cancel(self) -> None:
        if self._task is None:
            # What is asked for is done in order: it was never begun, and is not any more.
            self._work.close()
            self._ended.set()
        else:
            self._task.cancel()


class SyncApp:
    """What an app offers, for Django, Flask and scripts. Made by ``app.sync``; safe to use from many threads.

    Each method does what the app's coroutine of that name does, and raises the same errors. Calling one inside a
    running event loop raises `UsageError`.
    """

    def __init__(self, app: "App") -> None:
        self._app = app
        self._thread = _LoopThread()

    def open(self) -> None:
        """Connect; see `App.open`."""
        self._thread.run(self._app.open())

    def close(self) -> None:
        """Disconnect and end the thread; see `App.close`."""
        self._thread.run(self._app.close())
        self._thread.stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def emit(self, event: object, **said: Unpack[Said]) -> Published: ...
    @overload
    def emit(self, event: object, *, at: datetime | str, **said: Unpack[Said]) -> Scheduled: ...
    @overload
    def emit(self, event: object, *, after: timedelta | str, **said: Unpack[Said]) -> Scheduled: ...
    def emit(self, event: object, **said: Any) -> Published | Scheduled:
        """Write one event, now or later; see `App.emit`."""
        emit: Any = self._app.emit
        published: Published | Scheduled = self._thread.run(emit(event, **said))
        return published

    def scheduled(self, *, stream: str | None = None, limit: int | None = None) -> list[Scheduled]:
        """The events that wait for their time; see `App.scheduled`."""
        return self._thread.run(self._app.scheduled(stream=stream, limit=limit))

    def cancel_scheduled(self, event_id: str, *, stream: str | None = None) -> bool:
        """Take back an event that waits; see `App.cancel_scheduled`."""
        return self._thread.run(self._app.cancel_scheduled(event_id, stream=stream))

    def history(self, events: Any, identifier: object, **where: str | None) -> "SyncHistory":
        """The history of one entity; see `App.history`."""
        return SyncHistory(self._thread, self._app.history(events, identifier, **where))

    def emit_many(self, events: Iterable[object], **said: Unpack[Said]) -> list[Published]:
        """Write many events; see `App.emit_many`."""
        return self._thread.run(self._app.emit_many(events, **said))

    def emit_to(self, streams: Iterable[str], event: object, **said: Unpack[Said]) -> list[Published]:
        """Write one event to several streams; see `App.emit_to`."""
        return self._thread.run(self._app.emit_to(streams, event, **said))

    def reader(
        self, *streams: str, start: Start | str = NEW, cursor: str | None = None, count: int = 100
    ) -> "SyncReader[Message]":
        """Read streams without a group; see `App.reader`. Iterate it, or `SyncReader.read` what is there."""
        reader = self._thread.run(self._app.reader(*streams, start=start, cursor=cursor, count=count))
        self._thread.run(reader.prepare())
        return SyncReader(self._thread, reader)

    def read(
        self,
        type_: type[T],
        *,
        stream: str | None = None,
        shard: str | None = None,
        start: Start | str = NEW,
        cursor: str | None = None,
        count: int = 100,
    ) -> "SyncReader[T]":
        """Read one event type; see `App.read`."""
        reader = self._thread.run(
            self._app.read(type_, stream=stream, shard=shard, start=start, cursor=cursor, count=count)
        )
        self._thread.run(reader.prepare())
        return SyncReader(self._thread, reader)

    def lock(
        self,
        name: str,
        *,
        life: timedelta | str = "30s",
        wait: timedelta | str | bool | None = None,
        pool: str = "default",
    ) -> SyncLock:
        """A lock that all processes of the namespace share, as a context manager; see `App.lock`."""
        lock = self._app.lock(name, life=life, wait=wait, cancel_when_lost=False, pool=pool)
        return SyncLock(self._thread.run, lock)

    def values(self, name: str, *, shard: str | None = None, pool: str = "default") -> SyncValues:
        """Small values that all processes of the namespace share; see `App.values`."""
        return SyncValues(self._thread.run, self._app.values(name, shard=shard, pool=pool))

    def store(self, name: str = "local") -> SyncEventStore:
        """An event store; see `App.store`."""
        return SyncEventStore(self._thread.run, self._app.store(name))

    def catch_up(self, *names: str) -> None:
        """Run projections until everything that is stored now is handled; see `App.catch_up`."""
        self._thread.run(self._app.catch_up(*names))

    def projection_state(self, name: str) -> Any:
        """What a state projection has folded so far; see `penstock.projections.Projection.state`."""
        return self._thread.run(self._app.projection_state(name))

    @property
    def replays(self) -> SyncReplayManager:
        """Read models that are built anew beside the live ones; see `App.replays`."""
        return SyncReplayManager(self._thread.run, self._app.replays)

    def run(self, **options: Any) -> None:
        """Work the app's groups in the loop thread until it ends by itself; see `App.run`."""
        self._thread.run(self._app.run(**options))


class SyncHistory:
    """The history of one entity for synchronous code; see `penstock.listeners.history.History`."""

    def __init__(self, thread: _LoopThread, history: History) -> None:
        self._thread = thread
        self._history = history

    def events(self, until: Until | None = None) -> list[Message]:
        """The entity's events, oldest first; see `History.events`."""

        async def listed() -> list[Message]:
            return [message async for message in self._history.events(until)]

        return self._thread.run(listed())

    def state(self, until: Until | None = None) -> dict[str, Any]:
        """What its events make of it; see `History.state`."""
        return self._thread.run(self._history.state(until))


class SyncReader(Generic[T]):
    """A reader for synchronous code."""

    def __init__(self, thread: _LoopThread, reader: "StreamReader | TypedReader[T]") -> None:
        self._thread = thread
        self._reader: Any = reader

    def read(self, *, block: timedelta | str | None = None) -> list[T]:
        """What is there now; waits up to *block* for a first entry."""
        wait = None if block is None else parse_duration(block)
        found: list[T] = self._thread.run(self._reader.read(block=wait))
        return found

    def __iter__(self) -> Iterator[T]:
        while True:
            yield from self.read(block=timedelta(seconds=1))
