"""Promotion on PostgreSQL as an app does it: from the first event to the removal, with what hangs on the table."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from penstock import App
from penstock.errors import ReplayRefusedError
from penstock.replays.abc import Part
from penstock.store import make_backend, migrating
from tests.replays.core.shop import make_app, paid, totals

NewApp = Callable[..., Any]


@pytest.fixture
async def new_app(each_postgres_database: str) -> AsyncIterator[NewApp]:
    """Makes an open app on a database of its own."""
    await asyncio.to_thread(migrating.apply, make_backend("local", each_postgres_database).database)
    async with AsyncExitStack() as stack:

        async def made(**options: Any) -> App:
            return await stack.enter_async_context(make_app(each_postgres_database, **options))

        yield made


def run(app: App, *statements: str) -> list[Any]:
    """Run statements as a person would; the rows of the last one."""
    database: Any = app.store().database
    with psycopg.connect(database.url, autocommit=True) as connection:
        for each in statements[:-1]:
            connection.execute(each.encode())
        cursor = connection.execute(statements[-1].encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.covers("ZDT-10", "ZDT-11", "ZDT-12", "ZDT-13")
async def test_a_promotion_takes_views_and_foreign_keys_along(new_app: NewApp) -> None:
    """Refused without a verification; then the view shows the new rows and the key points to the new table, also after
    rollback, another promotion and the removal of the replay.
    """
    old: App = await new_app()
    await old.store().append(paid(40))
    await old.catch_up()
    run(
        old,
        "CREATE VIEW spending AS SELECT customer, cents FROM totals",
        "CREATE TABLE letters (customer text REFERENCES totals)",
        "INSERT INTO letters SELECT customer FROM totals",
    )
    new: App = await new_app(version=2, factor=2)
    await new.replays.create("twice as much", ["totals"])
    await new.replays.start("twice as much")
    with pytest.raises(ReplayRefusedError, match="never verified"):
        await new.replays.promote("twice as much")
    assert not (await new.replays.verify("twice as much")).is_green
    with pytest.raises(ReplayRefusedError, match="differences"):
        await new.replays.promote("twice as much")
    before = dict(run(old, "SELECT * FROM spending"))
    done = await new.replays.promote("twice as much", force=True, reason="it is to be twice as much")
    assert done.tables == ("totals",)
    twice = {customer: 2 * cents for customer, cents in before.items()}
    key = "SELECT confrelid = 'public.totals'::regclass, convalidated FROM pg_constraint WHERE contype = 'f'"
    assert dict(run(old, "SELECT * FROM spending")) == twice
    assert run(old, key) == [(True, True)]
    await old.replays.rollback("twice as much")
    assert dict(run(old, "SELECT * FROM spending")) == before
    assert run(old, key) == [(True, True)]
    await new.replays.promote("twice as much", force=True, reason="it is to be twice as much")
    await new.replays.remove("twice as much")
    assert dict(run(old, "SELECT * FROM spending")) == twice
    assert run(old, key) == [(True, True)]
    await new.store().append(paid(5, first=40))
    await new.catch_up()
    assert sum(dict(run(old, "SELECT * FROM spending")).values()) == 2 * sum(range(45))


@pytest.mark.covers("ZDT-15", "ZDT-10", "ZDT-12")
async def test_a_part_is_promoted_and_rolled_back(new_app: NewApp) -> None:
    """One customer's row is made anew; all others, and the table, stay. What comes later reaches all of them."""
    app: App = await new_app()
    await app.store().append(paid(40))
    await app.catch_up()
    right = totals(app.store().database)
    run(app, "UPDATE totals SET cents = 0 WHERE customer IN ('c1', 'c2')")
    wrong = totals(app.store().database)
    await app.replays.create("c1", ["totals"], part=Part(keys=("c1",), rows={"totals": "customer"}))
    await app.replays.start("c1")
    await app.replays.verify("c1")
    await app.replays.promote("c1", force=True, reason="its row was damaged")
    assert totals(app.store().database) == {**wrong, "c1": right["c1"]}
    await app.replays.rollback("c1")
    assert totals(app.store().database) == wrong
    await app.replays.promote("c1", force=True, reason="its row was damaged")
    await app.replays.remove("c1")
    await app.store().append(paid(5, first=40))
    await app.catch_up()
    assert totals(app.store().database)["c1"] == (right["c1"][0] + 41,)
