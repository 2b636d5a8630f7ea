"""Leases and lanes on real servers: in step with a model, at the memory limit, and when their keys are taken away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import redis.asyncio
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from penstock.clock import SystemClock
from penstock.errors import BrokerFullError
from penstock.position import EntryId
from penstock.streams.abc import Lane, LeaseInfo, Parked, Settled, StreamBroker
from penstock.streams.leasing import HeldLease, take_lease
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.contracts import PassTime
from penstock.testing.contracts._common import AGES, deliver
from penstock.testing.contracts._in_lanes import (
    CHARGE,
    filled,
    open_lane,
    parked_ids,
    parked_records,
    payload,
)
from penstock.testing.contracts.leases import take
from penstock.testing.contracts.stateful_lanes import lane_machine
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]


@pytest.mark.covers("GROUP-5", "LEAD-7")
@pytest.mark.torture
def test_a_real_server_agrees_with_the_model(server: RealServer, namespace: str, torture: bool) -> None:
    """One has the lease, fences grow, and whoever had it before changes nothing, in whatever order it all happens."""
    numbers = count()

    @asynccontextmanager
    async def connect() -> AsyncIterator[tuple[StreamBroker, PassTime]]:
        broker = ValkeyBroker(server.url, namespace=f"{namespace}-{next(numbers)}")
        await broker.open()

        async def pass_time(duration: timedelta) -> None:
            until_us = await broker.server_time_us() + duration // timedelta(microseconds=1)
            # The clock of another process cannot be waited for, only asked again.
            while await broker.server_time_us() < until_us:
                await asyncio.sleep(0.001)

        yield broker, pass_time
        await broker.close()

    run_state_machine_as_test(
        lane_machine(connect),
        settings=settings(
            max_examples=1000 if torture else 20, stateful_step_count=60 if torture else 30, deadline=None
        ),
    )


@pytest.mark.covers("GROUP-5")
async def test_a_deleted_key_is_a_lost_lease(broker: ValkeyBroker, admin: Any, namespace: str) -> None:
    """Whoever removes the key takes the lease: the next renewal tells, and what is settled late has no effect."""
    life = timedelta(milliseconds=600)
    held = await take_lease(broker.leases, "ordered", life=life, clock=SystemClock(), stream="orders")
    assert isinstance(held, HeldLease)
    lane = Lane("orders", "billing", "ann", held.lease)
    [entry_id] = await deliver(broker)
    [key] = await admin.keys(f"{namespace}:*:lease:ordered")
    await admin.delete(key)

    assert await broker.lanes.acknowledge(lane, [entry_id]) is None
    assert await broker.lanes.settle(lane, entry_id, payload(1), [CHARGE]) is Settled.NOT_YOURS
    async with asyncio.timeout(20):
        await held.lost.wait()
    assert not held.is_held
    assert (await take(broker, "ordered", token="bob", stream="orders")).fence > held.fence
    assert await broker.lanes.acknowledge(lane, [entry_id]) is None
    assert (await broker.pending_summary("orders", "billing")).count == 1
    await held.release()


async def test_a_lease_leaves_its_fence_for_a_day(broker: ValkeyBroker, admin: Any, namespace: str) -> None:
    """So that the next owner's is higher even where the clock was set back; then nothing is left of it."""
    lease = await take(broker, "report", life=timedelta(minutes=1))
    assert await broker.leases.release(lease)
    [key] = await admin.keys(f"{namespace}:*")
    assert 86_400_000 < await admin.pttl(key) <= 86_460_000
    assert await admin.hgetall(key) == {b"fence": str(lease.fence).encode()}
    await admin.hset(key, "fence", lease.fence + 10**12)

    assert (await take(broker, "report")).fence == lease.fence + 10**12 + 1


async def test_members_that_are_gone_leave_nothing(broker: ValkeyBroker, admin: Any, namespace: str) -> None:
    """The keys end with the longest life."""
    for token, life in (("ann", timedelta(minutes=5)), ("bob", timedelta(minutes=1))):
        await broker.members.join("orders", "billing", token=token, description="", life=life)
    for key in await admin.keys(f"{namespace}:*"):
        assert 240_000 < await admin.pttl(key) <= 300_000


