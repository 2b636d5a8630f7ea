"""What a person wants of a projection is about its place, and not about the rows that are in it."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from penstock import App
from penstock.projections.control import ProjectionControl
from penstock.replays.copies import copy_of
from penstock.store.database import Database
from tests.replays.core.shop import paid, rows, totals

NewApp = Callable[..., Any]


def wanted(database: Database, generation: str) -> str:
    """Whether somebody has stopped the projection there."""
    # A copy's own file is about the switch as soon as it is connected to.
    with closing(database.connect()):
        [(found,)] = rows(
            database, "SELECT wanted FROM penstock_projections WHERE generation = ?", generation
        )
    return str(found)


@pytest.mark.covers("ZDT-12")
@pytest.mark.parametrize("stopped", ["live", "copy"])
async def test_a_stop_stays_where_it_was_said(new_app: NewApp, stopped: str) -> None:
    """Whoever stops what is live, or the copy, has stopped that, whichever rows come there by a switch and back."""
    app: App = await new_app()
    database = app.store().database
    await app.store().append(paid(30))
    await app.catch_up()
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    copy = copy_of("k", [app.projections["totals"]], live=database)
    place = (database, "") if stopped == "live" else (copy.database, "k")
    await ProjectionControl(place[0], generation=place[1]).stop("totals")
    expected = ("stop", "run") if stopped == "live" else ("run", "stop")

    for switch in (app.replays.promote, app.replays.rollback, app.replays.promote):
        await switch("k", force=True, reason="a test")
        assert (wanted(database, ""), wanted(copy.database, "k")) == expected

    await app.store().append(paid(10))
    await app.catch_up()
    live, copied = totals(database), totals(copy.database)
    ran, stood = (copied, live) if stopped == "live" else (live, copied)
    assert sum(row[0] for row in ran.values()) == sum(range(30)) + sum(range(10))
    assert sum(row[0] for row in stood.values()) == sum(range(30))
    await ProjectionControl(place[0], generation=place[1]).start("totals")
    await app.catch_up()
    assert totals(database) == totals(copy.database)
