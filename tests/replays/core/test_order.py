"""Two replays of one projection: which of them may go back, on both databases."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, ReplayRefusedError, UnknownProjectionError
from penstock.projections._engine import _lease
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.replays import _elsewhere
from penstock.replays.abc import Part
from penstock.replays.copies import copy_of
from tests.replays.core.shop import copied, paid, rows, schema_of, totals

NewApp = Callable[..., Any]


async def promoted(app: App, key: str) -> None:
    """A replay, from its beginning to its promotion."""
    await app.replays.create(key, ["totals"])
    await app.replays.follow(key)
    assert (await app.replays.verify(key)).is_green
    await app.replays.promote(key)


async def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.mark.covers("ZDT-12")
async def test_what_was_promoted_last_goes_back_first(new_app: NewApp) -> None:
    """Out of order one replay would get the copy of the other, under a record that tells of another version."""
    one: App = await new_app(version=2)
    database = one.store().database
    await one.store().append(paid(20))
    old: App = await new_app()
    await old.catch_up()
    await promoted(one, "one")
    other: App = await new_app(version=3)
    await promoted(other, "other")
    live, former = totals(database), copied(one, "one")

    [finding] = [each for each in await one.replays.preflight("one") if each.severity == "refusal"]
    assert (finding.subject, finding.can_be_forced) == ("replay other", False)
    for force in (False, True):
        with pytest.raises(ReplayRefusedError, match=r"'one'.*replay other: .*roll it back first"):
            await one.replays.rollback("one", force=force, reason="at once")
    assert (totals(database), copied(one, "one")) == (live, former)

    await other.replays.rollback("other")
    await one.replays.rollback("one")
    assert totals(database) == former
    assert rows(database, "SELECT version FROM penstock_checkpoints WHERE generation = ''") == [(1,)]


@pytest.mark.covers("ZDT-12")
async def test_what_is_live_has_to_be_what_it_made_live(new_app: NewApp) -> None:
    """The later replay is gone, and what it made live stayed: what the former one keeps is no way back any more."""
    one: App = await new_app(version=2)
    await one.store().append(paid(20))
    old: App = await new_app()
    await old.catch_up()
    await promoted(one, "one")
    other: App = await new_app(version=3)
    await promoted(other, "other")
    await other.replays.remove("other")
    with pytest.raises(ReplayRefusedError, match=r"what is live is of version 3, and this .* version 2 live"):
        await one.replays.rollback("one", force=True, reason="at once")
    await one.replays.remove("one")
    assert rows(one.store().database, "SELECT version FROM penstock_checkpoints") == [(3,)]


@pytest.mark.covers("ZDT-15", "ZDT-1")
async def test_rows_of_a_part_are_of_tables_and_columns_that_there_are(new_app: NewApp) -> None:
    """A wrong table or column is refused at once, with those that there are; nothing is made."""
    app: App = await new_app()
    await app.store().append(paid(5))
    await app.catch_up()
    before = schema_of(app.store().database)
    for wanted, says in (
        ({"total": "customer"}, "no such table; it has totals"),
        ({"totals": "client"}, "no column 'client'.*it has customer, cents"),
    ):
        part = Part(keys=("c1",), rows=wanted)
        with pytest.raises(ConfigurationError, match=says):
            await app.replays.plan(["totals"], part=part)
        with pytest.raises(ConfigurationError, match=says):
            await app.replays.create("k", ["totals"], part=part)
    assert (await app.replays.list(), schema_of(app.store().database)) == ([], before)


async def test_an_unknown_projection_is_answered_with_those_declared(new_app: NewApp) -> None:
    """Also before any of them ever ran, when no list of what runs would show them."""
    app: App = await new_app(counts=True)
    with pytest.raises(UnknownProjectionError, match="no projection 'x'; the app declares counts, totals"):
        await app.replays.plan(["x"])


@pytest.mark.covers("ZDT-12", "ZDT-7")
@pytest.mark.timeout(120)
async def test_a_switch_that_a_runner_meets_is_no_mistake(new_app: NewApp) -> None:
    """It read the rows before the switch, and begins after it: no error is noted that would bar the way back."""
    new: App = await new_app(version=2, mode="on_demand")
    database = new.store().database
    await new.store().append(paid(20))
    old: App = await new_app()
    await old.catch_up()
    await new.replays.create("k", ["totals"])
    await new.replays.follow("k")
    await new.replays.verify("k")
    supervised = await new.supervised_projections()
    supervisor = ProjectionSupervisor(
        supervised,
        {"local": new.store().backend},
        poll=timedelta(hours=1),
        generations=new._generations(supervised, until_idle=False),
    )
    task = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: _has_rested(supervisor))
        await new.replays.promote("k")
        [seat] = _seats(supervisor)
        runs = seat.runs
        await new.store().append(paid(5))
        await until(lambda: seat.runs > runs and seat.state in ("waiting", "failed", "halted"))
        assert seat.state == "waiting"
    finally:
        supervisor.stop()
        await task
    copy = copy_of("k", [new.projections["totals"]], live=database)
    for each in (database, copy.database):
        errors = rows(each, "SELECT error FROM penstock_projections WHERE generation = 'k'")
        assert {error for [error] in errors} <= {None}
    assert [each for each in await old.replays.preflight("k") if each.severity == "refusal"] == []
    await old.replays.rollback("k")


@pytest.mark.covers("ZDT-12", "LEAD-2")
@pytest.mark.timeout(120)
async def test_a_way_back_waits_for_those_who_have_the_former_code(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a switch they may not have noticed it yet; where nobody has that code it is refused in the end."""
    new: App = await new_app(version=2)
    await new.store().append(paid(20))
    old: App = await new_app()
    await old.catch_up()
    await promoted(new, "k")
    await new.store().append(paid(5, first=20))
    await new.catch_up()

    looked = threading.Event()

    def noted(*args: Any) -> bool:
        is_run = _lease.is_alive(*args)
        looked.set()
        return is_run

    monkeypatch.setattr(_elsewhere, "is_alive", noted)
    back = asyncio.create_task(new.replays.rollback("k"))
    await until(looked.is_set)
    supervisor = old.supervisor_of(await old.supervised_projections(), until_idle=False)
    running = asyncio.create_task(supervisor.run())
    try:
        await back
    finally:
        supervisor.stop()
        await running
    assert rows(new.store().database, "SELECT version FROM penstock_checkpoints WHERE generation = ''") == [
        (1,)
    ]
    assert sum(cents for cents, *_ in totals(new.store().database).values()) == sum(range(25))

    await new.replays.promote("k")
    await new.store().append(paid(1, first=25))
    await new.catch_up()
    monkeypatch.setattr(_elsewhere, "_ALONE_SECONDS", 0.2)
    copy = copy_of("k", [new.projections["totals"]], live=new.store().database).database
    epoch = "SELECT epoch FROM penstock_checkpoints WHERE generation = 'k'"
    before = rows(copy, epoch)
    with pytest.raises(ReplayRefusedError, match="start one of these"):
        await new.replays.rollback("k")
    assert rows(copy, epoch) == before, "its lease is for those who have the code"


