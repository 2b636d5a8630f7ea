"""What a fold has made of its events is compared as well, though it has no table."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from penstock import App
from penstock.errors import ReplayRefusedError
from penstock.replays import Part
from penstock.replays.abc import RowDifference
from penstock.store import make_backend
from penstock.store.migrating import apply
from tests.replays.core.shop import Paid, paid


def shop(url: str, factor: object) -> App:
    """What each customer has paid, that of the second one times *factor*; and how many payments there were."""
    app = App("shop", streams="memory://", store=url)
    balances, number = app.projection("balances", state=dict), app.projection("number", state=0)

    @balances.on(Paid)
    def add(state: dict[str, object], event: Paid) -> None:
        state[event.customer] = factor if event.customer == "c1" else event.cents

    @number.on(Paid)
    def count(state: int, event: Paid) -> int:
        return state + 1

    return app


@pytest.mark.covers("ZDT-9", "LEAD-1")
async def test_the_states_of_folds_are_compared_item_by_item(store_url: str) -> None:
    """A fault in a fold is named by its item and keeps it from being promoted; equal states are green."""
    await asyncio.to_thread(apply, make_backend("local", store_url).database)
    async with AsyncExitStack() as stack:
        live, other = [await stack.enter_async_context(shop(store_url, factor)) for factor in (1, True)]
        await live.store().append(paid(9, customers=3))
        await live.catch_up()
        names = ["balances", "number"]
        for app, key in ((live, "same"), (other, "other")):
            await app.replays.create(key, names)
            await app.replays.start(key)
        same, found = await live.replays.verify("same"), await other.replays.verify("other")
        assert same.is_green
        assert [(each.table, each.live_rows, each.copy_rows) for each in same.tables] == [
            ("state_of_balances", 3, 3),
            ("state_of_number", 1, 1),
        ]
        assert not found.is_green
        assert [each.rows for each in found.tables] == [
            (RowDifference({"key": "c1"}, "changed", {"value": (1, True)}),),
            (),
        ]
        with pytest.raises(ReplayRefusedError, match="differences"):
            await other.replays.promote("other")


@pytest.mark.covers("ZDT-9")
async def test_of_a_new_fold_and_of_a_part_only_what_there_is_is_compared(store_url: str) -> None:
    """Where nothing was live there is nothing to compare with; a part has its own items."""
    await asyncio.to_thread(apply, make_backend("local", store_url).database)
    async with AsyncExitStack() as stack:
        app, other = [await stack.enter_async_context(shop(store_url, factor)) for factor in (1, 2)]
        await app.store().append(paid(9, customers=3))
        await app.replays.create("new", "balances")
        await app.replays.start("new")
        [table] = (await app.replays.verify("new")).tables
        assert (table.is_new, table.copy_rows) == (True, 3)
        await app.catch_up()
        for key, part in (("c0", app), ("c1", other)):
            await part.replays.create(key, "balances", part=Part(keys=(key,)))
            await part.replays.start(key)
        [right] = (await app.replays.verify("c0")).tables
        assert (right.live_rows, right.copy_rows, right.is_equal) == (1, 1, True)
        [wrong] = (await other.replays.verify("c1")).tables
        assert [(row.key["key"], row.kind) for row in wrong.rows] == [("c1", "changed")]
