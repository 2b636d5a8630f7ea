"""An order as a pydantic model, for the frameworks whose documentation declares messages so."""

from pydantic import BaseModel

__all__ = ["OrderModel"]


class OrderModel(BaseModel):
    """The seven attributes of `benchmarks.orders.attributes`."""

    number: int
    order_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    placed_ns: int
