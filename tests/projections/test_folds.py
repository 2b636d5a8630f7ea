"""State projections and folds: a value made of events."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.errors import ConfigurationError, ProjectionHaltedError, UnknownProjectionError, UsageError
from penstock.projections import Projection
from penstock.store.folding import Fold
from tests.projections.shop import Desk, OrderPlaced, OrderShipped, stored


class Count(msgspec.Struct):
    """A state of one's own."""

    placed: int = 0
    customers: dict[int, str] = {}


def placed(customer: str, cents: int = 1) -> OrderPlaced:
    """An order."""
    return OrderPlaced(order_id="1", customer=customer, total_cents=cents)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app on streams in memory."""
    monkeypatch.chdir(tmp_path)
    return App("shop", streams="memory://")


@pytest.mark.covers("PROJ-18")
def test_a_state_goes_from_page_to_page(desk: Desk) -> None:
    """A handler returns the new state, or changes the one it got; it comes back as it was written."""
    projection = Projection("count", state=Count)

    @projection.on(OrderPlaced)
    def add(count: Count, order: OrderPlaced) -> None:
        count.placed += 1
        count.customers[count.placed] = order.customer

    @projection.on(OrderShipped)
    async def take_off(count: Count, order: OrderShipped) -> Count:
        return Count(count.placed - 1, count.customers)

    handlers = desk.compile(projection)
    state = desk.page(handlers, [stored(placed("ann")), stored(placed("bob"))])
    state = desk.page(handlers, [stored(OrderShipped(order_id="1"))], state)
    assert state is not None
    assert msgspec.json.decode(state) == {"placed": 1, "customers": {"1": "ann", "2": "bob"}}
    state = desk.page(handlers, [stored(placed("carl"))], state)
    assert msgspec.json.decode(state or b"", type=Count) == Count(2, {1: "ann", 2: "carl"})


@pytest.mark.covers("PROJ-18")
def test_a_state_that_cannot_be_kept_is_refused_before_anything_runs(desk: Desk) -> None:
    """What JSON cannot write, and what does not come back as it was; a saved one of another shape when it is read."""
    for initial, message in ((object(), "cannot be written"), ({1: "a"}, "does not come back from JSON")):
        projection = Projection("count", state=initial)
        projection.on(OrderPlaced)(lambda state, order: None)
        with pytest.raises(ConfigurationError, match=message):
            desk.compile(projection)
    projection = Projection("count", state={1: "a"})

    @projection.on(OrderPlaced)
    def keep(state: dict[int, str], order: OrderPlaced) -> None:
        """Keep it."""

    handlers = desk.compile(projection)
    with pytest.raises(ConfigurationError, match="of another shape"):
        desk.page(handlers, [], b'["a"]')


@pytest.mark.covers("PROJ-18")
async def test_a_state_can_be_read_while_it_is_folded(app: App) -> None:
    """`state` gives what was folded up to the last committed page; a failed page changes nothing."""
    projection = app.projection("spent", state=dict, page=1)

    @projection.on(OrderPlaced)
    def add(spent: dict[str, int], order: OrderPlaced) -> None:
        spent[order.customer] = spent.get(order.customer, 0) + order.total_cents
        if order.total_cents > 100:
            raise RuntimeError("no")

    async with app:
        assert await projection.state() == {}
        running = asyncio.create_task(app.run())
        await app.store().append([placed("ann", 3), placed("bob", 4), placed("ann", 5)])
        while (spent := await projection.state()) != {"ann": 8, "bob": 4}:
            assert spent in ({}, {"ann": 3}, {"ann": 3, "bob": 4})
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.store().append(placed("ann", 1000))
        with pytest.raises(ProjectionHaltedError):
            await app.catch_up("spent")
        assert await projection.state() == {"ann": 8, "bob": 4}


async def test_what_keeps_no_state_says_so(app: App) -> None:
    """And a projection that belongs to no app, and one that is not there."""
    app.projection("totals").on(OrderPlaced)(lambda event: None)
    with pytest.raises(UsageError, match="keeps no state"):
        await app.projections["totals"].state()
    with pytest.raises(UsageError, match="belongs to no app"):
        await Projection("totals", state=0).state()
    with pytest.raises(UnknownProjectionError, match="did you mean 'totals'"):
        await app.catch_up("total")


@pytest.mark.covers("PROJ-18")
async def test_a_fold_is_a_question_and_leaves_nothing(app: App) -> None:
    """By class, by name, by ``Any`` for the rest; no checkpoint, no row, nothing new in the store."""
    async with app:
        store = app.store()
        await store.append([placed("ann", 3), placed("bob", 4), OrderShipped(order_id="1")])
        before = await store.horizon()

        def other(state: list[Any], event: Any) -> None:
            state.append(event.name)

        found = await store.fold(
            list[Any](), {OrderPlaced: lambda state, order: [*state, order.total_cents], Any: other}
        )
        assert found == [3, 4, "order.shipped"]
        assert await store.horizon() == before
        connection = store.database.connect()
        assert store.database.execute(connection, "SELECT * FROM penstock_checkpoints").fetchall() == []
        connection.close()


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({}, "a fold of nothing"),
        ({OrderPlaced: 5}, "which is no function"),
        ({int: max}, "which is no event"),
        ({OrderPlaced: max, "order.placed": max}, "two functions for 'order.placed'"),
    ],
)
def test_a_fold_of_something_else_is_refused(functions: Any, message: str) -> None:
    """Each mistake says what to write."""
    with pytest.raises(ConfigurationError, match=message):
        Fold(functions)
