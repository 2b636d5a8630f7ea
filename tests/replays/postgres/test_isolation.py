"""Whatever the handlers of a copy do, production stays as it is: a page that touches it is refused and rolled back."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Column, Integer, MetaData, String, Table, event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock.errors import IsolationError
from penstock.projections import Projection, Rows
from penstock.replays._postgres.copy import PostgresCopy
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench


class Base(DeclarativeBase):
    """Read models."""


class Total(Base):
    """What each customer has ordered."""

    __tablename__ = "totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)


SALES = MetaData(schema="sales")
TALLY = Table("tally", SALES, Column("customer", String, primary_key=True), Column("orders", Integer))
PRICES = Table("prices", SALES, Column("item", String, primary_key=True), Column("cents", Integer))

ORDER = OrderPlaced(order_id="o-1", customer="ann", total_cents=5)


def projecting(handler: Callable[..., Any], *tables: object) -> Projection:
    """A projection of orders with one handler."""
    projection = Projection("totals", tables=tables or (Total,))
    projection.on(OrderPlaced)(handler)
    return projection


def by_rows(order: OrderPlaced, rows: Rows) -> None:
    """The helper for rows."""
    rows.increment(Total, {"customer": order.customer}, orders=1)


def by_session(order: OrderPlaced, session: Session) -> None:
    """The ORM."""
    total = session.get(Total, order.customer)
    if total is None:
        session.add(Total(customer=order.customer, orders=1))
    else:
        total.orders += 1


def by_core(order: OrderPlaced, connection: sa.Connection) -> None:
    """SQLAlchemy without the ORM."""
    table = Total.__table__
    found = connection.execute(select(table.c.orders).where(table.c.customer == order.customer)).scalar()
    if found is None:
        connection.execute(sa.insert(Total).values(customer=order.customer, orders=1))
    else:
        connection.execute(
            sa.update(Total).where(table.c.customer == order.customer).values(orders=found + 1)
        )


def by_driver(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
    """Plain SQL over psycopg."""
    connection.execute(
        "INSERT INTO totals (customer, orders) VALUES (%s, 1) "
        "ON CONFLICT (customer) DO UPDATE SET orders = totals.orders + 1",
        (order.customer,),
    )


def made(bench: Bench, projection: Projection) -> PostgresCopy:
    """A copy beside a live read model that has handled one order."""
    bench.live(projecting(by_rows), ORDER)
    return bench.made(projection)


def refused(bench: Bench, projection: Projection) -> str:
    """What is said when the copy handles an order; production is untouched, and so is the copy."""
    copy = made(bench, projection)
    before = bench.rows("SELECT * FROM totals")
    with pytest.raises(IsolationError) as caught:
        bench.play(copy, projection, ORDER)
    assert bench.rows("SELECT * FROM totals") == before == [("ann", 1)]
    assert bench.in_copy(copy, "SELECT * FROM totals") == []
    return str(caught.value)


@pytest.mark.covers("ZDT-2", "ZDT-3")
@pytest.mark.parametrize("handler", [by_rows, by_session, by_core, by_driver])
def test_handlers_write_the_copy_without_knowing(bench: Bench, handler: Callable[..., Any]) -> None:
    """By every way that a page offers; production has what it had."""
    projection = projecting(handler)
    copy = made(bench, projection)
    bench.play(copy, projection, *[ORDER] * 3)
    bench.play(copy, projection, ORDER)
    assert bench.in_copy(copy, "SELECT * FROM totals") == [("ann", 4)]
    assert bench.rows("SELECT * FROM totals") == [("ann", 1)]
    assert bench.rows(f"SELECT * FROM {copy.where}.totals") == [("ann", 4)]


@pytest.mark.covers("ZDT-3")
@pytest.mark.parametrize("schema", ["sales", "public"])
def test_tables_whose_definitions_name_a_schema_are_found_in_the_copy(bench: Bench, schema: str) -> None:
    """Those of the same schema that are not copied are read where they are, by session, rows and connection."""
    bench.sql("CREATE SCHEMA IF NOT EXISTS sales")
    metadata = MetaData(schema=schema)
    tally = Table("tally", metadata, Column("customer", String, primary_key=True), Column("orders", Integer))
    prices = Table("prices", metadata, Column("item", String, primary_key=True), Column("cents", Integer))

    def count(order: OrderPlaced, rows: Rows, connection: sa.Connection, session: Session) -> None:
        cents = connection.execute(select(prices.c.cents)).scalar_one()
        rows.increment(tally, {"customer": order.customer}, orders=cents)
        rows.increment(f"{schema}.tally", {"customer": "by name"}, orders=1)
        session.execute(sa.insert(tally).values(customer="by session", orders=1))

    projection = projecting(count, tally)
    with closing(psycopg.connect(bench.url, autocommit=True)):
        engine = bench.database.engine()
        metadata.create_all(engine)
    bench.sql(f"INSERT INTO {schema}.prices VALUES ('pen', 7)")
    copy = bench.made(projection)
    bench.play(copy, projection, ORDER)
    found = bench.in_copy(copy, "SELECT * FROM tally ORDER BY customer")
    assert found == [("ann", 7), ("by name", 1), ("by session", 1)]
    assert bench.rows(f"SELECT * FROM {schema}.tally") == []


@pytest.mark.covers("ZDT-3")
@pytest.mark.parametrize("ending", ["", " WHERE false"])
def test_sql_that_names_the_schema_of_production_is_refused(bench: Bench, ending: str) -> None:
    """The relation is named, and what to do about it; also where no row was changed."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"UPDATE public.totals SET orders = 99{ending}".encode())

    said = refused(bench, projecting(handler))
    assert "projection 'totals' wrote table public.totals" in said
    assert "without a schema" in said


