"""What handlers may ask for, on both databases."""

import sqlite3
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from penstock import Delivery, Group, GroupSettings, Message
from penstock.errors import (
    ConfigurationError,
    UnknownDependencyError,
    UsageError,
)
from penstock.listeners import Handling
from penstock.projections import Generation, Projection, ReadModel, Rows
from penstock.store.abc import StoredEvent
from tests.projections.shop import (
    ANN,
    BOB,
    CustomerTotal,
    Desk,
    Gateway,
    OrderPlaced,
    count,
    kept,
    stored,
    totals,
)


@pytest.mark.covers("PROJ-15")
def test_a_handler_writes_by_a_session_in_the_transaction_of_its_page(desk: Desk) -> None:
    """One session serves a page; what it holds is written before the position moves, nothing of a failed page is."""
    projection = totals()
    sessions: list[Session] = []

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session) -> None:
        sessions.append(session)
        count(session, order.customer, order.total_cents)
        if order.customer == "carl":
            raise RuntimeError("no")

    desk.run(projection, ANN, BOB, ANN)
    assert kept(desk) == [("ann", 2, 1000), ("bob", 1, 300)]
    assert len(set(map(id, sessions))) == 1

    with pytest.raises(RuntimeError):
        desk.run(projection, ANN, OrderPlaced(order_id="3", customer="carl", total_cents=1))
    assert kept(desk) == [("ann", 2, 1000), ("bob", 1, 300)]


@pytest.mark.covers("PROJ-15")
def test_a_handler_writes_by_a_connection_of_sqlalchemy(desk: Desk) -> None:
    """``sqlalchemy.Connection`` is that of the page."""
    projection = totals()

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, connection: sqlalchemy.Connection) -> None:
        connection.execute(
            text("INSERT INTO customer_totals VALUES (:customer, 1, :cents)"),
            {"customer": order.customer, "cents": order.total_cents},
        )

    desk.run(projection, ANN, BOB)
    assert kept(desk) == [("ann", 1, 500), ("bob", 1, 300)]


def raw_projection(desk: Desk, act: Any) -> Projection:
    """A projection whose handler asks for the driver's connection."""
    projection = totals()
    if desk.database.dialect == "sqlite":

        @projection.on(OrderPlaced)
        def on_sqlite(order: OrderPlaced, connection: sqlite3.Connection) -> None:
            act(order, connection)
    else:

        @projection.on(OrderPlaced)
        def on_postgresql(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
            act(order, connection)

    return projection


@pytest.mark.covers("PROJ-15")
def test_a_handler_writes_by_the_drivers_connection(desk: Desk) -> None:
    """`sqlite3.Connection` and ``psycopg.Connection`` are what the page runs on, and pass for what they are."""
    mark = "?" if desk.database.dialect == "sqlite" else "%s"

    def add(order: OrderPlaced, connection: Any) -> None:
        assert isinstance(connection, sqlite3.Connection | psycopg.Connection)
        sql = f"INSERT INTO customer_totals VALUES ({mark}, 1, {mark})"
        connection.execute(sql, (order.customer, order.total_cents))
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM customer_totals")
        [(number,)] = cursor.fetchall()
        assert number > 0

    desk.run(raw_projection(desk, add), ANN, BOB)
    assert kept(desk) == [("ann", 1, 500), ("bob", 1, 300)]


@pytest.mark.covers("PROJ-15")
@pytest.mark.parametrize(
    "act",
    [
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        lambda connection: connection.close(),
        lambda connection: connection.execute("COMMIT"),
        lambda connection: connection.execute("/* now */ commit"),
        lambda connection: connection.cursor().execute("-- now\nROLLBACK"),
        lambda connection: connection.__enter__(),
    ],
    ids=["commit", "rollback", "close", "COMMIT", "comment", "cursor", "with"],
)
def test_a_handler_cannot_end_the_transaction_by_the_drivers_connection(desk: Desk, act: Any) -> None:
    """Whatever it tries is refused, and nothing of its page is kept."""
    projection = raw_projection(desk, lambda _, connection: act(connection))
    with pytest.raises(UsageError, match="may not"):
        desk.run(projection, ANN)


@pytest.mark.covers("PROJ-15")
@pytest.mark.parametrize("word", ["commit", "rollback", "begin"])
def test_a_handler_cannot_end_the_transaction_by_a_session_or_connection(desk: Desk, word: str) -> None:
    """Neither a session nor SQLAlchemy's connection commits, and text that would is refused."""
    with_session, with_connection, with_text = totals(), totals(), totals()

    @with_session.on(OrderPlaced)
    def by_session(order: OrderPlaced, session: Session) -> None:
        getattr(session, word)()

    @with_connection.on(OrderPlaced)
    def by_connection(order: OrderPlaced, connection: sqlalchemy.Connection) -> None:
        getattr(connection, word)()

    @with_text.on(OrderPlaced)
    def by_text(order: OrderPlaced, session: Session) -> None:
        session.execute(text(word.upper()))

    for projection in (with_session, with_connection, with_text):
        with pytest.raises(UsageError, match="a handler may not"):
            desk.run(projection, ANN)
    assert kept(desk) == []


@pytest.mark.covers("PROJ-15")
def test_a_savepoint_is_a_handlers_to_roll_back(desk: Desk) -> None:
    """What a handler does within a savepoint it may undo, held-back changes included."""
    projection = totals()

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session, rows: Rows) -> None:
        rows.increment(CustomerTotal, {"customer": order.customer}, orders=1)
        nested = session.begin_nested()
        session.add(CustomerTotal(customer="lost", orders=1, total_cents=1))
        rows.increment(CustomerTotal, {"customer": order.customer}, orders=100)
        nested.rollback()

    desk.run(projection, ANN, ANN)
    assert kept(desk) == [("ann", 2, 0)]


