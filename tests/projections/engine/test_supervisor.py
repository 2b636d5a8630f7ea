"""Supervising projections: modes, leases between processes, what people ask for, stopping."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import ConfigurationError, ProjectionBusyError, ProjectionHaltedError
from penstock.lifecycle import State
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._catching_up import catch_up, reset_now
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.projections.abc import ProjectionPlan, ProjectionStatus
from penstock.projections.control import ProjectionControl
from penstock.retry import Retry
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.projections.engine.doubles import Counting, add, append, applied, checkpoint, new_event, totals

SOON = Retry(attempts=3, initial="1ms", longest="1ms")


def supervise(
    store: StoreBackend, handlers: Counting, *, until_idle: bool = False, **plan: Any
) -> ProjectionSupervisor:
    """A supervisor of one projection, totals."""
    how: dict[str, Any] = {key: plan.pop(key) for key in ("lease", "drain_timeout") if key in plan}
    return ProjectionSupervisor(
        [Supervised(ProjectionPlan("totals", **plan), handlers)],
        {"local": store},
        poll=timedelta(milliseconds=30),
        until_idle=until_idle,
        **how,
    )


@asynccontextmanager
async def running(*supervisors: ProjectionSupervisor) -> AsyncIterator[None]:
    """They run within the block, and are stopped at its end."""
    tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
    try:
        await asyncio.gather(*(supervisor.life.wait_ready() for supervisor in supervisors))
        yield
    finally:
        for supervisor in supervisors:
            supervisor.stop()
        await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def until_shown(store: StoreBackend, condition: Callable[[ProjectionStatus], bool]) -> ProjectionStatus:
    """Wait until its status is as wanted."""
    async with asyncio.timeout(10):
        while True:
            found = await ProjectionControl(store.database).statuses({"local": store.reader})
            if found and condition(found[0]):
                return found[0]
            await asyncio.sleep(0.005)


@pytest.mark.covers("PROJ-8", "PROJ-10", "STORE-7")
@pytest.mark.parametrize("mode", ["background", "on_demand"])
async def test_events_are_handled_as_they_come(store: StoreBackend, mode: Any) -> None:
    """Without being told anything but through the store."""
    handlers = Counting(store.database)
    async with running(supervise(store, handlers, mode=mode)):
        for number in range(5):
            await append(store, new_event())
            await until(lambda number=number: len(handlers.calls) == number + 1)  # type: ignore[misc]
    assert applied(store.database) == [1, 2, 3, 4, 5]


@pytest.mark.covers("PROJ-21")
async def test_until_idle_ends_when_everything_is_handled(store: StoreBackend) -> None:
    """And the supervisor has stopped then, with its lease given back."""
    await add(store, 250)
    handlers = Counting(store.database)
    supervisor = supervise(store, handlers, until_idle=True, page_events=100)
    await supervisor.run()
    assert applied(store.database) == list(range(1, 251))
    assert supervisor.life.state is State.STOPPED
    [status] = await ProjectionControl(store.database).statuses({"local": store.reader})
    assert (status.state, status.holder, status.lag_events) == ("idle", None, 0)


@pytest.mark.covers("PROJ-8")
async def test_a_burst_of_triggers_leads_to_few_runs(store: StoreBackend) -> None:
    """A hundred appends while a run is busy are one more run, or a few."""
    handlers = Counting(store.database)
    supervisor = supervise(store, handlers, mode="on_demand")
    await add(store, 1)
    async with running(supervisor):
        await until(lambda: len(handlers.calls) == 1)
        await until(lambda: supervisor.states["totals"] == "idle")
        before = supervisor.runs["totals"]
        await asyncio.gather(*(add(store, 1) for _ in range(100)))
        for _ in range(100):
            supervisor.wake("totals")
        await until(lambda: len(handlers.calls) == 101)
        await until(lambda: supervisor.states["totals"] == "idle")
        assert supervisor.runs["totals"] - before <= 20
    assert applied(store.database) == list(range(1, 102))


@pytest.mark.covers("PROJ-8", "PROJ-10")
async def test_on_demand_gives_lease_and_connection_back(store: StoreBackend) -> None:
    """No thread and no lease are left when it has caught up; one in the background keeps both."""
    handlers = Counting(store.database)
    plans = [ProjectionPlan("stays"), ProjectionPlan("comes", mode="on_demand")]
    supervisor = ProjectionSupervisor(
        [Supervised(plan, handlers) for plan in plans], {"local": store}, poll=timedelta(milliseconds=30)
    )
    await add(store, 1)
    async with running(supervisor):
        await until(
            lambda: supervisor.states == {"comes": "idle", "stays": "running"} and len(handlers.calls) == 2
        )
        found = await ProjectionControl(store.database).statuses({"local": store.reader})
        assert [(each.name, each.holder is None, each.state) for each in found] == [
            ("comes", True, "idle"),
            ("stays", False, "running"),
        ]


@pytest.mark.covers("PROJ-11")
async def test_stop_and_start_are_asked_for_through_the_tables(store: StoreBackend) -> None:
    """It stands still until it is started again, also over a restart of the process."""
    handlers, control = Counting(store.database), ProjectionControl(store.database)
    async with running(supervise(store, handlers)):
        await add(store, 1)
        await until(lambda: len(handlers.calls) == 1)
        await control.stop("totals")
        await until_shown(store, lambda shown: shown.state == "stopped" and shown.holder is None)
        await add(store, 1)
    async with running(supervise(store, handlers)):
        assert (await until_shown(store, lambda shown: shown.state == "stopped")).lag_events == 1
        assert handlers.calls == [1]
        await control.start("totals")
        await until(lambda: len(handlers.calls) == 2)
    assert applied(store.database) == [1, 2]


@pytest.mark.covers("PROJ-11")
async def test_a_stop_is_heeded_within_one_event(store: StoreBackend) -> None:
    """In the middle of a page: the event is finished, the page committed up to it."""
    await add(store, 1000)
    handlers = Counting(store.database)
    reached = threading.Event()

    def slow(event: StoredEvent, _: Connection) -> None:
        if event.position == 5:
            reached.set()
        if event.position >= 5:
            threading.Event().wait(0.05)

    handlers.before = slow
    # A SQLite file takes the request between two pages, PostgreSQL at any time.
    how: dict[str, Any] = {} if store.dialect == "sqlite" else {"page_time": timedelta(hours=1)}
    async with running(supervise(store, handlers, **how)):
        await asyncio.to_thread(reached.wait, 10)
        await asyncio.to_thread(_stop_here, store)
        await until_shown(store, lambda shown: shown.state == "stopped")
        assert len(handlers.calls) < 60
        assert checkpoint(store.database).position == len(handlers.calls)


def _stop_here(store: StoreBackend) -> None:
    """Ask for a stop as soon as the database takes it."""
    asyncio.run(ProjectionControl(store.database).stop("totals"))


@pytest.mark.covers("PROJ-12")
async def test_reset_empties_and_refills(store: StoreBackend) -> None:
    """Asked of the one who runs it, or done here when nobody does."""
    await add(store, 3)
    handlers, control = Counting(store.database), ProjectionControl(store.database)
    async with running(supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 3)
        await control.reset("totals")
        await until(lambda: len(handlers.calls) == 6)
        await until_shown(store, lambda shown: shown.position == 3 and shown.state == "running")
        assert handlers.resets == 1
        with pytest.raises(ProjectionBusyError):
            await reset_now(ProjectionPlan("totals"), handlers, target=store)
    assert applied(store.database) == [1, 2, 3]
    await reset_now(ProjectionPlan("totals", version=2), handlers, target=store)
    assert applied(store.database) == []
    assert checkpoint(store.database).version == 2, "the version that is declared now"
    assert await catch_up(ProjectionPlan("totals", version=2), handlers, source=store, target=store) == 3
    assert totals(store.database) == {"k": 3}


@pytest.mark.covers("PROJ-12")
async def test_delete_removes_the_row_and_the_read_model(store: StoreBackend) -> None:
    """It stays away until somebody starts it, and then begins at zero."""
    await add(store, 2)
    handlers, control = Counting(store.database), ProjectionControl(store.database)

    def row() -> Any:
        with closing(store.database.connect()) as connection:
            return _checkpoints.read(store.database, connection, "totals", "")

    async with running(supervise(store, handlers), supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 2)
        await control.delete("totals")
        await until(lambda: row() is None)
        await add(store, 1)
        assert handlers.resets == 1
        assert row() is None
        await control.start("totals")
        await until(lambda: len(handlers.calls) == 5)
    assert applied(store.database) == [1, 2, 3]


@pytest.mark.covers("PROJ-13", "PROJ-16", "FAIL-12")
async def test_a_halted_projection_shows_why_and_retry_has_it_go_on(store: StoreBackend) -> None:
    """Without a restart; what did not fail is not told to."""
    bad = {2}

    def before(event: StoredEvent, _: Connection) -> None:
        if event.position in bad:
            raise ValueError("no place")

    await add(store, 3)
    handlers, control = Counting(store.database, before=before), ProjectionControl(store.database)
    async with running(supervise(store, handlers, retry=Retry(initial="1h", longest="1h"))):
        shown = await until_shown(store, lambda shown: shown.state == "halted")
        assert (shown.position, shown.error_position, shown.error) == (1, 2, "no place")
        assert shown.failed_at is not None
        assert shown.lag_seconds > 0
        bad.clear()
        assert await control.retry() == ["totals"]
        await until_shown(store, lambda shown: shown.position == 3 and shown.error is None)
        assert await control.retry() == []
    assert applied(store.database) == [1, 2, 3]


@pytest.mark.covers("PROJ-13")
async def test_a_runner_that_went_away_is_shown_as_failed(store: StoreBackend) -> None:
    """Its lease ran out and nobody gave it back: that is no running projection."""
    await add(store, 1)
    await catch_up(ProjectionPlan("totals"), Counting(store.database), source=store, target=store)
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        store.database.execute(
            connection, "UPDATE penstock_projections SET holder = 'gone:1', token = 't', lease_until = 1"
        )
        connection.commit()
    [shown] = await ProjectionControl(store.database).statuses({"local": store.reader}, declared=["others"])
    assert (shown.state, shown.error) == ("failed", "its runner gone:1 went away without a word")
    assert not shown.declared


@pytest.mark.covers("PROJ-23")
async def test_reload_drains_and_begins_again(store: StoreBackend) -> None:
    """Each runner gives its lease back and takes it anew; nothing is handled twice."""
    await add(store, 1)
    handlers, control = Counting(store.database), ProjectionControl(store.database)
    async with running(supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 1)
        before = checkpoint(store.database).epoch
        assert await control.reload() == ["totals"]
        await until(lambda: checkpoint(store.database).epoch > before)
        await add(store, 1)
        await until(lambda: len(handlers.calls) == 2)
    assert applied(store.database) == [1, 2]


async def test_a_halted_projection_ends_one_that_runs_until_idle(store: StoreBackend) -> None:
    """With the position and the event."""

    def before(event: StoredEvent, _: Connection) -> None:
        raise ValueError("no place")

    [placed] = await append(store, new_event())
    handlers = Counting(store.database, before=before)
    with pytest.raises(ProjectionHaltedError, match="halted at position 1") as raised:
        await supervise(store, handlers, until_idle=True, retry=Retry(initial="1h", longest="1h")).run()
    assert raised.value.event_id == placed.event_id
    with pytest.raises(ProjectionHaltedError):
        await catch_up(ProjectionPlan("totals"), handlers, source=store, target=store)


@pytest.mark.covers("PROJ-21", "PROJ-9")
async def test_catching_up_while_another_runs_it_is_refused_politely(store: StoreBackend) -> None:
    """It is that one's work."""
    await add(store, 2)
    handlers = Counting(store.database)
    async with running(supervise(store, handlers)):
        await until(lambda: len(handlers.calls) == 2)
        with pytest.raises(ProjectionBusyError):
            await catch_up(ProjectionPlan("totals"), handlers, source=store, target=store)
    assert await catch_up(ProjectionPlan("totals"), handlers, source=store, target=store) == 0


