"""The router: a foreign stream comes into the partitions of ours in order, each entry once, whoever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from penstock.errors import BrokerFullError
from penstock.listeners._router import ROUTER_GROUP, StreamRouter
from penstock.message import Message, Meta
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import NewEntry, RawId, StreamBroker
from penstock.streams.layouts import NATIVE
from penstock.streams.memory import MemoryBroker
from penstock.streams.partitions import lane_names, lane_of, partition_of
from penstock.streams.repartitioning import Repartitioning
from penstock.testing.faulty import Crashed, Faulty
from tests.partitions.shop import ORDERS, publisher

LEGACY = "legacy.orders"
KEYS = ["a", "b", "ключ", "", "user-7"]
SHORT = timedelta(milliseconds=50)
SOON = timedelta(seconds=20)


def foreign(number: int) -> NewEntry:
    """An entry of the foreign stream; every fifth has no key, and some are no message at all."""
    if number % 11 == 10:
        return NewEntry(LEGACY, [b"n", b"%d" % number])
    key = None if number % 5 == 4 else KEYS[number % len(KEYS)]
    meta = Meta(1, "legacy", key, 1, "event", "application/json", {})
    return NewEntry(LEGACY, NATIVE.pack(f"id-{number}", "order.placed", meta, b"%d" % number))


async def fill(broker: StreamBroker, first: int, last: int) -> None:
    """Entries *first* to *last* of the foreign stream."""
    for number in range(first, last):
        await broker.append(foreign(number))


def router(broker: StreamBroker, count: int = 4, *, until_idle: bool = True) -> StreamRouter:
    """A router of a process of its own, which lets others in soon when it has died."""
    return StreamRouter(
        LEGACY,
        ORDERS,
        broker=broker,
        target_broker=broker,
        partitioned=publisher(broker, count),
        until_idle=until_idle,
        lease_life=SHORT,
    )


async def routed(broker: StreamBroker, partitions: int) -> dict[str, list[list[bytes]]]:
    """The fields of what lies in each partition."""
    return {
        lane: [fields for _, fields in await broker.range(lane)] for lane in lane_names(ORDERS, partitions)
    }


def placed(raw_id: RawId, fields: list[bytes], partitions: int) -> str:
    """The partition in which an entry of the foreign stream belongs."""
    if b"meta" not in fields:
        return lane_of(ORDERS, partition_of(raw_id.decode(), partitions))
    message: Message = NATIVE.read(LEGACY, raw_id, fields)
    return lane_of(ORDERS, partition_of(message.id if message.key is None else message.key, partitions))


async def expected(broker: StreamBroker, partitions: int) -> dict[str, list[list[bytes]]]:
    """What has to lie in each partition: everything, in the order of the foreign stream."""
    found: dict[str, list[list[bytes]]] = {lane: [] for lane in lane_names(ORDERS, partitions)}
    for raw_id, fields in await broker.range(LEGACY):
        found[placed(raw_id, fields, partitions)].append(fields)
    return found


def together(partitions: dict[str, list[list[bytes]]]) -> list[list[bytes]]:
    """What lies in all partitions, sorted."""
    return sorted(fields for entries in partitions.values() for fields in entries)


async def everything(broker: StreamBroker) -> list[list[bytes]]:
    """What lies in the foreign stream, sorted."""
    return sorted(fields for _, fields in await broker.range(LEGACY))


@asynccontextmanager
async def running(*routers: StreamRouter) -> AsyncIterator[Sequence["asyncio.Task[None]"]]:
    """The routers at work; they are stopped at the end."""
    tasks = [asyncio.create_task(each.run()) for each in routers]
    try:
        yield tasks
    finally:
        for each in routers:
            each.stop()
        await asyncio.gather(*tasks)


async def until_routed(broker: StreamBroker) -> None:
    """Wait until nothing of the foreign stream is left."""
    last = (await broker.info(LEGACY)).last_id
    while (group := await _group(broker)) is None or group < last:
        await asyncio.sleep(0.005)


async def _group(broker: StreamBroker) -> EntryId | None:
    found = [each for each in await broker.groups(LEGACY) if each.name == ROUTER_GROUP]
    return found[0].last_delivered if found else None


@pytest.mark.covers("TOPIC-2")
async def test_everything_comes_into_the_partition_of_its_key_in_order(broker: StreamBroker) -> None:
    """Byte by byte, what is no message included; the group shows that nothing is left."""
    await fill(broker, 0, 450)
    await router(broker).run()

    assert await routed(broker, 4) == await expected(broker, 4)
    [group] = await broker.groups(LEGACY)
    assert (group.name, group.lag_entries, group.pending) == (ROUTER_GROUP, 0, 0)


async def test_what_comes_later_is_routed_too(broker: StreamBroker) -> None:
    """A router that runs takes everything up, and says when it had nothing to do."""
    await fill(broker, 0, 3)
    worker = router(broker, until_idle=False)
    async with running(worker):
        await asyncio.wait_for(worker.caught_up.wait(), 20)
        await fill(broker, 3, 40)
        await asyncio.wait_for(until_routed(broker), 20)

    assert await routed(broker, 4) == await expected(broker, 4)
    assert worker.counts.handled == 40


@pytest.mark.covers("TOPIC-2")
async def test_a_router_that_dies_anywhere_is_followed_by_another() -> None:
    """At whichever step it died, between adding and noting too: nothing is there twice, nothing is missing."""
    first = MemoryBroker()
    await fill(first, 0, 30)
    watched = Faulty(first)
    await router(watched).run()
    for number in range(len(watched.steps)):
        broker = MemoryBroker()
        await fill(broker, 0, 30)
        with suppress(Crashed):
            await router(Faulty(broker, crash_at=number)).run()
        await broker.leases.revoke(
            ROUTER_GROUP, stream=LEGACY
        )  # or its successor would wait for it to run out
        await fill(broker, 30, 60)
        await asyncio.wait_for(router(broker).run(), 20)

        assert await routed(broker, 4) == await expected(broker, 4), watched.steps[number]


@pytest.mark.parametrize("partitions", [7, 2])
async def test_a_router_that_dies_before_a_change_is_followed_by_another(partitions: int) -> None:
    """What it had added to the former partitions is not added to the new ones, and what it had not is not forgotten."""
    first = MemoryBroker()
    await fill(first, 0, 30)
    watched = Faulty(first)
    await router(watched).run()
    for number in range(len(watched.steps)):
        broker = MemoryBroker()
        await publisher(broker).layout(ORDERS)
        await fill(broker, 0, 30)
        with suppress(Crashed):
            await router(Faulty(broker, crash_at=number)).run()
        await broker.leases.revoke(
            ROUTER_GROUP, stream=LEGACY
        )  # or its successor would wait for it to run out
        await Repartitioning(broker, ORDERS).to(partitions, timeout=SOON)
        await fill(broker, 30, 60)
        await asyncio.wait_for(router(broker, partitions).run(), 20)

        there = await routed(broker, max(4, partitions))
        assert together(there) == await everything(broker), watched.steps[number]


async def test_a_change_under_a_running_router_loses_nothing(broker: StreamBroker) -> None:
    """Partitions close and open under it, one after the other, while it has more to route all the time."""
    await publisher(broker).layout(ORDERS)
    worker = router(broker, until_idle=False)
    async with running(worker):
        await fill(broker, 0, 1)
        await asyncio.wait_for(until_routed(broker), 20)
        filling = asyncio.create_task(fill(broker, 1, 600))
        for partitions in (7, 2, 5):
            before = worker.counts.handled
            await Repartitioning(broker, ORDERS).to(partitions, timeout=SOON)
            while worker.counts.handled == before and not filling.done():
                await asyncio.sleep(0.002)
        await filling
        await asyncio.wait_for(until_routed(broker), 20)

    there = await routed(broker, 7)
    assert together(there) == await everything(broker)
    for entries in there.values():
        numbers = [int(fields[-1]) for fields in entries]
        for key in {placed(b"0-1", fields, 1000) for fields in entries if b"meta" in fields}:
            of_key = [
                number
                for number, fields in zip(numbers, entries, strict=True)
                if b"meta" in fields and placed(b"0-1", fields, 1000) == key
            ]
            assert of_key == sorted(of_key)


async def test_of_two_routers_one_works(broker: StreamBroker) -> None:
    """The other waits, and takes over when the first has ended."""
    await fill(broker, 0, 20)
    one, two = (router(broker, until_idle=False) for _ in range(2))
    async with running(one, two) as tasks:
        await asyncio.wait_for(until_routed(broker), 20)
        while one.counts.handled + two.counts.handled < 20:
            await asyncio.sleep(0.005)
        assert sorted((one.counts.handled, two.counts.handled)) == [0, 20]
        at_work, task = (one, tasks[0]) if one.counts.handled else (two, tasks[1])
        at_work.stop()
        await asyncio.wait_for(task, 20)
        await fill(broker, 20, 40)
        await asyncio.wait_for(until_routed(broker), 20)

    assert sorted((one.counts.handled, two.counts.handled)) == [20, 20]
    assert await routed(broker, 4) == await expected(broker, 4)


@pytest.mark.covers("TOPIC-2")
async def test_a_router_that_slept_adds_nothing_more(broker: StreamBroker) -> None:
    """It had read entries, lost its lease and slept while another routed them; it wakes, and each is there once."""
    await fill(broker, 0, 20)
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(step: object) -> None:
        if getattr(step, "call", "") == "partitions.route" and not asleep.is_set():
            asleep.set()
            await wake.wait()

    sleeper = router(Faulty(broker, at_step=sleep), until_idle=False)
    async with running(sleeper):
        await asyncio.wait_for(asleep.wait(), 20)
        await broker.leases.revoke(ROUTER_GROUP, stream=LEGACY)
        other = router(broker)
        await asyncio.wait_for(other.run(), 20)
        wake.set()
        await fill(broker, 20, 30)
        await asyncio.wait_for(until_routed(broker), 20)

    assert other.counts.handled == 20
    assert await routed(broker, 4) == await expected(broker, 4)


@pytest.mark.covers("TOPIC-2")
async def test_what_a_server_refuses_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry in the midst of a batch that finds no room for a moment comes before those behind it all the same."""
    broker = MemoryBroker()
    await fill(broker, 0, 60)
    add, left = broker.partitions._add, [7]

    def add_unless_full(entry: NewEntry) -> RawId:
        left[0] -= 1
        if left[0] == 0:
            raise BrokerFullError("the server is at its memory limit")
        return add(entry)

    monkeypatch.setattr(broker.partitions, "_add", add_unless_full)
    await asyncio.wait_for(router(broker, 2).run(), 20)

    assert left[0] < 0
    assert await routed(broker, 2) == await expected(broker, 2)


