"""A table with everything that can hang on one, and switches of it without an engine."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg

from penstock.projections import Projection
from penstock.replays._meeting import Meeting
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays.abc import Finding, Held, Switched
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench

__all__ = [
    "TOTALS",
    "found",
    "has_role",
    "marks",
    "nothing",
    "order",
    "projected",
    "promoted",
    "refusals",
    "standing",
    "switched",
]

TOTALS = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, orders integer NOT NULL DEFAULT 0)",
    "CREATE INDEX totals_by_mark ON totals (mark)",
    "INSERT INTO totals (customer, mark) VALUES ('ann', 'old')",
)


def nothing(_: object) -> None:
    """Nobody is told."""


@contextlib.contextmanager
def standing(copy: PostgresCopy) -> Iterator[Held]:
    """Both generations in one transaction, as nobody else moves them."""
    with closing(copy.live_database.connect()) as connection:
        copy.live_database.begin(connection)
        yield Meeting(dict.fromkeys(copy.projections, 0), connection, connection)
        connection.commit()


def switched(
    copy: PostgresCopy, record: Callable[[Held], None] = nothing, *, prepare: bool = True
) -> Switched:
    """One switch."""
    if prepare:
        copy.prepare_switch(nothing)
    return copy.switch(lambda: standing(copy), record)


def projected(*tables: Any, marks: str, name: str = "totals") -> Projection:
    """A projection that notes each order in the first table, marked."""
    projection = Projection(name, tables=tables)
    table = tables[0] if isinstance(tables[0], str) else tables[0].name

    @projection.on(OrderPlaced)
    def note(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        place = table.replace('"', '""')
        connection.execute(
            f'INSERT INTO "{place}" (customer, mark) VALUES (%s, %s) ON CONFLICT (customer) DO NOTHING'.encode(),
            (order.customer, marks),
        )

    return projection


def order(customer: str = "ann") -> OrderPlaced:
    """An order."""
    return OrderPlaced(order_id=f"o-{customer}", customer=customer, total_cents=1)


def promoted(bench: Bench, table: str = "totals", *, customers: tuple[str, ...] = ("ann",)) -> PostgresCopy:
    """A live table with rows marked old that has given way to one with rows marked new."""
    copy = bench.made(projected(table, marks="new"))
    bench.play(copy, projected(table, marks="new"), *(order(each) for each in customers))
    switched(copy)
    return copy


def refusals(found: list[Finding]) -> dict[str, str]:
    """What stands in the way, by subject."""
    return {each.subject: each.message for each in found if each.severity == "refusal"}


def found(copy: PostgresCopy, severity: str) -> dict[str, str]:
    """What preflight says of one severity, by subject."""
    return {each.subject: each.message for each in copy.preflight() if each.severity == severity}


def marks(bench: Bench, query: str = "SELECT DISTINCT mark FROM totals") -> list[Any]:
    """What a query finds in its first column."""
    return [row[0] for row in bench.rows(query)]


def has_role(bench: Bench, name: str) -> bool:
    """Whether there is a user of that name."""
    return bool(bench.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", name))
