"""What is forced, and the reasons that people give: kept with the replay, whatever the step."""

from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayRefusedError, UsageError
from penstock.replays.copies import copy_of
from tests.replays.core.shop import Paid, paid, totals

NewApp = Callable[..., Any]


async def old_and_promoted(new_app: NewApp, **options: Any) -> tuple[App, App]:
    """An app of version 1, and one of version 2 whose read model was built, verified and promoted."""
    old: App = await new_app()
    await old.store().append(paid(100))
    await old.catch_up()
    new: App = await new_app(version=2, **options)
    await new.replays.create("k", ["totals"])
    await new.replays.start("k")
    await new.replays.verify("k")
    await new.replays.promote("k")
    return old, new


@pytest.mark.covers("ZDT-12")
async def test_what_can_be_forced_keeps_nobody_from_rolling_back(new_app: NewApp) -> None:
    """The former one lags far, since nobody ran it: by force, and with a reason, it is caught up and live again."""
    old, new = await old_and_promoted(new_app)
    await old.store().append(paid(1100))
    await new.catch_up()
    with pytest.raises(ReplayRefusedError, match="1,100 events to take"):
        await old.replays.rollback("k", reason="quickly")
    with pytest.raises(UsageError, match="rolling back replay 'k' by force needs a reason"):
        await old.replays.rollback("k", force=True)
    assert all(len(row) == 2 for row in totals(old.store().database).values())

    switched = await old.replays.rollback("k", force=True, reason="the site is down", who="ann")

    assert switched.position == 1200
    assert totals(old.store().database)["c0"] == (sum(range(0, 100, 5)) + sum(range(0, 1100, 5)),)
    [deed] = [deed for deed in await old.replays.log("k") if deed.what == "roll back"]
    assert deed.who == "ann"
    assert deed.why.startswith("the site is down (lag: it has 1,100 events to take")


async def test_every_step_keeps_its_reason(new_app: NewApp) -> None:
    """Who did what, and why, is in the log of the replay, also after it is gone."""
    app: App = await new_app()
    await app.store().append(paid(20))
    await app.catch_up()
    replays = app.replays
    await replays.create("k", ["totals"], who="ann", reason="why create")
    await replays.start("k", who="ann", reason="why start")
    await replays.start("k", from_zero=True, who="ann", reason="why start anew")
    await replays.follow("k", who="ann", reason="why follow")
    await replays.verify("k", who="ann")
    await replays.unfollow("k", who="ann", reason="why unfollow")
    await replays.promote("k", who="ann", reason="why promote")
    await replays.rollback("k", who="ann", reason="why roll back")
    await replays.remove("k", who="ann", reason="why remove")
    log = [(deed.what, deed.why) for deed in reversed(await replays.log("k"))]
    assert log == [
        ("create", "why create"),
        ("start", "why start"),
        ("start", "why start anew"),
        ("follow", "why follow"),
        ("verify", ""),
        ("unfollow", "why unfollow"),
        ("promote", "why promote"),
        ("roll back", "why roll back"),
        ("remove", "why remove"),
    ]
    await replays.create("k", ["totals"])
    await replays.follow("k", who="ann", reason="at once")
    deeds = [(deed.what, deed.why) for deed in await replays.log("k")][:2]
    assert deeds == [("follow", "at once"), ("start", "at once")]


# -- past a live one that stands before an event --------------------------------------------------------------------


@pytest.mark.covers("ZDT-10", "ZDT-12")
async def test_by_force_what_is_live_is_left_where_it_stands(new_app: NewApp) -> None:
    """The live one stands before an event that the new code handles: only force, with its reason, leaves it behind.

    The way back then leads over that event: it is refused by name, by force too, until the former code is mended.
    """
    is_broken = True

    def before(event: Paid) -> None:
        if is_broken and event.cents == 77:
            raise ValueError("what is 77?")

    old: App = await new_app(before=before)
    await old.store().append(paid(77))
    await old.catch_up()
    new: App = await new_app(version=2)
    await new.replays.create("k", ["totals"])
    await new.replays.start("k")
    await new.replays.verify("k")
    await old.store().append(paid(43, first=77))
    with pytest.raises(Exception, match="what is 77"):
        await old.catch_up()
    await new.replays.start("k")
    with pytest.raises(
        ReplayRefusedError, match=r"what is live stands at position 77.*what is 77"
    ) as refused:
        await new.replays.promote("k", reason="it is right")
    assert "120" in str(refused.value)

    switched = await new.replays.promote("k", force=True, reason="the new one is right", who="ann")

    assert switched.position == 120
    replay = await new.replays.get("k")
    assert replay is not None
    assert replay.override.startswith(
        "the new one is right (projection totals: what is live stands at position 77"
    )
    assert sum(row[0] for row in totals(new.store().database).values()) == sum(range(120))
    former = copy_of("k", [old.projections["totals"]], live=old.store().database)
    assert sum(row[0] for row in totals(former.database).values()) == sum(range(77))
    assert "what is 77?" in replay.error

    live = totals(new.store().database)
    for force in (False, True):
        with pytest.raises(ReplayRefusedError, match=r"stands before an event: .*what is 77"):
            await old.replays.rollback("k", force=force, reason="back")
    assert totals(new.store().database) == live

    is_broken = False
    await old.replays.follow("k")
    await old.catch_up()
    await old.replays.rollback("k", reason="mended")
    assert totals(old.store().database) == {key: (row[0],) for key, row in live.items()}


@pytest.mark.covers("ZDT-12")
async def test_by_force_the_way_back_leads_past_a_promoted_one_that_stands(new_app: NewApp) -> None:
    """The new code stands before an event that the former handles: rolled back, no event is missing or twice."""

    def before(event: Paid) -> None:
        if event.cents == 100:
            raise ValueError("what is 100?")

    old, new = await old_and_promoted(new_app, before=before)
    await old.store().append(paid(20, first=100))
    with pytest.raises(Exception, match="what is 100"):
        await new.catch_up()
    await old.catch_up()
    with pytest.raises(ReplayRefusedError, match=r"what is live stands at position 100.*what is 100"):
        await old.replays.rollback("k")
    switched = await old.replays.rollback("k", force=True, reason="the new code stands")
    assert switched.position == 120
    assert sum(row[0] for row in totals(old.store().database).values()) == sum(range(120))
    await old.catch_up()
    assert sum(row[0] for row in totals(old.store().database).values()) == sum(range(120))