@pytest.mark.covers("ZDT-7")
@pytest.mark.timeout(120)
async def test_code_that_came_before_its_replay_is_not_late_afterwards(new_app: NewApp) -> None:
    """It failed for the version, and would begin again after half a minute; once there is a replay it only waits."""
    old: App = await new_app()
    await old.store().append(paid(20))
    await old.catch_up()
    new: App = await new_app(version=2)
    supervisor = new.supervisor_of(await new.supervised_projections(), until_idle=False)
    task = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: supervisor.states.get("totals") == "failed")
        [seat] = supervisor._seats.values()  # pyright: ignore[reportPrivateUsage]
        await until(lambda: seat._not_before > asyncio.get_running_loop().time())
        await new.replays.create("k", ["totals"])
        await until(lambda: supervisor.states["totals"] == "waiting")
        assert seat._not_before <= asyncio.get_running_loop().time()
    finally:
        supervisor.stop()
        await task


def _seats(supervisor: ProjectionSupervisor) -> list[Any]:
    beside: Any = supervisor._beside  # pyright: ignore[reportPrivateUsage]
    return [] if beside is None else list(beside.seats)


def _has_rested(supervisor: ProjectionSupervisor) -> bool:
    """Whether the copy's seat has run once, and has given its lease back."""
    return any(seat.runs and seat.is_done and seat._run is None for seat in _seats(supervisor))