async def test_a_slow_handler_is_left_to_itself_after_the_drain_timeout(store: StoreBackend) -> None:
    """Stopping does not wait for ever; what the handler did then counts by the fence, or not at all."""
    go_on, began = threading.Event(), threading.Event()

    def before(event: StoredEvent, _: Connection) -> None:
        began.set()
        go_on.wait(20)

    await add(store, 1)
    handlers = Counting(store.database, before=before)
    supervisor = supervise(store, handlers, drain_timeout=timedelta(milliseconds=50))
    task = asyncio.create_task(supervisor.run())
    await asyncio.to_thread(began.wait, 10)
    supervisor.stop()
    await asyncio.wait_for(task, 5)
    go_on.set()
    await until(lambda: handlers.commits == 1)
    await until(lambda: not any("totals" in each.name for each in threading.enumerate()))


@pytest.mark.covers("PROJ-1")
def test_two_projections_of_one_name_are_refused() -> None:
    """They would share a checkpoint."""
    handlers: Any = None
    two = [Supervised(ProjectionPlan("totals"), handlers), Supervised(ProjectionPlan("totals"), handlers)]
    with pytest.raises(ConfigurationError, match="two projections or relays are called 'totals'"):
        ProjectionSupervisor(two, {"local": handlers})
    with pytest.raises(ConfigurationError, match="needs store 'local', which is not there"):
        ProjectionSupervisor(two[:1], {})
