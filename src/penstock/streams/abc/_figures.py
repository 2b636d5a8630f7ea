"""How fast handlers are, kept beside the stream for nine days, so that any process can show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol, Self

__all__ = ["FIGURE_BUCKETS", "FigureStore", "GroupFigures", "RunFigures", "bucket_of"]

FIGURE_BUCKETS: Final = 24
"""Runs are counted by duration: in bucket 0 those below 10 microseconds, in each next one those up to twice as long."""
_FIRST_SECONDS: Final = 10e-6


def bucket_of(seconds: float) -> int:
    """The bucket in which a run of that duration is counted."""
    return min(int(seconds / _FIRST_SECONDS).bit_length(), FIGURE_BUCKETS - 1)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Runs of one listener: how many, how many failed, how long they took together, and their number by duration."""

    runs: int
    failed: int
    seconds: float
    buckets: tuple[int, ...]

    @classmethod
    def of(cls, runs: Sequence["RunFigures"]) -> Self:
        """All of them together."""
        buckets = [sum(each.buckets[at] for each in runs) for at in range(FIGURE_BUCKETS)]
        return cls(
            sum(each.runs for each in runs),
            sum(each.failed for each in runs),
            sum(each.seconds for each in runs),
            tuple(buckets),
        )

    def percentile(self, share: float) -> float | None:
        """The seconds within which that share of the runs ended (0.99: all but one in a hundred), within a factor of 2.

        ``None`` without runs.
        """
        wanted, counted = share * self.runs, 0
        for at, count in enumerate(self.buckets):
            if count and counted + count >= wanted:
                low = 0.0 if at == 0 else _FIRST_SECONDS * float(2 ** (at - 1))
                high = _FIRST_SECONDS * float(2**at)
                return low + (high - low) * max(0.0, wanted - counted) / count
            counted += count
        return None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What a group did: events per second over the last minute, and the runs of each listener by day (UTC)."""

    events_per_second: float
    days: Mapping[date, Mapping[str, RunFigures]]


class FigureStore(Protocol):
    """Figures of groups, added up by the server over all processes. What a dying process had not told is lost."""

    async def note(self, stream: str, group: str, events: int, runs: Mapping[str, RunFigures]) -> None:
        """Add settled events, and runs by listener, to those of today by the server's clock. Older days are dropped."""
        ...

    async def figures(self, stream: str, group: str) -> GroupFigures:
        """What was told within the last nine days."""
        ...
