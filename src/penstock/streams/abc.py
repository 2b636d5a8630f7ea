"""What a streams backend promises: entries in streams, consumer groups over them, and the records of failed messages.

Engines (publisher, readers, worker) know only this module; backends implement it; neither imports the other. The
contract is executable: `penstock.testing.contracts` holds the suite that every backend passes.

On this level an entry is what the server keeps, so that the hot path copies nothing: its id as ASCII bytes
(``b"1700000000000-3"``) and its fields as one flat list of names and values. `penstock.streams.layouts` turns entries
into messages and back. Streams are named without the namespace; the backend puts it in front.

Every coroutine may also raise `BrokerUnavailableError` (no answer came within the time-outs; reading and settling
again is safe), `BrokerRefusedError` (the server will not, and will not later either) and, where it writes anything but
acknowledgements, `BrokerFullError` (memory limit; nothing of the call was written).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeAlias

import msgspec

from penstock.position import EntryId, Start

__all__ = [
    "AppendOutcome",
    "Batch",
    "Cap",
    "Capabilities",
    "Claimed",
    "Condition",
    "ConsumerInfo",
    "Dedupe",
    "DueRetry",
    "FailureKey",
    "FailureRecord",
    "FailureState",
    "FailureStore",
    "GroupInfo",
    "GroupRead",
    "Holder",
    "ListenerFailure",
    "NewEntry",
    "PendingEntry",
    "PendingSummary",
    "RawEntry",
    "RawId",
    "RetryClaim",
    "Settled",
    "StreamBroker",
    "StreamInfo",
    "Tally",
]

RawId: TypeAlias = bytes
"""An entry id as the server writes it."""

RawEntry: TypeAlias = list[Any]
"""``[id, fields]``: the id as bytes, the fields as a flat list of bytes, or ``None`` when the entry is gone."""

Batch: TypeAlias = tuple[str, list[RawEntry]]
"""A stream's name and the entries that one read brought from it, in id order."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How large a stream may grow; enforced by the script that adds the entry.

    A capped stream never exceeds `max_entries`. What a consumer group of the stream still needs (its lowest pending
    entry, or the first one not delivered to it) is not removed: the append is refused with `StreamFullError`, unless
    `remove_needed` says that the cap comes first. `max_age` removes older entries up to what is needed, and never
    refuses. Exact, not approximate.
    """

    max_entries: int | None = None
    max_age: timedelta | None = None
    remove_needed: bool = False


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Write an entry once per `token` within `window`: a second append answers with the first one's entry id."""

    token: str
    window: timedelta = timedelta(hours=1)


class NewEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry to be added: flat names and values, and how."""

    stream: str
    fields: Sequence[bytes]
    entry_id: EntryId | None = None
    cap: Cap | None = None
    dedupe: Dedupe | None = None


class Condition(Enum):
    """How an append ended."""

    WRITTEN = "written"
    NOT_WRITTEN = "not written"
    UNKNOWN = "unknown"
    """The connection broke after the command had left: the entry may be there."""


class AppendOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one entry of `StreamBroker.append_many`."""

    condition: Condition
    entry_id: RawId | None = None
    cause: BaseException | None = None


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
class StreamInfo:
    """A stream in one look. `first` and `last` are the ends present, `last_id` the highest id ever given."""

    name: str
    length: int
    first: EntryId | None
    last: EntryId | None
    last_id: EntryId
    groups: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server is and can, probed at connect. `commands` are lower-case names it knows (of those we may use)."""

    product: str
    version: tuple[int, int, int]
    commands: frozenset[str]
    maxmemory_policy: str | None = None
    """``None`` when the server does not tell (``CONFIG`` denied)."""
    appendfsync: str | None = None
    """``"always"``, ``"everysec"``, ``"no"``; ``"off"`` without an append-only file; ``None`` when not told."""
    cluster: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a consumer name."""

    token: str
    description: str


