"""Databases that go away, break at any statement, are full: nothing is lost, nothing counts twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import StoreUnavailableError
from penstock.projections._engine import _head, _seat
from penstock.projections._engine._run import CaughtUp, Supervised
from penstock.projections._engine._sql import transaction
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.projections.abc import ProjectionPlan
from penstock.retry import Retry
from penstock.store import migrating
from penstock.store._postgres import make_backend
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import Append, Appended, Conflict, EventFilter, StoreBackend
from tests.fixtures_postgres import PostgresServer, serving
from tests.projections.engine.breaking import SteppedConnection, SteppedDatabase
from tests.projections.engine.doubles import Counting, add, append, applied, make_run, new_event, to_the_end


@pytest.mark.covers("PROJ-15")
async def test_a_session_that_ends_at_the_commit_is_a_store_that_is_away(
    each_postgres_store: StoreBackend,
) -> None:
    """The driver's own error is told as everywhere else, nothing of the page is kept, and the next run does it."""
    store, database = each_postgres_store, each_postgres_store.database
    await add(store, 3)
    handlers = Counting(database)
    with closing(database.connect()) as connection, transaction(database, connection):
        handlers.prepare(connection)
        for sql in _ENDS_AT_COMMIT:
            database.execute(connection, sql)
    with pytest.raises(StoreUnavailableError, match="shutting down, or a person closed the connection"):
        await to_the_end(make_run(store, handlers))
    assert applied(database) == []
    with closing(database.connect()) as connection, transaction(database, connection):
        database.execute(connection, "DROP FUNCTION ends() CASCADE")
    again = make_run(store, Counting(database))
    again.terms = run_out(store)
    assert await to_the_end(again) == CaughtUp(3)
    assert applied(database) == [1, 2, 3]


_ENDS_AT_COMMIT = (
    "CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON applied DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION ends()",
)
"""Everything is done by then; only the commit itself is left."""


@pytest.mark.covers("PROJ-15")
async def test_a_connection_lost_at_any_statement_counts_exactly(store: StoreBackend) -> None:
    """Before it was sent, or, at a commit, after it was done: the next run begins where the last commit left it."""
    stored = 0

    async def lose_at(number: int) -> bool:
        def at_step(step: int, connection: SteppedConnection | None) -> None:
            if step == number:
                if connection is not None:
                    connection.close()
                raise StoreUnavailableError("the connection was lost; calling again is safe")

        database = SteppedDatabase(store.database, at_step)
        run = make_run(store, Counting(database), database=database, page_events=3)
        try:
            await to_the_end(run)
        except StoreUnavailableError:
            return True
        return database.steps <= number

    for number in range(200):
        await add(store, 5)
        stored += 5
        was_lost = await lose_at(number)
        again = make_run(store, Counting(store.database))
        # Who lost its connection could not give its lease back.
        again.terms = run_out(store)
        assert await to_the_end(again) == CaughtUp(stored)
        assert applied(store.database) == list(range(1, stored + 1)), f"step {number}"
        if not was_lost:
            break
    else:
        pytest.fail("the run has more steps than that")
    assert number > 20


def run_out(store: StoreBackend) -> Any:
    """Terms of another runner, to whom every lease has run out."""
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        store.database.execute(connection, "UPDATE penstock_projections SET lease_until = 0")
        connection.commit()
    return make_run(store, Counting(store.database)).terms


# -- wake-ups ----------------------------------------------------------------------------------------------------------


class RungStore:
    """A store whose watch returns when something was appended here, and never by looking."""

    def __init__(self, real: StoreBackend, database: SteppedDatabase) -> None:
        self._real = real
        self.database = database
        self._rung = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def watch(self) -> "RungStore":
        """Itself."""
        return self

    async def wait(self) -> None:
        """Until rung."""
        await self._rung.wait()
        self._rung.clear()

    async def close(self) -> None:
        """Nothing."""

    async def append(self, events: Append) -> list[Appended] | Conflict:
        """Append and ring."""
        outcome = await self._real.append(events)
        self._rung.set()
        return outcome


