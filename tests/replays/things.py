"""A read model of two tables that each version fills otherwise, a copy of it, and everything that is done to them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from typing import Any, Generic, TypeVar

from penstock.projections._engine import _checkpoints
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections.abc import LIVE, Checkpoint, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, Held, Switched
from penstock.store.abc import EventFilter, EventReader, StoreBackend
from penstock.store.database import Database

__all__ = ["KEY", "PATIENCE", "AnyThing", "SpendingPage", "nothing"]

KEY = "with a grade"
PATIENCE = timedelta(seconds=60)
Copy = TypeVar("Copy", SqliteCopy, PostgresCopy)


def nothing(_: object) -> None:
    """Nobody listens."""


class SpendingPage:
    """One page of handlers that keep nothing in mind."""

    def finish(self) -> bytes | None:
        """No state."""

    def discard(self) -> None:
        """Nothing to forget."""

    def committed(self) -> None:
        """Nothing to clean up."""


class AnyThing(ABC, Generic[Copy]):
    """The live read model, and its copy."""

    def __init__(self, store: StoreBackend, copy: Copy, page: int) -> None:
        self.store, self.page = store, page
        self.live: Any = store.database
        self.copy: Copy = copy

    @abstractmethod
    def handlers(self, version: int) -> Any:
        """Those of a version."""

    def plan(self, version: int, *, part: bool = False) -> ProjectionPlan:
        """The projection."""
        return ProjectionPlan(
            "spending",
            version=version,
            wanted=EventFilter(keys=self.copy.part.keys if part else ()),
            tables=("totals", "entries"),
            page_events=self.page,
        )

    def candidate(self, version: int, handlers: Any = None) -> Candidate:
        """A projection of the copy."""
        return Candidate(self.plan(version, part=True), self.copy.guard(handlers or self.handlers(version)))

    def create(self, version: int = 2, handlers: Any = None) -> None:
        """Make the copy; where it is given no tables, the handlers make them."""
        self.copy.create([self.candidate(version, handlers)])

    def run_live(self, version: int = 1, through: int | None = None, handlers: Any = None) -> None:
        """Bring the live one to the end."""
        self._run(Supervised(self.plan(version), handlers or self.handlers(version)), self.live, through)

    def feed(self, version: int = 2, through: int | None = None, handlers: Any = None) -> None:
        """Bring the copy to the end."""
        candidate = self.candidate(version, handlers)
        self._run(Supervised(candidate.plan, candidate.handlers, KEY), self.copy.database, through)

    def _run(self, supervised: Supervised, database: Database, through: int | None) -> None:
        run = ProjectionRun(supervised, database, self.store.reader, LeaseTerms(), lambda: False)
        try:
            run.open()
            horizon = run.horizon()
            run.advance(horizon if through is None else type(horizon)(through, through))
        finally:
            run.close()

    def reader(self, _: str) -> EventReader:
        """Events of the store."""
        return self.store.reader()

    def meeting(self, version: int) -> AbstractContextManager[Held]:
        """Hold both; *version* is what the copy is of."""
        declared = {"spending": Supervised(self.plan(3 - version), self.handlers(3 - version))}
        return meet(
            [self.candidate(version)], self.copy, self.reader, patience=PATIENCE, declared_live=declared
        )

    def switch(self, version: int, record: Callable[[Held], None] = nothing) -> Switched:
        """Have the copy, which is of this version, and the live one exchanged."""
        self.copy.prepare_switch(nothing)
        return self.copy.switch(lambda: self.meeting(version), record)

    def place(self, generation: str = LIVE) -> Checkpoint:
        """A checkpoint as it is committed."""
        database = self.copy.database if generation else self.live
        with closing(database.connect()) as connection:
            found = _checkpoints.read(database, connection, "spending", generation)
        assert found is not None
        return found
