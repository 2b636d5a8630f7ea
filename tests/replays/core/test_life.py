"""The life of a replay by its manager, on both databases: what each step does, refuses, and leaves."""

from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import ReplayMoveError, ReplayRefusedError, UnknownReplayError, UsageError
from tests.replays.core.shop import copied, live_with, paid, rows, schema_of, totals

NewApp = Callable[..., Any]


@pytest.mark.covers("ZDT-7")
async def test_following_catches_up_first(new_app: NewApp) -> None:
    """Asked for while it lags, it plays what is missing, and the log says how much that was."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    progress = await app.replays.follow("k", who="ann")
    assert (progress.state, progress.lag_events) == ("following", 0)
    latest = (await app.replays.log("k"))[0]
    assert (latest.what, latest.who, latest.which) == ("follow", "ann", "after 120 events")
    await app.store().append(paid(20, first=500))
    assert await app.replays.lag("k") == 20
    await app.catch_up()
    assert await app.replays.lag("k") == 0
    assert copied(app, "k") == totals(app.store().database)


@pytest.mark.covers("ZDT-13")
async def test_who_does_not_follow_any_more_stays_as_he_is(new_app: NewApp) -> None:
    """Unfollowed, the copy stands still until it is started again."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await app.replays.follow("k")
    progress = await app.replays.unfollow("k")
    assert progress.state == "built"
    await app.store().append(paid(5))
    await app.catch_up()
    assert await app.replays.lag("k") == 5
    await app.replays.start("k")
    assert await app.replays.lag("k") == 0


@pytest.mark.covers("ZDT-13")
@pytest.mark.parametrize("through", ["create", "start", "follow", "promote", "rollback"])
async def test_removed_it_leaves_nothing(new_app: NewApp, through: str) -> None:
    """Whatever its state: no table, file, sequence or row of it is left but the log, and what is live stays."""
    app = await live_with(new_app)
    database = app.store().database
    before, live = schema_of(database), totals(database)
    await app.replays.create("k", ["totals"])
    if through in ("start", "promote", "rollback"):
        await app.replays.start("k")
    if through == "follow":
        await app.replays.follow("k")
    if through in ("promote", "rollback"):
        await app.replays.promote("k", force=True, reason="a test")
    if through == "rollback":
        await app.replays.rollback("k")

    await app.replays.remove("k", who="ann")

    assert await app.replays.list() == []
    assert schema_of(database) == before
    assert totals(database) == live
    for table in ("penstock_checkpoints", "penstock_projections"):
        assert rows(database, f"SELECT generation FROM {table}") == [("",)]
    for table in ("penstock_replays", "penstock_replay_plays", "penstock_replay_reports"):
        assert rows(database, f"SELECT * FROM {table}") == []
    assert (await app.replays.log("k"))[0].who == "ann"
    with pytest.raises(UnknownReplayError, match="'k'"):
        await app.replays.remove("k")
    await app.store().append(paid(3))
    await app.catch_up()
    await app.replays.create("k", ["totals"])


@pytest.mark.covers("ZDT-10")
async def test_a_promotion_is_refused_until_all_is_well(new_app: NewApp) -> None:
    """Not built, not verified, differing, or far behind: refused by name; by force only with a reason."""
    app = await live_with(new_app)
    second: App = await new_app(factor=2)
    replays = second.replays
    await replays.create("k", ["totals"])
    with pytest.raises(ReplayMoveError, match="is created, so it cannot be promoted; start it first"):
        await replays.promote("k", force=True, reason="at once")
    await replays.start("k")
    with pytest.raises(ReplayRefusedError, match="never verified"):
        await replays.promote("k")
    await replays.verify("k")
    with pytest.raises(ReplayRefusedError, match="found differences"):
        await replays.promote("k")
    await app.store().append(paid(1100))
    with pytest.raises(ReplayRefusedError, match="1,100 events to take"):
        await replays.promote("k")
    with pytest.raises(UsageError, match="needs a reason"):
        await replays.promote("k", force=True)
    assert totals(app.store().database)["c0"] == (sum(range(0, 120, 5)),)

    switched = await replays.promote("k", force=True, reason="the amounts double from now on", who="ann")
    assert switched.position == 1220
    replay = await replays.get("k")
    assert replay is not None
    assert replay.state == "promoted"
    assert replay.override.startswith("the amounts double from now on (lag: ")
    assert (await replays.log("k"))[0].why == replay.override
    assert totals(app.store().database)["c0"] == (2 * (sum(range(0, 120, 5)) + sum(range(0, 1100, 5))),)
    with pytest.raises(ReplayMoveError, match="is promoted"):
        await replays.promote("k", force=True, reason="again")


@pytest.mark.covers("ZDT-10")
async def test_what_was_never_live_is_promoted_too(new_app: NewApp) -> None:
    """A projection that never ran has its first read model built by a replay; there is no way back from that."""
    app: App = await new_app()
    await app.store().append(paid(50))
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.replays.promote("k", force=True, reason="there is nothing to compare with")
    replay = await app.replays.get("k")
    assert replay is not None
    assert (replay.state, replay.former_versions, replay.is_fed) == ("promoted", {}, False)
    assert sum(row[0] for row in totals(app.store().database).values()) == sum(range(50))
    with pytest.raises(ReplayRefusedError, match="was never live before"):
        await app.replays.rollback("k")
    await app.replays.progress("k")
    await app.store().append(paid(10))
    await app.catch_up()
    await app.replays.remove("k")
    assert sum(row[0] for row in totals(app.store().database).values()) == sum(range(50)) + sum(range(10))


async def test_steps_out_of_turn_are_refused_by_name(new_app: NewApp) -> None:
    """Each refusal names the state and says what comes next."""
    app = await live_with(new_app)
    with pytest.raises(UnknownReplayError, match="'k'"):
        await app.replays.start("k")
    await app.replays.create("k", ["totals"])
    with pytest.raises(UnknownReplayError, match="did you mean 'k'"):
        await app.replays.start("kk")
    with pytest.raises(ReplayMoveError, match="cannot roll back; promote it first"):
        await app.replays.rollback("k")
    with pytest.raises(ReplayMoveError, match="cannot be verified; start it first"):
        await app.replays.verify("k")
    with pytest.raises(ReplayMoveError, match="does not follow"):
        await app.replays.unfollow("k")
    await app.replays.follow("k")
    with pytest.raises(ReplayMoveError, match="is following, so it cannot start; unfollow it first"):
        await app.replays.start("k")


def test_synchronous_code_has_the_same_manager(store_url: str) -> None:
    """``app.sync.replays`` takes the same steps."""
    from penstock.store import make_backend
    from penstock.store.migrating import apply
    from tests.replays.core.shop import make_app

    apply(make_backend("local", store_url).database)
    with make_app(store_url).sync as app:
        app.store().append(paid(20))
        app.catch_up()
        app.replays.create("k", ["totals"])
        assert app.replays.start("k").state == "built"
        assert app.replays.lag("k") == 0
        assert app.replays.verify("k").is_green
        assert len(app.replays.reports("k")) == 1
        app.replays.follow("k")
        app.replays.promote("k")
        assert [replay.state for replay in app.replays.list()] == ["promoted"]
        app.replays.rollback("k")
        app.replays.unfollow("k")
        assert app.replays.log("k")[0].what == "unfollow"
        app.replays.remove("k")
        assert app.replays.list() == []
