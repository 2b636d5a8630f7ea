"""Figures of handlers, in memory."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from penstock.streams.abc import GroupFigures, RunFigures

__all__ = ["MemoryFigures"]

_DAYS = 9
_SLOT_SECONDS = 10
_SLOTS = 6


class MemoryFigures:
    """`FigureStore` in memory."""

    def __init__(self, time_us: Callable[[], int]) -> None:
        self._time_us = time_us
        self._runs: dict[tuple[str, str], dict[date, dict[str, RunFigures]]] = {}
        self._paces: dict[tuple[str, str], dict[int, int]] = {}

    async def note(self, stream: str, group: str, events: int, runs: Mapping[str, RunFigures]) -> None:
        """Add settled events, and runs by listener, to those of today."""
        today, slot = self._today(), self._slot()
        pace = self._paces.setdefault((stream, group), {})
        pace[slot] = pace.get(slot, 0) + events
        self._paces[stream, group] = {at: count for at, count in pace.items() if at > slot - _SLOTS}
        days = self._runs.setdefault((stream, group), {})
        of_today = days.setdefault(today, {})
        for listener, more in runs.items():
            known = of_today.get(listener)
            of_today[listener] = more if known is None else RunFigures.of([known, more])
        for day in [day for day in days if day <= today - timedelta(days=_DAYS)]:
            del days[day]

    async def figures(self, stream: str, group: str) -> GroupFigures:
        """What was told within the last nine days."""
        slot, oldest = self._slot(), self._today() - timedelta(days=_DAYS)
        recent = [count for at, count in self._paces.get((stream, group), {}).items() if at > slot - _SLOTS]
        days = self._runs.get((stream, group), {})
        return GroupFigures(
            sum(recent) / (_SLOTS * _SLOT_SECONDS),
            {day: dict(sorted(runs.items())) for day, runs in sorted(days.items()) if day > oldest},
        )

    def forget_stream(self, stream: str) -> None:
        """Forget the figures of a stream that was deleted."""
        for kept in (self._runs, self._paces):
            for key in [key for key in kept if key[0] == stream]:
                del kept[key]

    def _today(self) -> date:
        return datetime.fromtimestamp(self._time_us() / 1_000_000, UTC).date()

    def _slot(self) -> int:
        return self._time_us() // (_SLOT_SECONDS * 1_000_000)
