"""Gaps between the pages of a run, so that others can write: on SQLite one does at a time, and who waits only looks now
and then whether the other has ended.
"""

import time
from dataclasses import dataclass
from typing import Final

__all__ = ["Gap"]

_SHARE: Final = 0.1
"""How much of the time that pages take is left to others, the time between two pages included."""
_SHORTEST_SECONDS: Final = 0.002
_LONGEST_SECONDS: Final = 0.01


@dataclass
class Gap:
    """What a run owes to others who want to write to the same database."""

    owes: bool
    """Whether anybody else writes there."""
    _owed: float = 0.0
    _ended: float | None = None
    """When the last page was committed (monotonic, in seconds)."""

    def after(self, began: float) -> None:
        """A page that *began* then (monotonic, in seconds) was committed: wait for a moment, if enough is owed."""
        if not self.owes:
            return
        between = 0.0 if self._ended is None else began - self._ended
        self._ended = time.monotonic()
        self._owed = max(self._owed - between, 0.0) + (self._ended - began) * _SHARE
        if self._owed >= _SHORTEST_SECONDS:
            time.sleep(min(self._owed, _LONGEST_SECONDS))
            self._owed, self._ended = 0.0, time.monotonic()
