"""What is told of a replay besides its record: what it would be about, and who did what to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.replays.abc import Finding

__all__ = ["ReplayDeed", "ReplayPlan"]


@dataclass(frozen=True, slots=True)
class ReplayDeed:
    """What somebody did to a replay."""

    replay: str
    at: datetime
    who: str
    what: str
    """The step: ``create``, ``start``, ``follow``, ``promote``, ..."""
    which: str = ""
    """What of it, in words."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would be about; nothing was made for it."""

    projections: tuple[str, ...]
    versions: Mapping[str, int]
    live_versions: Mapping[str, int]
    """The version of each that is live; those that never ran are left out."""
    tables: tuple[str, ...]
    events: int
    """How many would be handled; one that two projections handle counts for each."""
    rate: float
    """Events a second, of former plays in this database; 0 if there were none."""
    duration: timedelta | None
    """By that rate."""
    disk_bytes: int
    """How large the live read models are, which is how much a copy needs, about."""
    findings: tuple[Finding, ...] = ()
