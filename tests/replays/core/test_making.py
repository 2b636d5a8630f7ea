"""The copy of a replay is made and removed by one process at a time; what cannot be removed is as it was."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayBusyError, ReplayError, StaleRunnerError, UnknownReplayError
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections._engine._sql import transaction
from penstock.replays import _keeping
from penstock.replays._records import Records
from penstock.replays.abc import ReadModelCopy
from penstock.replays.copies import copy_of
from tests.replays.core.shop import copied, live_with, paid, rows, schema_of, totals

NewApp = Callable[..., Any]


def copy_in(app: App) -> ReadModelCopy:
    """The copy of the replay."""
    return copy_of("k", [app.projections["totals"]], live=app.store().database)


def leave_a_lane(copy: ReadModelCopy) -> None:
    """As if a build by several processes had been cut short."""
    with closing(copy.database.connect()) as connection, transaction(copy.database, connection):
        copy.database.execute(
            connection,
            "INSERT INTO penstock_checkpoints (projection, generation, kind, source, version, sources, tables, "
            "position, updated_at) SELECT projection, ?, kind, source, version, sources, tables, 5, updated_at "
            "FROM penstock_checkpoints WHERE generation = 'k'",
            ("k\x02lane 0",),
        )


def lanes_left(copy: ReadModelCopy) -> int:
    """How many checkpoints of lanes there are."""
    database = copy.database if copy.exists() else copy.live_database
    found = rows(
        database, "SELECT count(*) FROM penstock_checkpoints WHERE substr(generation, 1, 2) = ?", "k\x02"
    )
    return int(found[0][0])


@pytest.mark.covers("ZDT-1", "ZDT-4")
@pytest.mark.timeout(120)
async def test_two_starters_make_a_half_made_copy_once(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its creator was killed: who comes second waits until the first has made it, and does not make it again."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await asyncio.to_thread(Records(app.store().database).set, "k", place="")
    made, makes, go_on = 0, threading.Event(), threading.Event()
    kind: Any = type(copy_in(app))
    create = kind.create

    def slow(self: ReadModelCopy, *arguments: Any) -> None:
        nonlocal made
        made += 1
        makes.set()
        assert go_on.wait(60)
        create(self, *arguments)

    monkeypatch.setattr(kind, "create", slow)
    other: App = await new_app()
    first = asyncio.create_task(app.replays.start("k"))
    await asyncio.to_thread(makes.wait, 60)
    second = asyncio.create_task(other.replays.start("k"))
    # The second one has read the record, which has no place, before the first one goes on.
    async with asyncio.timeout(60):
        while not rows(app.store().database, _WAITERS, "k\x02making"):
            await asyncio.sleep(0.01)
    go_on.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] in ([], [ReplayBusyError])
    assert made == 1
    assert copied(app, "k") == totals(app.store().database)
    assert (await app.replays.progress("k")).state == "built"


_WAITERS = "SELECT 1 FROM penstock_projections WHERE generation = ? AND token IS NOT NULL"


@pytest.mark.covers("ZDT-13")
@pytest.mark.timeout(120)
async def test_who_removes_is_alone(new_app: NewApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the copy is taken away nobody starts it, has it follow, or removes it too; afterwards it is unknown."""
    monkeypatch.setattr(_keeping, "_PATIENCE_SECONDS", 0.3)
    app = await live_with(new_app)
    before = schema_of(app.store().database)
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    removes, go_on = threading.Event(), threading.Event()
    kind: Any = type(copy_in(app))
    drop = kind.drop

    def slow(self: ReadModelCopy) -> None:
        removes.set()
        assert go_on.wait(60)
        drop(self)

    other: App = await new_app()
    with monkeypatch.context() as patch:
        patch.setattr(kind, "drop", slow)
        removing = asyncio.create_task(app.replays.remove("k"))
        await asyncio.to_thread(removes.wait, 60)
        try:
            for act in (other.replays.start, other.replays.follow, other.replays.remove):
                with pytest.raises(ReplayBusyError, match="its copy is being made or removed by"):
                    await act("k")
        finally:
            go_on.set()
            await removing
    with pytest.raises(UnknownReplayError):
        await other.replays.start("k")
    assert schema_of(app.store().database) == before
    assert rows(app.store().database, "SELECT generation FROM penstock_projections") == [("",)]


@pytest.mark.covers("ZDT-13")
async def test_what_cannot_be_removed_is_as_it_was(new_app: NewApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something hangs on the copy: refused, with everything that belongs to it; later it goes with all of that."""
    app = await live_with(new_app)
    before = schema_of(app.store().database)
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    await app.replays.verify("k")
    copy = copy_in(app)
    leave_a_lane(copy)
    was = await app.replays.get("k")

    def fails(self: ReadModelCopy) -> None:
        raise ReplayError("something outside of it needs it")

    with monkeypatch.context() as patch:
        patch.setattr(type(copy), "drop", fails)
        with pytest.raises(ReplayError, match="something outside of it needs it"):
            await app.replays.remove("k")
    assert await app.replays.get("k") == was
    assert lanes_left(copy) == 1
    assert copied(app, "k") == totals(app.store().database)

    await app.replays.remove("k")
    assert lanes_left(copy) == 0
    assert schema_of(app.store().database) == before


@pytest.mark.covers("ZDT-4", "ZDT-17")
async def test_a_copy_that_is_made_again_has_nothing_of_the_former(new_app: NewApp) -> None:
    """A removal was killed when the copy was gone: what its processes had reached counts for no other copy."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    copy, records = copy_in(app), Records(app.store().database)
    leave_a_lane(copy)
    await asyncio.to_thread(records.set, "k", state="created", place="")
    await app.store().append(paid(10))
    await app.catch_up()
    await app.replays.start("k")
    assert lanes_left(copy) == 0
    assert copied(app, "k") == totals(app.store().database)


@pytest.mark.covers("ZDT-8", "ZDT-13")
async def test_who_comes_late_to_a_copy_leaves_nothing(new_app: NewApp) -> None:
    """It was removed after somebody saw that it is to be fed: he finds nothing to run, and makes nothing of it."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    copy, database = copy_in(app), app.store().database
    [live] = await app.supervised_projections()
    late = Supervised(live.plan, copy.guard(live.handlers), "k", copy.database, is_made=True)
    await app.replays.remove("k")
    run = ProjectionRun(late, copy.database, app.store().backend.reader, LeaseTerms(), lambda: False)
    with pytest.raises((StaleRunnerError, ReplayError)):
        await asyncio.to_thread(run.open)
    await asyncio.to_thread(run.close)
    for table in ("penstock_checkpoints", "penstock_projections"):
        assert rows(database, f"SELECT generation FROM {table}") == [("",)]
