"""A page of a copy reaches nothing else in SQLite, by whatever way a handler tries."""

import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from penstock.errors import IsolationError, ReplayError
from penstock.listeners import Dependencies
from penstock.projections import Projection
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, CopiedTable
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoredEvent
from tests.projections.shop import Base, CustomerTotal, OrderPlaced, stored
from tests.replays.sqlite.spending import Spending, Thing, both, direct, raw_of
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY

Way = Callable[[sqlite3.Connection, str], None]


def outside_table(raw: sqlite3.Connection, live: str) -> None:
    """Writes a table that is not in the copy."""
    raw.execute("INSERT INTO customers VALUES ('new', 'x')")


def named_production(raw: sqlite3.Connection, live: str) -> None:
    """Names the live read model itself."""
    raw.execute("UPDATE production.totals SET orders = 0")


def dropped(raw: sqlite3.Connection, live: str) -> None:
    """Drops a table that is not in the copy."""
    raw.execute("DROP TABLE customers")


def own_connection(raw: sqlite3.Connection, live: str) -> None:
    """Opens the live file."""
    with closing(sqlite3.connect(live)) as mine:
        mine.execute("UPDATE totals SET orders = 0")


def own_connection_by_uri(raw: sqlite3.Connection, live: str) -> None:
    """Opens the live file by a URI, and says nothing of the error."""
    with contextlib.suppress(Exception):
        sqlite3.connect(f"file:{live.replace(' ', '%20')}?mode=rw", uri=True)


def own_engine(raw: sqlite3.Connection, live: str) -> None:
    """Uses an engine of its own, with a connection that was open before."""
    with _engine(live).connect() as mine:
        mine.execute(sa.text("UPDATE totals SET orders = 0"))


def attached(raw: sqlite3.Connection, live: str) -> None:
    """Attaches the live file once more, writable."""
    raw.execute("ATTACH DATABASE ? AS again", (live,))


def appended(raw: sqlite3.Connection, live: str) -> None:
    """Adds an event to the store in the page's transaction."""
    raw.execute(
        "INSERT INTO penstock_events (stream, category, version, id, name, schema_version, meta, recorded_at) "
        "VALUES ('s-1', 's', 1, 'an-id', 'n', 1, '{}', 0)"
    )


_engines: dict[str, sa.Engine] = {}


def _engine(live: str) -> sa.Engine:
    return _engines[live]


@pytest.mark.covers("ZDT-3")
@pytest.mark.parametrize(
    "way",
    [
        outside_table,
        named_production,
        dropped,
        own_connection,
        own_connection_by_uri,
        own_engine,
        attached,
        appended,
    ],
    ids=lambda way: way.__name__,
)
async def test_a_handler_that_leaves_its_copy_is_refused_and_production_is_untouched(
    store: SqliteBackend, way: Way
) -> None:
    """The page is rolled back with an error that names the projection, and nothing outside has changed."""
    await add(store, 20)
    thing = Thing(store)
    thing.run_live()
    live = str(store.database.path)
    _engines[live] = engine = sa.create_engine(f"sqlite:///{live}")
    with engine.connect() as warm:
        warm.execute(sa.text("SELECT 1"))
    with direct(live) as user:
        user.execute("CREATE TABLE customers (name TEXT PRIMARY KEY, note TEXT)")
        before = [*both(user), user.execute("SELECT count(*) FROM penstock_events").fetchall()]

        def leave(event: StoredEvent, raw: sqlite3.Connection) -> None:
            if event.position == 7:
                way(raw, live)

        thing.create()
        with pytest.raises(IsolationError, match="projection 'spending'"):
            thing.feed(2, handlers=Spending(2, leave))
        after = [*both(user), user.execute("SELECT count(*) FROM penstock_events").fetchall()]
        assert after == before
        assert user.execute("SELECT count(*) FROM customers").fetchone() == (0,)
    assert thing.place(KEY).position < 7
    engine.dispose()


