"""Derived streams: appended with the page, once, by their projection alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import ProjectionHaltedError, ProtectedStreamError
from penstock.projections import Derived, Projection
from penstock.projections.derived import LINK
from penstock.store import migrating
from penstock.store.abc import StoredEvent, StreamMetadata
from tests.projections.shop import OrderPlaced, OrderShipped


def order(number: int, customer: str = "ann") -> OrderPlaced:
    """An order."""
    return OrderPlaced(order_id=str(number), customer=customer, total_cents=number)


@pytest.fixture(params=["sqlite", "postgresql"])
async def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """An app with a store, open."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///shop.db" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    app = App("shop", streams="memory://", store=url)
    await asyncio.to_thread(migrating.apply, app.store().database)
    async with app:
        yield app


def by_customer(app: App, name: str = "by-customer") -> Projection:
    """Links every order into the stream of its customer, and emits one event for each."""
    projection = app.projection(name, page=3)

    @projection.on(OrderPlaced)
    def derive(order: OrderPlaced, event: StoredEvent, derived: Derived) -> None:
        derived.link_to(f"customer-{order.customer}")
        derived.emit(OrderShipped(order_id=order.order_id), event_stream="shipments", headers={"tenant": "a"})
        if order.customer == "carl":
            raise RuntimeError("no")

    return projection


async def read(app: App, stream: str) -> list[StoredEvent]:
    """The events of a stream."""
    return [event async for event in app.store().read(stream)]


@pytest.mark.covers("PROJ-19")
async def test_events_are_derived_once_and_know_where_they_come_from(app: App) -> None:
    """Emitted or linked, they appear with their page; the cause is named; a rerun from the start adds nothing."""
    by_customer(app)
    store = app.store()
    placed = await store.append([order(number, "ab"[number % 2]) for number in range(8)])
    await app.catch_up()
    links, shipments = await read(app, "customer-a"), await read(app, "shipments")
    assert [event.decode(OrderPlaced).total_cents for event in links] == [0, 2, 4, 6]
    assert [event.headers[LINK] for event in links] == [each.event_id for each in placed[::2]]
    assert [event.decode(OrderShipped).order_id for event in shipments] == [str(n) for n in range(8)]
    assert [event.meta.causation for event in shipments] == [each.event_id for each in placed]
    assert shipments[0].headers["tenant"] == "a"

    database = store.database
    connection = database.connect()
    database.begin(connection)
    database.execute(connection, "UPDATE penstock_checkpoints SET position = 0")
    connection.commit()
    connection.close()
    before = (await store.horizon()).position
    await app.catch_up()
    assert [event.id for event in await read(app, "shipments")] == [event.id for event in shipments]
    assert len(await read(app, "customer-b")) == 4
    assert (await store.stream("shipments")).version == 8  # type: ignore[union-attr]
    assert [event async for event in store.read(after=before)] == []


@pytest.mark.covers("PROJ-19")
async def test_a_failed_page_derives_nothing(app: App) -> None:
    """What an event derives is there when it is handled, and not before."""
    by_customer(app)
    await app.store().append([order(1), order(2), order(3, "carl")])
    with pytest.raises(ProjectionHaltedError):
        await app.catch_up()
    assert len(await read(app, "shipments")) == 2
    assert await read(app, "customer-carl") == []


@pytest.mark.covers("PROJ-19")
async def test_a_derived_stream_is_its_projections_alone(app: App) -> None:
    """Nobody else appends to it, no other projection either; and a stream with events of others is not taken over."""
    by_customer(app)
    store = app.store()
    await store.append(order(1))
    await app.catch_up()
    with pytest.raises(ProtectedStreamError, match="derived by projection 'by-customer'"):
        await store.append(order(2), event_stream="shipments")
    info = await store.stream("shipments")
    assert info is not None
    assert info.metadata.owner == "by-customer"

    by_customer(app, "another")
    with pytest.raises(ProjectionHaltedError, match="derived by projection 'by-customer'"):
        await app.catch_up("another")

    taken = app.projection("taken")

    @taken.on(OrderPlaced)
    def derive(order: OrderPlaced, derived: Derived) -> None:
        derived.emit(order, event_stream="order-1")

    with pytest.raises(ProjectionHaltedError, match="which has events of others"):
        await app.catch_up("taken")


@pytest.mark.covers("PROJ-19", "PROJ-12")
async def test_what_was_derived_goes_with_the_projection(app: App) -> None:
    """Deleted with what it emitted, the streams are as if they had never been; reset, they are filled again."""
    projection = by_customer(app)
    store = app.store()
    await store.append([order(1), order(2)])
    await app.catch_up()
    handlers = projection.compile(app.dependencies, target=store.backend)
    database = store.database

    def reset(*, delete: bool) -> None:
        connection = database.connect()
        database.begin(connection)
        handlers.reset(connection, delete=delete, emitted=True)
        database.execute(connection, "DELETE FROM penstock_checkpoints")
        connection.commit()
        connection.close()

    await asyncio.to_thread(reset, delete=False)
    assert await read(app, "shipments") == []
    await app.catch_up()
    assert [event.stream_version for event in await read(app, "shipments")] == [3, 4]
    with pytest.raises(ProtectedStreamError):
        await store.append(order(3), event_stream="shipments")

    await asyncio.to_thread(reset, delete=True)
    assert await store.stream("shipments") is None
    await store.append(order(3), event_stream="shipments")
    await store.set_metadata("shipments", StreamMetadata())
    assert len(await read(app, "shipments")) == 1