class StreamBroker(Protocol):
    """The promise of a streams backend. One instance serves many tasks of one event loop."""

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and probe. Idempotent. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        ...

    async def close(self) -> None:
        """Finish what was sent, then disconnect. Idempotent; `open` works again afterwards."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What was found at `open`."""
        ...

    async def server_time_us(self) -> int:
        """The server's clock, microseconds since the Unix epoch."""
        ...

    # -- adding and reading without a group ---------------------------------------------------------------------

    async def append(self, entry: NewEntry) -> RawId:
        """Add one entry and answer its id.

        Raises:
            EntryIdTooSmallError: An explicit id is not above the stream's last.
            StreamFullError: The cap is reached and what is there is still needed.
            PublishError: The connection broke after sending (its one outcome is ``"unknown"``). When it broke before
                sending, `BrokerUnavailableError`.
        """
        ...

    async def append_many(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
        """Add entries in the given order in as few writes as possible; one outcome each, in the same order.

        Never raises for a single entry: an entry that is refused does not stop those after it, and a lost connection
        makes the unanswered ones unknown.
        """
        ...

    async def range(
        self,
        stream: str,
        start: EntryId | None = None,
        end: EntryId | None = None,
        *,
        count: int | None = None,
        reverse: bool = False,
    ) -> list[RawEntry]:
        """Entries from *start* to *end*, both included; ``None`` is that end of the stream. *reverse*: newest first."""
        ...

    async def read(
        self, positions: Mapping[str, RawId], *, count: int, block: timedelta | None = None
    ) -> list[Batch]:
        """Entries after the given position of each stream, at most *count* per stream; waits up to *block* for one."""
        ...

    async def resolve(self, stream: str, start: Start) -> RawId:
        """The position *after which* reading begins for *start*; new is the stream's last id (``0-0`` without one)."""
        ...

    async def length(self, stream: str) -> int:
        """How many entries the stream has; 0 if it does not exist."""
        ...

    async def delete(self, stream: str, entry_ids: Sequence[EntryId]) -> int:
        """Remove entries from the stream; how many there were. Pending ones stay pending and are vanished."""
        ...

    async def delete_stream(self, stream: str) -> bool:
        """Remove a stream, its groups and all that is kept beside it (failures, cursors, ...); whether it existed."""
        ...

    async def info(self, stream: str) -> StreamInfo:
        """The stream in one look. Raises `UnknownStreamError`."""
        ...

    async def streams(self) -> list[str]:
        """Every stream that was written or read through this namespace and exists, sorted."""
        ...

    async def save_cursor(self, stream: str, name: str, position: RawId) -> None:
        """Keep how far the reader *name* has come. Never moves back."""
        ...

    async def load_cursor(self, stream: str, name: str) -> RawId | None:
        """How far the reader *name* has come."""
        ...

    async def delete_cursor(self, stream: str, name: str) -> bool:
        """Forget the reader *name*; whether it was there."""
        ...

    async def cursors(self, stream: str) -> dict[str, EntryId]:
        """Every durable cursor of the stream."""
        ...

    # -- groups -------------------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start: Start) -> bool:
        """Create the group, and the stream if it is missing; False if the group was there (and is left as it is)."""
        ...

    async def delete_group(self, stream: str, group: str) -> bool:
        """Remove the group with its pending list (failure records stay); whether it was there."""
        ...

    async def move_group(self, stream: str, group: str, start: Start) -> None:
        """Set what the group was last delivered. Raises `UnknownGroupError`."""
        ...

    async def groups(self, stream: str) -> list[GroupInfo]:
        """The stream's groups, by name. Raises `UnknownStreamError`."""
        ...

    async def consumers(self, stream: str, group: str) -> list[ConsumerInfo]:
        """The group's consumers, by name. Raises `UnknownGroupError`."""
        ...

    async def pending_summary(self, stream: str, group: str) -> PendingSummary:
        """The group's pending entries in one look. Raises `UnknownGroupError`."""
        ...

    async def pending(
        self,
        stream: str,
        group: str,
        *,
        consumer: str | None = None,
        min_idle: timedelta = timedelta(0),
        start: EntryId | None = None,
        count: int = 100,
    ) -> list[PendingEntry]:
        """Up to *count* pending entries from *start* on, in id order. Raises `UnknownGroupError`."""
        ...

    async def read_group(
        self,
        group: str,
        consumer: str,
        streams: Sequence[str],
        *,
        count: int,
        block: timedelta | None = None,
        acknowledge: Mapping[str, Sequence[RawId]] | None = None,
    ) -> GroupRead:
        """Acknowledge what is given, then deliver new entries to the consumer, in one write to the server.

        At most *count* per stream. Waits up to *block* for the first one (``None``: does not wait). Uses a connection
        of its own per (group, consumer). When the call is cancelled its connection is closed: entries that the server
        had already handed over stay pending with the consumer.

        Raises:
            UnknownGroupError: The group, or its stream, is gone. The acknowledgements were sent all the same.
        """
        ...

    async def interrupt(self, group: str, consumer: str) -> None:
        """Make a waiting `read_group` of this consumer answer at once. It may come too late to matter; never raises."""
        ...

    async def own_pending(
        self, stream: str, group: str, consumer: str, *, after: RawId, count: int
    ) -> list[RawEntry]:
        """Entries already pending with the consumer, after an id, in id order; gone ones have fields ``None``.

        Raises:
            UnknownGroupError: The group, or its stream, is gone.
        """
        ...

    async def acknowledge(self, stream: str, group: str, entry_ids: Sequence[RawId]) -> int:
        """Settle entries as handled; how many were pending. Works at the server's memory limit too."""
        ...

    async def renew(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> list[RawId]:
        """Restart the idle time of entries that are still pending with the consumer; answers those that are not.

        Delivery counts stay. An entry of another consumer is never touched.
        """
        ...

    async def claim(
        self,
        stream: str,
        group: str,
        consumer: str,
        *,
        min_idle: timedelta,
        count: int,
        start: EntryId | None = None,
        from_consumer: str | None = None,
    ) -> Claimed:
        """Take over entries that nobody has touched for *min_idle* (whole milliseconds), looking from *start* on.

        Each one's delivery count rises by one and its idle time restarts, which keeps other claimers away. Entries
        gone from the stream are not touched but named. With *from_consumer*, only that one's. One script.

        Raises:
            UnknownGroupError: The group, or its stream, is gone.
        """
        ...

    async def release(self, stream: str, group: str, consumer: str, entry_ids: Sequence[RawId]) -> int:
        """Make entries pending with the consumer look idle since for ever, so that anyone's next claim takes them.

        Also forgets their `begin_alone` counts: whoever gives an entry back was not killed by it. How many were ours.
        """
        ...

    async def begin_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> int | None:
        """Count one handling alone of a suspicious entry before it starts; ``None`` if the entry is not ours."""
        ...

    async def acknowledge_alone(self, stream: str, group: str, consumer: str, entry_id: RawId) -> Settled:
        """Acknowledge an entry that was handled alone and forget its `begin_alone` count; one script, checked first."""
        ...

    async def remove_consumer(self, stream: str, group: str, consumer: str, *, heir: str) -> int:
        """Move everything pending with *consumer* to *heir* (counts and idle times stay), then remove it.

        One script, bounded; how many entries moved. Nothing happens when the group or consumer is not there.
        """
        ...

    async def hold_name(
        self,
        group: str,
        consumer: str,
        *,
        token: str,
        description: str,
        life: timedelta,
        replace: str | None = None,
    ) -> Holder:
        """Take or renew the right to work under a consumer name for *life*; the holder now, which is us on success.

        With *replace*, the name is also taken from a holder with that very token (one known to be dead).
        """
        ...

    async def free_name(self, group: str, consumer: str, *, token: str) -> bool:
        """Give the name back if the token holds it."""
        ...

    @property
    def failures(self) -> "FailureStore":
        """The records of failed messages, kept on the same server so that one script can settle and record."""
        ...


# -- failed messages ------------------------------------------------------------------------------------------------


class FailureState(Enum):
    """Where a failed message stands."""

    RETRYING = "retrying"
    """It runs again when due."""
    FAILED = "failed"
    """Attempts are used up, or there is no point: a person decides."""


@dataclass(frozen=True, slots=True, order=True)
class FailureKey:
    """What a failure record is about: one message, one group, one listener.

    The listener ``"*"`` stands for the whole message: it was undecodable, poison or vanished before any listener ran.
    """

    stream: str
    group: str
    entry_id: EntryId
    listener: str


@dataclass(frozen=True, slots=True)
class ListenerFailure:
    """One listener's failure to be recorded. `due_in` ``None``: state `FAILED`; else it runs again after that time."""

    listener: str
    cause: str
    """``error``, ``undecodable``, ``poison``, ``vanished`` or ``unhandled``."""
    error_type: str
    error: str
    traceback: str
    due_in: timedelta | None


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """What is known about a failed message. `fields` is the entry as it was, ``None`` when it had vanished."""

    key: FailureKey
    state: FailureState
    cause: str
    error_type: str
    error: str
    traceback: str
    attempts: int
    first_failed: datetime
    last_failed: datetime
    due: datetime | None
    fields: list[bytes] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class DueRetry:
    """A retry that is due (or was, when looked at)."""

    key: FailureKey


@dataclass(frozen=True, slots=True)
class RetryClaim:
    """A retry that is ours for the visibility time: `attempts` already counts it."""

    key: FailureKey
    token: str
    attempts: int
    fields: list[bytes] | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Failure records of one stream and group by state."""

    stream: str
    group: str
    retrying: int
    failed: int


class FailureStore(Protocol):
    """Records of failed messages, one per message, group and listener, with the payload once per message.

    A retry runs from its record, so it outlives the stream entry. A record changes only under the token of the claim
    that runs it, or by a person's command.
    """

    async def settle(
        self,
        stream: str,
        group: str,
        consumer: str,
        entry_id: RawId,
        fields: Sequence[bytes] | None,
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Record the failures of one pending entry, then acknowledge it: one script that checks ownership first.

        Its `begin_alone` count, if any, is forgotten.
        Records that exist are counted up (attempts, last time), not replaced.
        """
        ...

    async def settle_vanished(self, stream: str, group: str, entry_id: RawId) -> Settled:
        """Record an entry that is pending but no longer in the stream, and acknowledge it, whoever holds it."""
        ...

    async def due(self, groups: Sequence[tuple[str, str]], *, count: int) -> list[DueRetry]:
        """Retries due by the server's clock, oldest first, at most *count* per (stream, group)."""
        ...

    async def next_due(self, groups: Sequence[tuple[str, str]]) -> timedelta | None:
        """How long until the earliest retry of these (stream, group) is due: zero if one is, ``None`` without any."""
        ...

    async def claim_retry(
        self, key: FailureKey, *, token: str, visibility: timedelta, max_attempts: int, force: bool = False
    ) -> RetryClaim | None:
        """Take a due retry: count the attempt and hide it for *visibility*, before the handler starts.

        ``None``: it is not due any more (someone has it, or it is gone), or its attempts were used up, in which case
        it is in state `FAILED` now. With *force* (a person's retry) neither due time nor attempts matter, except
        that one which another holds at this moment is not taken.
        """
        ...

    async def extend_retry(self, claim: RetryClaim, *, visibility: timedelta) -> Settled:
        """Hide a claimed retry for longer."""
        ...

    async def succeed_retry(self, claim: RetryClaim) -> Settled:
        """Remove the record (and the payload with the message's last record)."""
        ...

    async def fail_retry(self, claim: RetryClaim, failure: ListenerFailure) -> Settled:
        """Update the record: error, last time, and due again or failed."""
        ...

    async def split_retry(self, claim: RetryClaim, failures: Sequence[ListenerFailure]) -> Settled:
        """Replace a whole-message record (listener ``"*"``) by records of the listeners that failed; none = removed."""
        ...

    async def return_retry(self, claim: RetryClaim) -> Settled:
        """Give a claimed retry back, due at once, and take the attempt off: its handler was not run to an end."""
        ...

    async def get(self, key: FailureKey) -> FailureRecord | None:
        """One record with its payload."""
        ...

    async def find(
        self,
        stream: str,
        group: str | None = None,
        *,
        state: FailureState | None = None,
        entry_id: EntryId | None = None,
        listener: str | None = None,
        after: FailureKey | None = None,
        count: int = 100,
    ) -> list[FailureRecord]:
        """Records matching all that is given, oldest last failure first, without payloads; *after* pages on."""
        ...

    async def tally(self, stream: str) -> list[Tally]:
        """Counts by group and state."""
        ...

    async def delete(self, key: FailureKey) -> bool:
        """Forget one record; whether it was there. One that runs at this moment is forgotten too."""
        ...
