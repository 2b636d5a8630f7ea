"""What a projection is made of: its declaration as a value, its handlers over one page, its checkpoint, its status.

The engine (`penstock.projections`) knows nothing of sessions and event classes, and handlers know nothing of
checkpoints: between them stand `Handlers` and `Page`. A relay between stores is a projection whose handlers append.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from penstock.retry import Retry
from penstock.store.abc import EventFilter, StoredEvent
from penstock.store.database import Connection

__all__ = [
    "LIVE",
    "Checkpoint",
    "Deed",
    "Handlers",
    "Mode",
    "OnFailure",
    "Page",
    "ProjectionFailure",
    "ProjectionKind",
    "ProjectionPlan",
    "ProjectionState",
    "ProjectionStatus",
]

LIVE = ""
"""The generation of a read model that has the plain table names."""

Mode: TypeAlias = Literal["background", "on_demand"]
"""``background``: stays, with its lease and connection; ``on_demand``: runs when there is something, ends when not."""

OnFailure: TypeAlias = Literal["halt", "retry", "park", "skip"]
"""What becomes of an event whose handler fails after all attempts that the policy gives it.

``halt``: the projection stands before it, tries again with back-off, for ever, and shows the error. ``retry``: the same
for as many attempts as its `Retry` says, then it stands until told to go on. ``park``: the event, and every later one
of its key, wait in the table of failures; other keys go on. ``skip``: the event alone goes to the failures.
"""

ProjectionState: TypeAlias = Literal[
    "idle", "running", "catching_up", "failed", "halted", "stopping", "stopped", "waiting"
]
"""The one word for how it stands. Nobody runs one that is ``idle``; ``failed`` is tried again, ``halted`` stands before
an event; ``stopped`` waits until somebody starts it; ``waiting``: the live read model is of another version, and one of
the declared version is in a replay, so its runners wait until that is promoted."""

ProjectionKind: TypeAlias = Literal["projection", "relay"]
"""A relay between stores is run as a projection is, and has the same rows."""


@dataclass(frozen=True, slots=True)
class ProjectionPlan:
    """Everything the engine has to know about one projection or relay between stores."""

    name: str
    version: int = 1
    kind: ProjectionKind = "projection"
    source: str = "local"
    """The store that is read."""
    target: str = "local"
    """The store in whose database the effects and the checkpoint are."""
    wanted: EventFilter = field(default_factory=EventFilter)
    """Streams and categories as declared; `Handlers.names` narrows the event names."""
    mode: Mode = "background"
    on_failure: OnFailure = "halt"
    retry: Retry = field(default_factory=Retry)
    page_events: int = 1000
    page_time: timedelta = timedelta(milliseconds=100)
    """A page ends after the event during which so much time has gone by."""
    tables: tuple[str, ...] = ()
    """The tables of the read model, as far as they are known."""
    outside: bool = False
    """The effect is in no database, and harmless to repeat (a relay to streams): a page is handled and finished before
    its transaction begins, which then only moves the checkpoint and state, so that no lock is held while a server is
    waited for. `Handlers.begin` gets the connection in a transaction that only reads, while the checkpoint is held."""


class Page(Protocol):
    """One transaction's worth of handling. Used by one thread."""

    def handle(self, event: StoredEvent) -> None:
        """Run every handler for it. Raises what they raise; the page is then rolled back and `discard` called."""
        ...

    def finish(self) -> bytes | None:
        """Write what was held back (a session's flush, batched upserts), before the checkpoint moves.

        The new state of a state projection, else ``None``.
        """
        ...

    def discard(self) -> None:
        """The transaction was rolled back: forget what was made for it."""
        ...

    def committed(self) -> None:
        """The transaction was committed: clean up, and ring where something was appended."""
        ...


class Handlers(Protocol):
    """A projection's handlers, checked and ready."""

    @property
    def names(self) -> frozenset[str] | None:
        """The event names that have a handler; ``None`` for any. They are pushed down into the query."""
        ...

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """Handle one page inside the transaction that *connection* is in. *state* is that of a state projection."""
        ...

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the read model (*delete*: drop it), and with *emitted* the derived streams, inside the transaction."""
        ...

    def prepare(self, connection: Connection) -> None:
        """See to it that the read model is there, in a transaction of its own, before the first page."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a generation of a projection has come: a row in the read model's database, and its fence."""

    name: str
    generation: str = LIVE
    version: int = 1
    position: int = 0
    """Everything that fits, of every source that is not in `behind`, is handled up to here."""
    epoch: int = 0
    """Goes up with every page, reset and take-over; a runner that finds another one than it left is stale."""
    sources: tuple[str, ...] = ()
    """The streams and categories it follows (``stream:NAME``, ``category:NAME``), empty for all."""
    behind: Mapping[str, int] = field(default_factory=dict[str, int])
    """Sources that were added later, with how far each has come."""
    former: Mapping[str, int] = field(default_factory=dict[str, int])
    """Sources that are followed no more, with how far each had come; kept while something is `behind`."""
    state: bytes | None = None
    """What a state projection has folded."""


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """One projection or relay, for people."""

    name: str
    kind: ProjectionKind
    version: int
    source: str
    target: str
    streams: tuple[str, ...]
    mode: Mode
    on_failure: OnFailure
    state: ProjectionState
    position: int
    head: int
    """The safe end of its store."""
    lag_events: int
    lag_seconds: float
    """The age of the oldest event that waits; 0 without one."""
    holder: str | None = None
    """Who runs it."""
    attempts: int = 0
    """How often the event it stands at has failed."""
    error: str | None = None
    error_position: int | None = None
    failed_at: datetime | None = None
    parked: int = 0
    """Events that wait in the table of failures."""
    updated_at: datetime | None = None
    declared: bool = True
    """False for a checkpoint that no declaration is for (renamed or removed)."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person does to a projection, as it is noted beside the read model."""

    who: str
    what: str
    """``start``, ``stop``, ``retry``, ``flush``, ``catch-up``, ``reset`` or ``delete``."""
    which: str = ""
    """What of it, in words."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ProjectionFailure:
    """An event that a projection could not handle, kept with its place."""

    id: str
    projection: str
    position: int
    event_id: str
    event_name: str
    stream: str
    key: str | None
    error_type: str
    message: str
    traceback: str
    attempts: int
    state: Literal["failed", "parked", "waiting"]
    """``waiting``: it did not fail itself, but comes after a parked event of its key."""
    first_at: datetime
    last_at: datetime
    error_class: str = ""
    """The class of the exception; `error_type` is ``database_error`` or ``general_error``."""
