"""A read model of two tables in two versions, a copy of it in SQLite, and everything that is done to them."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from penstock.projections._engine import _checkpoints
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections.abc import LIVE, Checkpoint, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, CopiedTable, Held, Part, Switched
from penstock.store.abc import EventFilter, EventReader, StoreBackend, StoredEvent
from penstock.store.database import Connection, Database

__all__ = [
    "KEY",
    "PATIENCE",
    "Spending",
    "Thing",
    "both",
    "direct",
    "folder_in_memory",
    "nothing",
    "raw_of",
]

_IN_MEMORY = Path("/dev/shm")
KEY = "with a grade"
PATIENCE = timedelta(seconds=30)


class SpendingPage:
    """One page of `Spending`."""

    def __init__(self, owner: "Spending", connection: Connection) -> None:
        self._owner, self._connection = owner, connection

    def handle(self, event: StoredEvent) -> None:
        """Count one for its key in one table, and note it in the other."""
        owner = self._owner
        raw: Any = self._connection
        owner.before(event, raw)
        if owner.version == 1:
            raw.execute(
                "INSERT INTO totals (customer, orders, v) VALUES (?, 1, 1) "
                "ON CONFLICT (customer) DO UPDATE SET orders = orders + 1",
                (event.key,),
            )
        else:
            raw.execute(
                "INSERT INTO totals (customer, orders, v, grade) VALUES (?, 1, ?, 'new') "
                "ON CONFLICT (customer) DO UPDATE SET orders = orders + 1, grade = 'known'",
                (event.key, owner.version),
            )
        raw.execute(
            "INSERT INTO entries (customer, position, v) VALUES (?, ?, ?)",
            (event.key, event.position, owner.version),
        )

    def finish(self) -> bytes | None:
        """No state."""

    def discard(self) -> None:
        """Nothing to forget."""

    def committed(self) -> None:
        """Nothing to clean up."""


class Spending:
    """Handlers of one version; the second one has a column more."""

    projection = "spending"
    names = None

    def __init__(
        self,
        version: int,
        before: Callable[[StoredEvent, sqlite3.Connection], None] = lambda event, raw: None,
        *,
        gives_ids: bool = True,
    ) -> None:
        self.version, self.before, self.gives_ids = version, before, gives_ids

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> SpendingPage:
        """One page."""
        return SpendingPage(self, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the tables."""
        raw: Any = connection
        for table in ("entries", "totals"):
            raw.execute(f"DELETE FROM {table}")

    def prepare(self, connection: Connection) -> None:
        """Make the tables of this version."""
        raw: Any = connection
        grade = "" if self.version == 1 else ", grade TEXT NOT NULL"
        for sql in (
            "CREATE TABLE IF NOT EXISTS main.totals "
            f"(customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, v INTEGER NOT NULL{grade})",
            "CREATE INDEX IF NOT EXISTS main.totals_by_orders ON totals (orders)",
            f"CREATE TABLE IF NOT EXISTS main.entries ({'id INTEGER PRIMARY KEY AUTOINCREMENT, ' * self.gives_ids}"
            "customer TEXT NOT NULL REFERENCES totals (customer), position INTEGER NOT NULL UNIQUE, "
            "v INTEGER NOT NULL)",
            "CREATE INDEX IF NOT EXISTS main.entries_by_customer ON entries (customer, position)",
        ):
            raw.execute(sql)


def nothing(_: str) -> None:
    """Nobody listens."""


class Thing:
    """The live read model, and its copy."""

    def __init__(
        self,
        store: StoreBackend,
        tables: Sequence[CopiedTable] = (),
        *,
        part: Part | None = None,
        page: int = 50,
    ) -> None:
        self.store, self.page = store, page
        self.live: Any = store.database
        self.copy = SqliteCopy(
            KEY, store.database, tables, projections=["spending"], part=part, makes_own=not tables
        )

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
        return Candidate(self.plan(version, part=True), self.copy.guard(handlers or Spending(version)))

    def create(self, version: int = 2, handlers: Any = None) -> None:
        """Make the copy; without *tables* the handlers make them."""
        self.copy.create([self.candidate(version, handlers)])

    def run_live(self, version: int = 1, through: int | None = None, handlers: Any = None) -> None:
        """Bring the live one to the end."""
        self._run(Supervised(self.plan(version), handlers or Spending(version)), self.live, through)

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
        declared = {"spending": Supervised(self.plan(3 - version), Spending(3 - version))}
        return meet(
            [self.candidate(version)], self.copy, self.reader, patience=PATIENCE, declared_live=declared
        )

    def switch(self, version: int, record: Callable[[Held], None] = lambda held: None) -> Switched:
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


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder that is in memory where the system has such."""
    with TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def raw_of(database: Any) -> Iterator[sqlite3.Connection]:
    """A connection of one of our databases, as the driver's own."""
    with closing(database.connect()) as connection:
        yield connection


@contextlib.contextmanager
def direct(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection of a user's own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


def both(connection: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
    """What is in the two tables, as far as both versions have it."""
    rows: Sequence[str] = (
        "SELECT customer, orders, v FROM totals ORDER BY customer",
        "SELECT customer, position, v FROM entries ORDER BY position",
    )
    first, second = (connection.execute(sql).fetchall() for sql in rows)
    return first, second
