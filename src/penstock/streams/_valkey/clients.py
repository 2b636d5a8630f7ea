"""Where connections come from: a URL, or a client that the user brings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from penstock.errors import InvalidSettingsError, UnsupportedClientError
from penstock.streams._valkey.cluster import ClusterPools
from penstock.streams._valkey.slots import Address
from penstock.streams._valkey.urls import ClusterUrl, SentinelUrl, ServerUrl, read_url

__all__ = ["OnePool", "describe", "pool_from_url", "pools_from_url", "pools_of", "user_of"]

_CONNECTIONS_NEEDED: Final = 5
_SENTINEL_ANSWER_S: Final = 1.0
"""How long one Sentinel may take, before the next is asked."""


@dataclass(frozen=True, slots=True)
class OnePool:
    """The pool of a single server, or of whatever server the Sentinels name."""

    pool: Any
    aclose: Callable[[], Awaitable[None]]
    """Give up what is ours of it."""


def pools_from_url(url: str, *, connect_timeout: timedelta) -> OnePool | ClusterPools:
    """Pools of our own for *url*, without redis-py's retries.

    Raises `InvalidSettingsError`; the message never holds the password.
    """
    try:
        match read_url(url):
            case ServerUrl(server_url):
                return OnePool(_pool(server_url, connect_timeout), _nothing)
            case ClusterUrl() as cluster:
                return _PoolsOfUrl(cluster, connect_timeout)
            case SentinelUrl() as sentinels:
                return _sentinel_pool(sentinels, connect_timeout)
    except (ValueError, TypeError, exceptions.RedisError) as error:
        reason = str(error).replace(
            "AbstractConnection.__init__() got an unexpected keyword argument", "no such setting:"
        )
        if "is no scheme" in reason:
            raise InvalidSettingsError([reason]) from None
        raise InvalidSettingsError([f"the streams URL cannot be used: {reason}"]) from None


def pool_from_url(url: str, *, connect_timeout: timedelta) -> Any:
    """A pool of our own for the URL of a single server. Raises `InvalidSettingsError`."""
    found = pools_from_url(url, connect_timeout=connect_timeout)
    if not isinstance(found, OnePool):
        raise InvalidSettingsError(["the streams URL is that of a cluster, not of a single server"])
    return found.pool


def pools_of(client: Any) -> OnePool | ClusterPools:
    """The pools of a client that the user brings. Raises `UnsupportedClientError`, which says what to bring instead."""
    if isinstance(client, RedisCluster):
        _check_decoding(client.connection_kwargs)
        return _PoolsOfClient(client)
    if not isinstance(client, Redis):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        if kind.startswith(("redis.client.", "redis.cluster.")):
            raise UnsupportedClientError(
                f"{kind} is a blocking client",
                "bring a redis.asyncio.Redis with the same settings, or give a URL",
            )
        raise UnsupportedClientError(
            f"{kind} is neither a redis.asyncio.Redis nor a RedisCluster", "bring one, or give a URL"
        )
    pool = client.connection_pool
    _check_decoding(pool.connection_kwargs)
    if not getattr(pool, "is_master", True):
        raise UnsupportedClientError("the client reads from replicas", "bring one of Sentinel.master_for()")
    if isinstance(pool, BlockingConnectionPool) and pool.max_connections < _CONNECTIONS_NEEDED:
        raise UnsupportedClientError(
            f"the client's pool blocks at {pool.max_connections} connections",
            f"allow at least {_CONNECTIONS_NEEDED}: penstock keeps three, and one for each reader that waits",
        )
    return OnePool(pool, _nothing)


def describe(pool: Any) -> str:
    """Where the server is, for messages. Without credentials."""
    settings = pool.connection_kwargs
    if path := settings.get("path"):
        return f"the server at unix://{path}"
    if service := getattr(pool, "service_name", None):
        return f"the master {service!r}"
    return f"the server at {Address(settings.get('host', 'localhost'), settings.get('port', 6379))}"


def user_of(pool: Any) -> str:
    """The user that the server knows us as."""
    return str(pool.connection_kwargs.get("username") or "default")


class _PoolsOfUrl:
    """`ClusterPools` for a URL: a pool of our own for each node."""

    def __init__(self, url: ClusterUrl, connect_timeout: timedelta) -> None:
        self._url, self._connect_timeout = url, connect_timeout
        self.seeds: Sequence[Address] = url.seeds
        self.name = f"the cluster at {', '.join(map(str, url.seeds))}"
        self.user = user_of(self.pool_at(url.seeds[0]))

    def pool_at(self, address: Address) -> Any:
        """The pool of connections to one node."""
        return _pool(self._url.url_at(address), self._connect_timeout)

    async def aclose(self) -> None:
        """Nothing is left: every connection was given up."""


class _PoolsOfClient:
    """`ClusterPools` of a client that the user brings: its nodes are the only source of connections."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.seeds: Sequence[Address] = [Address(node.host, int(node.port)) for node in client.startup_nodes]
        self.name = f"the cluster at {', '.join(map(str, self.seeds))}"
        self.user = str(client.connection_kwargs.get("username") or "default")

    def pool_at(self, address: Address) -> Any:
        """The connections of the client's node; of a node that the client has not met yet, with its settings."""
        manager = self._client.nodes_manager
        host, port = manager.remap_host_port(*address)
        node = self._client.get_node(host, port)
        return _PoolOfNode(node or ClusterNode(host, port, None, **self._client.connection_kwargs))

    async def aclose(self) -> None:
        """The client is not ours."""


