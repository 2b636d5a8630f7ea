"""Listeners with a store: effect and event id in one transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from penstock import App, Delivery, Event, Group, Message, on
from penstock._housekeeping import keeping_of
from penstock._housekeeping._inboxes import Forgetting
from penstock.errors import ConfigurationError, MissingMigrationError, UnknownStoreError, UsageError
from penstock.listeners.inbox import Inboxes
from penstock.projections import Rows
from penstock.store import migrating
from penstock.store.abc import StoredEvent
from penstock.testing import ManualClock


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str
    cents: int = 1


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store's database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shop.db'}"
    found: str = request.getfixturevalue("postgres_database")
    return found


@pytest.fixture
def app(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app on streams in memory, with a store."""
    monkeypatch.chdir(tmp_path)
    return App("shop", streams="memory://", store=url, clock=ManualClock())


@asynccontextmanager
async def opened(app: App) -> AsyncIterator[None]:
    """The app open, with a table for what its listeners write."""
    database = app.store().database
    if database.dialect == "postgresql":
        await asyncio.to_thread(migrating.apply, database)
    async with app:
        await app.store().open()
        await query(app, "CREATE TABLE charges (order_id varchar(50), cents integer)")
        yield


async def query(app: App, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement beside everything, and commit it."""
    database = app.store().database

    def run() -> list[tuple[Any, ...]]:
        connection = database.connect()
        try:
            database.begin(connection)
            cursor: Any = database.execute(connection, sql)
            found = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            connection.commit()
        finally:
            connection.close()
        return found

    return await asyncio.to_thread(run)


async def charges(app: App) -> list[tuple[Any, ...]]:
    """What was charged."""
    return await query(app, "SELECT order_id, cents FROM charges ORDER BY order_id")


async def work(app: App) -> None:
    """Handle everything there is."""
    await app.run(until_idle=True)


async def deliver_again(app: App) -> None:
    """Emit every event of the stream once more, under its own id: a second delivery, wherever it comes from."""
    reader = await app.reader("order.placed", start="beginning")
    for message in await reader.read():
        await app.emit(message.decode(OrderPlaced), event_id=message.id)


def insert(session: Session, order: OrderPlaced) -> None:
    """Write a charge."""
    values = {"order_id": order.order_id, "cents": order.cents}
    session.execute(text("INSERT INTO charges VALUES (:order_id, :cents)"), values)


@pytest.mark.covers("PROJ-15")
async def test_an_event_that_comes_again_changes_nothing(app: App) -> None:
    """Effect and id are committed together; a repetition is acknowledged without running the handler."""
    runs: list[str] = []

    @app.listener(OrderPlaced, store="local")
    def charge(order: OrderPlaced, session: Session, message: Message) -> None:
        runs.append(message.id)
        insert(session, order)

    async with opened(app):
        await app.emit_many([OrderPlaced(order_id="1"), OrderPlaced(order_id="2")])
        await work(app)
        assert await charges(app) == [("1", 1), ("2", 1)]
        await deliver_again(app)
        await work(app)
        assert await charges(app) == [("1", 1), ("2", 1)]
        assert len(runs) == 2
        broker = await app.broker_for("order.placed")
        assert (await broker.pending_summary("order.placed", "shop")).count == 0
        assert await query(app, "SELECT receiver FROM penstock_inbox") == [("shop/charge",)] * 2


@pytest.mark.covers("PROJ-15")
async def test_listeners_and_groups_have_inboxes_of_their_own(app: App) -> None:
    """What one listener has handled another still gets."""
    runs: list[str] = []

    @app.listener(OrderPlaced, store="local")
    def first(order: OrderPlaced) -> None:
        runs.append("first")

    @app.listener(OrderPlaced, store="local", name="second")
    async def second(order: OrderPlaced) -> None:
        runs.append("second")

    @app.listener(OrderPlaced, store="local", name="first", group="other")
    def third(order: OrderPlaced) -> None:
        runs.append("third")

    async with opened(app):
        await app.emit(OrderPlaced(order_id="1"))
        await deliver_again(app)
        await work(app)
    assert sorted(runs) == ["first", "second", "third"]


@pytest.mark.covers("PROJ-15")
async def test_a_failing_handler_leaves_neither_effect_nor_id(app: App) -> None:
    """It is retried like any other, and its success is kept once."""
    fails = [True]

    @app.listener(OrderPlaced, store="local")
    def charge(order: OrderPlaced, session: Session) -> None:
        insert(session, order)
        if fails.pop() if fails else False:
            raise RuntimeError("no")

    async with opened(app):
        await app.emit(OrderPlaced(order_id="1"))
        await work(app)
        assert await charges(app) == []
        assert await query(app, "SELECT * FROM penstock_inbox") == []
        clock = app.clock
        assert isinstance(clock, ManualClock)
        await clock.advance(timedelta(minutes=1))
        await work(app)
        assert await charges(app) == [("1", 1)]


@pytest.mark.covers("PROJ-15")
async def test_coroutines_classes_and_connections(app: App, url: str) -> None:
    """A coroutine function runs on a loop of its thread's own; a class is made with what it asks for."""

    class Charging:
        def __init__(self, session: Session) -> None:
            self.session = session

        @on(OrderPlaced, store="local")
        def charge(self, order: OrderPlaced) -> None:
            insert(self.session, order)

    app.group("classes", handlers=Charging)

    @app.listener(OrderPlaced, group="coroutine", store="local")
    async def by_coroutine(order: OrderPlaced, connection: sqlalchemy.Connection) -> None:
        await asyncio.sleep(0)
        connection.execute(text("INSERT INTO charges VALUES ('2', 2)"))

    @app.listener(OrderPlaced, group="rows", store="local")
    def by_rows(order: OrderPlaced, rows: Rows) -> None:
        rows.upsert("kept", {"order_id": order.order_id}, cents=3)

    if url.startswith("sqlite"):

        @app.listener(OrderPlaced, group="raw", store="local")
        def by_sqlite(order: OrderPlaced, connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO charges VALUES ('4', 4)")
    else:

        @app.listener(OrderPlaced, group="raw", store="local")
        def by_psycopg(order: OrderPlaced, connection: psycopg.Connection[Any]) -> None:
            connection.execute("INSERT INTO charges VALUES ('4', 4)")

    async with opened(app):
        await query(app, "CREATE TABLE kept (order_id varchar(50) PRIMARY KEY, cents integer)")
        await app.emit(OrderPlaced(order_id="1"))
        await deliver_again(app)
        await work(app)
        assert await charges(app) == [("1", 1), ("2", 2), ("4", 4)]
        assert await query(app, "SELECT * FROM kept") == [("1", 3)]


@pytest.mark.covers("PROJ-15")
async def test_of_a_batch_the_handler_gets_what_is_new(app: App) -> None:
    """A batch is one transaction; those of its events that were handled before are left out of it."""
    batches: list[list[str]] = []

    @app.listener(OrderPlaced, store="local", batch=10)
    def charge(orders: list[OrderPlaced], session: Session) -> None:
        batches.append([order.order_id for order in orders])
        for order in orders:
            insert(session, order)

    async with opened(app):
        await app.emit_many([OrderPlaced(order_id="1"), OrderPlaced(order_id="2")])
        await work(app)
        await deliver_again(app)
        await app.emit(OrderPlaced(order_id="3"))
        await work(app)
        assert await charges(app) == [("1", 1), ("2", 1), ("3", 1)]
    assert sorted(each for batch in batches for each in batch) == ["1", "2", "3"]


@pytest.mark.covers("PROJ-15")
async def test_a_handler_cannot_commit(app: App) -> None:
    """Its own commit is refused, and the event is recorded as failed."""

    @app.listener(OrderPlaced, store="local")
    def charge(order: OrderPlaced, session: Session) -> None:
        insert(session, order)
        session.commit()

    async with opened(app):
        await app.emit(OrderPlaced(order_id="1"))
        await work(app)
        broker = await app.broker_for("order.placed")
        [record] = await broker.failures.find("order.placed", count=10)
        assert record.error_type.endswith(UsageError.__name__)
        assert "a handler may not commit" in record.error
        assert await charges(app) == []


@pytest.mark.covers("PROJ-15")
async def test_ids_are_kept_for_as_long_as_was_said(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Housekeeping lets go of those that are older."""
    monkeypatch.chdir(tmp_path)
    clock = ManualClock()
    app = App("shop", streams="memory://", store=url, clock=clock, inbox_retention="2 days")

    @app.listener(OrderPlaced, store="local")
    def charge(order: OrderPlaced) -> None:
        """Handle it."""

    async with opened(app):
        await app.emit(OrderPlaced(order_id="1"))
        await work(app)
        await clock.advance(timedelta(days=1))
        await app.emit(OrderPlaced(order_id="2"))
        await work(app)
        inboxes: Inboxes = app.dependencies.value_of(Inboxes)
        assert await inboxes.clean("local") == 0
        keeping = keeping_of(app, await app._opened())  # pyright: ignore[reportPrivateUsage]
        await clock.advance(timedelta(days=1, seconds=1))
        assert await Forgetting().run(keeping) == timedelta(hours=1)
        assert len(await query(app, "SELECT * FROM penstock_inbox")) == 1


@pytest.mark.covers("PROJ-15")
async def test_what_cannot_be_is_said_before_anything_runs(app: App) -> None:
    """Unknown stores, acknowledging by hand, things of asyncio and of other databases: each has its remedy."""

    def asks_delivery(order: OrderPlaced, delivery: Delivery) -> None: ...
    def asks_async(order: OrderPlaced, session: AsyncSession) -> None: ...
    def asks_stored(order: OrderPlaced, event: StoredEvent) -> None: ...
    def fine(order: OrderPlaced) -> None: ...

    with pytest.raises(ConfigurationError, match="leave acknowledge= out"):
        app.listener(OrderPlaced, store="local", acknowledge="manual")(fine)
    async with opened(app):
        for function, store, error, message in (
            (asks_delivery, "local", ConfigurationError, "ask for Message"),
            (asks_async, "local", ConfigurationError, "ask for sqlalchemy.orm.Session"),
            (asks_stored, "local", ConfigurationError, "ask for Message"),
            (fine, "other", UnknownStoreError, "there is no event store 'other'"),
        ):
            group: Group = app.group(f"{function.__name__}-{store}")
            group.on(OrderPlaced, store=store)(function)
            with pytest.raises(error, match=message):
                await app.runner()
            del app.registry.groups[group.name]


async def test_a_store_without_its_tables_fails_the_event(
    postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure names the command that makes them, and the event is retried like any other."""
    monkeypatch.chdir(tmp_path)
    app = App("shop", streams="memory://", store=postgres_database)

    @app.listener(OrderPlaced, store="local")
    def charge(order: OrderPlaced) -> None:
        """Handle it."""

    async with app:
        await app.emit(OrderPlaced(order_id="1"))
        await work(app)
        broker = await app.broker_for("order.placed")
        [record] = await broker.failures.find("order.placed", count=10)
    assert record.error_type.endswith(MissingMigrationError.__name__)
