"""Partitions and shards as an app's code has them: emitting, reading, listening, tailing, settings that disagree."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from penstock import BEGINNING, NEW, App, EntryId, Event, Message, Retry, Topic
from penstock.app import Selection
from penstock.errors import (
    ConfigurationError,
    InvalidSettingsError,
    PartitionCountError,
    UnregisteredStreamError,
)
from penstock.operations import FailedWhich, Operations
from penstock.streams.abc import StreamBroker
from penstock.streams.partitions import lane_names, lane_of, partition_of
from penstock.streams.repartitioning import Repartitioning

ORDERS = "order.placed"
SOON = timedelta(seconds=20)


class OrderPlaced(Event, name="order.placed", key="customer"):
    """An order."""

    customer: str
    number: int


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from nowhere but the test."""
    monkeypatch.chdir(tmp_path)


def shop(broker: StreamBroker, partitions: int | None = 4, **settings: Any) -> App:
    """An app that declares the stream with partitions."""
    declared = {ORDERS: {"partitions": partitions}} if partitions is not None else {}
    return App("shop", broker=broker, stream=declared, **settings)


@asynccontextmanager
async def running(app: App, **how: Any) -> AsyncIterator[None]:
    """The app at work within the block."""
    runner = await app.runner()
    task = asyncio.create_task(runner.run())
    try:
        await asyncio.wait_for(runner.wait_ready(), 20)
        yield
    finally:
        runner.stop()
        await task


@pytest.mark.covers("TOPIC-2")
async def test_an_event_goes_where_its_key_says(broker: StreamBroker) -> None:
    """The answer names the partition; without a key the event id chooses; an id of one's own is one there."""
    async with shop(broker) as app:
        one = await app.emit(OrderPlaced(customer="ann", number=1))
        many = await app.emit_many([OrderPlaced(customer=key, number=2) for key in ("ann", "bob", "ключ")])
        nobody = await app.emit({"number": 3}, name=ORDERS)
        at = await app.emit(OrderPlaced(customer="ann", number=4), entry_id=EntryId(2**45))
        again = [
            await app.emit(OrderPlaced(customer="zoe", number=5), event_id="5", dedupe=True) for _ in range(2)
        ]

    assert [each.stream for each in (one, *many)] == [
        lane_of(ORDERS, partition_of(key, 4)) for key in ("ann", "ann", "bob", "ключ")
    ]
    assert nobody.stream == lane_of(ORDERS, partition_of(nobody.event_id, 4))
    assert (at.stream, at.entry_id) == (one.stream, EntryId(2**45))
    assert again[0] == again[1]
    assert await broker.length(ORDERS) == 0
    assert sum([await broker.length(lane) for lane in lane_names(ORDERS, 4)]) == 7


async def test_other_streams_are_as_they_were(broker: StreamBroker) -> None:
    """Beside a stream with partitions, and together with it in one batch."""
    async with shop(broker) as app:
        there = await app.emit_to(["audit", ORDERS, "audit"], OrderPlaced(customer="ann", number=1))
        plain = await app.emit({"a": 1}, name="note")

    assert [each.stream for each in there] == ["audit", lane_of(ORDERS, partition_of("ann", 4)), "audit"]
    assert plain.stream == "note"
    assert await broker.length("audit") == 2


async def test_a_flusher_writes_into_partitions(broker: StreamBroker) -> None:
    """What is collected goes where it belongs."""
    async with shop(broker) as app, app.flusher() as flusher:
        for number in range(20):
            await flusher.add(OrderPlaced(customer=f"c-{number}", number=number))
    assert [each.stream for each in flusher.published] == [
        lane_of(ORDERS, partition_of(f"c-{number}", 4)) for number in range(20)
    ]


@pytest.mark.covers("TOPIC-2")
async def test_readers_see_all_partitions_those_that_come_too(broker: StreamBroker) -> None:
    """By name and by type; from then on, or from a cursor after a change that nobody saw."""
    async with shop(broker) as app:
        reader = await app.reader(ORDERS)
        typed = await app.read(OrderPlaced, start=BEGINNING, cursor="audit")
        await reader.prepare()
        for number in range(10):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
        assert sorted(order.number for order in await typed.read()) == list(range(10))
        await typed.read()
        await Repartitioning(broker, ORDERS).to(7, timeout=SOON)
        for number in range(10, 60):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
        seen: list[int] = []
        async with asyncio.timeout(20):
            while len(seen) < 60:
                seen += [message.decode(OrderPlaced).number for message in await reader.read(block=SOON)]
    async with shop(broker, 7) as app:
        later = await app.read(OrderPlaced, cursor="audit")
        missed = await later.read()

    assert sorted(seen) == list(range(60))
    assert sorted(order.number for order in missed) == list(range(10, 60))


