"""Which handlers an event has, where they live, and the read model that they write to, on both databases."""

from typing import Any, ClassVar

import pytest
from sqlalchemy.orm import Session

from penstock import on
from penstock.errors import DecodeError
from penstock.projections import PayloadMapper, Projection, ReadModel, Rows
from penstock.store.abc import StoredEvent
from tests.projections.shop import (
    ANN,
    BOB,
    CustomerTotal,
    Desk,
    Gateway,
    OrderPlaced,
    OrderShipped,
    count,
    kept,
    stored,
    totals,
)


@pytest.mark.covers("PROJ-7")
def test_handlers_are_chosen_by_name(desk: Desk) -> None:
    """By class, by name, by ``Any``; several run in the order of declaration; what has none is passed over."""
    projection = Projection("seen")
    seen: list[tuple[str, str]] = []

    @projection.on("order.placed")
    def by_name(event: StoredEvent) -> None:
        seen.append(("name", event.name))

    @projection.on(OrderPlaced, OrderShipped)
    def by_class(order: OrderPlaced | OrderShipped) -> None:
        seen.append(("class", type(order).__name__))

    assert desk.compile(projection).names == frozenset({"order.placed", "order.shipped"})

    @projection.on(Any)
    def any_(payload: Any, event: StoredEvent) -> None:
        seen.append(("any", payload["order_id"] if event.data else "-"))

    assert desk.compile(projection).names is None
    desk.run(projection, ANN, OrderShipped(order_id="1"), stored(("order.lost", None)))
    assert seen == [
        ("name", "order.placed"),
        ("class", "OrderPlaced"),
        ("any", "1"),
        ("class", "OrderShipped"),
        ("any", "1"),
        ("any", "-"),
    ]


class Created(PayloadMapper):
    """A payload with getters."""

    @property
    def room_min_size(self) -> str:
        """How large it is at least."""
        size: str = self.get("room_min_size")
        return size

    @property
    def room_max_size(self) -> str:
        """How large it is at most."""
        size: str = self.get_or_default("room_max_size", "0")
        return size


@pytest.mark.covers("PROJ-6")
def test_a_mapper_reads_the_payload_of_an_event_without_class(desk: Desk) -> None:
    """What is missing raises, or is the default; null is a value."""
    projection = Projection("seen")
    seen: list[Any] = []

    @projection.on("profile.created")
    def create(profile: Created) -> None:
        seen.append((profile.room_max_size, profile.get_or_default("a.b"), profile.event.name))
        seen.append(profile.room_min_size)

    desk.run(projection, stored(("profile.created", b'{"room_min_size": "12", "room_max_size": null}')))
    assert seen == [(None, None, "profile.created"), "12"]
    with pytest.raises(DecodeError, match="has no 'room_min_size'"):
        desk.run(projection, stored(("profile.created", b"{}")))
    assert seen[2] == ("0", None, "profile.created")


class Model(ReadModel):
    """A read model that notes what is asked of it."""

    told: ClassVar[list[str]] = []
    is_there = False

    def is_initialised(self) -> bool:
        """Whether it was made."""
        self.told.append("is_initialised")
        return type(self).is_there

    def init(self) -> None:
        """Make it."""
        self.told.append("init")
        self.connection.execute("CREATE TABLE names (name varchar(50) PRIMARY KEY)")
        type(self).is_there = True

    def reset(self) -> None:
        """Empty it."""
        self.told.append("reset")
        self.connection.execute("DELETE FROM names")

    def delete(self) -> None:
        """Drop it."""
        self.told.append("delete")
        self.connection.execute("DROP TABLE names")

    def add(self, name: str) -> None:
        """Write a name."""
        self.told.append(f"add {name}")
        self.rows.upsert("names", {"name": name})

    def persist(self) -> None:
        """Write what was stacked."""
        self.told.append("persist")
        super().persist()


@pytest.mark.covers("PROJ-20", "PROJ-12")
def test_a_read_model_is_told_what_to_do_in_order(desk: Desk) -> None:
    """It is asked whether it is there, made, written to, told when a page ends, emptied and removed."""
    Model.told, Model.is_there = [], False
    projection = Projection("names", read_model=Model)

    @projection.on(OrderPlaced)
    def note(order: OrderPlaced, model: Model) -> None:
        model.told.append("handled")
        model.stack("add", order.customer)

    handlers = desk.compile(projection)
    desk.page(handlers, [stored(ANN), stored(BOB)])
    assert desk.rows("SELECT name FROM names ORDER BY name") == [("ann",), ("bob",)]
    desk.compile(projection)
    with desk.transaction():
        handlers.reset(desk.connection)
    assert desk.rows("SELECT name FROM names") == []
    with desk.transaction():
        handlers.reset(desk.connection, delete=True)
    assert Model.told == [
        *("is_initialised", "init"),
        *("handled", "handled", "persist", "add ann", "add bob"),
        "is_initialised",
        *("reset", "delete"),
    ]


@pytest.mark.covers("PROJ-12")
def test_tables_are_made_emptied_and_dropped(desk: Desk) -> None:
    """Tables of the read model that are missing are made at the start; a reset empties them, a deletion drops them."""
    projection = totals()

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, rows: Rows) -> None:
        rows.increment(CustomerTotal, {"customer": order.customer}, orders=1)

    desk.run(projection, ANN)
    handlers = desk.compile(projection)
    with desk.transaction():
        handlers.reset(desk.connection)
    assert kept(desk) == []
    desk.page(handlers, [stored(ANN)])
    with desk.transaction():
        handlers.reset(desk.connection, delete=True)
    desk.run(projection, BOB)
    assert kept(desk) == [("bob", 1, 0)]


class Totals:
    """Handlers in a class, made once a page with what its constructor asks for."""

    made = 0

    def __init__(self, session: Session, gateway: Gateway) -> None:
        type(self).made += 1
        self.session, self.gateway = session, gateway

    @on(OrderPlaced)
    def add(self, order: OrderPlaced) -> None:
        """Add an order."""
        count(self.session, order.customer, order.total_cents)

    @on(OrderShipped, name="ship")
    async def ship(self, order: OrderShipped) -> None:
        """Note a shipment."""
        self.gateway.calls.append(order.order_id)


def test_the_methods_of_a_class_are_handlers(desk: Desk) -> None:
    """``handlers=Class`` brings every method that is marked with ``@on``; the instance is made once a page."""
    gateway = Gateway()
    desk.dependencies.provide_value(Gateway, gateway)
    Totals.made = 0
    projection = totals(handlers=Totals)
    assert [each.name for each in projection.handlers] == ["Totals.add", "ship"]
    desk.run(projection, ANN, ANN, OrderShipped(order_id="7"))
    assert Totals.made == 1
    assert kept(desk) == [("ann", 2, 1000)]
    assert gateway.calls == ["7"]