@pytest.mark.covers("ZDT-3")
def test_reading_what_the_copy_replaces_is_refused(bench: Bench) -> None:
    """What production's own copy says is of another time: the result would be wrong without an error."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("INSERT INTO totals SELECT customer, orders + 1 FROM public.totals")

    assert "read table public.totals, the live one" in refused(bench, projecting(handler))


@pytest.mark.covers("ZDT-3")
def test_a_view_on_what_the_copy_replaces_is_refused(bench: Bench) -> None:
    """A view goes on showing the live table."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("INSERT INTO totals SELECT 'bob', orders FROM best")

    bench.live(projecting(by_rows))
    bench.sql("CREATE VIEW best AS SELECT * FROM totals")
    assert "public.totals" in refused(bench, projecting(handler))


@pytest.mark.covers("ZDT-3")
def test_an_outside_table_may_be_read_and_not_written(bench: Bench) -> None:
    """Reading tables that are not copied is what handlers do; writing one would count everything once more."""
    bench.sql("CREATE TABLE prices (cents integer)", "INSERT INTO prices VALUES (7)")

    def reading(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("INSERT INTO totals SELECT 'read', cents FROM prices FOR UPDATE")

    def writing(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("UPDATE prices SET cents = cents + 1")

    projection = projecting(reading)
    copy = made(bench, projection)
    bench.play(copy, projection, ORDER)
    assert bench.in_copy(copy, "SELECT * FROM totals") == [("read", 7)]
    copy.drop()
    bench.sql("DROP TABLE totals")
    said = refused(bench, projecting(writing))
    assert "wrote table public.prices, which is not part of the copy" in said
    assert "tables=" in said
    assert bench.rows("SELECT * FROM prices") == [(7,)]


@pytest.mark.covers("ZDT-3")
def test_a_function_that_writes_elsewhere_is_refused(bench: Bench) -> None:
    """Also one with a search path of its own."""
    bench.sql(
        "CREATE TABLE audit (what text)",
        "CREATE FUNCTION note(text) RETURNS void LANGUAGE sql SET search_path = public "
        "AS $$ INSERT INTO audit VALUES ($1) $$",
    )

    def handler(order: OrderPlaced, session: Session) -> None:
        session.execute(text("SELECT note('x')"))

    assert "public.audit" in refused(bench, projecting(handler))
    assert bench.rows("SELECT * FROM audit") == []


@pytest.mark.covers("ZDT-3")
def test_drawing_from_a_sequence_of_production_is_refused(bench: Bench) -> None:
    """It would leave holes in production's numbers."""
    bench.sql("CREATE SEQUENCE numbers")

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("INSERT INTO totals SELECT 'ann', nextval('numbers')")

    said = refused(bench, projecting(handler))
    assert "drew from sequence public.numbers" in said


@pytest.mark.covers("ZDT-3")
def test_what_a_trigger_writes_elsewhere_is_refused(bench: Bench) -> None:
    """A trigger that a definition brings along writes where it always did."""
    bench.sql(
        "CREATE TABLE audit (what text)",
        "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO public.audit VALUES (NEW.customer); RETURN NEW; END $$",
    )
    metadata = MetaData()
    table = Table("totals", metadata, Column("customer", String, primary_key=True), Column("orders", Integer))
    statement: Any = sa.DDL
    event.listen(
        table,
        "after_create",
        statement(
            "CREATE TRIGGER noting AFTER INSERT ON totals FOR EACH ROW EXECUTE FUNCTION public.noted()"
        ),
    )

    def handler(order: OrderPlaced, rows: Rows) -> None:
        rows.increment(table, {"customer": order.customer}, orders=1)

    assert "public.audit" in refused(bench, projecting(handler, table))
    assert bench.rows("SELECT * FROM audit") == []


@pytest.mark.covers("ZDT-3")
def test_making_or_changing_tables_of_production_is_refused(bench: Bench) -> None:
    """A table made with a schema, and one changed."""
    for sql in ("CREATE TABLE public.more (n integer)", "ALTER TABLE public.totals ADD more integer"):

        def handler(order: OrderPlaced, connection: psycopg.Connection[Any], sql: str = sql) -> None:
            connection.execute(sql.encode())

        assert "public." in refused(bench, projecting(handler))
        bench.copy(projecting(handler)).drop()
        bench.sql("DROP TABLE totals")


@pytest.mark.covers("ZDT-3")
def test_temporary_tables_are_a_handlers_own(bench: Bench) -> None:
    """They are gone with the page, or with the connection."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CREATE TEMP TABLE scratch (n integer) ON COMMIT DROP")
        connection.execute("INSERT INTO scratch VALUES (3)")
        connection.execute("INSERT INTO totals SELECT 'ann', n FROM scratch")

    projection = projecting(handler)
    copy = made(bench, projection)
    bench.play(copy, projection, ORDER)
    assert bench.in_copy(copy, "SELECT * FROM totals") == [("ann", 3)]


@pytest.mark.covers("ZDT-3")
@pytest.mark.parametrize("swallows", [False, True])
def test_a_handler_that_ignores_its_session_is_refused(bench: Bench, swallows: bool) -> None:
    """Over an engine of its own it would commit by itself; it is stopped before, also if it catches the error."""
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(bench.url), poolclass=sa.NullPool
    )

    def handler(order: OrderPlaced, session: Session) -> None:
        try:
            with Session(engine) as own:
                own.add(Total(customer="mine", orders=1))
                own.commit()
        except Exception:
            if not swallows:
                raise

    said = refused(bench, projecting(handler))
    assert "another database engine" in said
    engine.dispose()


@pytest.mark.covers("ZDT-3")
def test_a_coroutine_that_ignores_its_session_is_refused(bench: Bench) -> None:
    """It runs in the thread of its page."""
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(bench.url), poolclass=sa.NullPool
    )

    async def handler(order: OrderPlaced) -> None:
        await asyncio.sleep(0)
        with engine.begin() as connection:
            connection.execute(sa.insert(Total).values(customer="mine", orders=1))

    assert "another database engine" in refused(bench, projecting(handler))
    engine.dispose()


@pytest.mark.covers("ZDT-3")
def test_other_engines_work_beside_the_pages_of_a_copy(bench: Bench) -> None:
    """It is the handlers that are watched, not the program."""
    projection = projecting(by_session)
    copy = made(bench, projection)
    bench.play(copy, projection, ORDER)
    with bench.database.engine().begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM totals")).scalar() == 1


@pytest.mark.covers("ZDT-3")
def test_what_a_savepoint_took_back_is_no_fault(bench: Bench) -> None:
    """Nothing of it is left, neither the change nor the lock."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any], rows: Rows) -> None:
        connection.execute("SAVEPOINT here")
        connection.execute("DELETE FROM public.totals")
        connection.execute("ROLLBACK TO SAVEPOINT here")
        rows.increment(Total, {"customer": order.customer}, orders=1)

    projection = projecting(handler)
    copy = made(bench, projection)
    bench.play(copy, projection, ORDER)
    assert bench.in_copy(copy, "SELECT * FROM totals") == [("ann", 1)]
    assert bench.rows("SELECT * FROM totals") == [("ann", 1)]


@pytest.mark.covers("ZDT-3")
def test_appending_to_the_store_is_refused(bench: Bench) -> None:
    """Events that a handler stored once are stored."""

    def handler(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
        connection.execute("DELETE FROM penstock_events")

    assert "public.penstock_events" in refused(bench, projecting(handler))


@pytest.mark.covers("ZDT-3")
def test_users_engines_of_a_copy_are_in_it(bench: Bench) -> None:
    """Every transaction of `Database.engine`, also the next ones on the same connection."""
    projection = projecting(by_rows)
    copy = made(bench, projection)
    bench.play(copy, projection, *[ORDER] * 5)
    engine = copy.database.engine()
    for _ in range(8):
        with Session(engine) as session:
            assert session.scalar(select(Total.orders)) == 5
            session.commit()
