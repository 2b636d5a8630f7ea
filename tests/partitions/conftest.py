"""Fixtures of the tests of partitioned streams: brokers in memory and on a real server."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.servers import RealServer, valkey_binary

__all__: list[str] = []


@pytest.fixture(scope="session")
def partitions_server() -> Iterator[RealServer]:
    """A server of the tests of this folder."""
    server = RealServer(valkey_binary(), with_port=True).start()
    yield server
    server.remove()


@pytest.fixture(params=["memory", "valkey"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[StreamBroker]:
    """An open broker with nothing in it."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    server: RealServer = request.getfixturevalue("partitions_server")
    opened = ValkeyBroker(server.url, namespace=uuid4().hex)
    await opened.open()
    yield opened
    await opened.close()