@pytest.mark.covers("PROJ-15")
def test_a_closed_session_goes_on(desk: Desk) -> None:
    """``with session:`` in a handler loses nothing: the session is closed with its page."""
    projection = totals()

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session) -> None:
        with session:
            count(session, order.customer, order.total_cents)

    desk.run(projection, ANN, ANN)
    assert kept(desk) == [("ann", 2, 1000)]


@pytest.mark.covers("PROJ-5")
def test_a_handler_gets_the_event_as_it_is_stored(desk: Desk) -> None:
    """`StoredEvent` and `Message` are the event with its name, id, stream, place, headers and times."""
    projection = Projection("seen")
    seen: list[Any] = []

    @projection.on(OrderPlaced)
    def look(order: OrderPlaced, event: StoredEvent, message: Message, generation: Generation) -> None:
        seen.append((order, event, message, generation))

    event = stored(ANN, stream="order-1", headers={"tenant": "a"})
    desk.run(projection, event)
    [(order, got, message, generation)] = seen
    assert order == ANN
    assert got is event
    assert message is event
    assert generation == Generation()
    assert generation.is_live
    assert (got.name, got.stream, got.headers) == ("order.placed", "order-1", {"tenant": "a"})
    assert got.recorded_at >= got.time


async def test_coroutine_handlers_and_dependencies(desk: Desk) -> None:
    """A coroutine function runs on an event loop of its thread's own; what the app provides is made once a page."""
    import asyncio

    made: list[Gateway] = []
    ended: list[str] = []

    async def make() -> Any:
        made.append(Gateway())
        try:
            yield made[-1]
        except RuntimeError:
            ended.append("failed")
            raise
        ended.append("done")

    desk.dependencies.provide(Gateway, make, shared=False)
    projection = totals()

    @projection.on(OrderPlaced)
    async def add(order: OrderPlaced, session: Session, gateway: Gateway) -> None:
        await asyncio.sleep(0)
        gateway.calls.append(order.customer)
        count(session, order.customer, order.total_cents)
        if order.customer == "carl":
            raise RuntimeError("no")

    await asyncio.to_thread(desk.run, projection, ANN, BOB)
    assert kept(desk) == [("ann", 1, 500), ("bob", 1, 300)]
    assert [each.calls for each in made] == [["ann", "bob"]]
    assert ended == ["done"]
    with pytest.raises(RuntimeError, match="no"):
        await asyncio.to_thread(
            desk.run, projection, OrderPlaced(order_id="3", customer="carl", total_cents=1)
        )
    assert ended == ["done", "failed"]


