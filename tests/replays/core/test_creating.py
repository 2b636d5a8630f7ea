"""What can be a replay, and what a plan of one says: nothing is left of what cannot be."""

from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, ReplayError, ReplayExistsError, UnknownProjectionError
from penstock.replays.abc import Part
from tests.replays.core.shop import Paid, live_with, rows, schema_of

NewApp = Callable[..., Any]


@pytest.mark.covers("ZDT-1")
async def test_what_cannot_be_a_replay_leaves_nothing(new_app: NewApp) -> None:
    """A key that is taken or impossible, an unknown projection, none at all: an error, no tables, no record."""
    app = await live_with(new_app, counts=True)
    replays, database = app.replays, app.store().database
    await replays.create("first", ["totals"])
    before, records = schema_of(database), rows(database, "SELECT * FROM penstock_replays")

    with pytest.raises(ReplayExistsError, match="'first'"):
        await replays.create("first", ["counts"])
    with pytest.raises(UnknownProjectionError, match="did you mean 'totals'"):
        await replays.create("second", ["counts", "total"])
    for key in ("", " x", "a\nb", "k" * 201):
        with pytest.raises(ConfigurationError, match="key of a replay"):
            await replays.create(key, ["totals"])
    with pytest.raises(ConfigurationError, match="at least one projection"):
        await replays.create("second", [])
    app.projection("narrow", streams=["paid-c1"], tables=["totals"]).on(Paid)(_nothing)
    with pytest.raises(ConfigurationError, match="follows none of the streams"):
        await replays.create("second", ["narrow"], part=Part(streams=("paid-c2",)))

    assert schema_of(database) == before
    assert rows(database, "SELECT * FROM penstock_replays") == records


def _nothing(event: Paid) -> None:
    """A handler."""


@pytest.mark.covers("ZDT-1")
async def test_a_copy_that_cannot_be_made_leaves_no_record(new_app: NewApp) -> None:
    """A table that is only named and is not there: the error names it, and the key can be taken again."""
    app = await live_with(new_app)
    app.projection("lost", tables=["nowhere"]).on(Paid)(_nothing)
    before = schema_of(app.store().database)
    with pytest.raises(ReplayError, match="nowhere"):
        await app.replays.create("k", ["lost"])
    assert await app.replays.get("k") is None
    assert await app.replays.log("k") == []
    assert schema_of(app.store().database) == before
    await app.replays.create("k", ["totals"])


@pytest.mark.covers("ZDT-1")
async def test_projections_are_named_as_one_likes(new_app: NewApp) -> None:
    """By name, as the projection itself, and as the class of its handlers; the reference's names do the same."""
    app = await live_with(new_app)
    projection = app.projections["totals"]
    replay = await app.replays.create_replay("k", [projection, "totals"])
    assert replay.projections == ("totals",)
    await app.replays.start_replay("k")
    assert await app.replays.get_replay_lag("k") == 0
    await app.replays.start_projecting_to_replay("k")
    found = await app.replays.get_replay("k")
    assert found is not None
    assert found.state == "following"
    await app.replays.put_replay_live("k", force=True, reason="a test")
    await app.replays.remove_replay("k")
    assert await app.replays.list() == []


async def test_a_plan_changes_nothing(new_app: NewApp) -> None:
    """It says how many events, which tables, what is live; a rate only when something was played before."""
    app = await live_with(new_app, count=250)
    second: App = await new_app(version=2)
    before = schema_of(app.store().database)
    plan = await second.replays.plan(["totals"], "k")
    assert (plan.events, plan.versions, plan.live_versions) == (250, {"totals": 2}, {"totals": 1})
    assert plan.tables == ("totals",)
    assert plan.disk_bytes > 0
    assert plan.duration is None
    assert schema_of(app.store().database) == before
    assert await second.replays.list() == []
    await second.replays.create("k", ["totals"])
    await second.replays.start("k")
    plan = await second.replays.plan(["totals"])
    assert plan.rate > 0
    assert plan.duration is not None
    with pytest.raises(ReplayExistsError):
        await second.replays.plan(["totals"], "k")