class _PoolOfNode:
    """One node of the user's cluster client, as a pool."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.connection_kwargs, self.max_connections = node.connection_kwargs, node.max_connections

    async def get_connection(self, command_name: str | None = None) -> Any:
        """A connected connection."""
        connection = self._node.acquire_connection()
        try:
            # It may have lain idle for long; what is left on it was for somebody else.
            await connection.disconnect()
            await connection.connect()
        except BaseException:
            self._node.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """It is the node's again."""
        self._node.release(connection)


async def _nothing() -> None:
    """There is nothing to give up."""


def _check_decoding(settings: dict[str, Any]) -> None:
    if settings.get("decode_responses"):
        raise UnsupportedClientError(
            "the client has decode_responses=True, but entries are bytes",
            "bring one without it, or give a URL",
        )


def _pool(url: str, connect_timeout: timedelta) -> Any:
    from_url: Any = ConnectionPool.from_url  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    pool = from_url(
        url,
        protocol=2,
        max_connections=2**31,
        socket_timeout=None,
        socket_connect_timeout=connect_timeout.total_seconds(),
        retry=Retry(NoBackoff(), 0),
    )
    # Made only to find settings that redis-py does not know; it is never connected.
    pool.connection_class(**pool.connection_kwargs)
    return pool


def _sentinel_pool(url: SentinelUrl, connect_timeout: timedelta) -> OnePool:
    settings = dict(_pool(url.server_url, connect_timeout).connection_kwargs)
    tls = {name: settings.pop(name) for name in list(settings) if name.startswith("ssl_")}
    for of_the_master in ("host", "port"):
        settings.pop(of_the_master, None)
    if url.scheme == "rediss":
        tls["ssl"] = True
    answer_s = min(_SENTINEL_ANSWER_S, connect_timeout.total_seconds())
    make_sentinels: Any = Sentinel
    sentinels = make_sentinels(
        url.sentinels,
        sentinel_kwargs={
            "username": url.sentinel_user,
            "password": url.sentinel_password,
            "protocol": 2,
            "socket_timeout": answer_s,
            "socket_connect_timeout": answer_s,
            "retry": Retry(NoBackoff(), 0),
            **tls,
        },
    )
    client = sentinels.master_for(url.service, max_connections=2**31, **settings, **tls)

    async def aclose() -> None:
        for sentinel in sentinels.sentinels:
            await sentinel.aclose()

    return OnePool(client.connection_pool, aclose)
