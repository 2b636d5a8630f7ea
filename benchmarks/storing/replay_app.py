"""The app whose read models are built anew: what customers spent, as the hand-written sides sum it, and every order.

It is a module of its own because the processes of a build by several load it; the database is named by the environment.
"""

import hashlib
import os
from typing import Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table

from benchmarks.event import OrderPlaced
from penstock import App
from penstock.projections import Rows

__all__ = ["ORDERS", "SCORES", "SPENT", "STORE", "app"]

STORE: Final = "BENCH_STORE"
SPENT: Final = "spent"
ORDERS: Final = "orders"
SCORES: Final = "scores"
_ROUNDS: Final = 150

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
_scores = Table(SCORES, _metadata, Column("order_id", String, primary_key=True), Column("score", String))

spent = app.projection(SPENT, tables=[_spent])
orders = app.projection(ORDERS, tables=[_orders], by_key=True)
scores = app.projection(SCORES, tables=[_scores], by_key=True)


@spent.on(OrderPlaced)
def spend(order: OrderPlaced, rows: Rows) -> None:
    """What a customer spent."""
    rows.increment(_spent, {"customer": order.customer}, cents=order.total_cents)


@orders.on(OrderPlaced)
def keep(order: OrderPlaced, rows: Rows) -> None:
    """One row for each order."""
    rows.insert(_orders, order_id=order.order_id, customer=order.customer, cents=order.total_cents)


@scores.on(OrderPlaced)
def score(order: OrderPlaced, rows: Rows) -> None:
    """One row for each order, with a tenth of a millisecond of work for it."""
    found = hashlib.pbkdf2_hmac("sha256", order.order_id.encode(), order.customer.encode(), _ROUNDS)
    rows.insert(_scores, order_id=order.order_id, score=found.hex())
