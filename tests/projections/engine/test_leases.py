"""Leases against clocks that jump, against holders that are surely dead, and against who was slow to take one."""

import asyncio
import contextlib
import signal
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import ProjectionBusyError, StaleRunnerError
from penstock.projections._engine import _checkpoints, _lease, _notes, _resetting
from penstock.projections._engine._holding import Holding
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, Supervised, Waiting
from penstock.projections._engine._sql import NOW
from penstock.projections.abc import ProjectionPlan
from penstock.projections.control import ProjectionControl
from penstock.retry import Retry
from penstock.store import migrating
from penstock.store._postgres import make_backend
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection, Database
from tests.projections.engine.doubles import Counting, add, applied, checkpoint, make_run, to_the_end
from tests.projections.engine.test_kill import Processes, processes
from tests.projections.engine.test_supervisor import running, supervise, until

__all__ = ["processes"]

DAY_US = 86_400_000_000


def run_sql(store: StoreBackend, sql: str, *parameters: object) -> list[Any]:
    """One statement, committed."""
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        cursor = store.database.execute(connection, sql, parameters)
        found = cursor.fetchall() if sql.startswith("SELECT") else []
        connection.commit()
    return found


def step_clock(store: StoreBackend, us: int) -> None:
    """What the database's clock going forward by so much (or back) makes of the times that are stored."""
    run_sql(
        store,
        "UPDATE penstock_projections SET lease_until = CASE WHEN token IS NULL THEN 0 ELSE lease_until - ? END, "
        "retry_at = CASE WHEN retry_at = 0 THEN 0 ELSE retry_at - ? END, failed_at = failed_at - ?, "
        "reload_at = CASE WHEN reload_at = 0 THEN 0 ELSE reload_at - ? END",
        *(us,) * 4,
    )


def lasts(store: StoreBackend) -> int:
    """How long the lease of totals lasts, in microseconds."""
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        left = _lease.shorten(store.database, connection, ("totals", ""))
        connection.commit()
    return left


@pytest.mark.covers("PROJ-14", "PROJ-9")
@pytest.mark.parametrize("us", [DAY_US, -DAY_US, 365 * DAY_US, -365 * DAY_US])
async def test_a_clock_that_jumps_neither_stops_a_projection_nor_lets_two_commit(
    store: StoreBackend, us: int
) -> None:
    """Two processes want it while the database's clock jumps again and again: each event counts once, and all do."""
    handlers = [Counting(store.database) for _ in range(2)]
    both = [supervise(store, each, lease=timedelta(milliseconds=300)) for each in handlers]
    stored = 0
    await to_the_end(make_run(store, Counting(store.database)))
    async with running(*both):
        for _ in range(4):
            await add(store, 3)
            stored += 3
            await until(lambda: len(applied(store.database)) == stored, 20)  # noqa: B023
            await asyncio.to_thread(step_clock, store, us)
            await add(store, 3)
            stored += 3
            await until(lambda: len(applied(store.database)) == stored, 20)  # noqa: B023
    assert sorted(applied(store.database)) == list(range(1, stored + 1))


@pytest.mark.covers("PROJ-9")
async def test_the_lease_of_a_holder_that_is_gone_ends_also_when_the_clock_went_back(
    store: StoreBackend,
) -> None:
    """Nobody can say whether it lives, so it has its length from now on, and no more."""
    await add(store, 1)
    length_us = 300_000
    unknown = str(Holding("penstock elsewhere", length_us))
    await to_the_end(make_run(store, Counting(store.database)))
    now = NOW[store.dialect]
    run_sql(
        store,
        f"UPDATE penstock_projections SET holder = 'far:1', token = 'far', session = ?, lease_until = {now} + ?",
        unknown,
        DAY_US,
    )
    await add(store, 1)
    handlers = Counting(store.database)
    began = time.monotonic()
    async with running(supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 1)
    assert time.monotonic() - began >= length_us / 1e6 * 0.9
    assert applied(store.database) == [1, 2]


@pytest.mark.covers("PROJ-16")
@pytest.mark.parametrize("us", [DAY_US, -DAY_US])
async def test_a_pause_after_a_failure_ends_also_when_the_clock_went_back(
    store: StoreBackend, us: int
) -> None:
    """The event is tried again sooner, not a day later."""
    await add(store, 2)
    bad = {2}

    def before(event: StoredEvent, _: Connection) -> None:
        if event.position in bad:
            raise ValueError("no place")

    handlers = Counting(store.database, before=before)
    how: dict[str, Any] = {"retry": Retry(initial="10s", longest="10s", jitter=0)}
    assert isinstance(await to_the_end(make_run(store, handlers, **how)), Waiting)
    assert isinstance(await to_the_end(make_run(store, handlers, **how)), Waiting)
    step_clock(store, us)
    bad.clear()
    assert await to_the_end(make_run(store, handlers, **how)) == CaughtUp(2)


