"""What is run, and how a run ended: the words between a run and whoever drives it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from penstock.projections.abc import LIVE, Handlers, ProjectionPlan
from penstock.store.abc import StoredEvent
from penstock.store.database import Database

__all__ = ["CaughtUp", "Failed", "Interrupted", "NotWanted", "Outcome", "Supervised", "Waiting"]


@dataclass(frozen=True, slots=True)
class Supervised:
    """One generation of one projection, with all that runs it."""

    plan: ProjectionPlan
    handlers: Handlers
    generation: str = LIVE
    database: Database | None = None
    """Where the effects and the checkpoint of a generation are that is not live; else they are in the target store."""
    is_made: bool = False
    """Whether others make its checkpoint, so that without one it is gone, and not run (`StaleRunnerError`)."""

    @property
    def key(self) -> tuple[str, str]:
        """Name and generation."""
        return self.plan.name, self.generation


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything up to here is handled."""

    position: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """It stands before an event; to be tried again *after* a while (``None``: when somebody says so)."""

    after: timedelta | None
    failure: BaseException | None = None
    event: StoredEvent | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """It was asked to stop, and did between two pages."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that failed in a page, before it is its turn to be judged."""

    position: int
    cause: Exception
    is_alone: bool
    """Whether nothing else was in that page."""


class NotWanted(Exception):  # noqa: N818  inside the engine; never seen by users
    """A stop, a reset or a deletion was asked for before the run had begun: nothing was begun."""


Outcome: TypeAlias = CaughtUp | Waiting | Interrupted
