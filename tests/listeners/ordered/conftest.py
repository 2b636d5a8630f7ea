"""Fixtures of the tests of ordered groups."""

from collections.abc import AsyncIterator

import pytest

from penstock.streams.memory import MemoryServer
from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import Workshop, another


@pytest.fixture
async def shop(server: MemoryServer, clock: ManualClock) -> AsyncIterator[Workshop]:
    """A process with an exclusive group, on streams in memory."""
    made = await another(server, clock)
    yield made
    await made.broker.close()
