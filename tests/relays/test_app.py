"""Relays as users declare and run them."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import App, Event, Message
from penstock.archive import Archiver
from penstock.archive.memory import MemoryArchive
from penstock.errors import ConfigurationError, UnknownProjectionError, UnknownStoreError
from penstock.streams.repartitioning import Repartitioning


class OrderPlaced(Event, name="order.placed", key="order_id", stream="orders"):
    """An event with a stream of its own."""

    order_id: str
    cents: int = 1


class OrderPaid(Event, name="order.paid", key="order_id"):
    """Another one."""

    order_id: str


def make_app(tmp_path: Path, **settings: Any) -> App:
    """An app with a store, another one, and streams in memory."""
    return App(
        "shop",
        streams=settings.pop("streams", "memory://"),
        store=f"sqlite:///{tmp_path}/shop.db",
        data_folder=str(tmp_path / "data"),
        stores={"shared": {"url": f"sqlite:///{tmp_path}/shared.db"}},
        **settings,
    )


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A connected app."""
    async with make_app(tmp_path) as opened:
        yield opened


async def read_all(app: App, stream: str) -> list[Message]:
    """Everything in a stream."""
    return await (await app.reader(stream, start="beginning", count=10_000)).read()


async def stored(app: App, name: str = "local") -> list[str]:
    """The ids of the events of a store."""
    return [event.id async for event in app.store(name).read()]


@pytest.mark.covers("EMIT-7")
async def test_an_outbox_is_one_line(app: App) -> None:
    """What is committed in the store comes into the stream that emitting it would choose; other events do not."""
    app.relay("orders", events=[OrderPlaced])
    placed = await app.store().append([OrderPlaced(order_id="1"), OrderPlaced(order_id="2")])
    await app.store().append(OrderPaid(order_id="1"))
    await app.catch_up("orders")

    messages = await read_all(app, "orders")
    assert [message.id for message in messages] == [each.event_id for each in placed]
    assert messages[0].decode(OrderPlaced) == OrderPlaced(order_id="1")
    assert (messages[0].source, messages[0].key) == ("shop", "1")
    assert await read_all(app, "order.paid") == []


@pytest.mark.covers("PROJ-2")
async def test_events_are_shared_between_services(app: App) -> None:
    """From the local store into the shared one; there they have the same ids."""
    app.relay("share", target="shared", categories=["order"])
    await app.store().append([OrderPlaced(order_id="1"), OrderPaid(order_id="1")])
    await app.catch_up()

    assert await stored(app, "shared") == await stored(app)


@pytest.mark.covers("EMIT-7")
@pytest.mark.covers("STORE-7")
async def test_a_running_relay_publishes_soon_after_the_commit(app: App) -> None:
    """In the median far below 50 milliseconds from the commit to the entry."""
    app.relay("orders", events=[OrderPlaced])
    runner = await app.runner()
    running = asyncio.create_task(runner.run())
    await runner.wait_ready()
    broker = await app.broker_for("orders")
    delays: list[float] = []
    last = b"0-0"
    for number in range(30):
        await app.store().append(OrderPlaced(order_id=str(number)))
        committed = time.perf_counter()
        batches = await broker.read({"orders": last}, count=10, block=timedelta(seconds=10))
        delays.append(time.perf_counter() - committed)
        last = batches[0][1][-1][0]
    runner.stop()
    await running

    assert sorted(delays)[15] < 0.05
    assert await broker.length("orders") == 30


async def test_listeners_and_relays_run_together_until_idle(app: App) -> None:
    """What a relay publishes is handled in the same run."""
    handled: list[str] = []
    app.relay("orders", events=[OrderPlaced])

    @app.listener(OrderPlaced)
    def note(order: OrderPlaced) -> None:
        handled.append(order.order_id)

    await app.store().append([OrderPlaced(order_id=str(number)) for number in range(5)])
    await app.catch_up("orders")
    await app.run(until_idle=True)

    assert handled == list("01234")