@pytest.mark.covers("TOPIC-2")
@pytest.mark.parametrize("mode", ["parallel", "keyed"])
async def test_groups_read_all_partitions_those_that_come_too(broker: StreamBroker, mode: Any) -> None:
    """A group that runs takes the new partitions up, without a restart, and nothing is handled twice."""
    app = shop(broker)
    group = app.group("billing", mode=mode, refresh="50ms", min_idle="10s")
    handled: list[tuple[str, int]] = []

    @group.on(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        handled.append((message.stream, order.number))

    async with app, running(app):
        for number in range(20):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
        await Operations(app).repartition(ORDERS, 7, timeout=SOON)
        for number in range(20, 60):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
        async with asyncio.timeout(20):
            while len(handled) < 60:
                await asyncio.sleep(0.005)

    assert sorted(number for _, number in handled) == list(range(60))
    assert {stream for stream, _ in handled} == set(lane_names(ORDERS, 7))


async def test_a_run_until_idle_handles_every_partition(broker: StreamBroker) -> None:
    """Also what a router has yet to move, and what a listener without a group reads."""
    async with shop(broker, None) as before:
        for number in range(10):
            await before.emit(OrderPlaced(customer=f"c-{number}", number=number), stream="legacy")
    app = App("shop", broker=broker, stream={ORDERS: {"partitions": 4, "routed_from": "legacy"}})
    handled: list[int] = []

    @app.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        handled.append(order.number)

    async with app:
        await app.emit(OrderPlaced(customer="ann", number=10))
        await asyncio.wait_for(app.run(until_idle=True), 20)
    assert sorted(handled) == list(range(11))


@pytest.mark.covers("TOPIC-2")
@pytest.mark.parametrize("partitions", [None, 3])
async def test_writer_and_reader_of_a_shard_meet(broker: StreamBroker, partitions: int | None) -> None:
    """And nobody else: neither the stream itself nor another shard, whether or not the stream has partitions."""
    app = shop(broker, partitions)
    handled: list[tuple[str, int]] = []

    @app.listener(OrderPlaced, group="all")
    async def whole(order: OrderPlaced) -> None:
        handled.append(("whole", order.number))

    @app.listener(OrderPlaced, shard="tenant/1", group="tenant")
    async def tenant(order: OrderPlaced) -> None:
        handled.append(("tenant/1", order.number))

    @app.listener(ORDERS, shard="#2", group="other")
    async def other(message: Message) -> None:
        handled.append(("#2", message.decode(OrderPlaced).number))

    async with app:
        reader = await app.read(OrderPlaced, shard="tenant/1", start=BEGINNING)
        await app.emit(OrderPlaced(customer="ann", number=1))
        there = await app.emit(OrderPlaced(customer="ann", number=2), shard="tenant/1")
        await app.emit_many([OrderPlaced(customer="ann", number=3)], shard="#2")
        assert [order.number for order in await reader.read()] == [2]
        await asyncio.wait_for(app.run(until_idle=True), 20)

    stream = Topic(ORDERS).shard("tenant/1").stream
    assert there.stream == (stream if partitions is None else lane_of(stream, partition_of("ann", 3)))
    assert sorted(handled) == [("#2", 3), ("tenant/1", 2), ("whole", 1)]


async def test_a_group_does_not_mix_shards_of_an_event(broker: StreamBroker) -> None:
    """Each listener would run for both; they are refused with what to do."""
    app = shop(broker)
    app.listener(OrderPlaced, shard="a", name="one")(print_nothing)
    with pytest.raises(ConfigurationError, match="a group each"):
        app.listener(OrderPlaced, shard="b", name="two")(print_nothing)
    with pytest.raises(ConfigurationError, match="everything in a shard"):
        app.group("all", streams=[ORDERS]).on(Any, shard="a")(print_nothing)


async def print_nothing() -> None:
    """A listener."""


@pytest.mark.covers("TOPIC-2")
async def test_settings_that_disagree_are_told_at_the_start(broker: StreamBroker) -> None:
    """With the command that changes the stream; whoever runs already goes on."""
    async with shop(broker) as running_on:
        await running_on.emit(OrderPlaced(customer="ann", number=1))
        for declared in (3, 8):
            with pytest.raises(
                PartitionCountError, match=f"penstock streams repartition {ORDERS} {declared}"
            ):
                await shop(broker, declared).open()
            with pytest.raises(PartitionCountError):
                await shop(broker, declared).emit(OrderPlaced(customer="ann", number=2))
        await Operations(shop(broker, 8)).repartition(ORDERS, 8)
        await running_on.emit(OrderPlaced(customer="ann", number=3))
        await shop(broker, 8).open()


async def test_strict_mode_and_caps_know_parts_of_a_stream(broker: StreamBroker) -> None:
    """What is declared of the stream holds for its partitions and shards, each by itself."""
    settings = {ORDERS: {"partitions": 2, "max_entries": 3}, "plain": {}}
    async with App("shop", broker=broker, stream=settings, strict=True) as app:
        for number in range(30):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number), shard="eu")
        await app.emit({}, name="plain", shard="eu")
        for unknown in ("other", "plain:1"):
            with pytest.raises(UnregisteredStreamError):
                await app.emit({}, name=unknown)
    lanes = lane_names(f"{ORDERS}#eu", 2)
    assert [await broker.length(lane) for lane in lanes] == [3, 3]


