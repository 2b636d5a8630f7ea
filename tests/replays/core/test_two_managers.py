"""Two processes that take different steps of one replay at once, and may be killed: the records stay consistent."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from penstock import App
from penstock.projections._engine._sql import transaction
from penstock.replays._looking import holder_of
from penstock.replays._plays import begun
from penstock.replays.abc import ReadModelCopy
from penstock.replays.copies import copy_of
from penstock.store.database import Database
from tests.replays.core.exact import check_copy, check_exact
from tests.replays.core.players import Players
from tests.replays.core.shop import paid, rows, schema_of

NewApp = Callable[..., Any]

STEPS = ("create", "start", "start-from-zero", "follow", "unfollow", "promote", "rollback", "remove", "feed")


@pytest.fixture
def pair(migrated: str) -> Iterator[tuple[Players, Players]]:
    """Two that fork processes on the database of the test."""
    both = Players(migrated), Players(migrated)
    yield both
    for each in both:
        each.end()


def open_plays(database: Database) -> int:
    """How many plays have not said how they ended."""
    with closing(database.connect()) as connection, transaction(database, connection, write=False):
        return len(begun(database, connection, "k"))


def copy_in(app: App) -> ReadModelCopy:
    """The copy of the replay."""
    projections = [app.projections["counts"], app.projections["totals"]]
    return copy_of("k", projections, live=app.store().database)


@pytest.mark.covers("ZDT-1", "ZDT-4", "ZDT-5", "ZDT-13")
@pytest.mark.torture
@pytest.mark.timeout(3600)
async def test_two_at_once_leave_consistent_records(
    new_app: NewApp, pair: tuple[Players, Players], torture: bool
) -> None:
    """Whatever two do to it at the same time, each of them does it or is refused; in the long form, hundreds of times.

    Each generation has every event up to its checkpoint once, at most one play is open, and a copy without a record, or
    a row of one, is never left.
    """
    app: App = await new_app(version=2, counts=True)
    database, choose, stored = app.store().database, random.Random(11), 0
    await app.catch_up()
    before = schema_of(database)
    await app.store().append(paid(40))
    stored += 40
    for number in range(200 if torture else 14):
        if number % 5 == 4:
            await app.store().append(paid(15, first=stored))
            stored += 15
        steps = choose.choices(STEPS, weights=(4, 3, 2, 2, 1, 2, 1, 3, 2), k=2)
        moments = [choose.randrange(0, 60) if choose.random() < 0.3 else -1 for _ in steps]
        codes = await asyncio.gather(
            *(each.run(step, moments=at) for each, step, at in zip(pair, steps, moments, strict=True))
        )
        said = f"round {number}: {steps} killed at {moments} ended with {codes}"
        for code, at in zip(codes, moments, strict=True):
            assert code in ((0, 1) if at < 0 else (0, 1, -signal.SIGKILL)), said
        replay = await app.replays.get("k")
        check_exact(database, "")
        if replay is None:
            # A process that was killed before its first word is made up for by the next one.
            if -signal.SIGKILL not in codes:
                assert schema_of(database) == before, said
                assert rows(database, "SELECT * FROM penstock_projections WHERE generation <> ''") == [], said
            continue
        assert open_plays(database) <= (1 if replay.state == "building" else 0), said
        if replay.place:
            check_copy(app, "k")
        assert holder_of(copy_in(app)) is None, said
    if await app.replays.get("k") is None:
        await app.replays.create("k", ["totals", "counts"])
    await app.replays.remove("k")
    await app.catch_up()
    check_exact(database, "")
    assert schema_of(database) == before
    for table in ("penstock_checkpoints", "penstock_projections"):
        assert {row[0] for row in rows(database, f"SELECT generation FROM {table}")} == {""}
