"""The shop, as it is in the release that RELEASE says: the second one counts orders as well."""

import os

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.projections import Rows

release = int(os.environ.get("RELEASE", "1"))
app = App("shop", streams="memory://", store="sqlite:///shop.db")


class OrderPlaced(Event, name="order.placed", key="customer"):
    customer: str
    cents: int


class Base(DeclarativeBase):
    pass


class Total(Base):
    __tablename__ = "totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(default=0)
    if release > 1:
        orders: Mapped[int] = mapped_column(default=0)


totals = app.projection("totals", tables=[Total], version=release)


@totals.on(OrderPlaced)
def add(order: OrderPlaced, rows: Rows) -> None:
    more = {"orders": 1} if release > 1 else {}
    rows.increment(Total, {"customer": order.customer}, cents=order.cents, **more)
