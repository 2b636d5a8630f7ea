"""What every worker of listeners is given: the group, the server, and options that mean the same to all kinds."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypedDict

from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError
from penstock.listeners._handling import Handling
from penstock.listeners._life import Runs
from penstock.listeners._session import Counts
from penstock.listeners.calls import Dependencies
from penstock.listeners.groups import Group, Middleware
from penstock.listeners.patterns import FindStreams
from penstock.streams.abc import StreamBroker
from penstock.streams.layouts import NATIVE, EntryReader
from penstock.telemetry import Observer, guarded

__all__ = ["WorkerOptions", "Works"]


class WorkerOptions(TypedDict, total=False):
    """What any worker may be told; see `Works`."""

    dependencies: Dependencies | None
    streams: Sequence[str] | None
    find_streams: FindStreams | None
    middleware: Sequence[Middleware]
    clock: Clock | None
    observer: Observer | None
    layout: EntryReader
    until_idle: bool
    idle_exit: timedelta | None
    reconnect_attempts: int | None


class Works(Runs):
    """Works the listeners of one group on one server.

    Args:
        streams: Those to read; left out, all that the group names.
        find_streams: Asked at the start, and every `GroupSettings.refresh`, for further streams to read.
        until_idle: End when everything there is has been handled.
        idle_exit: End when nothing has moved for so long.
        reconnect_attempts: How many tries in a row to reach the server are enough; left out, there is no end.

    Raises:
        ConfigurationError: There is no stream to read, and nothing that could find one.
    """

    def __init__(
        self,
        thing: str,
        broker: StreamBroker,
        group: Group,
        *,
        dependencies: Dependencies | None = None,
        streams: Sequence[str] | None = None,
        find_streams: FindStreams | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Clock | None = None,
        observer: Observer | None = None,
        layout: EntryReader = NATIVE,
        until_idle: bool = False,
        idle_exit: timedelta | None = None,
        reconnect_attempts: int | None = None,
    ) -> None:
        super().__init__(
            thing,
            Handling(group, dependencies or Dependencies(), middleware=middleware),
            threads=group.settings.concurrency,
        )
        self.group = group
        self.counts = Counts()
        self._broker = broker
        self._streams = tuple(streams) if streams is not None else group.streams
        self._find_streams = find_streams
        if not self._streams and find_streams is None:
            raise ConfigurationError(
                f"group {group.name!r} has no streams; give it listeners or streams=[...]"
            )
        self._clock = clock or SystemClock()
        self._observer = guarded(observer)
        self._layout = layout
        self._until_idle = until_idle
        self._idle_exit = idle_exit
        self._reconnect_attempts = reconnect_attempts
