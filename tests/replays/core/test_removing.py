"""Removing a replay that somebody works on: refused before anything is changed, and possible when he is done."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayBusyError
from penstock.replays import _making
from penstock.replays._sqlite import _removing
from penstock.replays.copies import copy_of
from tests.replays.core.shop import Paid, paid, rows, totals

NewApp = Callable[..., Any]


@pytest.mark.covers("ZDT-13")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("through", ["start", "follow"])
async def test_nothing_is_marked_while_a_handler_blocks_its_page(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    """Its lease has run out, and still its page is open: refused, twice, and whoever works on it goes on to the end."""
    monkeypatch.setattr(_removing, "_PATIENCE_SECONDS", 0.5)
    app: App = await new_app()
    database = app.store().database
    await app.store().append(paid(60))
    await app.catch_up()
    blocked, go_on, blocks = threading.Event(), threading.Event(), False

    def before(event: Paid) -> None:
        if blocks and event.cents == 77:
            blocked.set()
            assert go_on.wait(60)

    second: App = await new_app(version=2, before=before)
    await second.replays.create("k", ["totals"])
    if through == "follow":
        await second.replays.follow("k")
    await app.store().append(paid(60, first=60))
    blocks = True
    work = second.replays.start("k") if through == "start" else second.catch_up()
    working = asyncio.create_task(work)
    try:
        await asyncio.to_thread(blocked.wait, 60)
        if database.dialect == "sqlite":
            # A lease is in the file whose only write lock the page has, so it cannot be renewed, and runs out.
            monkeypatch.setattr(_making, "holder_of", lambda _: None)
        else:
            monkeypatch.setattr(_making, "_LET_GO_SECONDS", 0.5)
        noted = await second.replays.log("k")
        for _ in range(2):
            with pytest.raises(ReplayBusyError, match="be removed"):
                await second.replays.remove("k")
            [record] = rows(database, "SELECT key, state, place, is_fed FROM penstock_replays")
            is_fed = through == "follow"
            assert (record[1], bool(record[3])) == ("following" if is_fed else "building", is_fed)
            assert record[2] != ""
            assert await second.replays.log("k") == noted
    finally:
        go_on.set()
        await working
    # Whoever fed it was asked to let go, and was taken at his word.
    await second.catch_up()
    copied = totals(copy_of("k", [second.projections["totals"]], live=database).database)
    assert sum(row[0] for row in copied.values()) == sum(range(120))
    await second.replays.remove("k")
    assert await second.replays.list() == []