async def test_a_stream_is_routed_into_its_own_partitions(broker: StreamBroker) -> None:
    """From what its groups have not handled on: what was handled is not moved."""
    for number in range(6):
        await broker.append(NewEntry(ORDERS, foreign(number).fields))
    await broker.create_group(ORDERS, "billing", BEGINNING)
    read = await broker.read_group("billing", "ann", [ORDERS], count=2)
    await broker.acknowledge(ORDERS, "billing", [entry_id for entry_id, _ in read.batches[0][1]])
    known = publisher(broker)
    known._routed_into_themselves = frozenset({ORDERS})
    worker = StreamRouter(
        ORDERS, ORDERS, broker=broker, target_broker=broker, partitioned=known, until_idle=True
    )
    await worker.run()

    assert together(await routed(broker, 4)) == sorted(list(foreign(number).fields) for number in range(2, 6))
    for lane in lane_names(ORDERS, 4):
        assert "billing" in {group.name for group in await broker.groups(lane)}


async def test_a_foreign_stream_that_is_deleted_is_routed_anew(broker: StreamBroker) -> None:
    """Its group goes with it, and comes back with it."""
    await fill(broker, 0, 5)
    worker = router(broker, until_idle=False)
    async with running(worker):
        await asyncio.wait_for(until_routed(broker), 20)
        await broker.delete_stream(LEGACY)
        await fill(broker, 5, 9)
        while sum(map(len, (await routed(broker, 4)).values())) < 9:
            await asyncio.sleep(0.005)