async def test_the_pause_of_a_handler_that_ended_its_process_is_no_longer_than_its_policy_says(
    store: StoreBackend,
) -> None:
    """Nothing says when it failed, and the clock may have gone back since it began."""
    await to_the_end(make_run(store, Counting(store.database)))
    now = NOW[store.dialect]
    run_sql(store, f"UPDATE penstock_projections SET suspect = 1, attempts = 1, retry_at = {now} + ?", DAY_US)
    plan = ProjectionPlan("totals", retry=Retry(longest="10s", jitter=0))
    with closing(store.database.connect()) as connection:
        notes = _notes.read_notes(store.database, connection, plan, ("totals", ""))
    assert notes.wait == timedelta(seconds=10)


async def test_a_clock_of_the_process_that_jumps_changes_nothing(
    store: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine does not ask it: intervals are measured by a clock that only goes forward."""
    real = time.time
    handlers = Counting(store.database)
    async with running(supervise(store, handlers, lease=timedelta(milliseconds=200))):
        for number, jump in enumerate((0, 86_400, -86_400, 3e8, -3e8), start=1):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            await add(store, 1)
            await until(lambda number=number: len(handlers.calls) == number)  # type: ignore[misc]
    assert applied(store.database) == [1, 2, 3, 4, 5]


@pytest.mark.covers("PROJ-23")
async def test_a_reload_that_is_asked_for_after_the_clock_went_back_is_done(store: StoreBackend) -> None:
    """It is another request than the last one; its time says nothing else."""
    handlers = Counting(store.database)
    await add(store, 1)
    async with running(supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 1)
        before = checkpoint(store.database).epoch
        now = NOW[store.dialect]
        await asyncio.to_thread(
            run_sql, store, f"UPDATE penstock_projections SET reload_at = {now} - ?", DAY_US
        )
        await until(lambda: checkpoint(store.database).epoch > before)


# -- holders that are dead ---------------------------------------------------------------------------------------------


@pytest.mark.covers("PROJ-9", "PROJ-15")
async def test_a_process_killed_in_a_page_is_replaced_long_before_its_lease_ends(
    store: StoreBackend, processes: Processes
) -> None:
    """kill -9 in the middle of a transaction, with a lease of an hour: it is surely dead, and nothing of it is kept."""
    await add(store, 4)
    hour = "3600000"
    first = processes.start("--forever", "--slow", "300", "--lease", hour)
    assert first.stdout is not None
    assert await asyncio.to_thread(first.stdout.readline) == "1\n"
    assert await asyncio.to_thread(first.stdout.readline) == "2\n"
    second = processes.start("--lease", hour)
    first.send_signal(signal.SIGKILL)
    assert await asyncio.to_thread(second.wait, 60) == 0
    assert applied(store.database) == [1, 2, 3, 4]


@pytest.mark.covers("PROJ-14")
async def test_a_process_that_stands_still_is_not_taken_for_dead(
    store: StoreBackend, processes: Processes
) -> None:
    """It has its whole lease, between two pages as well."""
    await add(store, 1)
    first = processes.start("--forever", "--slow", "1", "--lease", "3600000")
    assert first.stdout is not None
    assert await asyncio.to_thread(first.stdout.readline) == "1\n"
    await until(lambda: applied(store.database) == [1])
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(ProjectionBusyError):
        await to_the_end(make_run(store, Counting(store.database)))
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 60) == 0


@pytest.mark.covers("PROJ-9")
async def test_on_postgresql_a_session_that_is_gone_is_proof_enough(store: StoreBackend) -> None:
    """The holder may be on another host. One behind a pooler, or that cannot be seen, is waited for."""
    name = _lease.application(LeaseTerms(), "totals")
    with closing(store.database.connect(application=name)) as connection:
        _lease.take(store.database, connection, "totals", "", LeaseTerms(timedelta(hours=1)))
        noted = Holding.read(run_sql(store, "SELECT session FROM penstock_projections")[0][0])
    assert noted.direct is False, "it was noted under another name than its session has"

    terms = LeaseTerms(timedelta(hours=1))
    name = _lease.application(terms, "totals")
    run_sql(store, "UPDATE penstock_projections SET token = NULL")
    with closing(store.database.connect(application=name)) as connection:
        _lease.take(store.database, connection, "totals", "", terms)
        noted = Holding.read(run_sql(store, "SELECT session FROM penstock_projections")[0][0])
        assert noted.direct is (store.dialect == "postgresql")
        far = str(Holding(noted.application, noted.length_us, None, noted.direct))
        run_sql(store, "UPDATE penstock_projections SET session = ?", far)
        with pytest.raises(ProjectionBusyError):
            await to_the_end(make_run(store, Counting(store.database)))

    run_sql(store, "UPDATE penstock_projections SET session = ?", str(Holding(name, noted.length_us)))
    with pytest.raises(ProjectionBusyError):
        await to_the_end(make_run(store, Counting(store.database)))
    run_sql(store, "UPDATE penstock_projections SET session = ?", far)
    again = make_run(store, Counting(store.database))
    if store.dialect == "sqlite":
        with pytest.raises(ProjectionBusyError):
            await to_the_end(again)
    else:
        # The server takes a moment to see that a session has ended.
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(ProjectionBusyError):
                    assert await to_the_end(again) == CaughtUp(0)
                    break


def _row(store: StoreBackend) -> Any:
    with closing(store.database.connect()) as connection:
        return _checkpoints.read(store.database, connection, "totals", "")


@pytest.mark.covers("PROJ-12")
async def test_who_is_slow_to_begin_does_not_bring_back_what_was_deleted(
    store: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked before, and takes the lease after: it finds what was asked for meanwhile, and begins nothing."""
    await add(store, 2)
    handlers, control = Counting(store.database), ProjectionControl(store.database)
    slow, quick = supervise(store, handlers), supervise(store, handlers)
    arrived, may_go_on, take = threading.Event(), threading.Event(), _lease.take

    def late(database: Database, connection: Connection, name: str, generation: str, terms: Any) -> Any:
        if terms is slow.terms:
            arrived.set()
            may_go_on.wait(30)
        return take(database, connection, name, generation, terms)

    monkeypatch.setattr(_lease, "take", late)
    async with running(slow):
        await asyncio.to_thread(arrived.wait, 10)
        async with running(quick):
            await until(lambda: len(handlers.calls) == 2)
            await control.delete("totals")
            await until(lambda: _row(store) is None)
            may_go_on.set()
            await until(lambda: slow.states["totals"] == "stopped")
            assert _row(store) is None
            assert handlers.calls == [1, 2]
            await control.start("totals")
            await until(lambda: len(handlers.calls) == 4)
    assert applied(store.database) == [1, 2]


@pytest.mark.covers("PROJ-12", "PROJ-14")
async def test_who_loses_the_lease_before_its_first_page_brings_nothing_back(
    store: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still between taking the lease and looking at its checkpoint; another deleted the projection."""
    handlers, take = Counting(store.database), _lease.take
    await add(store, 2)
    await to_the_end(make_run(store, handlers))

    def taken_and_lost(
        database: Database, connection: Connection, name: str, generation: str, terms: Any
    ) -> Any:
        monkeypatch.setattr(_lease, "take", take)
        taken = take(database, connection, name, generation, terms)
        database.execute(connection, "UPDATE penstock_projections SET lease_until = 0")
        _resetting.reset(Supervised(ProjectionPlan("totals"), handlers), database, LeaseTerms(), delete=True)
        return taken

    monkeypatch.setattr(_lease, "take", taken_and_lost)
    with pytest.raises(StaleRunnerError):
        await to_the_end(make_run(store, handlers))
    assert _row(store) is None
    assert handlers.calls == [1, 2]


@pytest.mark.covers("PROJ-14")
async def test_of_two_who_make_the_checkpoint_at_once_one_has_been_overtaken(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find none, on PostgreSQL, where looking locks nothing that is not there."""
    backend = make_backend("local", postgres_database)
    migrating.apply(backend.database)
    ensure = _checkpoints.ensure

    def made_by_another(database: Database, connection: Connection, sql: str, parameters: Any = ()) -> Any:
        if sql.startswith("INSERT INTO penstock_checkpoints"):
            monkeypatch.undo()
            with closing(database.connect()) as another:
                database.begin(another)
                ensure(database, another, ProjectionPlan("totals"), "")
                another.commit()
        return execute(connection, sql, parameters)

    execute = backend.database.execute
    monkeypatch.setattr(type(backend.database), "execute", made_by_another)
    with pytest.raises(StaleRunnerError):
        await to_the_end(make_run(backend, Counting(backend.database)))
