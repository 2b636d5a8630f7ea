"""Handlers that the engine's tests run: raw SQL on the page's connection, and whatever trouble a test wants."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.message import Meta, new_event_id
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import Outcome, ProjectionRun, Supervised
from penstock.projections.abc import LIVE, Checkpoint, ProjectionPlan
from penstock.store.abc import Append, Appended, NewEvent, StoreBackend, StoredEvent
from penstock.store.database import Connection, Database

__all__ = [
    "TABLES",
    "Counting",
    "add",
    "append",
    "applied",
    "checkpoint",
    "make_run",
    "new_event",
    "to_the_end",
    "totals",
]

TABLES = (
    "CREATE TABLE IF NOT EXISTS totals (key text PRIMARY KEY, total bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS applied (place bigint NOT NULL, name text NOT NULL)",
)


class CountingPage:
    """One page of `Counting`."""

    def __init__(self, owner: "Counting", connection: Connection, state: bytes | None) -> None:
        self._owner, self._connection = owner, connection
        self._sum = json.loads(state)["sum"] if state else 0

    def handle(self, event: StoredEvent) -> None:
        """Add one to the event's key, note the event, and do what the test wants."""
        owner = self._owner
        owner.calls.append(event.position)
        owner.before(event, self._connection)
        database, connection = owner.database, self._connection
        database.execute(
            connection,
            "INSERT INTO totals VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET total = totals.total + 1",
            (event.key or "",),
        )
        database.execute(connection, "INSERT INTO applied VALUES (?, ?)", (event.position, event.name))
        self._sum += event.position

    def finish(self) -> bytes | None:
        """The state, if it is kept."""
        self._owner.at_finish()
        return json.dumps({"sum": self._sum}).encode() if self._owner.keeps_state else None

    def discard(self) -> None:
        """Count it."""
        self._owner.discarded += 1

    def committed(self) -> None:
        """Count it."""
        self._owner.commits += 1


class Counting:
    """Counts events by key and notes each; `before` is called before each."""

    def __init__(
        self,
        database: Database,
        *,
        names: frozenset[str] | None = None,
        before: Callable[[StoredEvent, Connection], None] = lambda event, connection: None,
        keeps_state: bool = False,
        at_finish: Callable[[], None] = lambda: None,
    ) -> None:
        self.database, self.names, self.before, self.keeps_state = database, names, before, keeps_state
        self.at_finish = at_finish
        self.calls: list[int] = []
        self.discarded = self.commits = self.resets = 0

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> CountingPage:
        """One page."""
        return CountingPage(self, connection, state)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the tables, or drop them."""
        self.resets += 1
        for table in ("totals", "applied"):
            self.database.execute(connection, f"DROP TABLE {table}" if delete else f"DELETE FROM {table}")

    def prepare(self, connection: Connection) -> None:
        """Make the tables."""
        for sql in TABLES:
            self.database.execute(connection, sql)


def new_event(
    stream: str = "order-1", name: str = "order.placed", *, key: str | None = "k", value: Any = None
) -> NewEvent:
    """One event on its way into a store."""
    meta = Meta(time=1_700_000_000_000_000, key=key)
    return NewEvent(
        stream=stream, id=new_event_id(), name=name, meta=meta, data=msgspec.json.encode({"value": value})
    )


async def append(store: StoreBackend, *events: NewEvent) -> list[Appended]:
    """Append events together."""
    outcome = await store.append(Append(tuple(events)))
    assert isinstance(outcome, list)
    return outcome


async def add(store: StoreBackend, count: int, **how: Any) -> None:
    """Append events that are all alike."""
    await append(store, *(new_event(**how) for _ in range(count)))


def make_run(
    store: StoreBackend,
    handlers: "Counting",
    *,
    terms: LeaseTerms | None = None,
    database: Database | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    **plan: Any,
) -> ProjectionRun:
    """A run of a projection named totals, over one store."""
    return ProjectionRun(
        Supervised(ProjectionPlan("totals", **plan), handlers),
        database or store.database,
        store.reader,
        terms or LeaseTerms(),
        is_stopping,
    )


async def to_the_end(run: ProjectionRun) -> Outcome:
    """Open it, run it as far as it goes, close it; in a thread."""

    def work() -> Outcome:
        try:
            run.open()
            return run.advance(run.horizon())
        finally:
            run.close()

    return await asyncio.to_thread(work)


def checkpoint(database: Database, name: str = "totals") -> Checkpoint:
    """The checkpoint as it is recorded."""
    connection = database.connect()
    try:
        found = _checkpoints.read(database, connection, name, LIVE)
    finally:
        connection.close()
    assert found is not None
    return found


def _select(database: Database, sql: str) -> Sequence[Any]:
    connection = database.connect()
    try:
        return database.execute(connection, sql).fetchall()
    finally:
        connection.close()


def totals(database: Database) -> dict[str, int]:
    """What was counted, by key."""
    return dict(_select(database, "SELECT key, total FROM totals"))


def applied(database: Database) -> list[int]:
    """The positions of what was handled and committed, in that order on SQLite, sorted on PostgreSQL."""
    order = "rowid" if database.dialect == "sqlite" else "place"
    return [place for [place] in _select(database, f"SELECT place FROM applied ORDER BY {order}")]
