"""What operations answer with: frozen values, made of plain facts, that a face can show or write as JSON.

Durations are seconds and carry it in their names; times are in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from penstock.operations._holding import HeldBy, LeaseView, ListenerSpeed
from penstock.position import EntryId
from penstock.projections.abc import ProjectionStatus
from penstock.streams.abc import Edit

__all__ = [
    "ConsumerSummary",
    "EntryView",
    "EventListeners",
    "FailedDetail",
    "FailedMessage",
    "FailedPage",
    "GroupDetail",
    "GroupSummary",
    "HandlerRun",
    "LaneOwner",
    "ListenerSummary",
    "ParkedKeySummary",
    "PendingView",
    "PlanPart",
    "RetryOutcome",
    "RetryPlan",
    "RetryResult",
    "ServerSummary",
    "Status",
    "StreamDetail",
    "StreamSummary",
    "WorkerSummary",
]


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """A stream in one look. One that is registered and not there yet has `exists` False and no entries."""

    pool: str
    name: str
    exists: bool
    registered: bool
    length: int = 0
    first: EntryId | None = None
    last: EntryId | None = None
    groups: int = 0
    retrying: int = 0
    """Failure records that run again when due."""
    failed: int = 0
    """Failure records that wait for a person."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A consumer group of a stream. One that is registered and not there yet lags by what it will be delivered."""

    pool: str
    stream: str
    name: str
    exists: bool
    registered: bool
    consumers: int = 0
    pending: int = 0
    lag_entries: int = 0
    lag_seconds: float = 0.0
    """The age of the oldest entry that was not delivered yet; 0 when there is none."""
    oldest_pending_seconds: float | None = None
    """The age of the oldest entry that was delivered and not settled."""
    last_delivered: EntryId | None = None
    retrying: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerSummary:
    """A consumer of a group. It is `alive` when it has spoken to the server within the last fifteen seconds."""

    name: str
    pending: int
    idle_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True)
class PendingView:
    """A delivered, unsettled entry."""

    entry_id: EntryId
    consumer: str
    idle_seconds: float
    delivery_count: int


@dataclass(frozen=True, slots=True)
class LaneOwner:
    """Who works a stream of an ordered group, and for how long it is theirs if they say nothing more."""

    holder: str
    fence: int
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class StreamDetail:
    """A stream with its groups and the durable cursors of its readers, who needs what of it, and who works it alone."""

    stream: StreamSummary
    groups: tuple[GroupSummary, ...]
    cursors: Mapping[str, EntryId]
    held_by: tuple[HeldBy, ...] = ()
    """Everyone who needs entries, the lowest first: what lies below the first may go. Empty: nobody needs anything."""
    leases: tuple[LeaseView, ...] = ()
    partitions: int | None = None
    """``None``: it is not cut into partitions."""
    retention: str | None = None
    """What the collector removes, as the settings say it."""


@dataclass(frozen=True, slots=True)
class GroupDetail:
    """A group with its consumers and its oldest pending entries."""

    group: GroupSummary
    consumers: tuple[ConsumerSummary, ...]
    oldest_pending: tuple[PendingView, ...]
    owner: LaneOwner | None = None
    """Who works the stream at this moment, in an ordered group."""
    events_per_second: float = 0.0
    """Settled within the last minute, over all processes; told by them every few seconds."""
    speeds: tuple[ListenerSpeed, ...] = ()
    """By day, the latest first, for nine days."""


@dataclass(frozen=True, slots=True)
class ListenerSummary:
    """A listener: its name, its group (``None`` for a broadcast listener), and the function behind it."""

    name: str
    group: str | None
    function: str


@dataclass(frozen=True, slots=True)
class EventListeners:
    """An event name with everything that listens to it; ``"*"`` stands for every event of a group's streams."""

    event: str
    stream: str
    listeners: tuple[ListenerSummary, ...]


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry of a stream, read as a message. One that is none says why in `undecodable` and keeps its `fields`."""

    pool: str
    stream: str
    entry_id: EntryId
    name: str | None = None
    event_id: str | None = None
    time: datetime | None = None
    key: str | None = None
    kind: str | None = None
    source: str | None = None
    version: int | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    payload: Any = None
    undecodable: str | None = None
    fields: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A failure record: what failed, where, and how often. The listener ``"*"`` stands for the whole message."""

    pool: str
    stream: str
    group: str
    entry_id: EntryId
    listener: str
    state: str
    """``retrying``, ``failed`` or ``parked``."""
    cause: str
    error_type: str
    error: str
    attempts: int
    first_failed: datetime
    last_failed: datetime
    due: datetime | None
    parked_key: str | None = None
    """The key under which it is parked; ``""`` is that of events without one."""
    projection: str | None = None
    """The projection or relay that could not handle it; `pool` then is the store that has the record, `group` the same
    name. ``None``: a consumer group."""
    position: int | None = None
    """For a projection: the event's place in its store; ``None`` for a relay out of a stream, whose entry has an id."""


