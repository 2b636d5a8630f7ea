"""What a comparison says of a replay: kept with it, and only as long as the copy is the one that was compared."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayMoveError
from penstock.replays import _manager_switches, _managing
from penstock.replays._records import Record, Records, change
from penstock.replays.abc import Verification
from penstock.replays.verifying import verify
from penstock.store.database import Connection, Database
from tests.replays.core.shop import live_with, paid, rows

NewApp = Callable[..., Any]


async def built(new_app: NewApp) -> App:
    """An app with a live read model of thirty payments, and a replay ``k`` that was built."""
    app = await live_with(new_app, 30)
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    return app


async def verified_meanwhile(
    app: App, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]
) -> Verification:
    """Verify, with *act* done after both were compared and before that is recorded."""
    loop = asyncio.get_running_loop()

    async def acted() -> None:
        await act()

    def compared(*arguments: Any, **named: Any) -> Verification:
        report = verify(*arguments, **named)
        asyncio.run_coroutine_threadsafe(acted(), loop).result(60)
        return report

    with monkeypatch.context() as patch:
        patch.setattr(_manager_switches, "verify", compared)
        return await app.replays.verify("k")


@pytest.mark.covers("ZDT-9", "ZDT-10")
async def test_a_report_is_of_the_copy_that_was_compared(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptied and built again meanwhile it is another one, and not verified; caught up only it is the same."""
    app = await built(new_app)

    async def is_verified() -> bool:
        replay = await app.replays.get("k")
        return replay is not None and replay.is_verified

    report = await verified_meanwhile(app, monkeypatch, lambda: app.replays.start("k", from_zero=True))
    assert report.is_green
    assert not await is_verified()
    await app.store().append(paid(5))
    await app.catch_up()
    await verified_meanwhile(app, monkeypatch, lambda: app.replays.start("k"))
    assert await is_verified()
    assert len(await app.replays.reports("k")) == 2


@pytest.mark.covers("ZDT-9")
async def test_a_report_is_not_lost_to_another_change(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changes the record at the moment in which the report is kept: it is kept all the same."""
    app = await built(new_app)
    records, others = Records(app.store().database), 0

    def slow(database: Database, connection: Connection, record: Record, **changes: object) -> bool:
        nonlocal others
        if others < 2:
            # As one that had read the record before another changed it.
            others += 1
            record = replace(record, revision=record.revision - 1)
        return change(database, connection, record, **changes)

    monkeypatch.setattr(_managing, "change", slow)
    assert (await app.replays.verify("k")).is_green
    assert others == 2
    assert records.get("k").replay.is_verified
    assert len(await app.replays.reports("k")) == 1
    assert [deed.what for deed in await app.replays.log("k")] == ["verify", "start", "create"]


@pytest.mark.covers("ZDT-13")
async def test_a_report_of_what_was_removed_is_not_left(
    new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was removed while it was compared: the caller has his report, and no later replay of that key shows it."""
    app = await built(new_app)
    report = await verified_meanwhile(app, monkeypatch, lambda: app.replays.remove("k"))
    assert report.is_green
    assert rows(app.store().database, "SELECT * FROM penstock_replay_reports") == []
    await app.replays.create("k", ["totals"])
    assert await app.replays.reports("k") == []


@pytest.mark.covers("ZDT-7", "ZDT-12")
async def test_where_nothing_was_live_before_nothing_is_fed(new_app: NewApp) -> None:
    """Promoted, the first of its kind has no former read model that could follow; the refusal says so."""
    app: App = await new_app()
    await app.store().append(paid(10))
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.replays.promote("k", force=True, reason="there is nothing to compare with")
    with pytest.raises(ReplayMoveError, match="cannot follow; nothing was live before it"):
        await app.replays.follow("k")
    replay = await app.replays.get("k")
    assert replay is not None
    assert not replay.is_fed
