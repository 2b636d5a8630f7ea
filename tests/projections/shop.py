"""What the tests of projections share: events of a small shop, its read models, and a database to project into."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock.event import Event, event_type, is_event
from penstock.listeners import Dependencies
from penstock.message import Meta, new_event_id
from penstock.projections import Projection
from penstock.projections.abc import Handlers
from penstock.store.abc import Append, AppendSteps, StoredEvent
from penstock.store.database import Connection, Database, Dialect

__all__ = [
    "ANN",
    "BOB",
    "Base",
    "CustomerTotal",
    "Desk",
    "Gateway",
    "OrderLine",
    "OrderPlaced",
    "OrderShipped",
    "Target",
    "count",
    "kept",
    "stored",
    "totals",
]


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str
    customer: str
    total_cents: int


class OrderShipped(Event, name="order.shipped", key="order_id"):
    """An order went out."""

    order_id: str


class Base(DeclarativeBase):
    """Read models."""


class CustomerTotal(Base):
    """What each customer has ordered."""

    __tablename__ = "customer_totals"

    customer: Mapped[str] = mapped_column(String(200), primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)
    total_cents: Mapped[int] = mapped_column("cents", default=0)


class OrderLine(Base):
    """A table with a key of two columns."""

    __tablename__ = "order_lines"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    quantity: Mapped[int | None]


_POSITIONS = itertools.count(1)


def stored(
    event: object,
    *,
    stream: str = "order-1",
    position: int | None = None,
    event_id: str | None = None,
    **meta: Any,
) -> StoredEvent:
    """An event as a store would give it; of no class: a pair of name and body."""
    place = position or next(_POSITIONS)
    if is_event(type(event)):
        declared = event_type(type(event))
        name, data = declared.name, declared.encode(event)
        meta = {"version": declared.version, "key": declared.key_of(event), **meta}
    else:
        name, data = event  # type: ignore[misc]
    now = time.time_ns() // 1000
    return StoredEvent(
        position=place,
        stream=stream,
        stream_version=1,
        id=event_id or new_event_id(),
        name=name,
        meta=Meta(time=now, **meta),
        data=data,
        recorded_us=now,
    )


@dataclass
class Target:
    """As much of a store as handlers need: its database, and nothing appended."""

    database: Database
    rung: int = 0

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database."""
        return self.database.dialect

    @property
    def name(self) -> str:
        """The name of the store."""
        return self.database.name

    def steps(self, append: Append) -> AppendSteps:
        """Nothing can be appended to it."""
        raise AssertionError(append)

    def ring(self) -> None:
        """Count."""
        self.rung += 1


class Desk:
    """Runs the handlers of projections over pages, as the engine does, in one thread and without checkpoints."""

    def __init__(self, target: Any, dependencies: Dependencies | None = None) -> None:
        self.target = target
        self.database: Database = target.database
        self.dependencies = dependencies or Dependencies()
        self.connection: Connection = self.database.connect()

    def compile(self, projection: Projection) -> Handlers:
        """Its handlers, with the tables made."""
        handlers = projection.compile(self.dependencies, target=self.target)
        with self.transaction():
            handlers.prepare(self.connection)
        return handlers

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction, committed at the end and rolled back by an error."""
        self.database.begin(self.connection)
        try:
            yield self.connection
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    def page(
        self,
        handlers: Handlers,
        events: Sequence[StoredEvent],
        state: bytes | None = None,
        generation: str = "",
    ) -> bytes | None:
        """Handle one page."""
        self.database.begin(self.connection)
        page = handlers.begin(self.connection, state=state, generation=generation)
        try:
            for event in events:
                page.handle(event)
            written = page.finish()
        except BaseException:
            self.connection.rollback()
            page.discard()
            raise
        self.connection.commit()
        page.committed()
        return written

    def run(self, projection: Projection, *events: object, **how: Any) -> bytes | None:
        """Project events, in one page."""
        page = [each if isinstance(each, StoredEvent) else stored(each) for each in events]
        return self.page(self.compile(projection), page, **how)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query finds, outside of any page."""
        with self.transaction():
            found = self.database.execute(self.connection, sql, parameters).fetchall()
        return [tuple(row) for row in found]

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


class Gateway:
    """A thing that the app provides."""

    def __init__(self) -> None:
        self.calls: list[str] = []


ANN = OrderPlaced(order_id="1", customer="ann", total_cents=500)
BOB = OrderPlaced(order_id="2", customer="bob", total_cents=300)


def totals(**options: Any) -> Projection:
    """A projection into the table of totals."""
    return Projection("totals", tables=[CustomerTotal], **options)


def kept(desk: Desk) -> list[tuple[Any, ...]]:
    """The table of totals."""
    return desk.rows("SELECT customer, orders, cents FROM customer_totals ORDER BY customer")


def count(session: Session, customer: str, cents: int) -> None:
    """Add one order to a customer's total, by a session."""
    row = session.get(CustomerTotal, customer)
    if row is None:
        row = CustomerTotal(customer=customer, orders=0, total_cents=0)
        session.add(row)
    row.orders += 1
    row.total_cents += cents
