"""Reads that wait: what may happen to them meanwhile, and what they leave behind."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio

from penstock.errors import (
    UnknownGroupError,
)
from penstock.position import BEGINNING
from penstock.streams.abc import (
    GroupRead,
    NewEntry,
)
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]

ENTRY = NewEntry("orders", [b"n", b"1"])


async def waiting_clients(admin: Any, number: int) -> None:
    """Until so many clients wait for entries."""
    while (await admin.info("clients"))["blocked_clients"] < number:
        await asyncio.sleep(0)


async def start_reading(
    broker: ValkeyBroker, admin: Any, group: str = "billing"
) -> "asyncio.Task[GroupRead]":
    """A group read that waits on the server."""
    reading = asyncio.create_task(
        broker.read_group(group, "ann", ["orders"], count=10, block=timedelta(seconds=60))
    )
    await waiting_clients(admin, 1)
    return reading


@pytest.mark.parametrize("stream_too", [False, True])
async def test_a_group_deleted_under_a_waiting_read_is_told(
    valkey_server: RealServer, namespace: str, connect: Connect, stream_too: bool, plain: bool
) -> None:
    """The read ends at once with the group's name."""
    broker = await connect(valkey_server.url, namespace=namespace, plain=plain)
    await broker.create_group("orders", "billing", BEGINNING)
    async with redis.asyncio.Redis(unix_socket_path=valkey_server.socket) as admin:
        reading = await start_reading(broker, admin)
        await (broker.delete_stream("orders") if stream_too else broker.delete_group("orders", "billing"))
        with pytest.raises(UnknownGroupError) as caught:
            await reading
        assert (caught.value.stream, caught.value.group) == ("orders", "billing")


async def test_on_redis_6_a_stream_deleted_under_a_waiting_read_is_told_by_the_next_read(
    redis62_server: RealServer, namespace: str, connect: Connect
) -> None:
    """That server lets the reader wait; once it has waited, the group is missed."""
    broker = await connect(redis62_server.url, namespace=namespace)
    await broker.create_group("orders", "billing", BEGINNING)
    async with redis.asyncio.Redis(unix_socket_path=redis62_server.socket) as admin:
        reading = await start_reading(broker, admin)
        await broker.delete_stream("orders")
        await broker.interrupt("billing", "ann")
        assert (await reading).batches == []
        with pytest.raises(UnknownGroupError):
            await broker.read_group("billing", "ann", ["orders"], count=1)


async def test_the_missing_one_of_several_streams_is_named(broker: ValkeyBroker) -> None:
    """A read of several streams fails as a whole; the acknowledgements sent along have been counted all the same."""
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(ENTRY)
    read = await broker.read_group("billing", "ann", ["orders"], count=1)
    [(_, [[entry_id, _]])] = read.batches
    with pytest.raises(UnknownGroupError) as caught:
        await broker.read_group(
            "billing", "ann", ["orders", "refunds"], count=1, acknowledge={"orders": [entry_id]}
        )
    assert caught.value.stream == "refunds"
    assert (await broker.pending_summary("orders", "billing")).count == 0


@pytest.mark.covers("CONF-7")
async def test_a_cancelled_read_leaves_nothing_behind(
    valkey_server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Its connection is closed, so that an entry which comes later goes to whoever reads then."""
    broker = await connect(valkey_server.url, namespace=namespace, plain=plain)
    await broker.create_group("orders", "billing", BEGINNING)
    async with redis.asyncio.Redis(unix_socket_path=valkey_server.socket) as admin:
        reading = await start_reading(broker, admin)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while (await admin.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0)
        entry_id = await broker.append(ENTRY)
        read = await broker.read_group("billing", "ann", ["orders"], count=10, block=timedelta(seconds=60))
        assert read.batches == [("orders", [[entry_id, [b"n", b"1"]]])]


async def test_a_cancelled_plain_read_does_not_give_its_answer_to_the_next(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Waiting connections are used again, but not one on which an answer is still due."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        reading = asyncio.create_task(broker.read({"orders": b"0-0"}, count=10, block=timedelta(seconds=60)))
        await waiting_clients(admin, 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await broker.append(ENTRY)
        [(stream, [_])] = await broker.read(
            {"refunds": b"0-0", "orders": b"0-0"}, count=10, block=timedelta(seconds=60)
        )
        assert stream == "orders"
