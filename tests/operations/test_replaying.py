"""Replays for people: what may be done next is legal, and what a step would do is told without doing it."""

import itertools
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.errors import ReplayExistsError, ReplayMoveError, UnknownReplayError, UsageError
from penstock.operations import Operations, Replay, ReplayProgress, ReplayStep
from penstock.operations._replaying_values import steps_from
from penstock.projections import Rows
from penstock.replays._moves import is_legal
from penstock.replays.abc import ReplayState


class Paid(Event, name="paid", key="customer"):
    """Somebody paid."""

    customer: str


class Base(DeclarativeBase):
    """The read model's tables."""


class Total(Base):
    """How often each has paid."""

    __tablename__ = "totals"
    customer: Mapped[str] = mapped_column(primary_key=True)
    payments: Mapped[int] = mapped_column(default=0)


def add(paid: Paid, rows: Rows) -> None:
    """Count a payment."""
    rows.increment(Total, {"customer": paid.customer}, payments=1)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """An app with a live read model of three payments."""
    app = App("shop", streams="memory://", store=f"sqlite:///{tmp_path}/shop.db")
    app.projection("totals", tables=[Total]).on(Paid)(add)
    await app.store().append([Paid(customer=each) for each in ("ann", "bob", "ann")])
    await app.catch_up()
    yield app
    await app.close()


EVERY = list(itertools.product(get_args(ReplayState), *[(False, True)] * 4, (0, 7)))


@pytest.mark.covers("ZDT-16")
@pytest.mark.parametrize(("state", "fed", "verified", "running", "was_live", "lag"), EVERY)
def test_what_comes_next_is_legal(
    state: ReplayState, *, fed: bool, verified: bool, running: bool, was_live: bool, lag: int
) -> None:
    """In whatever situation, each proposed step may be taken, is typed in one line, and there is a way on or out."""
    key = "a b'c"
    former = {"totals": 1} if was_live else {}
    replay = Replay(key, state, "local", ("totals",), {"totals": 2}, former, is_fed=fed, is_verified=verified)
    progress = ReplayProgress(key, state, 0, lag, lag, is_running=running)

    steps = steps_from(replay, progress)

    for each in steps:
        # A copy that was never at the end of the store is played to first.
        assert is_legal(each.step, state) or (each.step == "follow" and is_legal("start", state)), each
        words = shlex.split(each.command)
        assert (words[:2], words[-1]) == (["penstock", "replays"], key)
        assert each.why
    names = [each.step for each in steps]
    assert len(names) == len(set(names))
    assert set(names) <= set(get_args(ReplayStep))
    assert ("remove" in names) == (not (state == "building" and running))
    assert ("promote" in names) == (state in ("built", "following") and verified)
    assert ("roll back" in names) == (state == "promoted" and was_live)


@pytest.mark.covers("ZDT-16", "ZDT-6")
async def test_a_step_is_told_before_it_is_taken(app: App) -> None:
    """An intent says what would happen and why it would be refused, and leaves everything as it is."""
    replays = Operations(app).replays
    await replays.create("k", ["totals"], who="ann")
    await replays.start("k", who="ann")
    before = (await replays.show("k")).replay
    intent = await replays.intent("k", "promote")
    assert intent.refusals == ("verification: it was never verified; verify it",)
    assert "totals" in " ".join(intent.says)
    assert (await replays.intent("k", "promote", force=True)).refusals == ()
    assert (await replays.intent("k", "start", from_zero=True)).says[0] == "the copy is emptied"
    with pytest.raises(ReplayMoveError, match="promote it first"):
        await replays.intent("k", "roll back")
    assert (await replays.show("k")).replay == before

    await replays.verify("k", who="ann")
    await replays.promote("k", who="ann", why="a look")
    detail = await replays.show("k")
    assert detail.replay.state == "promoted"
    assert [each.step for each in detail.next_steps] == ["roll back", "unfollow", "remove"]
    assert [(deed.what, deed.who, deed.why) for deed in detail.log][:2] == [
        ("promote", "ann", "a look"),
        ("verify", "ann", ""),
    ]
    assert detail.verification is not None
    assert detail.verification.is_green
    assert (await replays.intent("k", "roll back")).refusals == ()
    assert "the way back" in " ".join((await replays.intent("k", "remove")).says)


async def test_replays_of_every_store_are_found(app: App, tmp_path: Path) -> None:
    """Also in a store that no projection writes to any more; a key is taken wherever it is."""
    await app.replays.create("k", ["totals"])
    stores = {"other": {"url": f"sqlite:///{tmp_path}/other.db"}}
    later = App("shop", streams="memory://", store=f"sqlite:///{tmp_path}/shop.db", stores=stores)
    later.projection("others", tables=[Total], into="other").on(Paid)(add)
    replays = Operations(later).replays
    try:
        assert [each.replay.key for each in (await replays.overview()).items] == ["k"]
        assert (await replays.show("k")).replay.state == "created"
        with pytest.raises(ReplayExistsError, match="'k'"):
            await replays.create("k", ["others"])
        with pytest.raises(UnknownReplayError, match="did you mean 'k'"):
            await replays.show("kk")
    finally:
        await later.close()


async def test_without_an_app_there_are_no_replays() -> None:
    """Servers alone do not tell which."""
    with pytest.raises(UsageError, match="give Operations the app"):
        _ = Operations({}).replays
