"""The promise of a streams backend, kept on real servers: the newest and the oldest, on both kinds of wire."""

from collections.abc import AsyncIterator, Callable

import pytest

from penstock.streams.valkey import ValkeyBroker
from penstock.testing.contracts import FailureStoreContract, StreamBrokerContract
from tests.streams.valkey.conftest import PlainBroker
from tests.streams.valkey.servers import PRODUCTS, RealServer

BACKENDS = [*((product, "adopted") for product in PRODUCTS), ("valkey", "plain")]


@pytest.fixture(params=BACKENDS, ids=["-".join(backend) for backend in BACKENDS])
async def broker(
    request: pytest.FixtureRequest, namespace: str, get_server: Callable[[str], RealServer]
) -> AsyncIterator[ValkeyBroker]:
    """An open broker on a namespace of its own."""
    product, wire = request.param
    opened = (PlainBroker if wire == "plain" else ValkeyBroker)(get_server(product).url, namespace=namespace)
    await opened.open()
    yield opened
    await opened.close()


class TestBroker(StreamBrokerContract):
    """Streams and groups."""


class TestFailures(FailureStoreContract):
    """Records of failed messages."""
