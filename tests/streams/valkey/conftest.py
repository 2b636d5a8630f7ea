"""Servers and brokers for the tests of the Valkey backend."""

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.clusters import RealCluster, RealSentinels
from tests.streams.valkey.servers import (
    PRODUCTS,
    RealServer,
    redis7_binary,
    redis62_binary,
    start_on_a_free_port,
    valkey_binary,
)

__all__: list[str] = []

_NUMBERS = itertools.count()


class PlainBroker(ValkeyBroker):
    """The broker as it works without hiredis, or with a redis-py it does not know."""

    _adopting = False


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RealServer]:
    """The newest server, shared by all tests of the process."""
    server = RealServer(valkey_binary(), with_port=True).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis62_server() -> Iterator[RealServer]:
    """The oldest server that is promised to work, shared by all tests of the process."""
    server = RealServer(redis62_binary(), with_port=True).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis7_server() -> Iterator[RealServer]:
    """The Redis 7 of this machine, shared by all tests of the process."""
    server = RealServer(redis7_binary() or "redis-server", with_port=True).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[RealCluster]:
    """A cluster of three masters, shared by all tests of the process; its slots may be moved, its nodes stay."""
    cluster = RealCluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def sentinel_server() -> Iterator[RealSentinels]:
    """A master and its replica with three Sentinels, shared by all tests of the process."""
    sentinels = RealSentinels()
    yield sentinels
    sentinels.remove()


@pytest.fixture(scope="session")
def get_server(request: pytest.FixtureRequest) -> Callable[[str], RealServer]:
    """A shared server by its product; it is started when first asked for."""

    def get(product: str) -> RealServer:
        found: RealServer = request.getfixturevalue(f"{product}_server")
        return found

    return get


@pytest.fixture(params=PRODUCTS)
def server(request: pytest.FixtureRequest, get_server: Callable[[str], RealServer]) -> RealServer:
    """Both servers, one after the other."""
    return get_server(request.param)


@pytest.fixture
def start_server() -> Iterator[Callable[..., RealServer]]:
    """Starts servers that a test may stop, fill or configure as it likes."""
    started: list[RealServer] = []

    def start(*settings: str, **how: Any) -> RealServer:
        started.append(start_on_a_free_port(lambda: RealServer(valkey_binary(), *settings, **how)))
        return started[-1]

    yield start
    for one in started:
        one.thaw()
        one.remove()


@pytest.fixture
def cluster(cluster_server: RealCluster) -> RealCluster:
    """The shared cluster: slots may be moved, and every node is there."""
    return cluster_server


@pytest.fixture(scope="module")
def redis62_cluster() -> Iterator[RealCluster]:
    """A cluster of the oldest servers."""
    cluster = RealCluster(redis62_binary())
    yield cluster
    cluster.remove()


@pytest.fixture(params=[*(["redis62_cluster"] if "redis62" in PRODUCTS else []), "cluster_server"])
def any_cluster(request: pytest.FixtureRequest) -> RealCluster:
    """The oldest, then the newest."""
    found: RealCluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def own_cluster() -> Iterator[Callable[..., RealCluster]]:
    """Starts a cluster whose nodes a test may kill."""
    started: list[RealCluster] = []

    def start(**how: Any) -> RealCluster:
        started.append(RealCluster(**how))
        return started[-1]

    yield start
    for one in started:
        one.remove()


@pytest.fixture
def namespace() -> str:
    """A namespace no other test has."""
    return f"t{os.getpid()}-{next(_NUMBERS)}"


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Opens brokers, and closes them after the test."""
    async with AsyncExitStack() as stack:

        async def connect(url: str | None = None, *, plain: bool = False, **settings: Any) -> ValkeyBroker:
            broker = (PlainBroker if plain else ValkeyBroker)(url, **settings)
            stack.push_async_callback(broker.close)
            await broker.open()
            return broker

        yield connect


@pytest.fixture(params=["adopted", "plain"])
def plain(request: pytest.FixtureRequest) -> bool:
    """Our own protocol on the wire, then redis-py's public calls."""
    return bool(request.param == "plain")


@pytest.fixture
async def broker(server: RealServer, namespace: str, connect: Callable[..., Any]) -> ValkeyBroker:
    """An open broker on each server."""
    opened: ValkeyBroker = await connect(server.url, namespace=namespace)
    return opened


@pytest.fixture
async def admin(server: RealServer) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client, for a look at what is really there."""
    client = redis.asyncio.Redis(unix_socket_path=server.socket, protocol=2)
    yield client
    await client.aclose()
