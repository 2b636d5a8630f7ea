"""What consumer groups are seen to be: reads, claims, pending entries, consumers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from penstock.position import EntryId
from penstock.streams.abc._entries import Batch, RawEntry, RawId

__all__ = [
    "Claimed",
    "ConsumerInfo",
    "GroupInfo",
    "GroupRead",
    "Holder",
    "PendingEntry",
    "PendingSummary",
    "Settled",
]


@dataclass(frozen=True, slots=True)
class GroupRead:
    """One group read: what came in, and how many of the acknowledgements sent along the server counted, per stream."""

    batches: list[Batch]
    acknowledged: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim took over.

    `entries` are now pending with the claimer; `vanished` are ids that are pending (untouched) but no longer in the
    stream; `next_start` is where the following claim goes on, ``None`` when the pending list is through.
    """

    entries: list[RawEntry]
    vanished: list[RawId]
    next_start: EntryId | None


class Settled(Enum):
    """What a settling script answered."""

    DONE = "done"
    NOT_YOURS = "not yours"
    """The entry is not pending with this consumer, or the token is not the present one: nothing was changed."""


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A delivered, unsettled entry."""

    entry_id: EntryId
    consumer: str
    idle: timedelta
    delivery_count: int


@dataclass(frozen=True, slots=True)
class PendingSummary:
    """A group's pending entries in one look. `lowest` and `highest` are ``None`` when there are none."""

    count: int
    lowest: EntryId | None
    highest: EntryId | None
    consumers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group of a stream. `lag_entries` is counted by us: the server's figure fails after deletions."""

    name: str
    consumers: int
    pending: int
    last_delivered: EntryId
    lag_entries: int


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer of a group. `idle` is the time since it last spoke to the server."""

    name: str
    pending: int
    idle: timedelta


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a consumer name."""

    token: str
    description: str
