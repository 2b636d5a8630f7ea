"""A cluster whose slots move and whose nodes die under load: nothing is lost, and order is kept."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from penstock.event import Event
from penstock.listeners import GroupWorker, Router
from penstock.position import BEGINNING
from penstock.retry import Retry
from penstock.streams.abc import Condition, NewEntry
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.clusters import RealCluster, wait_until
from tests.streams.valkey.moving import Slot, Traffic, numbered, numbers_in, streams_at

Connect = Callable[..., Awaitable[ValkeyBroker]]

SECOND = timedelta(seconds=1)


class Placed(Event, name="order.placed"):
    """An order was placed."""

    number: int


@pytest.mark.covers("LEAD-10")
@pytest.mark.parametrize("batch", [5, 1500])
async def test_slots_move_under_load_and_nothing_is_lost_or_doubled(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool, batch: int
) -> None:
    """Key by key, as operators' tools do, there and back again: no entry is refused, and none is seen twice.

    Also not when what is published in one call takes several writes.
    """
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    streams = streams_at(cluster, namespace, 1)
    slots = [Slot(cluster, namespace, stream) for stream in streams]
    traffic = Traffic(broker, streams, batch=batch)
    async with traffic.running():
        for _ in range(4 if batch == 5 else 2):
            for slot in slots:
                await traffic.more(20)
                await asyncio.to_thread(slot.begin)
                await traffic.more(20)
                await asyncio.to_thread(cluster.move_keys, slot.number, slot.source, slot.target)
                await traffic.more(20)
                await asyncio.to_thread(cluster.end_move, slot.number, slot.target)
                slot.source, slot.target = slot.target, slot.source
    await traffic.check()
    assert traffic.troubles == []
    assert {count for seen in traffic.seen.values() for count in seen.values()} == {1}


@pytest.mark.covers("LEAD-10")
async def test_slots_that_move_as_a_whole_go_unnoticed(
    cluster: RealCluster, namespace: str, connect: Connect
) -> None:
    """As Valkey 9 moves them by itself: in one step, so that no script waits for half of its keys."""
    broker = await connect(cluster.url, namespace=namespace)
    streams = streams_at(cluster, namespace, 1)
    traffic = Traffic(broker, streams)
    async with traffic.running():
        for stream in streams:
            slot = Slot(cluster, namespace, stream)
            await traffic.more(50)
            await asyncio.to_thread(cluster.move_at_once, slot.number, slot.source, slot.target)
        await traffic.more(50)
    await traffic.check()
    assert traffic.troubles == []
    assert {count for seen in traffic.seen.values() for count in seen.values()} == {1}


@pytest.mark.covers("LEAD-10", "GROUP-15")
async def test_a_worker_over_many_slots_handles_everything_once_while_they_move(
    cluster: RealCluster, namespace: str, connect: Connect
) -> None:
    """Failures are recorded and retried meanwhile; at the end nothing is pending and nothing is due."""
    broker = await connect(cluster.url, namespace=namespace)
    streams = streams_at(cluster, namespace, 1)
    group = Router().group("shop", retry=Retry(attempts=5, initial="10ms"))
    seen: Counter[int] = Counter()

    @group.on(Placed)
    async def handle(order: Placed) -> None:
        seen[order.number] += 1
        if seen[order.number] == 1 and order.number % 5 == 0:
            raise ValueError("not at the first time")

    def placed(number: int) -> NewEntry:
        body = b'{"number": %d}' % number
        return NewEntry(streams[number % 3], [b"name", b"order.placed", b"data", body])

    worker = GroupWorker(broker, group, streams=streams, consumer="ann")
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    for first in (0, 60, 120):
        await broker.append_many([placed(number) for number in range(first, first + 60)])
        for stream in streams:
            await asyncio.to_thread(Slot(cluster, namespace, stream).move)
    async with asyncio.timeout(30):
        while seen.total() < 216 or any(
            [(await broker.pending_summary(stream, "shop")).count for stream in streams]
        ):
            await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert Counter(seen.values()) == {1: 144, 2: 36}


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_a_node_is_killed_and_comes_back(
    own_cluster: Callable[..., RealCluster], connect: Connect, plain: bool
) -> None:
    """The streams of other nodes go on meanwhile; its own are taken up when it is there, with nothing lost."""
    cluster = own_cluster()
    broker = await connect(cluster.url, plain=plain, answer_timeout=timedelta(milliseconds=500))
    streams = [cluster.key_at(node) for node in cluster.masters]
    traffic = Traffic(broker, streams)
    async with traffic.running():
        await traffic.more()
        cluster.masters[1].kill()
        await traffic.more()
        await asyncio.to_thread(cluster.restart, cluster.masters[1])
        so_far = len(traffic.written[streams[1]])
        while len(traffic.written[streams[1]]) < so_far + 20:
            await asyncio.sleep(0.001)
    await traffic.check()
    assert traffic.troubles


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_a_replica_takes_over_from_a_master_that_was_killed(
    own_cluster: Callable[..., RealCluster], connect: Connect
) -> None:
    """Its slots are found with the replica: whatever had reached that is there, and everything goes on."""
    cluster = own_cluster(replicas=1)
    broker = await connect(cluster.url, answer_timeout=timedelta(seconds=20))
    streams = [cluster.key_at(node) for node in cluster.masters]
    for stream in streams:
        await broker.create_group(stream, "billing", BEGINNING)
    await broker.append_many([numbered(stream, 0) for stream in streams])
    wait_until(lambda: cluster.ask(cluster.masters[0], "WAIT", 1, 1000) == 1)
    waiting = asyncio.create_task(broker.read_group("billing", "ann", streams, count=5, block=SECOND))
    assert len((await waiting).batches) == 3
    wait_until(lambda: cluster.ask(cluster.masters[0], "WAIT", 1, 1000) == 1)
    cluster.masters[0].kill()
    outcomes = await broker.append_many([numbered(stream, 1) for stream in streams])
    while outcomes[0].condition is Condition.UNKNOWN:
        # It left over the old connection just when that broke: not written by anyone who is left.
        outcomes = await broker.append_many([numbered(stream, 1) for stream in streams])
    assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 3
    assert cluster.keeper(streams[0]) is cluster.replicas[0]
    assert (await numbers_in(broker, streams[0]))[0] == 0
    assert (await broker.pending_summary(streams[0], "billing")).count == 1
    read = await broker.read_group("billing", "ann", streams, count=5, block=SECOND)
    assert sorted(stream for stream, _ in read.batches) == sorted(streams)