async def test_a_tail_shows_all_partitions(broker: StreamBroker) -> None:
    """Of a stream named as a whole; without settings that say so, too."""
    async with shop(broker) as app:
        for number in range(8):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
    for operations in (Operations(app), Operations({"default": broker})):
        shown = [each async for each in operations.tail(ORDERS, last=10, follow=False)]
        assert sorted(each.payload["number"] for each in shown) == list(range(8))
        assert {each.stream for each in shown} <= set(lane_names(ORDERS, 4))


async def test_operations_know_a_stream_by_its_name(broker: StreamBroker) -> None:
    """Its groups and failures are those of its partitions; the list shows these, with the groups that are declared."""
    app = shop(broker)

    @app.listener(OrderPlaced, group="billing", retry=Retry(attempts=1))
    async def charge(order: OrderPlaced) -> None:
        raise ValueError(order.number)

    async with app:
        for number in range(8):
            await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
        await app.run(until_idle=True)
        lanes = list(lane_names(ORDERS, 4))
        operations = Operations(app)
        assert [each.name for each in await operations.streams()] == lanes
        groups = await operations.groups(ORDERS)
        assert [(each.stream, each.name, each.pending) for each in groups if each.exists] == [
            (lane, "billing", 0) for lane in lanes
        ]
        failed = await operations.failed(FailedWhich(stream=ORDERS))
        assert len(failed.items) == 8
        detail = await operations.partitions(ORDERS)
        assert (detail.partitions, detail.declared, detail.failed, detail.undrained) == (4, 4, 8, ())


@pytest.mark.parametrize("cursor", [None, "place"])
async def test_listeners_without_a_group_hear_all_partitions(
    broker: StreamBroker, cursor: str | None
) -> None:
    """From the beginning; with a cursor from there on, also in partitions that came while nobody listened."""
    heard: list[int] = []

    async def hear(order: OrderPlaced) -> None:
        heard.append(order.number)

    for partitions, expected in ((4, range(10)), (7, range(10, 40) if cursor else range(40))):
        heard.clear()
        app = shop(broker, partitions)
        app.listener(OrderPlaced)(hear)
        async with app:
            for number in range(10) if partitions == 4 else range(10, 40):
                await app.emit(OrderPlaced(customer=f"c-{number}", number=number))
            start = BEGINNING if partitions == 4 or not cursor else NEW
            selection = Selection(ungrouped=True, until_idle=True, start=start, cursor=cursor)
            await (await app.runner(selection)).run()
        assert sorted(heard) == list(expected)
        if partitions == 4:
            await Repartitioning(broker, ORDERS).to(7, timeout=SOON)


@pytest.mark.parametrize(
    ("streams", "reason"),
    [
        ({ORDERS: {"partitions": 0}}, "partitions"),
        ({ORDERS: {"partitions": 1025}}, "1 to 1024"),
        ({ORDERS: {"partitions": "many"}}, "partitions"),
        ({ORDERS: {"routed_from": "legacy"}}, "set partitions"),
        (
            {name: {"partitions": 2, "routed_from": "legacy"} for name in (ORDERS, "b")},
            "routed into",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(streams: dict[str, Any], reason: str) -> None:
    """At once, naming key and remedy."""
    with pytest.raises(InvalidSettingsError, match=reason):
        _ = App(uuid4().hex, stream=streams).settings
