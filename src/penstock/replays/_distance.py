"""The last distance of a generation, taken inside a transaction of somebody else's, and the way there in pages.

A page of the engine begins and commits by itself. What is taken here is part of a transaction that holds checkpoints,
so that nobody moves meanwhile: everything up to one position, or nothing.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from penstock.errors import ProjectionBusyError, ReplayError, StaleRunnerError
from penstock.projections._engine import _checkpoints, _failures
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._policy import is_of_the_database
from penstock.projections._engine._run import ProjectionRun, Supervised, Waiting
from penstock.projections._engine._sources import advanced as advanced_by
from penstock.projections._engine._sources import next_stretch
from penstock.projections._engine._sql import commit
from penstock.projections.abc import Checkpoint, Page
from penstock.store.abc import EventFilter, EventReader, Horizon, StoredEvent
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["Distance", "HandlerFailed", "approach", "events_between", "wanted_by"]

_PAGE: Final = 1000
_SLICE_SECONDS: Final = 3.0
"""So long a run goes on before it looks up: less than the half of its lease, which nobody renews here."""


class HandlerFailed(Exception):  # noqa: N818  says where, inside the package; never seen by users
    """A handler raised; the transaction is to be rolled back."""

    def __init__(
        self, supervised: Supervised, event: StoredEvent | None, cause: BaseException | None, through: int
    ) -> None:
        place = "" if event is None else f" at event {event.id} (position {event.position})"
        why = "it failed before, and is left alone for a while" if cause is None else str(cause)
        super().__init__(f"projection {supervised.plan.name!r} failed{place}: {why}")
        self.supervised, self.event, self.cause, self.through = supervised, event, cause, through


def wanted_by(supervised: Supervised) -> EventFilter | None:
    """What it reads, with the names that have handlers; ``None`` when nothing has one."""
    wanted, names = supervised.plan.wanted, supervised.handlers.names
    if names is None:
        return wanted
    narrowed = tuple(sorted(names.intersection(wanted.names or names)))
    return replace(wanted, names=narrowed) if narrowed else None


def events_between(
    supervised: Supervised, checkpoint: Checkpoint, reader: EventReader, *, through: int, limit: int
) -> int:
    """How many events it has to take to stand at *through*; at most *limit* are counted."""
    wanted = wanted_by(supervised)
    if wanted is None:
        return 0
    after = min([checkpoint.position, *checkpoint.behind.values()])
    return reader.count(wanted, after=after, through=through, limit=limit) if after < through else 0


@dataclass
class Distance:
    """What several generations take in one transaction on one connection; committed or undone together."""

    database: Database
    connection: Connection
    _pages: list[Page] = field(default_factory=list[Page], init=False)

    def take(
        self, supervised: Supervised, checkpoint: Checkpoint, reader: EventReader, *, through: int
    ) -> Checkpoint:
        """Handle everything up to *through* and move the checkpoint there; its epoch goes up even if nothing came.

        Raises `HandlerFailed`, and what the database raises; `undo` is to be called then.
        """
        database, connection, (name, generation) = self.database, self.connection, supervised.key
        wanted = wanted_by(supervised)
        parked = _failures.parked_lanes(database, connection, name, generation)
        page: Page | None = None
        reached = checkpoint
        while stretch := next_stretch(reached, wanted or supervised.plan.wanted, through=through):
            if wanted is None:
                reached = advanced_by(reached, stretch, stretch.through)
                continue
            found = reader.read(stretch.wanted, after=stretch.after, through=stretch.through, limit=_PAGE)
            for event in found.events:
                if stretch.seen and stretch.has_been_handled(event):
                    continue
                if _failures.lane_of(event) in parked:
                    _failures.put_aside(
                        database, connection, supervised.key, event, None, parking=True, attempts=0
                    )
                    continue
                if page is None:
                    page = supervised.handlers.begin(
                        connection, state=checkpoint.state, generation=generation
                    )
                    self._pages.append(page)
                with _failing(supervised, event, through):
                    page.handle(event)
            reached = advanced_by(reached, stretch, found.through)
        state = None
        if page is not None:
            with _failing(supervised, None, through):
                state = page.finish()
        moved = replace(reached, state=checkpoint.state if state is None else state)
        return _checkpoints.move(database, connection, checkpoint, moved)

    def commit(self) -> None:
        """Keep it."""
        commit(self.database, self.connection)
        pages, self._pages = self._pages, []
        for page in pages:
            _quietly(page.committed)

    def undo(self) -> None:
        """Leave nothing of it. Never raises."""
        with contextlib.suppress(Exception):
            self.connection.rollback()
        pages, self._pages = self._pages, []
        for page in pages:
            _quietly(page.discard)


@contextlib.contextmanager
def _failing(supervised: Supervised, event: StoredEvent | None, through: int) -> Iterator[None]:
    try:
        yield
    except Exception as failure:
        if isinstance(failure, ReplayError) or is_of_the_database(failure):
            raise
        raise HandlerFailed(supervised, event, failure, through) from failure


def _quietly(tell: Callable[[], None]) -> None:
    """What a page does after its transaction can change nothing about it any more."""
    try:
        tell()
    except Exception:  # noqa: BLE001  logged with its trace
        LOGGER.exception("cleaning up after the last distance of a replay failed")


def approach(
    supervised: Supervised,
    database: Database,
    open_reader: Callable[[], EventReader],
    *,
    through: int,
    seconds: float,
) -> bool:
    """Take it nearer to *through* in pages of its own, for at most so long; whether it made its way.

    Not when somebody else runs it: then it comes nearer by itself. Raises `HandlerFailed` for an event before which
    it stands, and what the database raises.
    """
    ends = time.monotonic() + min(seconds, _SLICE_SECONDS)
    run = ProjectionRun(
        supervised,
        database,
        open_reader,
        LeaseTerms(),
        lambda: time.monotonic() >= ends,
        (supervised.plan.name,),
    )
    try:
        run.open()
        match run.advance(Horizon(through, max(through, run.checkpoint.position)), retries=False):
            case Waiting(_, failure, event):
                raise HandlerFailed(supervised, event, failure, through)
            case _:
                return run.pages > 0
    except (ProjectionBusyError, StaleRunnerError):
        return False
    finally:
        run.close()
