"""Events that the tests of the store append."""

from typing import Any

from penstock import Event
from penstock.event import upcaster

__all__ = ["Moved", "OrderPaid", "OrderPlaced", "Ping"]


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order with its price."""

    order_id: str
    cents: int = 1


class OrderPaid(Event, name="order.paid", key="order_id", version=2):
    """An order that was paid; its first version knew no currency."""

    order_id: str
    currency: str


@upcaster(OrderPaid, from_version=1)
def with_currency(payload: dict[str, Any]) -> dict[str, Any]:
    """What was paid before there was a choice was paid in euros."""
    return {**payload, "currency": "EUR"}


class Ping(Event, name="system.ping"):
    """Without a key and without a body."""


class Moved(Event, name="line-item.moved", key="item"):
    """Of a category with a dash in it."""

    item: str
