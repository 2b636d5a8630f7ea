"""The promise of a streams backend; each of its capabilities that has a store of its own is named here."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from penstock.position import EntryId, Start
from penstock.streams.abc._entries import (
    AppendOutcome,
    Batch,
    Capabilities,
    NewEntry,
    RawEntry,
    RawId,
    StreamInfo,
)
from penstock.streams.abc._failures import FailureStore
from penstock.streams.abc._figures import FigureStore
from penstock.streams.abc._groups import (
    Claimed,
    ConsumerInfo,
    GroupInfo,
    GroupRead,
    Holder,
    PendingEntry,
    PendingSummary,
    Settled,
)
from penstock.streams.abc._history import HistoryStore
from penstock.streams.abc._lanes import LaneStore
from penstock.streams.abc._leases import LeaseStore, MemberStore
from penstock.streams.abc._notes import NoteStore
from penstock.streams.abc._partitions import PartitionStore
from penstock.streams.abc._relays import RelayStore
from penstock.streams.abc._removal import RemovalStore
from penstock.streams.abc._schedule import ScheduleStore
from penstock.streams.abc._values import ValueStore

__all__ = ["StreamBroker"]


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
    def leases(self) -> LeaseStore:
        """Timed ownership of names, of streams and of lanes."""
        ...

    @property
    def members(self) -> MemberStore:
        """Who shares the work of a group over partitions."""
        ...

    @property
    def lanes(self) -> LaneStore:
        """What the leased owner of an ordered group's stream settles and parks."""
        ...

    @property
    def figures(self) -> FigureStore:
        """How fast the handlers of groups are."""
        ...

    @property
    def removal(self) -> RemovalStore:
        """What is still needed, and the removal of what is not."""
        ...

    @property
    def history(self) -> HistoryStore:
        """The index of entries by event name and identifier."""
        ...

    @property
    def values(self) -> ValueStore:
        """Small values by key."""
        ...

    @property
    def schedule(self) -> ScheduleStore:
        """Entries that wait for their time, and the last ticks of what recurs."""
        ...

    @property
    def notes(self) -> NoteStore:
        """Who did what to failed messages, and why."""
        ...

    @property
    def partitions(self) -> PartitionStore:
        """How streams are cut into partitions."""
        ...

    @property
    def relays(self) -> RelayStore:
        """How far relays have come into streams, and the adding of what they bring."""
        ...

    @property
    def failures(self) -> FailureStore:
        """The records of failed messages, kept on the same server so that one script can settle and record."""
        ...
