"""What an event store says, and the projections and relays that read it."""

from collections.abc import Sequence
from datetime import timedelta

from penstock.errors._base import PenstockError, TransientError

__all__ = [
    "StoreError",
    "StoreUnavailableError",
    "StoreRefusedError",
    "WrongVersionError",
    "ProtectedStreamError",
    "DeletedStreamError",
    "UnknownEventStreamError",
    "StoreWentBackError",
    "ProjectionError",
    "UnknownProjectionError",
    "ProjectionBusyError",
    "ProjectionHaltedError",
    "ProjectionChangedError",
    "RenamedProjectionError",
    "StaleRunnerError",
]


class StoreError(PenstockError):
    """The event store, or a database of read models, refuses what it was asked for."""


class StoreUnavailableError(StoreError, TransientError):
    """The database cannot be reached, is full, or is locked. Appending the same event ids again is safe."""


class StoreRefusedError(StoreError):
    """The database refuses us: a missing permission, a hot standby, a setting under which order cannot be kept."""


class WrongVersionError(StoreError):
    """The stream has another version than the caller expected. Nothing was appended; its transaction is alive."""

    def __init__(self, stream: str, *, expected: str, actual: int) -> None:
        self.stream, self.expected, self.actual = stream, expected, actual
        super().__init__(
            f"event stream {stream!r} is at version {actual}, and {expected} was expected; "
            "load what is new, decide again, and append with that version"
        )


class ProtectedStreamError(StoreError):
    """Only its owner, a projection, may append to a derived stream. Nothing was appended."""

    def __init__(self, stream: str, owner: str) -> None:
        self.stream, self.owner = stream, owner
        super().__init__(
            f"event stream {stream!r} is derived by projection {owner!r}, which alone appends to it; take another"
        )


class DeletedStreamError(StoreError):
    """The event stream was deleted for good. Nothing was appended."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(f"event stream {stream!r} was deleted for good; take another name")


class UnknownEventStreamError(StoreError):
    """The store has no event stream of that name."""

    def __init__(self, stream: str, *, nearest: str | None = None) -> None:
        self.stream, self.nearest = stream, nearest
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        super().__init__(f"event stream {stream!r} does not exist{hint}; it appears with its first event")


class StoreWentBackError(StoreError):
    """A store was put back to an earlier state: it ends below a checkpoint, or has another event there than it had."""

    def __init__(
        self, reader: str, *, position: int, last: int, had: str | None = None, has: str | None = None
    ) -> None:
        self.reader, self.position, self.last, self.had, self.has = reader, position, last, had, has
        another = "" if had is None else f" and has event {has!r} there instead of {had!r}"
        super().__init__(
            f"{reader!r} is at position {position}, and the store ends at {last}{another}: it went back in time; "
            "restore the read models to the same moment, or reset what reads it"
        )


class ProjectionError(PenstockError):
    """A projection or relay cannot go on, or cannot be what was asked of it. Its position is where it was."""


class UnknownProjectionError(ProjectionError):
    """There is no projection or relay of that name. *declared*: the projections of the app, where those were meant."""

    def __init__(self, name: str, *, nearest: str | None = None, declared: Sequence[str] = ()) -> None:
        self.name, self.nearest, self.declared = name, nearest, tuple(declared)
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        # What was declared need never have run, and only what ran is listed.
        super().__init__(
            f"there is no projection {name!r}{hint}; the app declares {', '.join(self.declared)}"
            if self.declared
            else f"there is no projection or relay {name!r}{hint}; see 'penstock projections list'"
        )


class ProjectionBusyError(ProjectionError, TransientError):
    """Another process runs the projection. `remaining` is how long its lease lasts if it does not renew."""

    def __init__(self, name: str, holder: str, *, remaining: timedelta) -> None:
        self.name, self.holder, self.remaining = name, holder, remaining
        super().__init__(
            f"projection {name!r} is run by {holder}, for {remaining.total_seconds():.1f} s unless it renews; "
            "stop that one first, or leave it to it"
        )


class ProjectionHaltedError(ProjectionError):
    """A handler failed and the policy is to halt. The position is before that event."""

    def __init__(self, name: str, *, position: int, event_id: str, reason: str) -> None:
        self.name, self.position, self.event_id, self.reason = name, position, event_id, reason
        super().__init__(
            f"projection {name!r} halted at position {position} (event {event_id}): {reason}; "
            f"mend it and run 'penstock projections retry {name}'"
        )


class ProjectionChangedError(ProjectionError):
    """The declaration is not the one that the read model was made by. Nothing was handled."""

    def __init__(self, name: str, *, fact: str, recorded: str, declared: str) -> None:
        self.name, self.fact, self.recorded, self.declared = name, fact, recorded, declared
        remedy = (
            f"replay it ('penstock replays create KEY {name}'), or run 'penstock projections reset {name}'"
            if fact == "version"
            else "give one of the two another name"
        )
        super().__init__(
            f"{name!r} has {fact} {recorded} at its checkpoint, and is declared with {declared}; {remedy}"
        )


class RenamedProjectionError(ProjectionError):
    """A new projection would fill the tables of one that is declared no more. Nothing was handled."""

    def __init__(self, name: str, *, former: str, tables: str, position: int) -> None:
        self.name, self.former, self.tables, self.position = name, former, tables, position
        super().__init__(
            f"projection {name!r} is new, and {tables} was filled by {former!r} up to position {position}, which "
            f"nobody runs; if it was renamed, call it {former!r} again, "
            f"else run 'penstock projections delete {former}' first"
        )


class StaleRunnerError(ProjectionError):
    """Another runner has moved the checkpoint meanwhile. Everything that was done since was rolled back."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"projection {name!r} was moved on by another runner; nothing of this page was kept, and it is not needed"
        )
