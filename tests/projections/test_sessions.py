"""A session of a page keeps the rows that handlers have read, as long as nobody else can have changed them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, ForeignKey, event, func, select, text
from sqlalchemy.orm import Mapped, Session, column_property, mapped_column, relationship

from penstock.projections import Projection, Rows
from penstock.store.work._alchemy import Alchemy
from tests.projections.shop import Base, CustomerTotal, Desk, OrderPlaced, stored


class Cart(Base):
    """A row with others that hang on it."""

    __tablename__ = "carts"

    cart_id: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(default="")


class CartLine(Base):
    """One of them, which the database deletes along."""

    __tablename__ = "cart_lines"

    line_id: Mapped[str] = mapped_column(primary_key=True)
    cart_id: Mapped[str] = mapped_column(ForeignKey("carts.cart_id", ondelete="CASCADE"))


class Shelf(Base):
    """A row that is loaded with others."""

    __tablename__ = "shelves"

    shelf_id: Mapped[str] = mapped_column(primary_key=True)
    books: Mapped[list["Book"]] = relationship()


class Book(Base):
    """One of them."""

    __tablename__ = "books"

    book_id: Mapped[str] = mapped_column(primary_key=True)
    shelf_id: Mapped[str] = mapped_column(ForeignKey("shelves.shelf_id"))


class Counted(Base):
    """A row with a column that a query computes."""

    __table__ = CustomerTotal.__table__
    carts = column_property(select(func.count(Cart.cart_id)).scalar_subquery())


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that SQLAlchemy runs in pages."""
    seen: list[str] = []
    plain: Callable[[Alchemy], Any] = vars(Alchemy)["connection"].fget

    def watched(self: Alchemy) -> Any:
        is_new = self._connection is None
        connection = plain(self)
        if is_new:
            event.listen(connection, "before_cursor_execute", lambda *told: seen.append(told[2].split()[0]))
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(Alchemy, "connection", property(watched))
        yield seen


def placed(number: int, customer: str) -> OrderPlaced:
    """An order."""
    return OrderPlaced(order_id=f"o-{number}", customer=customer, total_cents=1)


def get_and_change(order: OrderPlaced, session: Session) -> None:
    """What handlers do most."""
    total = session.get(CustomerTotal, order.customer)
    if total is None:
        total = CustomerTotal(customer=order.customer, orders=0, total_cents=0)
        session.add(total)
    total.orders += 1
    total.total_cents += order.total_cents


@pytest.mark.covers("PROJ-8")
def test_a_row_is_read_once_a_page_and_written_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events of the page change it: one SELECT for each row, and one flush for all when nothing reads."""
    projection = Projection("totals", tables=[CustomerTotal])
    projection.on(OrderPlaced)(get_and_change)
    customers = [f"c{number}" for number in range(5)]
    handlers = desk.compile(projection)
    desk.page(handlers, [stored(placed(number, each)) for number, each in enumerate(customers)])
    with statements(monkeypatch) as seen:
        desk.page(handlers, [stored(placed(number, customers[number % 5])) for number in range(100)])
    assert seen.count("SELECT") == 5
    # Each of the five reads writes what was changed before; the changes of the other 95 events are one flush.
    assert seen.count("UPDATE") == 5
    assert desk.rows("SELECT customer, orders FROM customer_totals ORDER BY customer") == [
        (each, 21) for each in customers
    ]


def test_rows_that_are_only_added_are_one_statement(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written before the end of the page."""
    projection = Projection("carts", tables=[Cart])

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session) -> None:
        session.add(Cart(cart_id=order.order_id, note=""))

    handlers = desk.compile(projection)
    with statements(monkeypatch) as seen:
        desk.page(handlers, _stored(100))
    assert seen == ["INSERT"]
    assert desk.rows("SELECT count(*) FROM carts") == [(100,)]


SQL = "UPDATE customer_totals SET orders = orders + 10"


def by_text(order: OrderPlaced, session: Session) -> None:
    """A statement of text."""
    session.execute(text(SQL))


def by_statement(order: OrderPlaced, session: Session) -> None:
    """A statement on the table, past the mapped class."""
    table: Any = CustomerTotal.__table__
    session.execute(table.update().values(orders=table.c.orders + 10))