async def test_relays_of_the_settings_run(tmp_path: Path) -> None:
    """They may be declared there alone, and settings go before code."""
    relays = {
        "orders": {"events": ["order.placed"], "to": "everything"},
        "share": {"target": "shared", "rename": {"order.placed": "shop.order.placed"}},
    }
    async with make_app(tmp_path, relays=relays) as app:
        app.relay("orders", events=[OrderPaid], to="nothing")
        await app.store().append([OrderPlaced(order_id="1"), OrderPaid(order_id="1")])
        await app.catch_up()

        assert [message.name for message in await read_all(app, "everything")] == ["order.placed"]
        names = [event.name async for event in app.store("shared").read()]
        assert names == ["shop.order.placed", "order.paid"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"events": []}, "list of events is empty"),
        ({"events": "order.placed"}, "give a list"),
        ({"events": [3]}, "is no event"),
        ({"source": "stream:orders"}, "name that store with target="),
        ({"source": "stream:", "target": "local"}, "names no stream"),
        ({"target": "local"}, "both 'local'"),
        ({"page": 0}, "at least 1"),
        ({"archive": True}, "archive="),
        ({"source": "stream:orders", "target": "local", "keep": "5 days"}, "retention"),
        ({"source": "stream:orders", "target": "local", "categories": ["order"]}, "categories="),
        ({"categories": "order"}, "give a list of names"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    """When it is declared, by name and with the remedy."""
    with pytest.raises(ConfigurationError, match=reason):
        make_app(tmp_path).relay("orders", **options)


async def test_names_are_looked_up_before_anything_runs(app: App) -> None:
    """A relay that is not there, a store that is not there, two of one name."""
    app.relay("orders", events=[OrderPlaced])
    with pytest.raises(ConfigurationError, match="declared twice"):
        app.relay("orders")
    with pytest.raises(UnknownProjectionError, match="did you mean 'orders'"):
        app.relay_worker(["order"])
    app.relay("share", target="shaerd")
    with pytest.raises(UnknownStoreError, match="shaerd"):
        await app.catch_up("share")


@pytest.mark.covers("EMIT-7")
async def test_an_outbox_forgets_what_it_was_told_not_to_keep(app: App) -> None:
    """Once relayed and old enough; what is not relayed yet, and what another relay has still to read, stays."""
    app.relay("orders", events=[OrderPlaced], keep="0 s")
    await app.store().append([OrderPlaced(order_id="1"), OrderPlaced(order_id="2")])
    await app.store().append(OrderPaid(order_id="2"))
    await app.store().append(OrderPlaced(order_id="2"))
    worker = app.relay_worker()
    parts = await app._relay_parts(list(app.relays.values()))
    [kept] = parts.upkeep._relays
    await parts.upkeep.look(kept)
    assert len(await stored(app)) == 4

    await worker.run() if worker._until_idle else await app.catch_up("orders")
    await parts.upkeep.look(kept)
    # What follows an event that no relay has taken stays where it is, so that a stream has no holes.
    assert [event.name async for event in app.store().read()] == ["order.paid", "order.placed"]

    app.relay("others", events=[OrderPaid], to="others")
    await app.store().append(OrderPlaced(order_id="3"))
    await app.catch_up("orders")
    await parts.upkeep.look(kept)
    assert len(await stored(app)) == 3
    await app.catch_up("others")
    await parts.upkeep.look(kept)
    assert [event.name async for event in app.store().read()] == ["order.paid", "order.placed"]


@pytest.mark.covers("ARCH-9")
async def test_a_read_model_is_rebuilt_after_archiving(app: App, tmp_path: Path) -> None:
    """Through stream, archive, store and projection: the same read model before and after."""
    app.archive = MemoryArchive()

    def declare(number: int, store: str) -> Any:
        app.relay(f"keep {number}", source="stream:orders", target=store, archive=True)
        totals = app.projection(f"totals {number}", store=store, into=store, state=dict)

        @totals.on(OrderPlaced)
        def add(state: dict[str, int], order: OrderPlaced) -> dict[str, int]:
            return {**state, order.order_id: state.get(order.order_id, 0) + order.cents}

        return totals

    for number in range(60):
        await app.emit(OrderPlaced(order_id=str(number % 7), cents=number))
    before = declare(1, "local")
    await app.catch_up("keep 1")
    await app.catch_up("totals 1")
    broker = await app.broker_for("orders")
    oldest = await broker.range("orders", count=40)
    await Archiver(app.archive).archive(broker, "orders", oldest, force=True)
    assert await broker.length("orders") == 20
    after = declare(2, "shared")
    await app.catch_up("keep 2")
    await app.catch_up("totals 2")

    assert await before.state() == await after.state() != {}


@pytest.mark.covers("EMIT-7")
async def test_until_idle_means_that_nothing_is_left_anywhere(app: App) -> None:
    """From the store into a stream, to a listener that stores what follows, which is relayed again, and projected."""
    app.relay("orders", events=[OrderPlaced])
    app.relay("keep", source="stream:order.paid", target="shared")
    app.relay("paid", events=[OrderPaid])
    totals = app.projection("totals", store="shared", into="shared", state=int)

    @app.listener(OrderPlaced)
    async def pay(order: OrderPlaced) -> None:
        await app.store().append(OrderPaid(order_id=order.order_id))

    @totals.on(OrderPaid)
    def count(paid: int, order: OrderPaid) -> int:
        return paid + 1

    await app.store().append([OrderPlaced(order_id=str(number)) for number in range(5)])
    await app.run(until_idle=True)

    assert await totals.state() == 5


@pytest.mark.covers("TOPIC-2", "EMIT-7")
async def test_partitions_that_come_later_are_relayed_too(tmp_path: Path) -> None:
    """Out of a stream with two partitions, which become three while the relay runs: every event, once."""
    streams = {"orders": {"partitions": 2}}
    async with make_app(tmp_path, stream=streams) as app:
        app.relay("keep", source="stream:orders", target="local")
        worker = app.relay_worker()
        running = asyncio.create_task(worker.run())
        emitted = [(await app.emit(OrderPlaced(order_id=str(n)))).event_id for n in range(20)]
        async with asyncio.timeout(20):
            while len(await stored(app)) < 20:
                await asyncio.sleep(0.01)
            broker = await app.broker_for("orders")
            await Repartitioning(broker, "orders").to(3, timeout=timedelta(seconds=10))
            emitted += [(await app.emit(OrderPlaced(order_id=str(n)))).event_id for n in range(20)]
            while len(await stored(app)) < 40:
                await asyncio.sleep(0.01)
        worker.stop()
        await running

        assert sorted(await stored(app)) == sorted(emitted)
        assert await broker.length("orders:2") > 0
