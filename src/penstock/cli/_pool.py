"""How many worker processes there should be: more while events wait, fewer when none came for a while."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeAlias

from penstock.cli._errors import WrongUsage

__all__ = ["Backlog", "Bounds", "Sizing"]

Backlog: TypeAlias = Callable[[], Awaitable[int]]
"""How many events wait to be delivered at this moment, over all groups that the workers work."""

_BOUNDS: Final = re.compile(r"([0-9]+)(?:\s*(?:-|\.\.)\s*([0-9]+))?")
_MOST_PROCESSES: Final = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fewest and the most processes."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"4"`` or ``"2-8"``. Raises `WrongUsage`."""
        match = _BOUNDS.fullmatch(text.strip())
        if match is None:
            raise WrongUsage(f"--processes is {text!r}", remedy="give a number, as 4, or bounds, as 2-8")
        least = int(match[1])
        most = int(match[2] or least)
        if not 1 <= least <= most <= _MOST_PROCESSES:
            raise WrongUsage(
                f"--processes is {text!r}",
                remedy=f"the bounds are at least 1, at most {_MOST_PROCESSES}, and the first is not above the second",
            )
        return cls(least, most)

    @property
    def is_range(self) -> bool:
        """Whether the number may change while running."""
        return self.least < self.most


class Sizing:
    """Decides the size of the pool from one look at the backlog after another.

    A backlog that is still there at the second look in a row is more than the present workers take at once: the pool
    grows by half, by one at least. After *idle* without any backlog it shrinks by one, and again after as long.
    """

    def __init__(self, bounds: Bounds, *, idle: timedelta) -> None:
        self._bounds = bounds
        self._idle_seconds = idle.total_seconds()
        self._was_behind = False
        self._idle_since: float | None = None

    def next_size(self, size: int, backlog: int, now: float) -> int:
        """How many there should be, having *size* with *backlog* events waiting; *now* in monotonic seconds."""
        if backlog:
            self._idle_since = None
            grow, self._was_behind = self._was_behind, True
            return min(self._bounds.most, size + max(1, size // 2)) if grow else size
        self._was_behind = False
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < self._idle_seconds:
            return size
        self._idle_since = now
        return max(self._bounds.least, size - 1)