@dataclass(frozen=True, slots=True)
class ParkedKeySummary:
    """A key of an ordered group whose events wait for a person, with the error of the first of them."""

    pool: str
    stream: str
    group: str
    key: str
    """``""`` is the key of all events without one."""
    events: int
    since: datetime
    first: EntryId
    error_type: str
    error: str
    unparking: bool
    """Its events are to be handled, by whoever works the stream."""
    projection: str | None = None
    """The projection whose events wait; `pool` then is the store, `group` the same name, `stream` the first's event
    stream, and `first` its position. ``None``: an ordered group."""


@dataclass(frozen=True, slots=True)
class FailedDetail:
    """A failure record with its traceback and the message that it is run with; ``None`` when that had vanished."""

    failed: FailedMessage
    traceback: str
    message: EntryView | None
    original: EntryView | None = None
    """The message as it was, when it has been edited since."""
    edits: tuple[Edit, ...] = ()
    """Who edited it, oldest first."""


@dataclass(frozen=True, slots=True)
class FailedPage:
    """Failure records in the order of their last failure; `next` goes on after them, ``None`` at the end."""

    items: tuple[FailedMessage, ...]
    next: str | None
    problems: tuple[str, ...] = ()
    """Why some store could not be asked for failures of projections."""


@dataclass(frozen=True, slots=True)
class PlanPart:
    """The records of one listener that a command would touch."""

    pool: str
    stream: str
    group: str
    listener: str
    count: int
    missing: str | None = None
    """Why they cannot be run by this app and would be kept."""
    projection: str | None = None
    """The projection whose failures they are; `pool` then is the store. ``None``: of a consumer group."""


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What would be run again, or forgotten, by listener."""

    parts: tuple[PlanPart, ...]
    problems: tuple[str, ...] = ()
    """Why some store could not be asked for failures of projections; those are left alone."""

    @property
    def total(self) -> int:
        """All records that match."""
        return sum(part.count for part in self.parts)

    @property
    def runnable(self) -> int:
        """Those that this app can run."""
        return sum(part.count for part in self.parts if part.missing is None)


@dataclass(frozen=True, slots=True)
class Moved:
    """How many entries of one stream were moved from one consumer to another, or would be."""

    pool: str
    stream: str
    count: int


class RetryOutcome(Enum):
    """How one retry ended."""

    SUCCEEDED = "succeeded"
    """Its listener returned; the record is gone."""
    FAILED = "failed"
    """It failed again; the record was updated."""
    KEPT = "kept"
    """It was not run, or its listener asked for it to be left; the record is as it was."""
    BUSY = "busy"
    """Another process runs it at this moment, or it is gone."""


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What became of one record."""

    failed: FailedMessage
    """As it was before."""
    outcome: RetryOutcome
    error: str | None = None


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """One run of a listener over one message, as it ended."""

    group: str | None
    listener: str
    stream: str
    entry_id: EntryId
    event_id: str
    name: str
    attempt: int
    seconds: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """The server of one pool: what it is and what it promises."""

    pool: str
    url: str
    """Without the password."""
    embedded: bool
    product: str
    version: str
    appendfsync: str | None
    """``always``, ``everysec``, ``no``, ``off`` (nothing is written to disk); ``None``: it does not say."""
    maxmemory_policy: str | None
    cluster: bool


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """A consumer, with the streams of its pool and group that it reads."""

    pool: str
    group: str
    consumer: str
    streams: tuple[str, ...]
    pending: int
    idle_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Status:
    """Everything in one look. `servers` is empty when the embedded server is to be used and does not run."""

    servers: tuple[ServerSummary, ...]
    streams: tuple[StreamSummary, ...] = ()
    groups: tuple[GroupSummary, ...] = ()
    workers: tuple[WorkerSummary, ...] = ()
    uncollected: tuple[str, ...] = ()
    """Streams that have a retention, and that nobody collects at the moment: no worker and no housekeeping runs."""
    retrying: int = 0
    failed: int = 0
    projections: tuple[ProjectionStatus, ...] = ()
    """Projections and relays that have run at some time."""
    problems: tuple[str, ...] = ()
    """What is wrong: why some store or stream could not be looked at, and what stands still."""
    away: tuple[str, ...] = ()
    """Those of the problems that could not be looked at: without these, this is not all there is."""
