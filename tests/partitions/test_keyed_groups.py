"""Keyed groups over partitions that change under them: two members, several publishers, order of every key."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from penstock import App, Event, Message
from penstock.operations import Operations
from penstock.streams.abc import StreamBroker
from penstock.streams.partitions import lane_names

KEYS = [f"customer-{number}" for number in range(12)]


class OrderPlaced(Event, name="order.placed", key="customer"):
    """An order."""

    customer: str
    number: int


def member(broker: StreamBroker, handled: dict[str, list[int]], places: set[str]) -> App:
    """An app as each of several processes runs it."""
    app = App("shop", broker=broker, stream={"order.placed": {"partitions": 4}})
    group = app.group("billing", mode="keyed", lease_life="2s", concurrency=20)

    @group.on(OrderPlaced)
    async def charge(order: OrderPlaced, message: Message) -> None:
        await asyncio.sleep(0.001)
        handled.setdefault(order.customer, []).append(order.number)
        places.add(message.stream)

    return app


async def publish(app: App, keys: list[str], enough: asyncio.Event) -> int:
    """Orders of some customers, each with its number; how many of each there were."""
    number = 0
    while not enough.is_set():
        await app.emit_many([OrderPlaced(customer=key, number=number) for key in keys])
        await asyncio.sleep(0.02)
        number += 1
    return number


@pytest.mark.covers("TOPIC-2")
async def test_keys_keep_their_order_while_partitions_change(
    broker: StreamBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four partitions become seven and two under two members: each order is handled once, in its customer's order."""
    monkeypatch.chdir(tmp_path)
    handled: dict[str, list[int]] = {}
    places: set[str] = set()
    members = [member(broker, handled, places) for _ in range(2)]
    for app in members:
        await app.open()
    runners = [await app.runner() for app in members]
    running = [asyncio.create_task(runner.run()) for runner in runners]
    await asyncio.wait_for(asyncio.gather(*(runner.wait_ready() for runner in runners)), 20)
    enough = asyncio.Event()
    publishing = [
        asyncio.create_task(publish(app, KEYS[first::2], enough)) for first, app in enumerate(members)
    ]
    for partitions in (7, 2):
        done = await Operations(members[0]).repartition(
            "order.placed", partitions, timeout=timedelta(seconds=20)
        )
        assert (done.partitions, done.held_by) == (partitions, ())
        async with asyncio.timeout(30):
            while partitions == 7 and not places & set(lane_names("order.placed", 7)[4:]):
                await asyncio.sleep(0.01)
    enough.set()
    counts = await asyncio.gather(*publishing)
    async with asyncio.timeout(30):
        while sum(map(len, handled.values())) < sum(counts) * len(KEYS) // 2:
            await asyncio.sleep(0.01)
    for runner in runners:
        runner.stop()
    await asyncio.gather(*running)
    for app in members:
        await app.close()

    assert handled == {key: list(range(counts[number % 2])) for number, key in enumerate(KEYS)}
