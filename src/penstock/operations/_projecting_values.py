"""What operations on projections and relays answer with."""

from dataclasses import dataclass
from enum import Enum

from penstock.projections.abc import ProjectionFailure, ProjectionKind, ProjectionStatus
from penstock.relays._stream_source import entry_id_at
from penstock.relays.abc import stream_in

__all__ = [
    "CaughtUpTo",
    "Found",
    "ProjectionChange",
    "ProjectionDetail",
    "ProjectionOutcome",
    "ProjectionsFound",
    "place_shown",
    "trouble_of",
]


@dataclass(frozen=True, slots=True)
class Found:
    """A projection or relay with the place of its checkpoint."""

    store: str
    generation: str
    """The copy; for a relay out of a partitioned stream, the partition."""
    status: ProjectionStatus

    @property
    def name(self) -> str:
        """Its name."""
        return self.status.name

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from all others."""
        return self.store, self.generation, self.status.name


@dataclass(frozen=True, slots=True)
class ProjectionDetail:
    """One projection or relay with the first of the events that it could not handle."""

    status: ProjectionStatus
    failures: tuple[ProjectionFailure, ...]


@dataclass(frozen=True, slots=True)
class ProjectionsFound:
    """Projections and relays by name."""

    items: tuple[ProjectionStatus, ...]
    problems: tuple[str, ...] = ()
    """Why some store could not be looked at."""


class ProjectionOutcome(Enum):
    """What became of a request."""

    DONE = "done"
    """It is so now."""
    ASKED = "asked"
    """It was noted; whoever runs it will do it, or the next one who does."""
    ALREADY = "already"
    """It was so before; nothing was changed."""


@dataclass(frozen=True, slots=True)
class ProjectionChange:
    """What became of a request to one projection or relay."""

    name: str
    kind: ProjectionKind
    outcome: ProjectionOutcome
    state: str
    """Its state now."""
    holder: str | None = None
    """Who runs it, if somebody does."""


@dataclass(frozen=True, slots=True)
class CaughtUpTo:
    """How far one has come that is being caught up here."""

    name: str
    position: int
    head: int
    """Where its store ended when it began."""
    is_done: bool = False
    is_stopped: bool = False
    """Somebody has stopped it, and it did not go to the end."""


def place_shown(status: ProjectionStatus, position: int) -> str:
    """A position as people know it: a number in a store, an entry id in a stream."""
    return f"{position:,}" if stream_in(status.source) is None else str(entry_id_at(position))


def trouble_of(status: ProjectionStatus) -> str | None:
    """What is wrong with a projection or relay that does not go on, and what to do; ``None`` if nothing is."""
    called, commands = f"{status.kind} {status.name!r}", f"penstock {status.kind}s"
    if status.state == "halted":
        at = status.error_position
        where = "" if at is None else f" at position {place_shown(status, at)}"
        return f"{called} is halted{where}: mend it, then run `{commands} retry {status.name}`"
    if status.state != "failed":
        return None
    if status.holder is None:
        return f"{called} has failed, and nobody runs it: see `{commands} show {status.name}`, then `penstock run`"
    return f"{called} fails and is tried again by itself: `{commands} show {status.name}` says why"
