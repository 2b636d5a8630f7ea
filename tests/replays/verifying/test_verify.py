"""Verifying a copy: both held for a moment, tables compared as they were in it, checks run, the report kept."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays.abc import Candidate, Comparing, CopiedTable, Held, Part, RowDifference, Verification
from penstock.replays.copies import copy_of_tables
from penstock.replays.verifying import keep, latest, verify
from penstock.store.abc import EventReader, StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.projections.engine.doubles import Counting, add

TABLES = (CopiedTable("totals"), CopiedTable("applied"))


class Rebuilt:
    """A live read model of `Counting`, and a copy of it that other handlers build."""

    def __init__(self, store: StoreBackend, fault: Callable[[StoredEvent, Connection], None]) -> None:
        self.store = store
        self.plan = ProjectionPlan("totals", page_time=timedelta(seconds=1))
        self.live = Counting(store.database)
        self.run(self.live, LIVE, store.database)
        self.copy = copy_of_tables("again", TABLES, live=store.database, projections=["totals"])
        handlers = Counting(self.copy.database, before=fault)
        self.copy.create([Candidate(self.plan, handlers)])
        self.handlers = self.copy.guard(handlers)
        self.candidates = [Candidate(self.plan, self.handlers)]

    def run(self, handlers: Any, generation: str, database: Any) -> None:
        """To the end of the store."""
        run = ProjectionRun(
            Supervised(self.plan, handlers, generation),
            database,
            self.store.reader,
            LeaseTerms(),
            lambda: False,
        )
        try:
            run.open()
            run.advance(run.horizon())
        finally:
            run.close()

    def build(self) -> None:
        """The copy, to the end."""
        self.run(self.handlers, "again", self.copy.database)

    def verify(self, **how: Any) -> Verification:
        """Its report."""
        return verify(self.copy, self.meeting(), **how)

    def meeting(self) -> AbstractContextManager[Held]:
        """Both held."""
        return meet(self.candidates, self.copy, self.reader, patience=timedelta(seconds=20))

    def reader(self, _: str) -> EventReader:
        """Events of the store."""
        return self.store.reader()


def nothing(event: StoredEvent, connection: Connection) -> None:
    """No fault."""


def counts_twice(positions: Sequence[int]) -> Callable[[StoredEvent, Connection], None]:
    """A handler that takes some events for two."""

    def fault(event: StoredEvent, connection: Any) -> None:
        if event.position in positions:
            connection.execute(f"UPDATE totals SET total = total + 1 WHERE key = '{event.key}'")

    return fault


async def rebuilt(store: StoreBackend, fault: Callable[[StoredEvent, Connection], None] = nothing) -> Rebuilt:
    """Twelve events of four keys, and a copy of ten of them."""
    for _ in range(3):
        for key in "abcd":
            await add(store, 1, key=key)
    return await asyncio.to_thread(Rebuilt, store, fault)


@pytest.mark.covers("ZDT-9", "LEAD-1")
async def test_a_copy_that_was_built_as_the_live_one_is_green(store: StoreBackend) -> None:
    """The last distance is taken for it, every table is compared, and the report says where and how long."""
    scene = await rebuilt(store)
    report = await asyncio.to_thread(scene.verify)
    assert report.is_green
    assert (report.replay, report.position) == ("again", 12)
    assert [
        (each.table.removeprefix("public."), each.live_rows, each.copy_rows) for each in report.tables
    ] == [
        ("totals", 4, 4),
        ("applied", 12, 12),
    ]
    assert timedelta() < report.held < report.took


@pytest.mark.covers("ZDT-9", "LEAD-1")
async def test_a_fault_in_a_handler_is_named_by_key_and_column(store: StoreBackend) -> None:
    """The one row that it spoilt, with both values; checks and samples tell of it as well."""
    scene = await rebuilt(store, counts_twice([10]))
    await asyncio.to_thread(scene.build)

    def is_whole(comparing: Comparing) -> str | None:
        rows = comparing.read("copy", "SELECT sum(total) FROM totals", most=1)
        return None if rows[0][0] == 12 else f"there are {rows[0][0]} in all"

    report = await asyncio.to_thread(
        scene.verify,
        checks=["SELECT key FROM totals WHERE total > 3", "SELECT 1 FROM totals WHERE total < 0", is_whole],
        samples=["SELECT max(total) FROM totals", "SELECT count(*) FROM applied"],
    )
    assert not report.is_green
    assert report.tables[0].rows == (RowDifference({"key": "b"}, "changed", {"total": (3, 4)}),)
    assert report.tables[1].is_equal
    assert report.failed_checks == (
        'SELECT key FROM totals WHERE total > 3: 1 row that should not be there: ("b")',
        "is_whole: there are 13 in all",
        "sample SELECT max(total) FROM totals: only live: (3); only in the copy: (4)",
    )
    assert report.passed_checks == (
        "SELECT 1 FROM totals WHERE total < 0",
        "sample SELECT count(*) FROM applied",
    )


async def test_checks_that_cannot_be_run_are_not_green(store: StoreBackend) -> None:
    """Neither is one that writes; the next one is run all the same, over the same moment."""
    scene = await rebuilt(store)

    def is_false(comparing: Comparing) -> bool:
        return False

    def raises(comparing: Comparing) -> None:
        raise AssertionError("too few")

    def says(comparing: Comparing) -> Iterator[str]:
        yield from ("this", "that")

    def counts(comparing: Comparing) -> int:
        return 3

    report = await asyncio.to_thread(
        scene.verify,
        checks=[
            "SELECT nothing FROM totals",
            "DELETE FROM totals",
            is_false,
            raises,
            says,
            counts,
            "SELECT 1 FROM totals WHERE 1=0",
        ],
        samples=["SELECT key FROM totals ORDER BY key", "SELECT fresh FROM totals"],
    )
    assert [text.partition(":")[0] for text in report.failed_checks] == [
        "SELECT nothing FROM totals",
        "DELETE FROM totals",
        "is_false",
        "raises",
        "says",
        "says",
        "counts",
        "sample SELECT fresh FROM totals",
    ]
    assert "nothing" in report.failed_checks[0].partition(":")[2]
    assert report.failed_checks[1] == "DELETE FROM totals: it writes; what is compared can only be read"
    assert "too few" in report.failed_checks[3]
    assert report.failed_checks[6].startswith("counts: it answers 3")
    assert len(report.passed_checks) == 2
    assert all(each.is_equal for each in report.tables)
    assert (await asyncio.to_thread(scene.verify)).is_green


async def test_the_order_of_a_sample_counts_where_it_asks_for_one(store: StoreBackend) -> None:
    """Rows in another order are a difference of a query with ORDER BY alone."""
    scene = await rebuilt(store)
    order = "SELECT key FROM totals ORDER BY CASE WHEN (SELECT count(*) FROM marks) > 0 THEN key END"
    for database, statements in (
        (store.database, ["CREATE TABLE marks (a integer)"]),
        (scene.copy.database, ["CREATE TABLE marks (a integer)", "INSERT INTO marks VALUES (1)"]),
    ):
        with closing(database.connect()) as connection, transaction(database, connection):
            for sql in statements:
                database.execute(connection, sql)
    report = await asyncio.to_thread(scene.verify, samples=[order, "SELECT key FROM totals"])
    expected = {(), (f"sample {order}: the same rows in another order",)}
    assert report.failed_checks in expected
    assert "sample SELECT key FROM totals" in report.passed_checks


async def test_what_is_committed_later_is_not_seen(store: StoreBackend) -> None:
    """Both generations go on as soon as they can be looked at, and are compared as they were until then."""
    scene = await rebuilt(store)
    said: list[str] = []

    def spoil(table: str) -> None:
        with closing(store.database.connect()) as connection, transaction(store.database, connection):
            store.database.execute(connection, f"DELETE FROM {table}")
            # Nobody holds it any more.
            store.database.execute(
                connection, "UPDATE penstock_checkpoints SET epoch = epoch + 1 WHERE generation = ''"
            )

    @contextmanager
    def spoilt_afterwards() -> Iterator[Held]:
        with scene.meeting() as held:
            yield held
        spoil("totals")

    def say(text: str) -> None:
        said.append(text.replace("public.", ""))
        spoil("applied")

    report = await asyncio.to_thread(verify, scene.copy, spoilt_afterwards(), say=say)
    assert report.is_green
    assert said == ["comparing table totals", "comparing table applied"]
    again = await asyncio.to_thread(scene.verify)
    assert [each.differing for each in again.tables] == [4, 12]


async def test_a_partial_copy_is_compared_by_its_rows(store: StoreBackend) -> None:
    """What other keys have is no difference."""
    scene = await rebuilt(store)
    scene.candidates = [
        Candidate(replace(scene.plan, wanted=replace(scene.plan.wanted, keys=("a", "b"))), scene.handlers)
    ]
    part = Part(keys=("a", "b"), rows={"totals": "key"})
    report = await asyncio.to_thread(scene.verify, part=part)
    assert report.is_green
    assert [(each.live_rows, each.copy_rows) for each in report.tables] == [(2, 2), (6, 6)]
    assert "only the rows that the copy has" in report.tables[1].note
    with closing(store.database.connect()) as connection, transaction(store.database, connection):
        store.database.execute(connection, "UPDATE totals SET total = 99 WHERE key IN ('b', 'c')")
    report = await asyncio.to_thread(scene.verify, part=part)
    assert [row.key["key"] for row in report.tables[0].rows] == ["b"]


async def test_a_report_is_read_back_as_it_was_made(store: StoreBackend) -> None:
    """Times, values and differences of every kind outlive the process; the latest comes first."""
    scene = await rebuilt(store, counts_twice([2, 3, 10]))
    reports = [
        await asyncio.to_thread(scene.verify, checks=[check]) for check in ("SELECT 1", "SELECT 1 WHERE 1=0")
    ]
    database = store.database
    with closing(database.connect()) as connection:
        for report in reports:
            with transaction(database, connection):
                keep(database, connection, report)
        assert latest(database, connection, "again") == reports[::-1]
        assert latest(database, connection, "again", limit=1) == reports[1:]
        assert latest(database, connection, "another") == []
        found = database.execute(
            connection, "SELECT position, is_green FROM penstock_replay_reports ORDER BY id"
        ).fetchall()
    assert [tuple(row) for row in found] == [(12, 0), (12, 0)]
