"""An order as a Penstock event, for everything of ours that is measured."""

from penstock import Event

__all__ = ["OrderPlaced"]


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """The order, declared as a user would; in a store the first event of a stream of its own."""

    number: int
    order_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    placed_ns: int
