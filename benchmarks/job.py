"""What the harness asks of a worker process and what it gets back, both as one line of JSON."""

from enum import StrEnum

import msgspec

from benchmarks.contender import Place

__all__ = ["Job", "Outcome", "Role"]


class Role(StrEnum):
    """What a worker process does."""

    PUBLISH = "publish one by one"
    PUBLISH_SHARED = "publish from many tasks"
    PUBLISH_BATCH = "publish in batches"
    PUBLISH_PACED = "publish at a steady low rate"
    CONSUME = "consume, acknowledge in batches"
    CONSUME_EACH = "consume, acknowledge each"
    CONSUME_ORDERED = "consume in a mode that keeps an order"
    CONSUME_PACED = "consume at a steady low rate"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement by one contender."""

    contender: str
    """``module:Class`` or ``module:function`` below `benchmarks.contenders`."""
    role: Role
    place: Place
    events: int
    warm_up: int
    uvloop: bool
    core: int | None
    """The core to run on, None for any."""
    tasks: int = 100
    batch: int = 1000
    """Orders in one batch of `Role.PUBLISH_BATCH`."""
    per_second: int = 200
    """The pace of `Role.PUBLISH_PACED`."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found."""

    events: int
    seconds: float
    peak_rss_mib: float
    p50_us: float | None = None
    p99_us: float | None = None

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds
