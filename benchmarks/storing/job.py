"""What is asked of a process that measures a store; the answer is an `Outcome`."""

from enum import StrEnum

import msgspec

__all__ = ["GrownOutcome", "StoreJob", "Work"]


class Work(StrEnum):
    """What a process does with a store."""

    APPEND = "append one by one"
    APPEND_SHARED = "append from many writers"
    APPEND_BATCH = "append in batches"
    READ = "read by position, decoded"
    PROJECT = "project in pages"
    PROJECT_EACH = "project, one transaction an event"
    WAKE = "from commit to handler"
    GROWN = "work in a store that holds much already"


class StoreJob(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement by one side."""

    keeper: str
    """``module:Class`` below `benchmarks.storing.keepers`."""
    work: Work
    url: str
    events: int
    uvloop: bool
    writers: int = 16
    batch: int = 1000
    held: int = 0
    """For `Work.GROWN`: how many events are there before."""


class GrownOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What work costs in a store of some size, in microseconds."""

    append_us: float
    """One event of a batch."""
    project_us: float
    """One event of a page."""
    load_us: float
    """A stream of a hundred events."""
    peak_rss_mib: float
