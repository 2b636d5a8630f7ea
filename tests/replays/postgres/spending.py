"""A read model of two tables in two versions, a copy of it in PostgreSQL, and everything that is done to them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from typing import Any

from penstock.projections._engine import _checkpoints
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections.abc import LIVE, Checkpoint, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays.abc import Candidate, CopiedTable, Held, Part, Switched
from penstock.store.abc import EventReader, StoreBackend, StoredEvent
from penstock.store.database import Connection, Database

__all__ = ["KEY", "TABLES", "Spending", "Thing", "nothing"]

KEY = "with a grade"
PATIENCE = timedelta(seconds=60)
TABLES = (
    "CREATE TABLE totals (customer text PRIMARY KEY, orders integer NOT NULL, v integer NOT NULL)",
    "CREATE INDEX totals_by_orders ON totals (orders)",
    "CREATE TABLE entries (id serial PRIMARY KEY, customer text NOT NULL REFERENCES totals, "
    "position integer NOT NULL UNIQUE, v integer NOT NULL)",
)


class SpendingPage:
    """One page of `Spending`."""

    def __init__(self, owner: "Spending", connection: Any) -> None:
        self._owner, self._connection = owner, connection

    def handle(self, event: StoredEvent) -> None:
        """Count one for its key in one table, and note it in the other."""
        owner = self._owner
        self._connection.execute(
            "INSERT INTO totals (customer, orders, v) VALUES (%s, 1, %s) "
            "ON CONFLICT (customer) DO UPDATE SET orders = totals.orders + 1",
            (event.key, owner.version),
        )
        self._connection.execute(
            "INSERT INTO entries (customer, position, v) VALUES (%s, %s, %s)",
            (event.key, event.position, owner.version),
        )

    def finish(self) -> bytes | None:
        """No state."""

    def discard(self) -> None:
        """Nothing to forget."""

    def committed(self) -> None:
        """Nothing to clean up."""


class Spending:
    """Handlers of one version, which is in every row."""

    projection = "spending"
    names = None

    def __init__(self, version: int) -> None:
        self.version = version

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> SpendingPage:
        """One page."""
        return SpendingPage(self, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the tables."""
        raw: Any = connection
        raw.execute("TRUNCATE entries, totals")

    def prepare(self, connection: Connection) -> None:
        """They are there."""


def nothing(_: object) -> None:
    """Nobody listens."""


class Thing:
    """The live read model, and its copy."""

    def __init__(self, store: StoreBackend, *, part: Part | None = None, page: int = 50) -> None:
        self.store, self.page = store, page
        self.live: Any = store.database
        tables = (CopiedTable("totals"), CopiedTable("entries"))
        self.copy = PostgresCopy(KEY, store.database, tables, projections=["spending"], part=part)

    def plan(self, version: int) -> ProjectionPlan:
        """The projection."""
        return ProjectionPlan(
            "spending", version=version, tables=("totals", "entries"), page_events=self.page
        )

    def candidate(self, version: int) -> Candidate:
        """A projection of the copy."""
        return Candidate(self.plan(version), self.copy.guard(Spending(version)))

    def make(self) -> None:
        """The live tables."""
        with closing(self.live.connect()) as connection:
            for sql in TABLES:
                self.live.execute(connection, sql)

    def create(self, version: int = 2) -> None:
        """Make the copy."""
        self.copy.create([Candidate(self.plan(version), Spending(version))])

    def run_live(self, version: int = 1) -> None:
        """Bring the live one to the end."""
        self._run(Supervised(self.plan(version), Spending(version)), self.live)

    def feed(self, version: int = 2) -> None:
        """Bring the copy to the end."""
        candidate = self.candidate(version)
        self._run(Supervised(candidate.plan, candidate.handlers, KEY), self.copy.database)

    def _run(self, supervised: Supervised, database: Database) -> None:
        run = ProjectionRun(supervised, database, self.store.reader, LeaseTerms(), lambda: False)
        try:
            run.open()
            run.advance(run.horizon())
        finally:
            run.close()

    def meeting(self, version: int) -> AbstractContextManager[Held]:
        """Hold both; *version* is what the copy is of."""
        declared = {"spending": Supervised(self.plan(3 - version), Spending(3 - version))}
        return meet(
            [self.candidate(version)],
            self.copy,
            lambda _: self._reader(),
            patience=PATIENCE,
            declared_live=declared,
        )

    def _reader(self) -> EventReader:
        return self.store.reader()

    def switch(self, version: int, record: Callable[[Held], None] = nothing) -> Switched:
        """Have the copy, which is of this version, and the live one exchanged."""
        self.copy.prepare_switch(nothing)
        return self.copy.switch(lambda: self.meeting(version), record)

    def place(self, generation: str = LIVE) -> Checkpoint:
        """A checkpoint as it is committed."""
        with closing(self.live.connect()) as connection:
            found = _checkpoints.read(self.live, connection, "spending", generation)
        assert found is not None
        return found