class Repository:
    """What factories make of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session


def test_factories_may_ask_for_the_session_of_the_page(desk: Desk) -> None:
    """A repository is made once a page, over its session; where there is no page it is refused before anything runs."""
    desk.dependencies.provide(Repository, Repository, shared=False)
    desk.dependencies.check()
    projection = totals()

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, repository: Repository) -> None:
        count(repository.session, order.customer, order.total_cents)

    desk.run(projection, ANN, ANN)
    assert kept(desk) == [("ann", 2, 1000)]

    group = Group("shop", GroupSettings())
    group.on(OrderPlaced)(add)
    with pytest.raises(UnknownDependencyError, match="'session' of type Session"):
        Handling(group, desk.dependencies)


def test_an_override_takes_the_place_of_a_dependency(desk: Desk) -> None:
    """Tests give handlers what they like."""
    projection = Projection("seen")
    given: list[Gateway] = []
    desk.dependencies.provide(Gateway, Gateway, shared=True)

    @projection.on(OrderPlaced)
    def look(order: OrderPlaced, gateway: Gateway) -> None:
        given.append(gateway)

    handlers = desk.compile(projection)
    double = Gateway()
    with desk.dependencies.override(Gateway, lambda: double):
        desk.page(handlers, [stored(ANN)])
    desk.page(handlers, [stored(ANN)])
    assert given[0] is double
    assert given[1] is not double


def test_what_handlers_write_by_different_means_is_in_order(desk: Desk) -> None:
    """A session, rows and connections of one page see what the others wrote before."""
    projection = totals()
    seen: list[Any] = []

    @projection.on(OrderPlaced, name="first")
    def by_rows(order: OrderPlaced, rows: Rows, session: Session) -> None:
        rows.increment(CustomerTotal, {"customer": order.customer}, orders=1, total_cents=order.total_cents)
        row = session.scalars(select(CustomerTotal).where(CustomerTotal.customer == order.customer)).one()
        seen.append(row.orders)
        row.total_cents += 1
        rows.increment(CustomerTotal, {"customer": order.customer}, total_cents=10)
        seen.append(row.total_cents)

    @projection.on(OrderPlaced, name="second")
    def by_connection(order: OrderPlaced, connection: sqlalchemy.Connection) -> None:
        connection.execute(text("UPDATE customer_totals SET cents = cents + 100"))

    @projection.on(OrderPlaced, name="third")
    def by_session(order: OrderPlaced, session: Session) -> None:
        row = session.get_one(CustomerTotal, order.customer)
        seen.append(row.total_cents)
        row.orders += 10

    desk.run(projection, ANN, ANN)
    assert seen == [1, 511, 611, 12, 1122, 1222]
    assert kept(desk) == [("ann", 22, 1222)]


@pytest.mark.covers("PROJ-1")
def test_what_cannot_be_given_is_refused_before_anything_runs(desk: Desk) -> None:
    """A session for asyncio, another database's connection, a delivery, an unknown thing: each has its remedy."""

    def asks_async(order: OrderPlaced, session: AsyncSession) -> None: ...
    def asks_sqlite(order: OrderPlaced, connection: sqlite3.Connection) -> None: ...
    def asks_psycopg(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None: ...
    def asks_delivery(order: OrderPlaced, delivery: Delivery) -> None: ...
    def asks_unknown(order: OrderPlaced, gateway: Gateway) -> None: ...
    def asks_model(order: OrderPlaced, model: ReadModel) -> None: ...

    wrong = asks_psycopg if desk.database.dialect == "sqlite" else asks_sqlite
    for function, error, message in (
        (asks_async, ConfigurationError, "ask for sqlalchemy.orm.Session"),
        (wrong, ConfigurationError, "sqlalchemy.Connection, which does for both"),
        (asks_delivery, ConfigurationError, "ask for StoredEvent"),
        (asks_unknown, UnknownDependencyError, "register a factory"),
        (asks_model, UnknownDependencyError, "Model"),
    ):
        projection = Projection("seen")
        projection.on(OrderPlaced)(function)
        with pytest.raises(error, match=message):
            projection.compile(desk.dependencies, target=desk.target)
