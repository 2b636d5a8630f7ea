"""An app with event stores under test: stores of the test's own, projections, relays and inboxes worked until idle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock import App, Event
from penstock.errors import ProjectionHaltedError, UnknownStoreError
from penstock.projections import Rows
from penstock.store import migrating
from penstock.store._postgres.database import PostgresDatabase
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock

Open = Callable[..., Any]


class Placed(Event, name="tested.placed", key="number"):
    """An order came in."""

    number: str
    customer: str = "ann"


class Billed(Event, name="bill.sent", key="number"):
    """Its bill went out."""

    number: str


class Base(DeclarativeBase):
    """Read models."""


class Total(Base):
    """What each customer has ordered."""

    __tablename__ = "totals"

    customer: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)


def shop(folder: Path, **settings: Any) -> App:
    """An app with two stores that are configured, and must not be touched."""
    return App(
        "shop",
        store=f"sqlite:///{folder / 'configured.db'}",
        data_folder=str(folder / "data"),
        stores={"shared": {"url": "postgresql://db.example.com/shared"}},
        **settings,
    )


@asynccontextmanager
async def under_test(app: App, **said: Any) -> AsyncIterator[AppTester]:
    """The app under test, in memory."""
    clock = ManualClock()
    async with AppTester(app, MemoryBroker(clock=clock), clock, **said) as tester:
        yield tester


async def test_every_test_has_empty_stores_and_the_configured_ones_are_not_touched(tmp_path: Path) -> None:
    """Whatever settings say, also for an `EventStore` that a module holds; afterwards all is as before."""
    app = shop(tmp_path)
    held = app.store()
    for _ in range(2):
        async with under_test(app) as tester:
            assert await tester.events() == []
            assert await tester.events(store="shared") == []
            await held.append(Placed(number="1"))
            await tester.append(Placed(number="2"), Placed(number="3"), store="shared")
            assert [event.key for event in await tester.events()] == ["1"]
            assert [event.key for event in await tester.events("tested-3", store="shared")] == ["3"]
            with pytest.raises(UnknownStoreError, match="there are shared, local"):
                tester.store("share")
    assert list(tmp_path.iterdir()) == []
    async with app:
        await held.append(Placed(number="4"))
        assert [event.key async for event in held.read()] == ["4"]
    assert (tmp_path / "configured.db").exists()


async def test_events_have_the_time_of_the_manual_clock(tmp_path: Path) -> None:
    """As those that are emitted have, also through a store that was made before the test began."""
    app = shop(tmp_path)
    held = app.store()
    async with under_test(app) as tester:
        await tester.advance("1h")
        await held.append(Placed(number="1"))
        [event] = await tester.events()
    assert event.time == datetime(2026, 1, 1, 1, tzinfo=UTC)


@pytest.mark.covers("PROJ-9")
async def test_until_idle_runs_what_hangs_together_however_long_the_chain(tmp_path: Path) -> None:
    """Store, relay, stream, listener with an inbox, store again, projection: none of them ends too early."""
    app = shop(tmp_path)
    app.relay("orders", events=[Placed])
    app.relay("share", target="shared", events=[Billed])
    totals = app.projection("totals", tables=[Total])
    shared = app.projection("shared_bills", store="shared", into="shared", state=0)

    @app.listener(Placed, store="local")
    def bill(order: Placed, session: Session) -> None:
        app.store().append(Billed(number=order.number), within=session)

    @totals.on(Billed)
    def count(billed: Billed, rows: Rows) -> None:
        rows.increment(Total, {"customer": "ann"}, orders=1)

    @shared.on(Billed)
    def fold(state: int, billed: Billed) -> int:
        return state + 1

    async with under_test(app) as tester:
        for rounds in (1, 2):
            await tester.append(Placed(number=f"{rounds}a"), Placed(number=f"{rounds}b"))
            await tester.until_idle()
            assert await tester.rows("SELECT customer, orders FROM totals") == [("ann", 2 * rounds)]
            assert await tester.app.projection_state("shared_bills") == 2 * rounds
        assert await tester.failed() == []
        assert len(await tester.messages("tested.placed")) == 4
        assert await tester.rows("SELECT orders FROM totals WHERE customer = ?", "bob") == []


async def test_a_listener_that_appends_wakes_a_projection_that_has_ended(tmp_path: Path) -> None:
    """Without any relay: what the group does last is projected as well."""
    app = shop(tmp_path)
    counted = app.projection("counted", state=0)

    @counted.on(Billed)
    def fold(state: int, billed: Billed) -> int:
        return state + 1

    @app.listener(Placed)
    async def bill(order: Placed) -> None:
        while any(task.get_name() == "projections" for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
        await app.store().append(Billed(number=order.number))

    async with under_test(app) as tester:
        await tester.emit(Placed(number="1"))
        await tester.until_idle()
        assert await counted.state() == 1


async def test_an_engine_of_the_users_own_works_in_the_database_of_the_test(tmp_path: Path) -> None:
    """Business data and events in one transaction, as the app does it."""
    app = shop(tmp_path)
    async with under_test(app) as tester:
        engine = create_engine(await tester.database_url())
        try:
            Base.metadata.create_all(engine)
            with Session(engine) as session, session.begin():
                session.add(Total(customer="ann", orders=1))
                app.store().append(Placed(number="1"), within=session)
            with engine.connect() as connection:
                assert connection.execute(text("SELECT orders FROM totals")).scalar() == 1
        finally:
            engine.dispose()
        assert [event.key for event in await tester.events()] == ["1"]


async def test_a_projection_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    """The test that waits for it gets the error, not silence."""
    app = shop(tmp_path)
    totals = app.projection("totals")

    @totals.on(Placed)
    def broken(order: Placed) -> None:
        raise ValueError("no such customer")

    async with under_test(app) as tester:
        await tester.append(Placed(number="1"))
        with pytest.raises(ProjectionHaltedError, match="no such customer"):
            await tester.until_idle(only=["projection:totals"])


async def test_synchronous_code_has_the_same_stores(tmp_path: Path) -> None:
    """`App.sync` works on a loop of its own, whose connections are closed with the test's."""
    app = shop(tmp_path)
    async with under_test(app) as tester:
        await asyncio.to_thread(lambda: app.sync.store().append(Placed(number="1")))
        assert [event.key for event in await tester.events()] == ["1"]
    assert list(tmp_path.iterdir()) == []
    await asyncio.to_thread(app.sync.close)


async def test_a_test_may_bring_a_database_of_its_own(tmp_path: Path, postgres_database: str) -> None:
    """For apps whose handlers speak PostgreSQL."""
    migrating.apply(PostgresDatabase("local", postgres_database))
    app = shop(tmp_path)
    totals = app.projection("totals", tables=["notes"])

    @totals.on(Placed)
    def note(order: Placed, connection: psycopg.Connection[Any]) -> None:
        connection.execute("INSERT INTO notes VALUES (%s)", (order.number,))

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (number text)")
    async with under_test(app, stores={"local": postgres_database}) as tester:
        await tester.append(Placed(number="1"))
        await tester.until_idle()
        assert await tester.rows("SELECT number FROM notes WHERE number = ?", "1") == [("1",)]
        assert await tester.events(store="shared") == []