def by_its_connection(order: OrderPlaced, session: Session) -> None:
    """Past the session, by the connection that it works on."""
    session.flush()
    session.connection().exec_driver_sql(SQL)


def by_the_connection(order: OrderPlaced, connection: Connection) -> None:
    """Past the session, by a connection of SQLAlchemy's."""
    connection.execute(text(SQL))


def by_rows(order: OrderPlaced, rows: Rows) -> None:
    """Held back until something reads."""
    rows.increment(CustomerTotal, {"customer": order.customer}, orders=10)


def by_rows_of_a_name(order: OrderPlaced, rows: Rows) -> None:
    """The same, without SQLAlchemy knowing which class that is."""
    rows.increment("customer_totals", {"customer": order.customer}, orders=10, cents=0)


def by_the_driver(order: OrderPlaced, raw: sqlite3.Connection) -> None:
    """Past SQLAlchemy."""
    raw.execute(SQL)


def by_psycopg(order: OrderPlaced, raw: psycopg.Connection[Any]) -> None:
    """The same on PostgreSQL."""
    raw.execute(SQL)


@pytest.mark.covers("PROJ-8")
@pytest.mark.parametrize(
    "other",
    [by_text, by_statement, by_its_connection, by_the_connection, by_rows, by_rows_of_a_name, "raw"],
)
def test_what_others_change_is_read_again(desk: Desk, other: Any) -> None:
    """A handler that gets a row and changes it works on what the one before it has made of it, by whatever means."""
    if other == "raw":
        other = by_the_driver if desk.database.dialect == "sqlite" else by_psycopg
    projection = Projection("totals", tables=[CustomerTotal])
    projection.on(OrderPlaced)(get_and_change)
    projection.on(OrderPlaced)(other)
    desk.run(projection, *(placed(number, "ann") for number in range(4)))
    assert desk.rows("SELECT orders FROM customer_totals") == [(44,)]


def test_rows_that_a_deletion_takes_along_are_gone(desk: Desk) -> None:
    """The database deletes what hangs on a row; a handler that asks for it does not find it."""
    projection = Projection("carts", tables=[Cart, CartLine])
    found: list[bool] = []

    @projection.on(OrderPlaced)
    def change(order: OrderPlaced, session: Session) -> None:
        found.append(session.get(CartLine, "1") is not None)
        if order.order_id == "o-0":
            session.add(Cart(cart_id="c", note=""))
            session.flush()
            session.add(CartLine(line_id="1", cart_id="c"))
        if order.order_id == "o-1":
            session.delete(session.get(Cart, "c"))

    handlers = desk.compile(projection)
    if desk.database.dialect == "sqlite":
        desk.database.execute(desk.connection, "PRAGMA foreign_keys = ON")
    desk.page(handlers, _stored(3))
    assert found == [False, True, False]


@pytest.mark.parametrize("cls", [Shelf, Counted])
def test_what_is_loaded_with_a_row_is_loaded_again(desk: Desk, cls: type) -> None:
    """Related rows and computed columns change without the row; one that has such is not kept."""
    projection = Projection("shelves", tables=[Shelf, Book, Cart, CustomerTotal])
    seen: list[int] = []

    @projection.on(OrderPlaced)
    def look(order: OrderPlaced, session: Session) -> None:
        if order.order_id == "o-0":
            session.add_all([Shelf(shelf_id="s"), CustomerTotal(customer="ann", orders=0, total_cents=0)])
        session.add_all([Book(book_id=order.order_id, shelf_id="s"), Cart(cart_id=order.order_id, note="")])
        session.flush()
        if cls is Shelf:
            shelf = session.get(Shelf, "s")
            seen.append(len(shelf.books) if shelf is not None else 0)
        else:
            counted = session.get(Counted, "ann")
            seen.append(counted.carts if counted is not None else 0)

    desk.page(desk.compile(projection), _stored(3))
    assert seen == [1, 2, 3]


def _stored(count: int) -> list[Any]:
    return [stored(placed(number, "ann")) for number in range(count)]
