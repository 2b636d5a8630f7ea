"""What the workbench for failed messages answers with: frozen values, as all operations do."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from penstock.operations._values import EntryView, FailedMessage, RetryResult
from penstock.position import EntryId

__all__ = ["EditOutcome", "EditResult", "ErrorGroup", "ErrorGroups", "LoggedAction"]


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Records of one listener that failed with the same error, but for numbers, ids and quoted texts."""

    pool: str
    stream: str
    group: str
    listener: str
    error_type: str
    error: str
    count: int
    first_failed: datetime
    last_failed: datetime
    example: EntryId
    """One of them: that which failed last."""
    projection: str | None = None
    """The projection or relay that could not handle them: `pool` then is the store, `stream` empty, `example` the
    position."""


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """Failed messages by error, the most frequent first."""

    groups: tuple[ErrorGroup, ...]
    beyond: int
    """How many records have yet other errors, when there are too many to hold."""
    problems: tuple[str, ...] = ()
    """Why some store could not be asked for failures of projections."""


class EditOutcome(Enum):
    """What became of an edit."""

    EDITED = "edited"
    PLANNED = "planned"
    """It was a dry run."""
    UNCHANGED = "unchanged"
    """The message has that body already."""
    BUSY = "busy"
    """Somebody runs the message at this moment, or its key is being unparked; nothing was changed."""
    EMPTY = "empty"
    """The message had vanished before it failed; it has no body."""
    GONE = "gone"
    """There is no such failed message."""
    STORED = "stored"
    """It is an event of a store: what happened is not changed afterwards."""


@dataclass(frozen=True, slots=True)
class EditResult:
    """What became of an edit, with the message before and after it."""

    outcome: EditOutcome
    failed: tuple[FailedMessage, ...] = ()
    """The records of the message, one for each listener: they all have this one body."""
    before: EntryView | None = None
    after: EntryView | None = None
    retried: tuple[RetryResult, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedAction:
    """What a person did to failed messages of a stream, or to a projection."""

    pool: str
    stream: str
    when: datetime
    who: str
    what: str
    """``retry``, ``flush``, ``edit`` or ``unpark``; to projections also ``start``, ``stop``, ``reset``, ``delete`` and
    ``catch-up``."""
    which: str
    why: str
    count: int
    """How many messages; of a retry, those that were run. 0 for what was done to a projection as a whole."""
    projection: str | None = None
    """The projection or relay; `pool` then is the store that notes it, and `stream` is empty."""
