"""Settling in order: what the one leased owner of a stream's lane does, and what is parked there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams.abc._entries import RawId
from penstock.streams.abc._failures import ListenerFailure
from penstock.streams.abc._groups import Settled
from penstock.streams.abc._leases import Lease

__all__ = [
    "Lane",
    "LaneStore",
    "Parked",
    "ParkedEvent",
    "ParkedKey",
    "behind",
    "check_in_place",
    "check_lane",
]


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream of an ordered group in the hands of its owner: every settling script checks the lease."""

    stream: str
    group: str
    consumer: str
    lease: Lease


class Parked(Enum):
    """What `LaneStore.join` answered."""

    DONE = "done"
    NOT_YOURS = "not yours"
    """The lease is not ours, or the entry is not pending with the lane's consumer: nothing was changed."""
    OPEN = "open"
    """The key has nothing parked: its event is to be handled, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key whose events wait since then. `first` is the one that failed (or, later, the next one to be handled).

    The error is that of `first`; one that only stands behind another has no error type.
    """

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
    """The owner has been asked to handle them."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """One waiting event with its payload."""

    entry_id: EntryId
    attempts: int
    """How often it was handled, the handling begun by `LaneStore.take_parked` included."""
    fields: list[bytes] | None = field(repr=False)
    listeners: tuple[str, ...] = ()
    """The listeners that failed; empty when it has not been handled yet: then all of them run."""


def behind() -> ListenerFailure:
    """What the record of an event says that only stands behind another of its key."""
    return ListenerFailure("*", "behind", "", "it waits behind an earlier event of its key", "", None)


def check_lane(lane: Lane) -> None:
    """A script can check only the lease of its own stream. Raises `UsageError` for a lane with another."""
    if lane.lease.stream != lane.stream:
        raise UsageError(
            f"the lane of stream {lane.stream!r} has a lease of {lane.lease.stream or 'no stream'!r}; "
            "take one of its own stream"
        )


def check_in_place(failures: Sequence[ListenerFailure]) -> None:
    """Raises `UsageError` unless there are failures, and none of them is to run again by itself."""
    if not failures:
        raise UsageError("settling as failed needs at least one failure; acknowledge an entry that has none")
    if any(failure.due_in is not None for failure in failures):
        raise UsageError("an ordered group retries in place; a failure of its lane has no due time")


class LaneStore(Protocol):
    """What ordered groups keep beside their stream. Every change is one script.

    Those that take a `Lane` first check that its lease is held under its token and fence, then that the entry is
    pending with its consumer; else they answer ``NOT_YOURS`` and change nothing. A lane whose lease does not belong to
    its stream is refused with `UsageError`.
    """

    async def acknowledge(self, lane: Lane, entry_ids: Sequence[RawId]) -> int | None:
        """Settle entries as handled, in the given order; how many were pending with us.

        ``None``: the lease is not ours, and nothing was settled.
        """
        ...

    async def settle(
        self, lane: Lane, entry_id: RawId, fields: Sequence[bytes] | None, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """As `FailureStore.settle`, under the lease. Ordered groups retry in place: a due time is refused.

        Raises:
            UsageError: There is no failure, or one has a due time.
        """
        ...

    async def begin_alone(self, lane: Lane, entry_id: RawId) -> int | None:
        """As `StreamBroker.begin_alone`, under the lease; ``None`` when it, or the entry, is not ours."""
        ...

    async def park(
        self,
        lane: Lane,
        key: str,
        entry_id: RawId,
        fields: Sequence[bytes],
        failures: Sequence[ListenerFailure],
    ) -> Settled:
        """Put a failed event with its payload at the end of the key's list, record its failures as parked, acknowledge.

        The records are found by `FailureStore.find` in state ``PARKED``; nothing retries them but unparking. An event
        that is parked already (the group was moved back) stays where it is.

        Raises:
            UsageError: There is no failure, or one has a due time.
        """
        ...

    async def join(self, lane: Lane, key: str, entry_id: RawId, fields: Sequence[bytes]) -> Parked:
        """Put a later event of a parked key behind those that wait, and acknowledge it.

        Its record has the listener ``"*"``, the cause ``behind`` and no attempts. An event that is parked already stays
        where it is, with the records that it has.
        """
        ...

    async def parked_keys(
        self, stream: str, group: str, *, after: str | None = None, count: int = 100
    ) -> list[ParkedKey]:
        """Keys with parked events, by key; *after* pages on."""
        ...

    async def parked(
        self, stream: str, group: str, key: str, *, after: EntryId | None = None, count: int = 100
    ) -> list[ParkedEvent]:
        """What waits under a key, in order of arrival; *after* pages on, also when that one is gone meanwhile."""
        ...

    async def unpark(self, stream: str, group: str, key: str) -> int:
        """Ask the owner to handle what waits under a key; how many events that is (0: nothing, and nobody is asked)."""
        ...

    async def unparking(self, stream: str, group: str) -> list[str]:
        """The keys whose events the owner was asked to handle, sorted."""
        ...

    async def take_parked(self, lane: Lane, key: str) -> ParkedEvent | None:
        """The first event of a key that is being unparked, its attempts already counted; it stays in its place.

        ``None``: there is none, the key is not being unparked, or the lease is not ours.
        """
        ...

    async def finish_parked(self, lane: Lane, key: str, entry_id: EntryId) -> Settled:
        """The first event was handled: remove it and its records. With the last one the key is open again.

        ``NOT_YOURS``: the lease is not ours, or another event is the first by now. Works at the server's memory limit.
        """
        ...

    async def fail_parked(
        self, lane: Lane, key: str, entry_id: EntryId, failures: Sequence[ListenerFailure]
    ) -> Settled:
        """The first event failed again: these are its records now, and the key is not being unparked any more.

        A listener that is not among the failures has succeeded, and its record is removed. The attempt was counted by
        `take_parked`. ``NOT_YOURS`` as in `finish_parked`.

        Raises:
            UsageError: There is no failure, or one has a due time.
        """
        ...

    async def discard_parked(self, stream: str, group: str, key: str, entry_id: EntryId | None = None) -> int:
        """Remove one parked event, or all of a key, with their records (a person's command); how many events."""
        ...