@pytest.mark.covers("ZDT-2", "ZDT-3")
async def test_what_is_not_in_the_copy_is_read_from_production(store: SqliteBackend) -> None:
    """A handler that looks something up elsewhere finds it, its own tables are the copy's, and so are new ones."""
    await add(store, 5)
    thing = Thing(store)
    thing.run_live()
    found: list[Any] = []

    def look(event: StoredEvent, raw: sqlite3.Connection) -> None:
        found.append(
            (
                raw.execute("SELECT note FROM customers").fetchone()[0],
                raw.execute("SELECT count(*) FROM entries").fetchone()[0],
                raw.execute("SELECT count(*) FROM penstock_events").fetchone()[0],
            )
        )

    with direct(store.database.path) as user:
        user.execute("CREATE TABLE customers (name TEXT PRIMARY KEY, note TEXT)")
        user.execute("INSERT INTO customers VALUES ('c1', 'regular')")
    thing.create()
    thing.feed(2, handlers=Spending(2, look))
    assert found == [("regular", number, 5) for number in range(5)]


@pytest.mark.covers("ZDT-3")
async def test_a_session_and_rows_write_the_copy(store: SqliteBackend) -> None:
    """A projection of sessions and rows needs no change, and one with a session of its own is refused."""
    elsewhere = sa.create_engine(f"sqlite:///{store.database.path}")
    elsewhere.connect().close()
    totals = Projection("totals", tables=[CustomerTotal])
    careless = False

    @totals.on(OrderPlaced)
    def count(event: OrderPlaced, session: Session) -> None:
        if careless:
            with Session(elsewhere) as mine:
                mine.add(CustomerTotal(customer="outside"))
                mine.commit()
            return
        row = session.get(CustomerTotal, event.customer)
        if row is None:
            row = CustomerTotal(customer=event.customer, orders=0, total_cents=0)
            session.add(row)
        row.orders += 1

    handlers = totals.compile(Dependencies(), target=store)
    with closing(store.database.connect()) as connection:
        store.database.begin(connection)
        handlers.prepare(connection)
        connection.commit()
    copy = SqliteCopy(
        KEY,
        store.database,
        [CopiedTable("customer_totals", definition=Base.metadata.tables["customer_totals"])],
        projections=["totals"],
    )
    guarded = copy.guard(handlers)
    copy.create([Candidate(totals.plan, guarded)])
    with raw_of(copy.database) as raw:
        for number in range(3):
            copy.database.begin(raw)
            page = guarded.begin(raw, state=None, generation=KEY)
            careless = number == 2
            event = stored(OrderPlaced(order_id=str(number), customer="ann", total_cents=5))
            if careless:
                with pytest.raises(IsolationError, match="another database engine"):
                    page.handle(event)
                raw.rollback()
                page.discard()
            else:
                page.handle(event)
                page.finish()
                raw.commit()
                page.committed()
        assert raw.execute("SELECT customer, orders FROM main.customer_totals").fetchall() == [("ann", 2)]
        assert raw.execute("SELECT * FROM production.customer_totals").fetchall() == []
    elsewhere.dispose()


@pytest.mark.covers("ZDT-3")
async def test_outside_of_pages_everything_may_be_opened(store: SqliteBackend) -> None:
    """The watch is over a thread while it handles a page, and no longer."""
    thing = Thing(store)
    thing.run_live()
    await add(store, 1)

    def leave(event: StoredEvent, raw: sqlite3.Connection) -> None:
        sqlite3.connect(store.database.path).close()

    thing.create()
    with pytest.raises(IsolationError):
        thing.feed(2, handlers=Spending(2, leave))
    with direct(store.database.path) as user:
        assert user.execute("SELECT count(*) FROM totals").fetchone() == (0,)
    engine = sa.create_engine(f"sqlite:///{store.database.path}")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM totals")).scalar() == 0
    engine.dispose()


@pytest.mark.covers("ZDT-13")
async def test_nothing_is_begun_in_a_copy_that_is_gone(store: SqliteBackend) -> None:
    """Whoever connects to it is told, before it was made and after it was removed."""
    thing = Thing(store)
    thing.run_live()
    with pytest.raises(ReplayError, match="never created"):
        thing.copy.database.connect()
    assert not thing.copy.exists()
    thing.create()
    assert thing.copy.exists()
    thing.copy.drop()
    assert not thing.copy.exists()
    with pytest.raises(ReplayError, match="never created"):
        thing.copy.database.connect()