@pytest.mark.covers("GROUP-5", "LEAD-7")
async def test_at_the_memory_limit_owners_stay_and_nothing_is_half_done(
    start_server: Start, connect: Connect
) -> None:
    """What needs memory is refused whole; what the owner has it keeps, settles, finishes and gives up."""
    server = start_server()
    broker = await connect(server.url)
    lane = await open_lane(broker, life=timedelta(minutes=1))
    parked = await filled(broker, lane, behind=1)
    await filled(broker, lane, key="other", behind=1)
    await broker.lanes.unpark("orders", "billing", "k")
    event = await broker.lanes.take_parked(lane, "k")
    assert event is not None
    [entry_id, other] = await deliver(broker, 2)

    async def stay() -> int:
        return len(await broker.members.join("orders", "billing", token="ann", description="", life=AGES))

    assert await stay() == 1
    before = await parked_records(broker)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        keys = sorted(await admin.keys())
        await admin.config_set("maxmemory", 1)
        refused: list[Callable[[], Awaitable[Any]]] = [
            lambda: take(broker, "another"),
            lambda: broker.members.join("orders", "billing", token="bob", description="", life=AGES),
            lambda: broker.lanes.settle(lane, entry_id, payload(1), [CHARGE, CHARGE]),
            lambda: broker.lanes.begin_alone(lane, entry_id),
            lambda: broker.lanes.park(lane, "new", entry_id, payload(1), [CHARGE]),
            lambda: broker.lanes.join(lane, "k", entry_id, payload(1)),
            lambda: broker.lanes.unpark("orders", "billing", "other"),
            lambda: broker.lanes.take_parked(lane, "k"),
            lambda: broker.lanes.fail_parked(lane, "k", event.entry_id, [CHARGE]),
        ]
        for call in refused:
            with pytest.raises(BrokerFullError):
                await call()
        assert sorted(await admin.keys()) == keys
        assert await parked_records(broker) == before
        assert (await broker.pending_summary("orders", "billing")).count == 2
        assert await broker.lanes.unparking("orders", "billing") == ["k"]

        assert await broker.leases.renew(lane.lease, life=AGES)
        held = await broker.leases.look(lane.lease.name, stream="orders")
        assert held is not None
        assert held.remaining > timedelta(minutes=30)
        assert await stay() == 1
        assert await broker.lanes.acknowledge(lane, [other]) == 1
        assert await broker.lanes.finish_parked(lane, "k", event.entry_id) is Settled.DONE
        assert await broker.lanes.discard_parked("orders", "billing", "k", EntryId.parse(parked[1])) == 1
        assert await broker.lanes.join(lane, "k", entry_id, payload(1)) is Parked.OPEN
        assert await broker.failures.delete((await parked_records(broker))[0].key)
        assert await broker.lanes.discard_parked("orders", "billing", "other") == 1
        assert await broker.members.leave("orders", "billing", token="ann")
        assert await broker.leases.release(lane.lease)
        await admin.config_set("maxmemory", 0)
    assert await broker.lanes.parked_keys("orders", "billing") == []
    assert await broker.failures.tally("orders") == []


async def test_deleting_a_stream_leaves_no_key(broker: ValkeyBroker, admin: Any, namespace: str) -> None:
    """Leases, members, lines and records all go, however many there are."""
    lane = await open_lane(broker)
    for number in range(30):
        await filled(broker, lane, key=f"k:{number}", behind=50)
    await broker.lanes.unpark("orders", "billing", "k:1")
    await take(broker, "collector", stream="orders")
    await broker.members.join("orders", "billing", token="ann", description="", life=AGES)
    assert await broker.delete_stream("orders")

    assert await admin.keys(f"{namespace}:*{{*") == []


async def test_nothing_is_left_of_what_was_unparked(broker: ValkeyBroker, admin: Any, namespace: str) -> None:
    """With the last event of the last key, every key of the lines is gone."""
    lane = await open_lane(broker)
    await filled(broker, lane, behind=2)
    await broker.lanes.unpark("orders", "billing", "k")
    while event := await broker.lanes.take_parked(lane, "k"):
        await broker.lanes.finish_parked(lane, "k", event.entry_id)

    assert await parked_ids(broker, lane) == []
    left = {key.decode().rpartition("orders:")[2] for key in await admin.keys(f"{namespace}:*{{*")}
    assert left == {"groups", "leases", "lease:ordered%3Abilling"}


async def test_who_waits_for_a_lease_asks_another_process(
    server: RealServer, namespace: str, connect: Connect
) -> None:
    """Two brokers, one server: the second has it soon after the first gave it up."""
    ann, bob = [await connect(server.url, namespace=namespace) for _ in range(2)]
    clock = SystemClock()
    first = await take_lease(ann.leases, "report", life=AGES, clock=clock)
    assert isinstance(first, HeldLease)
    assert isinstance(await take_lease(bob.leases, "report", life=AGES, clock=clock), LeaseInfo)
    waiting = asyncio.create_task(
        take_lease(bob.leases, "report", life=AGES, clock=clock, wait=timedelta(seconds=20))
    )
    await first.release()
    second = await waiting

    assert isinstance(second, HeldLease)
    assert second.fence > first.fence
    await second.release()
