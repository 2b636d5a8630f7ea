"""What may be said of a projection, and what is refused with a remedy."""

from typing import Any

import pytest

from penstock import App, Retry, on
from penstock.errors import ConfigurationError
from penstock.listeners import Dependencies
from penstock.projections import Projection, ReadModel
from tests.projections.shop import CustomerTotal, Desk, OrderPlaced, OrderShipped


class NoHandlers:
    """A class without a marked method."""


class ForListeners:
    """A class whose mark is for listeners."""

    @on(OrderPlaced, batch=10)
    def add(self, orders: list[OrderPlaced]) -> None:
        """Handle it."""


@pytest.mark.covers("PROJ-1")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "cannot name a projection"),
        ({"name": " totals"}, "cannot name a projection"),
        ({"name": "to\0tals"}, "cannot name a projection"),
        ({"name": "x" * 201}, "longer than 200 bytes"),
        ({"version": 0}, "version=0; it is a whole number of at least 1"),
        ({"version": True}, "version=True"),
        ({"page": 0}, "page=0"),
        ({"page": "1000"}, "page='1000'"),
        ({"page_time": "0s"}, "at least 1ms"),
        ({"page_time": "soon"}, "page_time='soon'"),
        ({"page_time": 5}, "page_time=5"),
        ({"store": ""}, "cannot name a store"),
        ({"into": "\n"}, "cannot name a store"),
        ({"streams": "orders"}, "give a list, as in"),
        ({"streams": ["a", "a"]}, "names event stream 'a' twice"),
        ({"streams": [""]}, "cannot name a event stream"),
        ({"categories": "order"}, "give a list"),
        ({"categories": ["order-1"]}, "a category is the name of a stream up to the first '-': 'order'"),
        ({"mode": "always"}, "mode='always'; choose one of 'background', 'on_demand'"),
        ({"on_failure": "ignore"}, "on_failure='ignore'; choose one of 'halt', 'retry', 'park', 'skip'"),
        ({"retry": 5}, r"give a Retry\(...\)"),
        ({"tables": CustomerTotal}, "give a list of tables"),
        ({"tables": [OrderPlaced]}, "among its tables"),
        ({"tables": [""]}, "among its tables"),
        ({"read_model": object}, "give a class derived from ReadModel"),
        ({"state": 0, "tables": [CustomerTotal]}, "a fold writes nothing but its state"),
        ({"state": 0, "read_model": ReadModel}, "a fold writes nothing but its state"),
        ({"state": object()}, None),
        ({"handlers": NoHandlers}, "no method of NoHandlers is marked"),
        ({"handlers": ForListeners}, "marked with batch, which is for listeners"),
        ({"handlers": print}, "takes a class"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_what_cannot_be_declared(options: dict[str, Any], message: str | None) -> None:
    """Each mistake is refused where it is made, and says what to write instead."""
    said: dict[str, Any] = {"name": "totals", **options}
    if message is None:
        Projection(**said)  # it shows when the state is to be written
        return
    with pytest.raises(ConfigurationError, match=message):
        Projection(**said)


def yielding(order: OrderPlaced) -> Any:
    """A generator function."""
    yield order


def plain(order: OrderPlaced) -> None:
    """A function."""


@pytest.mark.covers("PROJ-1")
@pytest.mark.parametrize(
    ("events", "function", "message"),
    [
        ((), plain, "is for nothing"),
        ((int,), plain, "which is no event"),
        (("",), plain, "which is no event"),
        ((OrderPlaced,), yielding, "yields"),
        ((OrderPlaced,), OrderPlaced, "decorate a function"),
        ((OrderPlaced,), 5, "decorate a function"),
    ],
)
def test_what_cannot_be_a_handler(events: tuple[Any, ...], function: Any, message: str) -> None:
    """Each mistake is refused where the handler is declared."""
    with pytest.raises(ConfigurationError, match=message):
        Projection("totals").on(*events)(function)


@pytest.mark.covers("PROJ-1")
def test_one_name_for_one_handler_and_one_projection(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler is not declared twice by accident, a projection not at all."""
    projection = Projection("totals")
    projection.on(OrderPlaced)(plain)
    projection.on(OrderShipped)(plain)
    with pytest.raises(ConfigurationError, match="already has a handler 'plain' for the same event"):
        projection.on(Any)(plain)
    monkeypatch.chdir(tmp_path)
    app = App("shop")
    app.projection("totals")
    with pytest.raises(ConfigurationError, match="declared twice"):
        app.projection("totals")


@pytest.mark.covers("PROJ-1")
def test_a_projection_without_handlers_does_not_start(desk: Desk) -> None:
    """It would move its position past everything and write nothing."""
    with pytest.raises(ConfigurationError, match="has no handlers"):
        Projection("totals").compile(Dependencies(), target=desk.target)


@pytest.mark.covers("PROJ-1", "PROJ-22")
def test_the_plan_is_what_was_said(desk: Desk) -> None:
    """Everything that was said reaches the engine."""
    projection = Projection(
        "totals",
        version=3,
        store="shared",
        into="local",
        streams=["order-1"],
        categories=["order"],
        tables=[CustomerTotal, "others"],
        mode="on_demand",
        on_failure="park",
        retry=Retry(attempts=2),
        page=10,
        page_time="50ms",
    )
    projection.on(OrderPlaced, OrderShipped)(lambda event: None)
    plan = projection.plan
    assert (plan.name, plan.version, plan.source, plan.target) == ("totals", 3, "shared", "local")
    assert (plan.wanted.streams, plan.wanted.categories) == (("order-1",), ("order",))
    assert (plan.mode, plan.on_failure, plan.retry.attempts) == ("on_demand", "park", 2)
    assert (plan.page_events, plan.page_time.total_seconds()) == (10, 0.05)
    assert plan.tables == ("others", "customer_totals")
    handlers = projection.compile(Dependencies(), target=desk.target)
    assert handlers.names == frozenset({"order.placed", "order.shipped"})
