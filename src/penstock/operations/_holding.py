"""What operations say of a stream's readers: who needs what, who holds which lease, how fast the listeners are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from penstock.position import EntryId
from penstock.streams.abc import Hold

__all__ = ["HeldBy", "LeaseView", "ListenerSpeed"]


@dataclass(frozen=True, slots=True)
class HeldBy:
    """Who needs entries of a stream, and the lowest id that it still needs."""

    kind: str
    """``group``, ``cursor``, ``relay`` or ``absent group`` (registered, and not created yet: it needs everything)."""
    name: str
    needs: EntryId
    pending: int = 0
    since: datetime | None = None
    """When an absent group was registered."""

    @classmethod
    def of(cls, holds: Sequence[Hold]) -> tuple["HeldBy", ...]:
        """Holds as operations show them."""
        return tuple(cls(hold.kind.value, hold.name, hold.needs, hold.pending, hold.since) for hold in holds)


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A lease of a stream that is held: who does what there alone."""

    name: str
    holder: str
    fence: int
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class ListenerSpeed:
    """How fast a listener was on one day (UTC): the seconds within which a half, 95 and 99 of a hundred runs ended.

    They are told by runs counted in steps of a factor of 2, and are as exact as that.
    """

    day: str
    listener: str
    runs: int
    failed: int
    mean_seconds: float
    median_seconds: float
    p95_seconds: float
    p99_seconds: float
