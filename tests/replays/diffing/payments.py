"""Payments and what is made of them, for the tests of throw-away copies."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from penstock import App
from penstock.projections import Rows
from tests.replays.core.shop import Paid

__all__ = ["content_of", "declare", "pay", "total_table"]


def total_table(name: str, *more: Column[Any], cents: Any = BigInteger) -> Table:
    """What each customer has paid."""
    return Table(
        name, MetaData(), Column("customer", Text, primary_key=True), Column("cents", cents, default=0), *more
    )


def declare(
    app: App, name: str, table: Table, amount: Callable[[Paid], int] = lambda paid: paid.cents
) -> Any:
    """A projection that sums up *amount*."""
    projection = app.projection(name, tables=[table])

    @projection.on(Paid)
    def add(paid: Paid, rows: Rows) -> None:
        rows.increment(table, {"customer": paid.customer}, cents=amount(paid))

    return projection


async def pay(app: App, count: int, customers: int = 7) -> None:
    """Append payments of 1, 2, 3, ... cents by customers in turn."""
    await app.store().append(
        [Paid(customer=f"c{number % customers}", cents=number) for number in range(1, count + 1)]
    )


def content_of(app: App) -> dict[str, list[Any]]:
    """Everything in the live file."""
    database = app.store().database
    with closing(database.connect()) as connection:
        names = database.execute(
            connection, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: database.execute(connection, f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
            for [name] in names
        }
