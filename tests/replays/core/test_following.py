"""Copies that are fed by whoever runs the projections: noticed while they run, each generation by its own version."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock import App
from penstock.app import Selection
from penstock.projections.control import ProjectionControl
from tests.replays.core.shop import Noted, Paid, copied, paid, rows, totals

NewApp = Callable[..., Any]


@asynccontextmanager
async def running(app: App) -> AsyncIterator[None]:
    """The app's projections run while the block does."""
    runner = await app.runner(Selection(only=("projection",)))
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        runner.stop()
        await task


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def is_level(app: App, key: str) -> bool:
    """Whether the copy has taken everything, and so has the live one."""
    lag = await app.replays.lag(key)
    [status] = await ProjectionControl(app.store().database).statuses({"local": app.store().backend.reader})
    return lag == 0 and status.lag_events == 0


@pytest.mark.covers("ZDT-7")
@pytest.mark.timeout(180)
async def test_a_running_app_feeds_a_copy_as_soon_as_it_follows(new_app: NewApp) -> None:
    """Under full writes the whole way: nothing is missing in the copy afterwards, and nothing is in it twice."""
    app: App = await new_app()
    stop, written = asyncio.Event(), 0

    async def has_come() -> bool:
        return _position(app) > written - 1000

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            await app.store().append(paid(20, first=written))
            written += 20
            # As fast as the projection is on this machine: whoever writes more for ever is never caught up with.
            await until(has_come)

    await app.catch_up()
    async with running(app):
        writing = asyncio.create_task(write())
        await until(lambda: _is(written > 200))
        await app.replays.create("k", ["totals"])
        await app.replays.follow("k")
        before = written
        await until(lambda: _is(written > before + 400))
        stop.set()
        await writing
        await until(lambda: is_level(app, "k"))
        assert copied(app, "k") == totals(app.store().database)
        assert sum(row[0] for row in copied(app, "k").values()) == sum(range(written))
        await app.replays.unfollow("k")
        await until(lambda: _nobody_feeds(app, "k"))
    report = await app.replays.verify("k")
    assert report.is_green


def _position(app: App) -> int:
    [[position]] = rows(
        app.store().database, "SELECT position FROM penstock_checkpoints WHERE generation = ''"
    )
    return int(position)


async def _is(value: bool) -> bool:
    return value


async def _nobody_feeds(app: App, key: str) -> bool:
    return not (await app.replays.progress(key)).is_running


@pytest.mark.covers("ZDT-7", "ZDT-12")
@pytest.mark.timeout(240)
async def test_each_version_goes_on_feeding_its_own_generation(new_app: NewApp) -> None:
    """Old and new code run side by side through a promotion and back: the live name is always the promoted one's, the
    other one is fed all the time, and neither process takes the other's work for its own.
    """
    old: App = await new_app()
    database = old.store().database
    await old.store().append(paid(100))
    await old.catch_up()
    async with running(old):
        new: App = await new_app(version=2)
        await new.replays.create("k", ["totals"])
        await new.replays.follow("k")
        async with running(new):
            await old.store().append(paid(50, first=100))
            await until(lambda: is_level(new, "k"))
            assert {key: row[0] for key, row in copied(new, "k").items()} == {
                key: row[0] for key, row in totals(database).items()
            }
            assert all(len(row) == 1 for row in totals(database).values())

            await new.replays.verify("k")
            await new.replays.promote("k")
            assert all(len(row) == 2 for row in totals(database).values())
            await old.store().append(paid(50, first=150))
            await until(lambda: is_level(new, "k"))
            assert totals(database)["c1"] == (sum(range(1, 200, 5)), 40)
            assert copied(old, "k")["c1"] == (sum(range(1, 200, 5)),)

            await new.replays.rollback("k")
            assert totals(database)["c1"] == (sum(range(1, 200, 5)),)
            await old.store().append(paid(50, first=200))
            await until(lambda: is_level(new, "k"))
            assert totals(database)["c1"] == (sum(range(1, 250, 5)),)
            assert copied(new, "k")["c1"] == (sum(range(1, 250, 5)), 50)

            await new.replays.promote("k")
            await old.store().append(paid(50, first=250))
            await until(lambda: is_level(new, "k"))
            assert totals(database)["c1"] == (sum(range(1, 300, 5)), 60)
            errors = rows(database, "SELECT projection, generation, error FROM penstock_projections")
            assert {error for _, _, error in errors} == {None}


