"""A fault in a handler is found in a large read model, in less time than building it takes and in little memory."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, ProjectionRun, Supervised
from penstock.projections.abc import LIVE, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays.abc import Candidate, CopiedTable, RowDifference
from penstock.replays.copies import copy_of_tables
from penstock.replays.verifying import verify
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection, Database
from tests.projections.engine.doubles import append, new_event

ROWS_OF_EVENT = 50
MEMORY_MB = 100


class LedgerPage:
    """One page: rows are collected and written at its end."""

    def __init__(self, owner: "Ledger", connection: Any) -> None:
        self._owner, self._connection = owner, connection
        self._rows: list[tuple[int, str, int, str]] = []

    def handle(self, event: StoredEvent) -> None:
        """Fifty entries of an event; the seeded fault counts one of one event a cent too high."""
        for number in range(ROWS_OF_EVENT):
            cents = (event.position * 7919 + number * 104729) % 100_000
            if (event.position, number) == self._owner.fault:
                cents += 1
            entry = event.position * ROWS_OF_EVENT + number
            self._rows.append((entry, f"account-{cents % 997}", cents, f"entry {entry} of {event.name}"))

    def finish(self) -> bytes | None:
        """Write them."""
        mark = "?" if self._owner.database.dialect == "sqlite" else "%s"
        sql = f"INSERT INTO ledger VALUES ({', '.join([mark] * 4)})"
        self._connection.cursor().executemany(sql, self._rows)
        return None

    def discard(self) -> None:
        """Nothing is kept."""

    def committed(self) -> None:
        """Nothing is kept."""


class Ledger:
    """Handlers of a ledger."""

    names: frozenset[str] | None = None

    def __init__(self, database: Database, fault: tuple[int, int] | None = None) -> None:
        self.database, self.fault = database, fault

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> LedgerPage:
        """One page."""
        return LedgerPage(self, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty it."""
        self.database.execute(connection, "DELETE FROM ledger")

    def prepare(self, connection: Connection) -> None:
        """Make it."""
        self.database.execute(
            connection,
            "CREATE TABLE IF NOT EXISTS ledger "
            "(entry bigint PRIMARY KEY, account text NOT NULL, cents bigint NOT NULL, note text)",
        )


def build(store: StoreBackend, handlers: Any, generation: str, database: Database) -> float:
    """Play everything; how many seconds it took."""
    plan = ProjectionPlan("ledger", page_events=200, page_time=timedelta(seconds=5))
    run = ProjectionRun(
        Supervised(plan, handlers, generation),
        database,
        store.reader,
        LeaseTerms(timedelta(hours=1)),
        lambda: False,
    )
    began = time.monotonic()
    try:
        run.open()
        assert isinstance(run.advance(run.horizon()), CaughtUp)
    finally:
        run.close()
    return time.monotonic() - began


def memory_mb(what: str) -> int:
    """A figure of this process as Linux tells it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{what}:"))


def forget_peak() -> int:
    """Have the highest figure begin at the present one, which is answered (``proc_pid_clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory_mb("VmRSS")


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.covers("LEAD-1", "ZDT-9")
async def test_a_seeded_fault_is_found_in_a_large_model(store: StoreBackend, torture: bool) -> None:
    """One row of a million (of 20,000 in the short form) is named by key and column, with both values.

    In the long form it takes less time than building them took, and less memory than a tenth of them would.
    """
    events = (1_000_000 if torture else 20_000) // ROWS_OF_EVENT
    for first in range(0, events, 1000):
        count = min(1000, events - first)
        await append(store, *(new_event(f"ledger-{first + number}") for number in range(count)))
    position, number = events // 2, 17
    copy = copy_of_tables("large", [CopiedTable("ledger")], live=store.database, projections=["ledger"])
    faulty = Ledger(copy.database, (position, number))
    plan = ProjectionPlan("ledger")

    def work() -> tuple[float, Any, int]:
        build(store, Ledger(store.database), LIVE, store.database)
        copy.create([Candidate(plan, faulty)])
        guarded = copy.guard(faulty)
        took = build(store, guarded, "large", copy.database)
        copy.finish()
        before = forget_peak()
        meeting = meet(
            [Candidate(plan, guarded)], copy, lambda _: store.reader(), patience=timedelta(seconds=60)
        )
        report = verify(copy, meeting)
        return took, report, memory_mb("VmHWM") - before

    took, report, grown = await asyncio.to_thread(work)
    [table] = report.tables
    assert (table.live_rows, table.copy_rows, table.differing) == (events * ROWS_OF_EVENT,) * 2 + (1,)
    cents = (position * 7919 + number * 104729) % 100_000
    entry = position * ROWS_OF_EVENT + number
    assert table.rows == (
        RowDifference(
            {"entry": entry},
            "changed",
            {
                "account": (f"account-{cents % 997}", f"account-{(cents + 1) % 997}"),
                "cents": (cents, cents + 1),
            },
        ),
    )
    assert report.position == events
    if torture:
        assert report.took.total_seconds() < took
        assert grown < MEMORY_MB
