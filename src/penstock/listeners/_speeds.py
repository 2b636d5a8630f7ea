"""How fast the handlers of one worker are, counted in a few numbers, and told to the server every few seconds."""

import contextlib
from datetime import timedelta
from typing import Final

from penstock.clock import Clock
from penstock.errors import BrokerError
from penstock.streams.abc import FIGURE_BUCKETS, RunFigures, StreamBroker

__all__ = ["Speeds", "publish_speeds", "tell_speeds"]

_INTERVAL: Final = timedelta(seconds=5)
_PER_SECOND: Final = 100_000
"""The first bucket ends at ten microseconds; see `bucket_of`, which this has to be quicker than."""
_LAST: Final = FIGURE_BUCKETS - 1


class _Tally:
    __slots__ = ("buckets", "failed", "runs", "seconds")

    def __init__(self) -> None:
        self.runs = self.failed = 0
        self.seconds = 0.0
        self.buckets = [0] * FIGURE_BUCKETS


class Speeds:
    """Counts runs by stream and listener; the server is told what came since it was told last."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Tally] = {}
        self._settled: dict[str, int] = {}

    def ran(self, stream: str, listener: str, seconds: float, *, failed: bool) -> None:
        """A handler has come to an end."""
        tally = self._runs.get((stream, listener))
        if tally is None:
            tally = self._runs[stream, listener] = _Tally()
        tally.runs += 1
        tally.seconds += seconds
        bucket = int(seconds * _PER_SECOND).bit_length()
        tally.buckets[bucket if bucket < _LAST else _LAST] += 1
        if failed:
            tally.failed += 1

    def settled(self, stream: str, count: int) -> None:
        """So many entries were acknowledged."""
        self._settled[stream] = self._settled.get(stream, 0) + count

    def take(self) -> dict[str, tuple[int, dict[str, RunFigures]]]:
        """What came since the last call, by stream: settled entries, and runs by listener."""
        runs, self._runs = self._runs, {}
        settled, self._settled = self._settled, {}
        taken: dict[str, tuple[int, dict[str, RunFigures]]] = {
            stream: (count, {}) for stream, count in settled.items()
        }
        for (stream, listener), tally in runs.items():
            _, by_listener = taken.setdefault(stream, (0, {}))
            by_listener[listener] = RunFigures(tally.runs, tally.failed, tally.seconds, tuple(tally.buckets))
        return taken


async def publish_speeds(speeds: Speeds, broker: StreamBroker, group: str, clock: Clock) -> None:
    """Tell the server every few seconds, for ever."""
    while True:
        await clock.sleep(_INTERVAL)
        await tell_speeds(speeds, broker, group)


async def tell_speeds(speeds: Speeds, broker: StreamBroker, group: str) -> None:
    """Tell the server now. Figures that it does not take are lost; no work depends on them."""
    with contextlib.suppress(BrokerError):
        for stream, (events, runs) in speeds.take().items():
            await broker.figures.note(stream, group, events, runs)
