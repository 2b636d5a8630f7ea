"""The app whose read models are built anew: what customers spent, as the hand-written sides sum it, and every order.

It is a module of its own because the processes of a build by several load it; the database is named by the environment.
"""

import os
from typing import Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table

from penstock import App, Event
from penstock.projections import Rows

__all__ = ["ORDERS", "SPENT", "STORE", "OrderPlaced", "app"]

STORE: Final = "BENCH_STORE"
SPENT: Final = "spent"
ORDERS: Final = "orders"

app = App("bench", store=os.environ.get(STORE, "sqlite:///nowhere.db"), streams="memory://")

_metadata = MetaData()
_spent = Table(SPENT, _metadata, Column("customer", String, primary_key=True), Column("cents", BigInteger))
_orders = Table(
    ORDERS,
    _metadata,
    Column("order_id", String, primary_key=True),
    Column("customer", String),
    Column("cents", BigInteger),
)


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order, the first event of a stream of its own."""

    number: int
    order_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    placed_ns: int


spent = app.projection(SPENT, tables=[_spent])
orders = app.projection(ORDERS, tables=[_orders], by_key=True)


@spent.on(OrderPlaced)
def spend(order: OrderPlaced, rows: Rows) -> None:
    """What a customer spent."""
    rows.increment(_spent, {"customer": order.customer}, cents=order.total_cents)


@orders.on(OrderPlaced)
def keep(order: OrderPlaced, rows: Rows) -> None:
    """One row for each order."""
    rows.upsert(_orders, {"order_id": order.order_id}, customer=order.customer, cents=order.total_cents)
