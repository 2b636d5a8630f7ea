"""kill -9 of the process that repartitions, on a real server, while publishers write and a group reads."""

import asyncio
import signal
import sys
from datetime import timedelta
from uuid import uuid4

import pytest

from penstock.streams.abc import StreamBroker
from penstock.streams.repartitioning import Repartitioning
from penstock.streams.valkey import ValkeyBroker
from tests.partitions.shop import ORDERS, Readers, publish, publisher, settled_layout
from tests.streams.valkey.servers import RealServer

KEYS = ["a", "b", "ключ", "user-7"]
COUNT = 150
SOON = timedelta(seconds=20)


async def change(server: RealServer, namespace: str, step: int) -> tuple[int | None, str]:
    """Run the process that dies at a step; its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.partitions.killed", server.url, namespace, str(step)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 50)
    return process.returncode, said.decode()


@pytest.mark.covers("TOPIC-2")
@pytest.mark.parametrize("part", range(4))
async def test_killed_at_any_step_nothing_is_lost(partitions_server: RealServer, part: int) -> None:
    """Run again by another, it comes to its end; every event is handled once, keys in order."""
    steps = 40
    for step in range(part * 4, steps, 16):
        broker = ValkeyBroker(partitions_server.url, namespace=uuid4().hex)
        await broker.open()
        try:
            await _killed(partitions_server, broker, step)
        finally:
            await broker.close()


async def _killed(server: RealServer, broker: StreamBroker, step: int) -> None:
    await publisher(broker, 4).layout(ORDERS)
    async with Readers(broker, 5) as readers:
        publishing = [asyncio.create_task(publish(broker, [key], COUNT, every_ms=5)) for key in KEYS]
        code, _ = await change(server, _namespace(broker), step)
        assert code == -signal.SIGKILL
        done = await Repartitioning(broker, ORDERS).to(5, timeout=SOON)
        assert not done.held_by
        await asyncio.gather(*publishing)
        await readers.until(len(KEYS) * COUNT)
    await settled_layout(broker, 5)
    assert readers.handled == {key: list(range(COUNT)) for key in KEYS}


async def test_steps_are_as_many_as_are_tried(partitions_server: RealServer) -> None:
    """The range of the test before reaches to the end of the change."""
    broker = ValkeyBroker(partitions_server.url, namespace=uuid4().hex)
    await broker.open()
    await publisher(broker, 4).layout(ORDERS)
    code, said = await change(partitions_server, _namespace(broker), -1)
    await broker.close()
    assert code == 0
    assert 32 <= int(said) <= 80


def _namespace(broker: StreamBroker) -> str:
    assert isinstance(broker, ValkeyBroker)
    return broker._server.keys.namespace