class Moment:
    """Appends an event at one step of a run."""

    def __init__(self, store: StoreBackend, number: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._number = number
        self.database = SteppedDatabase(store.database, self._at_step)
        self.rung: Any = RungStore(store, self.database)
        self.supervisor: ProjectionSupervisor | None = None
        self.appended: list[Any] = []

    def _at_step(self, step: int, connection: SteppedConnection | None) -> None:
        if step != self._number:
            return
        self.appended.append(asyncio.run_coroutine_threadsafe(append(self.rung, new_event()), self._loop))
        # SQLite takes it when the transaction that is open here has ended.
        if not getattr(getattr(connection, "real", None), "in_transaction", False):
            [new] = self.appended[0].result(10)
            # And everybody who follows the store has been told.
            assert self.supervisor is not None
            while self.supervisor._heads["local"].position < new.position:
                time.sleep(0.0005)


@pytest.mark.covers("PROJ-8")
async def test_an_event_stored_at_any_moment_of_a_run_is_projected_without_another(
    store: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every statement, commit and connection of an on-demand run from its lease to giving it back.

    Nobody looks by the clock, so a wake-up that was lost would be lost for good.
    """
    monkeypatch.setattr(_head, "_LOOK_SECONDS", 3600.0)
    await to_the_end(make_run(store, Counting(store.database)))
    stored = 0
    number = 0
    for number in range(200):
        moment = Moment(store, number)
        rung, database = moment.rung, moment.database
        handlers = Counting(database)
        supervisor = ProjectionSupervisor(
            [Supervised(ProjectionPlan("totals", mode="on_demand"), handlers)], {"local": rung}
        )
        moment.supervisor = supervisor
        appended = moment.appended
        await append(store, new_event())
        stored += 1
        task = asyncio.create_task(supervisor.run())
        try:
            async with asyncio.timeout(10):
                while len(await asyncio.to_thread(applied, store.database)) < stored + len(appended):
                    await asyncio.sleep(0.002)
                while supervisor.states["totals"] != "idle":
                    await asyncio.sleep(0.002)
                stored += len(appended)
                while len(await asyncio.to_thread(applied, store.database)) < stored:
                    await asyncio.sleep(0.002)
        finally:
            supervisor.stop()
            await task
        if not appended:
            break
    assert applied(store.database) == list(range(1, stored + 1))
    assert number > 20


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def restartable() -> AsyncIterator[tuple[PostgresServer, StoreBackend]]:
    """A PostgreSQL server of the test's own, and a store on it."""
    with serving("18") as server:
        backend = make_backend("local", server.url())
        migrating.apply(backend.database)
        await backend.open()
        yield server, backend
        await backend.close()


@pytest.mark.covers("PROJ-15", "PROJ-9")
async def test_a_server_restarted_under_load_costs_no_event(
    restartable: tuple[PostgresServer, StoreBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, without a goodbye: the supervisor goes on by itself, and every event counts once."""
    monkeypatch.setattr(_seat, "_LONGEST_PAUSE", 0.5)
    server, store = restartable
    handlers = Counting(store.database)
    supervisor = ProjectionSupervisor(
        [Supervised(ProjectionPlan("totals", page_events=20), handlers)], {"local": store}
    )
    task = asyncio.create_task(supervisor.run())
    stored = 0
    try:
        for _ in range(2):
            await add(store, 500)
            stored += 500
            async with asyncio.timeout(20):
                while len(handlers.calls) < stored - 400:
                    await asyncio.sleep(0.001)
            await asyncio.to_thread(server.stop, mode="immediate")
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            while await asyncio.to_thread(_count, store) < stored:
                await asyncio.sleep(0.05)
    finally:
        supervisor.stop()
        await task
    # A server that dies leaves out some positions.
    page = await store.read(EventFilter(), limit=stored + 1)
    assert applied(store.database) == [event.position for event in page.events]


def _count(store: StoreBackend) -> int:
    try:
        return len(applied(store.database))
    except Exception:  # noqa: BLE001  it is still starting
        return 0


@pytest.mark.covers("PROJ-16")
async def test_a_full_disk_is_no_fault_of_any_event(tmp_path: Path) -> None:
    """Under the policy that skips what fails nothing is skipped; with space again it goes on."""
    store = SqliteBackend("local", tmp_path / "events.db")
    await store.open()
    try:
        await append(store, *(new_event(key="x" * 3000 + str(number)) for number in range(200)))
        is_full = True

        def at_step(_: int, connection: SteppedConnection | None) -> None:
            if connection is not None and is_full:
                real: Any = connection.real
                if not real.in_transaction:
                    [[pages]] = real.execute("PRAGMA page_count").fetchall()
                    real.execute(f"PRAGMA max_page_count={pages + 30}").fetchall()

        database = SteppedDatabase(store.database, at_step)
        how: dict[str, Any] = {"on_failure": "skip", "retry": Retry(attempts=1)}
        with pytest.raises(StoreUnavailableError):
            await to_the_end(make_run(store, Counting(database), database=database, page_events=100, **how))
        is_full = False
        assert await to_the_end(make_run(store, Counting(store.database), **how)) == CaughtUp(200)
        assert applied(store.database) == list(range(1, 201))
    finally:
        await store.close()
