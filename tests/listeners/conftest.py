"""Fixtures of the listeners' tests: a shop on streams in memory, by a clock that stands still."""

from collections.abc import AsyncIterator

import pytest

from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import ManualClock
from tests.listeners.shop import Shop


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> MemoryServer:
    """What all brokers of a test share."""
    return MemoryServer(clock)


@pytest.fixture
async def shop(server: MemoryServer, clock: ManualClock) -> AsyncIterator[Shop]:
    """A shop on streams in memory."""
    broker = MemoryBroker(server=server)
    await broker.open()
    yield Shop(broker, clock)
    await broker.close()