@pytest.mark.covers("ZDT-7")
async def test_new_code_waits_for_its_version(new_app: NewApp) -> None:
    """Where a replay has the declared version, a live one of another is no error: its seat waits and says so."""
    old: App = await new_app()
    await old.store().append(paid(30))
    await old.catch_up()
    new: App = await new_app(version=2)
    await new.replays.create("k", ["totals"])
    await new.replays.follow("k")
    await old.store().append(paid(10))
    plans = [each.plan for each in await new.supervised_projections()]
    control = ProjectionControl(new.store().database)
    [status] = await control.statuses({}, plans=plans, awaited={("totals", 2)})
    assert (status.state, status.error) == ("waiting", None)
    [status] = await control.statuses({}, plans=plans)
    assert status.state == "idle"

    supervisor = new.supervisor_of(await new.supervised_projections(), until_idle=False)
    task = asyncio.create_task(supervisor.run())
    await until(lambda: _is(supervisor.states.get("totals") == "waiting"))
    await until(lambda: _lag_is(new, "k", 0))
    supervisor.stop()
    await task
    assert supervisor.states == {"totals": "waiting"}
    [(error,)] = rows(new.store().database, "SELECT error FROM penstock_projections WHERE generation = ''")
    assert error is None
    assert sum(row[0] for row in totals(new.store().database).values()) == sum(range(30))
    assert sum(row[0] for row in copied(new, "k").values()) == sum(range(30)) + sum(range(10))


async def _lag_is(app: App, key: str, lag: int) -> bool:
    return await app.replays.lag(key) == lag


@pytest.mark.covers("ZDT-8")
@pytest.mark.timeout(120)
async def test_a_fed_copy_that_fails_holds_up_nobody(new_app: NewApp) -> None:
    """Its handler raises for every new event: the live one takes them all, the replay shows the error."""
    old: App = await new_app()
    await old.store().append(paid(30))
    await old.catch_up()
    fails = False

    def before(event: Paid) -> None:
        if fails:
            raise ValueError("no more")

    new: App = await new_app(version=2, before=before)
    await new.replays.create("k", ["totals"])
    await new.replays.follow("k")
    fails = True
    async with running(old), running(new):
        await old.store().append(paid(20, first=30))
        await until(
            lambda: _is(sum(row[0] for row in totals(old.store().database).values()) == sum(range(50)))
        )
        await until(lambda: _has_error(new, "k", "no more"))
        assert await new.replays.lag("k") == 20
        fails = False
        await until(lambda: _lag_is(new, "k", 0))
        await until(lambda: _has_error(new, "k", ""))


async def _has_error(app: App, key: str, text: str) -> bool:
    replay = await app.replays.get(key)
    return replay is not None and (text in replay.error if text else not replay.error)


@pytest.mark.covers("ZDT-14")
async def test_what_is_derived_is_derived_once(new_app: NewApp) -> None:
    """A copy emits nothing while it is built or fed; whoever is live does, each event once."""
    app: App = await new_app(derives=True)
    called: list[str] = []

    @app.listener(Noted)
    async def outside(event: Noted) -> None:
        called.append(event.customer)

    await app.store().append(paid(40))
    await app.catch_up()
    [[stored]] = rows(app.store().database, "SELECT count(*) FROM penstock_events WHERE stream = 'notes'")
    assert stored == 40
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    await app.store().append(paid(10))
    await app.catch_up()
    assert await app.replays.lag("k") == 0
    [[stored]] = rows(app.store().database, "SELECT count(*) FROM penstock_events WHERE stream = 'notes'")
    assert stored == 50
    await app.replays.promote("k", force=True, reason="a test")
    await app.store().append(paid(10))
    await app.catch_up()
    [[stored, distinct]] = rows(
        app.store().database,
        "SELECT count(*), count(DISTINCT id) FROM penstock_events WHERE stream = 'notes'",
    )
    assert (stored, distinct) == (60, 60)
    assert called == []
