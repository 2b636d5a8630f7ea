"""An app that other processes can load, for builds by several: what each customer has paid, and how often."""

import os
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock import App
from tests.replays.core.shop import Paid

__all__ = ["app"]


class Base(DeclarativeBase):
    """The tables."""


class Total(Base):
    """One row for each customer."""

    __tablename__ = "totals"
    customer: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger, default=0)
    payments: Mapped[int] = mapped_column(default=0)
    last: Mapped[int] = mapped_column(BigInteger, default=0)


class Line(Base):
    """One row for each payment."""

    __tablename__ = "lines"
    customer: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger, default=0)


app = App("shop", streams="memory://", store=os.environ.get("LANES_STORE", "sqlite:///nowhere.db"))
totals = app.projection("totals", tables=[Total], by_key=True, page=40)
lines = app.projection("lines", tables=[Line], by_key=True, page=60)


@totals.on(Paid)
def add(event: Paid, session: Session) -> None:
    """Count up, and keep the last: order matters within a key."""
    if event.cents == int(os.environ.get("LANES_FAIL_AT", "-1")):
        raise ValueError(f"what is {event.cents}?")
    row: Any = session.get(Total, event.customer)
    if row is None:
        row = Total(customer=event.customer, cents=0, payments=0)
        session.add(row)
    row.cents += event.cents
    row.payments += 1
    row.last = event.cents


@lines.on(Paid)
def note(event: Paid, session: Session) -> None:
    """One more."""
    session.add(Line(customer=event.customer, number=event.cents, cents=event.cents))
