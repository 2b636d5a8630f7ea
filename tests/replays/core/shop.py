"""A small shop whose read models are replayed: made in the version and with the faults that a test wants."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock import App
from penstock.event import Event
from penstock.projections import Derived, Generation
from penstock.replays.copies import copy_of
from penstock.store.database import Database

__all__ = [
    "Noted",
    "Opened",
    "Paid",
    "copied",
    "live_with",
    "make_app",
    "paid",
    "rows",
    "schema_of",
    "totals",
]


class Paid(Event, name="paid", key="customer"):
    """Somebody paid."""

    customer: str
    cents: int


class Opened(Event, name="opened", key="shop"):
    """Nothing that a read model is about."""

    shop: str


class Noted(Event, name="noted", key="customer"):
    """Derived of a payment."""

    customer: str


def make_app(
    url: str,
    *,
    version: int = 1,
    factor: int = 1,
    before: Callable[[Paid], None] | None = None,
    page: int = 50,
    counts: bool = False,
    derives: bool = False,
    **options: Any,
) -> App:
    """An app with the projection ``totals``: what each customer has paid, *factor* times.

    From version 2 on its table has a column more. *before* is called with each event first. *counts*: a second
    projection, ``counts``, is there as well. *derives*: ``totals`` appends an event for each.
    """

    class Base(DeclarativeBase):
        pass

    class Total(Base):
        __tablename__ = "totals"
        customer: Mapped[str] = mapped_column(primary_key=True)
        cents: Mapped[int] = mapped_column(BigInteger, default=0)
        if version > 1:
            payments: Mapped[int] = mapped_column(default=0)

    app = App("shop", streams="memory://", store=url)
    projection = app.projection("totals", tables=[Total], version=version, page=page, **options)

    def add(event: Paid, session: Session) -> None:
        if before is not None:
            before(event)
        row: Any = session.get(Total, event.customer)
        if row is None:
            row = Total(customer=event.customer, cents=0)
            session.add(row)
            session.flush()
        row.cents += event.cents * factor
        if version > 1:
            row.payments += 1

    def add_and_derive(event: Paid, session: Session, derived: Derived, generation: Generation) -> None:
        add(event, session)
        derived.emit(Noted(customer=event.customer), event_stream="notes")

    projection.on(Paid)(add_and_derive if derives else add)
    if counts:

        class Count(Base):
            __tablename__ = "counts"
            customer: Mapped[str] = mapped_column(primary_key=True)
            payments: Mapped[int] = mapped_column(default=0)

        counting = app.projection("counts", tables=[Count], version=version, page=page)

        @counting.on(Paid)
        def count(event: Paid, session: Session) -> None:
            row = session.get(Count, event.customer)
            if row is None:
                row = Count(customer=event.customer, payments=0)
                session.add(row)
                session.flush()
            row.payments += 1

    return app


def paid(count: int, *, customers: int = 5, first: int = 0) -> list[Paid]:
    """So many payments of a few customers."""
    return [Paid(customer=f"c{number % customers}", cents=number) for number in range(first, first + count)]


async def live_with(new_app: Callable[..., Any], count: int = 120, **options: Any) -> App:
    """An app whose live read model is up to date."""
    app: App = await new_app(**options)
    await app.store().append(paid(count))
    await app.catch_up()
    return app


def copied(app: App, key: str) -> dict[str, tuple[Any, ...]]:
    """The rows of the read model in the copy of a replay, in the version of *app*."""
    return totals(copy_of(key, [app.projections["totals"]], live=app.store().database).database)


def totals(database: Database, table: str = "totals") -> dict[str, tuple[Any, ...]]:
    """The rows of a read model, by customer, as *database* sees it."""
    return {row[0]: tuple(row[1:]) for row in rows(database, f"SELECT * FROM {table}")}


def rows(database: Database, sql: str, *parameters: object) -> list[Any]:
    """The rows of a query, in a transaction of its own."""
    with closing(database.connect()) as connection:
        database.begin(connection, write=False)
        try:
            return database.execute(connection, sql, parameters).fetchall()
        finally:
            connection.rollback()


def schema_of(database: Database) -> set[str]:
    """The names of all tables, views, indexes and sequences that are not the server's own, with schemas and files."""
    if database.dialect == "sqlite":
        found = {row[0] for row in rows(database, "SELECT name FROM sqlite_master")}
        folder = database.path.parent  # type: ignore[attr-defined]
        return found | {file.name for file in folder.iterdir() if not file.name.endswith(("-wal", "-shm"))}
    return {
        f"{schema}.{name}"
        for schema, name in rows(
            database,
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'",
        )
    } | {
        row[0]
        for row in rows(database, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'penstock%'")
    }
