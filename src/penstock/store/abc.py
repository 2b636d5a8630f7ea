"""What an event store is: the values that go in and come out, and the promise that a backend keeps.

`penstock.store.EventStore` is what users hold: it turns their events into `NewEvent` and asks a `StoreBackend`. The
contract suite in `penstock.testing.contracts` decides whether something is a backend.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from penstock.message import MISSING, Message, Meta
from penstock.store.database import Database, Dialect
from penstock.store.lane import Lane

__all__ = [
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "Append",
    "AppendSteps",
    "Appended",
    "Conflict",
    "Dialect",
    "EventFilter",
    "EventPage",
    "EventReader",
    "Expected",
    "ExpectedVersion",
    "HeadHolder",
    "Horizon",
    "Lane",
    "NewEvent",
    "Statement",
    "StoreBackend",
    "StoreWatch",
    "StoredEvent",
    "StreamInfo",
    "StreamMetadata",
    "category_of",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ExpectedVersion(Enum):
    """What a writer may expect of a stream without naming a version."""

    ANY = "any"
    NO_STREAM = "no stream"
    EXISTS = "exists"


ANY: Final = ExpectedVersion.ANY
"""Whatever is there."""
NO_STREAM: Final = ExpectedVersion.NO_STREAM
"""Nothing is there."""
EXISTS: Final = ExpectedVersion.EXISTS
"""At least one event is there."""

Expected: TypeAlias = ExpectedVersion | int
"""What a stream must be like for an append: as named, or with exactly this version (the number of its events)."""


def category_of(stream: str) -> str:
    """The category of an event stream: its name up to the first ``-``, all of it without one."""
    return stream.partition("-")[0]


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One event on its way into a store, encoded. `id` is its identity: kept once, however often it is appended."""

    stream: str
    id: str
    name: str
    meta: Meta
    """Time, key, schema version, content type, headers and the rest of the envelope."""
    data: bytes | None
    """The body as its content type says; ``None`` for no body."""


class StoredEvent(Message):
    """One event as a store gives it: a `Message` with its place in the store.

    `stream` is the event stream (``order-17``), `stream_version` its number in there (from 1), `position` its place in
    the store, by which everything is ordered. `time` is when it was made, `recorded_at` when it was appended.
    """

    __slots__ = ("position", "recorded_us", "stream_version")

    def __init__(
        self,
        position: int,
        stream: str,
        stream_version: int,
        id: str,  # noqa: A002  the field's own word
        name: str,
        meta: Meta,
        data: bytes | None,
        recorded_us: int,
        attempt: int = 1,
    ) -> None:
        # All fields here, none by the base, and readers give them by place: of pages of thousands that halves the cost.
        self._id = id
        self.name = name
        self.stream = stream
        self.raw_entry_id = b"%d" % position
        self.meta = meta
        self.data = data
        self.attempt = attempt
        self.fence = None
        self._entry_id = None
        self._payload = MISSING
        self.position = position
        self.stream_version = stream_version
        self.recorded_us = recorded_us
        """Microseconds since the Unix epoch."""

    @property
    def recorded_at(self) -> datetime:
        """When the store took it, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.recorded_us)

    @property
    def category(self) -> str:
        """The category of its stream."""
        return category_of(self.stream)

    def __repr__(self) -> str:
        return f"<StoredEvent {self.name} at {self.position} ({self.stream} {self.stream_version}), id {self.id}>"


class Append(msgspec.Struct, frozen=True, gc=False):
    """Some events that go in together or not at all.

    Raises nothing by itself; `EventStore` sees to it that one with a version or `NO_STREAM`/`EXISTS` is for one stream.
    """

    events: tuple[NewEvent, ...]
    expected: Expected = ANY
    owner: str | None = None
    """Who appends, for streams that are derived: the name of a projection."""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where an event is."""

    event_id: str
    stream: str
    position: int
    stream_version: int
    is_new: bool = True
    """False when the store had an event of that id already; this one then was not taken."""


Statement: TypeAlias = tuple[str, tuple[object, ...]]
"""One SQL statement with ``?`` for its parameters, whatever the driver wants instead, and the parameters."""

AppendSteps: TypeAlias = Generator[Statement, Sequence[Sequence[Any]], "list[Appended] | Conflict"]
"""An append without its I/O: yields statements, is sent the rows of each, and returns the outcome. Each backend has a
function of this kind, so that an append runs in the same way over any driver and in any caller's transaction."""


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Why an `Append` was refused as a whole. Nothing else of the same call is touched by it."""

    stream: str
    reason: Literal["version", "protected", "deleted"]
    actual: int = 0
    """For ``version``: how many events the stream has."""
    owner: str = ""
    """For ``protected``: the projection that alone may append."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: those of any of the *streams* or *categories* (all, if none is named) that meet all the rest."""

    streams: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Event names; empty for any."""
    keys: tuple[str, ...] = ()
    """Keys of the envelope; empty for any."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers that must all be there with these values."""
    lane: Lane | None = None
    """Only those of one lane."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events in the order that was asked for."""

    events: Sequence[StoredEvent]
    through: int
    """Nothing that fits is left between where reading began and this position, which is how far to say one has come:
    the last event's place, or further when what follows does not fit. Never above a horizon that was given."""


