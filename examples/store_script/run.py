"""A business row and its event, in one transaction of the standard library's sqlite3."""

import sqlite3
from contextlib import closing

from penstock import App, Event
from penstock.errors import WrongVersionError

app = App("shop", store="sqlite:///shop.db")


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str
    cents: int


def place(connection: sqlite3.Connection, order_id: str, cents: int) -> None:
    connection.execute("INSERT INTO orders VALUES (?, ?)", (order_id, cents))
    # Appended when this returns, and there for others when the connection commits.
    app.store().append(OrderPlaced(order_id=order_id, cents=cents), within=connection, expected_version=0)


with app.sync as shop, closing(sqlite3.connect("shop.db")) as connection:
    shop.store().open()  # makes the tables of the store beside those of the shop
    connection.execute("CREATE TABLE orders (id TEXT, cents INTEGER)")

    with connection:  # commits
        place(connection, "17", 1200)

    try:
        with connection:  # rolls back
            place(connection, "18", 300)
            raise RuntimeError("the card was refused")
    except RuntimeError as failure:
        print("rolled back:", failure)

    try:
        with connection:
            place(connection, "17", 1200)
    except WrongVersionError as conflict:
        print("rolled back:", conflict.stream, "has", conflict.actual, "event")

    print("orders:", connection.execute("SELECT id, cents FROM orders").fetchall())
    print("events:", [(event.stream, event.name) for event in shop.store().read()])
