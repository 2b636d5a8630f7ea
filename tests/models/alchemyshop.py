"""The models of SQLAlchemy whose changes the tests watch."""

import enum
import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, ForeignKey, Numeric
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import PickleType

from penstock.models.sqlalchemy import ChangeEvents

__all__ = ["Base", "Customer", "Guest", "Level", "Order", "Person", "Pilot", "Thing"]


class Base(DeclarativeBase):
    """Tables of these tests."""


class Level(enum.Enum):
    """A value that has another name in JSON."""

    GOLD = "gold"


class Customer(ChangeEvents, Base):
    """A model with a bit of everything."""

    __tablename__ = "customers"
    __event_base__ = "customer"
    __event_exclude__ = ("password",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str | None]
    password: Mapped[str | None]
    visits: Mapped[int] = mapped_column(default=0)
    joined: Mapped[str] = mapped_column(server_default="today")
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")

    def emits_changes(self) -> bool:
        """Ghosts have none."""
        return self.name != "ghost"

    def event_additional(self) -> Mapping[str, object]:
        """Who it was."""
        return {"by": "tests"}


class Order(ChangeEvents, Base):
    """A model that says nothing about its events."""

    __tablename__ = "orders"

    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[bool] = mapped_column(default=False)
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Thing(ChangeEvents, Base):
    """Values that JSON does not have."""

    __tablename__ = "things"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2, asdecimal=True))
    at: Mapped[datetime | None]
    raw: Mapped[bytes | None]
    level: Mapped[Level | None]
    extra: Mapped[dict[str, Any] | None] = mapped_column(MutableDict.as_mutable(JSON))
    odd: Mapped[object | None] = mapped_column(PickleType)
    stamp: Mapped[int] = mapped_column(default=1, onupdate=7)


class Person(ChangeEvents, Base):
    """A model with others below it, and columns of other names than its attributes."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column("person_id", primary_key=True)
    name: Mapped[str] = mapped_column("full_name")
    note: Mapped[str | None] = mapped_column(deferred=True)
    kind: Mapped[str]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Pilot(Person):
    """A row in two tables."""

    __tablename__ = "pilots"

    id: Mapped[int] = mapped_column(ForeignKey("people.person_id", onupdate="CASCADE"), primary_key=True)
    hours: Mapped[int]

    __mapper_args__ = {"polymorphic_identity": "pilot"}  # noqa: RUF012


class Guest(Person):
    """A row in the table of another."""

    __event_base__ = "guest"

    __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012