@dataclass(frozen=True, slots=True)
class HeadHolder:
    """An open transaction that may still add an event below the last position handed out."""

    floor: int
    """Events above this position wait for it."""
    pid: int | None
    """The server process; ``None`` for a prepared transaction."""
    role: str
    application: str
    state: str
    since: datetime | None
    """When its transaction began."""
    gid: str | None = None
    """The name of a prepared transaction."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a store can be read without ever missing an event."""

    position: int
    """Every event at or below is there or never will be."""
    last: int
    """The last position handed out, also by transactions that are open or were rolled back."""
    holders: tuple[HeadHolder, ...] = ()
    """Who keeps `position` below `last`, the lowest floor first."""


@dataclass(frozen=True, slots=True)
class StreamMetadata:
    """What is said about one event stream."""

    owner: str | None = None
    """The projection that derives it; only that appends to it."""
    max_count: int | None = None
    """Only so many of the newest events are kept."""
    max_age: timedelta | None = None
    """Events older than that are let go."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Whatever users note; plain JSON values."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One event stream."""

    name: str
    version: int
    """The number of its last event; it goes on from here when older ones were deleted."""
    events: int
    """How many are there."""
    first_position: int | None
    last_position: int | None
    metadata: StreamMetadata = StreamMetadata()
    deleted: bool = False
    """Deleted for good: nothing can be appended any more."""


class EventReader(Protocol):
    """Blocking reads from one thread over a connection of its own, for what works in threads. Close it."""

    def horizon(self) -> Horizon:
        """How far it is safe to read now. Raises `StoreUnavailableError`, `StoreRefusedError`."""
        ...

    def read(self, wanted: EventFilter, *, after: int, through: int, limit: int) -> EventPage:
        """Up to *limit* events above position *after* and up to *through*, by position.

        One call looks at a bounded stretch of the store, so a page may be empty and still move `EventPage.through` on.
        """
        ...

    def count(self, wanted: EventFilter, *, after: int, through: int, limit: int = 1_000_000) -> int:
        """How many events that would be, at most *limit*."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class StoreWatch(Protocol):
    """Tells when there may be something new, for one event loop. Close it."""

    async def wait(self) -> None:
        """Return when something may have been appended since the last return: rung for, notified of, or found by a look
        every so often, which misses nothing in the long run.
        """
        ...

    async def close(self) -> None:
        """Look no more."""
        ...


class StoreBackend(Protocol):
    """Where events are kept. Every method may raise `StoreUnavailableError` and `StoreRefusedError`."""

    name: str
    """The name of the store in settings (``local``)."""
    dialect: Dialect

    @property
    def database(self) -> Database:
        """The database that it is in."""
        ...

    async def open(self) -> None:
        """Connect, and look whether the schema and the server are as they have to be. Idempotent.

        Raises `MissingMigrationError`, `StoreRefusedError` (a hot standby, another encoding, wrong sequences).
        """
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    def abandon(self) -> None:
        """Let go of what is open where the event loop that opened it is closed already. It may be opened again."""
        ...

    async def append(self, append: Append) -> list[Appended] | Conflict:
        """Add events in one transaction of the store's own; calls of many tasks share one (group commit).

        Events whose id is there already are not added again and are answered with where they are; a version that is
        expected is looked at for the others only, so that repeating a whole append is harmless.
        """
        ...

    async def read(
        self,
        wanted: EventFilter,
        *,
        after: int = 0,
        through: int | None = None,
        limit: int,
        backwards: bool = False,
    ) -> EventPage:
        """Events by position, above *after* and up to *through* (``None``: up to the horizon).

        *backwards*: the newest first, from *through* down to above *after*; `EventPage.through` then is the lowest
        position looked at.
        """
        ...

    async def read_stream(
        self, stream: str, *, after: int = 0, through: int | None = None, limit: int, backwards: bool = False
    ) -> Sequence[StoredEvent]:
        """Events of one stream by version, above *after* and up to *through*. What is committed is seen at once."""
        ...

    async def find(self, event_ids: Sequence[str]) -> list[Appended]:
        """Where the events of these ids are; those that are not there are left out."""
        ...

    async def horizon(self) -> Horizon:
        """How far it is safe to read now."""
        ...

    async def stream(self, name: str) -> StreamInfo | None:
        """One stream; ``None`` if it never was."""
        ...

    async def streams(
        self, *, category: str | None = None, after: str = "", limit: int = 1000, with_rules: bool = False
    ) -> list[StreamInfo]:
        """Streams by name, those after *after*; *with_rules*: only those with a `max_count` or `max_age`."""
        ...

    async def set_metadata(self, stream: str, metadata: StreamMetadata) -> None:
        """Say something about a stream, which need not exist yet."""
        ...

    async def delete(
        self, stream: str, *, through: int | None = None, for_good: bool = False, limit: int = 10_000
    ) -> int:
        """Remove events of a stream up to version *through* (``None``: all), at most *limit*; how many that were.

        Versions go on from where they were. *for_good*: the name can never be appended to again (with *through* left
        out).
        """
        ...

    def reader(self) -> EventReader:
        """Blocking reads for a thread; it connects here, in the thread that uses it."""
        ...

    def steps(self, append: Append) -> AppendSteps:
        """The statements of an append, to be run in the caller's own transaction."""
        ...

    def ring(self) -> None:
        """Tell whoever watches of a commit that is not of `append`, from any thread, without waiting."""
        ...

    def watch(self) -> StoreWatch:
        """Be told of what is appended, by this process or another."""
        ...
