"""The life of a replay by its manager, on both databases: what each step does, refuses, and leaves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock import App
from penstock.errors import (
    ConfigurationError,
    IsolationError,
    ReplayError,
    ReplayExistsError,
    ReplayMoveError,
    ReplayRefusedError,
    UnknownProjectionError,
    UnknownReplayError,
    UsageError,
)
from penstock.replays.abc import Part, ReplayProgress
from penstock.replays.copies import copy_of
from tests.replays.core.shop import Opened, Paid, paid, rows, schema_of, totals

NewApp = Callable[..., Any]


def copied(app: App, key: str) -> dict[str, tuple[Any, ...]]:
    """The rows of the read model in the copy of a replay."""
    copy = copy_of(key, [app.projections["totals"]], live=app.store().database)
    return totals(copy.database)


async def live_with(new_app: NewApp, count: int = 120, **options: Any) -> App:
    """An app whose live read model is up to date."""
    app: App = await new_app(**options)
    await app.store().append(paid(count))
    await app.catch_up()
    return app


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


@pytest.mark.covers("ZDT-4", "ZDT-5", "ZDT-6")
async def test_a_copy_is_built_beside_the_live_one(new_app: NewApp) -> None:
    """It ends equal; the live rows are as they were; the play says from where, to where, how many, and by whom."""
    app = await live_with(new_app)
    before = totals(app.store().database)
    told: list[ReplayProgress] = []

    replay = await app.replays.create("k", ["totals"], who="ann")
    assert (replay.state, replay.versions, replay.created_by) == ("created", {"totals": 1}, "ann")
    assert [table.rpartition(".")[2] for table in replay.tables] == ["totals"]
    assert await app.replays.lag("k") == 120
    progress = await app.replays.start("k", who="ben", on_progress=told.append)

    assert (progress.state, progress.lag_events, progress.is_running) == ("built", 0, False)
    assert told[-1].handled == 120
    assert told[-1].lag_events == 0
    assert copied(app, "k") == before == totals(app.store().database)
    [play] = await app.replays.plays("k")
    assert (play.from_position, play.to_position, play.events) == (0, 120, 120)
    assert (play.outcome, play.who, play.error) == ("finished", "ben", "")
    assert play.finished_at is not None
    assert play.finished_at >= play.started_at
    assert [deed.what for deed in await app.replays.log("k")] == ["start", "create"]


@pytest.mark.covers("ZDT-6")
async def test_the_lag_reaches_zero_whatever_else_is_stored(new_app: NewApp) -> None:
    """The newest events are of types that the projection does not handle: there is nothing to wait for."""
    app = await live_with(new_app)
    await app.store().append([Opened(shop=str(number)) for number in range(30)])
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.store().append([Opened(shop=str(number)) for number in range(30)])
    assert await app.replays.lag("k") == 0
    await app.store().append(paid(3))
    assert await app.replays.lag("k") == 3
    progress = await app.replays.start("k")
    assert progress.lag_events == 0
    assert [play.events for play in await app.replays.plays("k")] == [3, 120]


@pytest.mark.covers("ZDT-4")
async def test_from_zero_everything_is_played_again(new_app: NewApp) -> None:
    """The copy is emptied first, so that nothing is counted twice; a verification from before counts no more."""
    app = await live_with(new_app)
    await app.replays.create("k", ["totals"])
    await app.replays.start("k")
    await app.replays.verify("k")
    verified = await app.replays.get("k")
    assert verified is not None
    assert verified.is_verified
    await app.replays.start("k", from_zero=True)
    again = await app.replays.get("k")
    assert again is not None
    assert not again.is_verified
    assert copied(app, "k") == totals(app.store().database)
    assert [(play.from_position, play.events) for play in await app.replays.plays("k")] == [
        (0, 120),
        (0, 120),
    ]


@pytest.mark.covers("ZDT-8")
async def test_a_failing_copy_shows_its_error_and_touches_nothing(new_app: NewApp) -> None:
    """The new version fails at an event; the live one goes on; mended, the replay goes on from the last page."""
    app = await live_with(new_app)
    is_broken = True

    def before(event: Paid) -> None:
        if is_broken and event.cents == 77:
            raise ValueError("what is 77?")

    second: App = await new_app(version=2, before=before)
    await second.replays.create("k", ["totals"])
    with pytest.raises(
        ReplayError, match=r"failed at position 78 .*what is 77\?.*live read model is as it was"
    ):
        await second.replays.start("k")
    replay = await second.replays.get("k")
    assert replay is not None
    assert replay.state == "building"
    assert "what is 77?" in replay.error
    [play] = await second.replays.plays("k")
    assert (play.outcome, play.to_position) == ("failed", 77)
    assert not (await second.replays.progress("k")).is_running

    await app.store().append(paid(10))
    await app.catch_up()
    assert sum(row[0] for row in totals(app.store().database).values()) == sum(range(120)) + sum(range(10))

    is_broken = False
    await second.replays.start("k")
    replay = await second.replays.get("k")
    assert replay is not None
    assert (replay.state, replay.error) == ("built", "")
    assert {key: row[0] for key, row in copied(second, "k").items()} == {
        key: row[0] for key, row in totals(app.store().database).items()
    }


@pytest.mark.covers("ZDT-8")
async def test_a_handler_that_leaves_its_copy_is_refused(new_app: NewApp) -> None:
    """One that uses the app's own engine instead of its session: production is as it was, and the error says so."""
    app = await live_with(new_app)
    engine = app.store().database.engine()
    is_building = False

    def before(event: Paid) -> None:
        if is_building:
            with engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM totals")

    second: App = await new_app(version=2, before=before)
    await second.replays.create("k", ["totals"])
    is_building = True
    live = totals(app.store().database)
    with pytest.raises(IsolationError, match="'totals'"):
        await second.replays.start("k")
    assert totals(app.store().database) == live
    replay = await second.replays.get("k")
    assert replay is not None
    assert "totals" in replay.error
    engine.dispose()


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


async def test_a_cancelled_start_is_stopped_after_a_page(new_app: NewApp) -> None:
    """What is committed stays, the play is recorded as stopped, and the next one goes on from there."""
    app = await live_with(new_app, count=400)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(event: Paid) -> None:
        if event.cents >= 150:
            loop.call_soon_threadsafe(begun.set)

    second: App = await new_app(before=before, page=10)
    await second.replays.create("k", ["totals"])
    playing = asyncio.create_task(second.replays.start("k"))
    await begun.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    [play] = await second.replays.plays("k")
    assert play.outcome == "stopped"
    assert play.to_position is not None
    assert 100 < play.to_position <= 400
    assert await second.replays.resume("k") is False
    await second.replays.start("k")
    assert copied(second, "k") == totals(app.store().database)
    assert sum(each.events for each in await second.replays.plays("k")) == 400


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
