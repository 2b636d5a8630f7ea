"""Records of failed messages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Protocol

from penstock.position import EntryId
from penstock.streams.abc._entries import RawId
from penstock.streams.abc._groups import Settled

__all__ = [
    "MOST_EDITS",
    "DueRetry",
    "Edit",
    "Edited",
    "FailureKey",
    "FailureRecord",
    "FailureState",
    "FailureStore",
    "ListenerFailure",
    "RetryClaim",
    "Tally",
    "restored",
]


MOST_EDITS: Final = 20
"""So many edits of a message are remembered, the latest ones."""


class FailureState(Enum):
    """Where a failed message stands."""

    RETRYING = "retrying"
    """It runs again when due."""
    FAILED = "failed"
    """Attempts are used up, or there is no point: a person decides."""
    PARKED = "parked"
    """It waits under its key in an ordered group, alone or behind another, until a person unparks the key."""


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
    """``error``, ``undecodable``, ``poison``, ``vanished``, ``unhandled``, (parked) ``behind`` or ``restored``."""
    error_type: str
    error: str
    traceback: str
    due_in: timedelta | None


def restored(listener: str) -> ListenerFailure:
    """What is recorded of a message that was given to one group from the archive: nothing failed, and it is due."""
    return ListenerFailure(listener, "restored", "", "it was put back from the archive", "", timedelta(0))


@dataclass(frozen=True, slots=True)
class Edit:
    """Somebody gave a failed message another payload."""

    who: str
    why: str
    when: datetime


class Edited(Enum):
    """What `FailureStore.edit` answered; nothing was changed unless it is ``DONE``."""

    DONE = "done"
    GONE = "gone"
    """There is no such record."""
    EMPTY = "empty"
    """The message had vanished when it was recorded: it has no payload that could be replaced."""
    BUSY = "busy"
    """Somebody runs the message at this moment, or its key is being unparked."""


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """What is known about a failed message. `fields` is what it is run with, ``None`` when it had vanished."""

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
    parked_key: str | None = None
    """The key under which it is parked, when its state is ``PARKED``."""
    fields: list[bytes] | None = field(repr=False, default=None)
    original: list[bytes] | None = field(repr=False, default=None)
    """The entry as it was, when it has been edited since."""
    edits: tuple[Edit, ...] = ()
    """Who edited it, oldest first, at most `MOST_EDITS`."""


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
    parked: int = 0


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

    async def enqueue(
        self, stream: str, group: str, entry_id: EntryId, fields: Sequence[bytes], *, listener: str = "*"
    ) -> bool:
        """Have a group handle a message that need not be in the stream: a record that is due at once, no attempt made.

        False when there is a record of it already, which stays as it is.
        """
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

        A parked record is never taken, not with *force* either.
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

    async def edit(self, key: FailureKey, fields: Sequence[bytes], *, who: str, why: str) -> Edited:
        """Replace the payload that a failed message is run with, its entry in the stream stays as it is.

        All records of the message have one payload, parked or not. The first one is kept as `FailureRecord.original`.
        Of two who edit at the same time the later one wins; both are told in `FailureRecord.edits`.
        """
        ...

    async def get(self, key: FailureKey) -> FailureRecord | None:
        """One record with its payload, and the original one."""
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

    async def groups_of(self, stream: str, entry_id: EntryId) -> list[str]:
        """The groups that have a record of this entry, sorted: none means that nobody's failure is left."""
        ...

    async def tally(self, stream: str) -> list[Tally]:
        """Counts by group and state."""
        ...

    async def delete(self, key: FailureKey) -> bool:
        """Forget one record; whether it was there. One that runs at this moment is forgotten too.

        A parked event leaves its line with its last record, and with the last event its key is open again.
        """
        ...
