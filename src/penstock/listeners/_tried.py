"""What an ordered worker has tried of an event that it could not finish: kept beside the group it belongs to.

A worker that ends leaves such an event pending. The next one of the same process goes on where it stopped; another
process knows nothing of it and begins to count anew.
"""

from dataclasses import dataclass
from typing import TypeAlias

from penstock.streams.abc import ListenerFailure, RawId

__all__ = ["Tried", "TriedByEntry"]


@dataclass(frozen=True, slots=True)
class Tried:
    """How far an event has come. `listeners` are those to be run next; ``None``: all."""

    attempts: int = 0
    listeners: tuple[str, ...] | None = None
    given_up: tuple[tuple[ListenerFailure, BaseException], ...] = ()
    """Those that have failed for good."""
    due: float = 0.0
    """The clock's monotonic time before which it is not run again."""


TriedByEntry: TypeAlias = dict[tuple[str, RawId], Tried]
"""By stream and entry."""
