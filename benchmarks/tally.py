"""What a consumer's handler reports to: proof that every order came exactly once, and the time they took."""

import asyncio
import time
from array import array
from typing import Final

from benchmarks.orders import FIRST_NUMBER, Order

__all__ = ["MiscountError", "Latencies", "Tally"]


class MiscountError(Exception):
    """Orders were handled more than once, or not at all: the contender's figure is worth nothing."""


class Tally:
    """Counts orders until all have been handled; the clock runs from the last one of the warm-up to the last of all."""

    def __init__(self, events: int, *, warm_up: int) -> None:
        self.events: Final = events
        self.finished: Final = asyncio.Event()
        self.done = False
        self._warm_up: Final = warm_up
        self._seen: Final = bytearray(warm_up + events)
        self._count = 0
        self._stops_at = warm_up
        self._started = self._ended = 0.0

    def saw(self, order: Order) -> None:
        """Count one handled order; the whole work of every contender's handler."""
        self._seen[order.number - FIRST_NUMBER] += 1
        self._count += 1
        if self._count == self._stops_at:
            self._stop()

    def _stop(self) -> None:
        if self._count == self._warm_up:
            self._started = time.perf_counter()
            self._stops_at += self.events
        else:
            self._ended = time.perf_counter()
            self.done = True
            self.finished.set()

    def seconds(self) -> float:
        """How long the measured orders took. Raises `MiscountError` unless each order was handled exactly once."""
        distinct = len(self._seen) - self._seen.count(0)
        if not self.done or self._count != distinct or distinct != len(self._seen):
            message = (
                f"{self._count} orders handled, {distinct} distinct ones, of {len(self._seen)} published"
            )
            raise MiscountError(message)
        return self._ended - self._started


class Latencies(Tally):
    """A tally that also keeps how long each measured order took from its publisher to its handler."""

    def __init__(self, events: int, *, warm_up: int) -> None:
        super().__init__(events, warm_up=warm_up)
        self._ns: Final = array("q")

    def saw(self, order: Order) -> None:
        """Count one handled order. The monotonic clock is the same for all processes of a Linux machine."""
        self._ns.append(time.monotonic_ns() - order.placed_ns)
        super().saw(order)

    def microseconds(self) -> list[float]:
        """The measured latencies, shortest first, without those of the warm-up."""
        return sorted(ns / 1000 for ns in self._ns[-self.events :])
