"""Where connections come from: a URL, or a client that the user brings."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.errors import InvalidSettingsError, UnsupportedClientError

__all__ = ["describe", "pool_from_url", "pool_of", "user_of"]

_CONNECTIONS_NEEDED: Final = 5
_SCHEMES: Final = ("redis", "rediss", "unix")


def pool_from_url(url: str, *, connect_timeout: timedelta) -> Any:
    """A pool of our own for ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads them, without its retries.

    Raises `InvalidSettingsError`; the message never holds the password.
    """
    scheme = url.partition(":")[0]
    if scheme not in _SCHEMES:
        raise InvalidSettingsError(
            [
                f"{scheme[:20]!r} is no scheme for streams; write redis://HOST:6379, rediss://HOST:6379 or unix:///PATH"
            ]
        )
    try:
        _check(scheme, urlsplit(url))
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
    except (ValueError, TypeError, exceptions.RedisError) as error:
        reason = str(error).replace(
            "AbstractConnection.__init__() got an unexpected keyword argument", "no such setting:"
        )
        raise InvalidSettingsError([f"the streams URL cannot be used: {reason}"]) from None
    return pool


def _check(scheme: str, parts: SplitResult) -> None:
    if scheme == "unix" and not parts.path:
        raise ValueError("a unix:// URL needs the path of a socket, as in unix:///run/valkey.sock")
    if scheme == "unix":
        return
    # What does not fit may be a part of a password that was not escaped: it is not shown then.
    escaped = "in a password, write %40 for @, %3A for : and %2F for /"
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port is a number from 1 to 65535; {escaped}") from None
    database = parts.path.strip("/")
    if "@" in database:
        raise ValueError(f"the part after the host is a database number; {escaped}")
    if database and not database.isdecimal():
        raise ValueError(f"the database is a number, as in {scheme}://HOST:6379/0, and not {database!r}")


def pool_of(client: Any) -> Any:
    """The pool of a client that the user brings. Raises `UnsupportedClientError`, which says what to bring instead."""
    if isinstance(client, RedisCluster):
        raise UnsupportedClientError(
            "a redis.asyncio.RedisCluster cannot be used for streams",
            "bring a redis.asyncio.Redis of a single server",
        )
    if not isinstance(client, Redis):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        if kind.startswith(("redis.client.", "redis.cluster.")):
            raise UnsupportedClientError(
                f"{kind} is a blocking client",
                "bring a redis.asyncio.Redis with the same settings, or give a URL",
            )
        raise UnsupportedClientError(f"{kind} is not a redis.asyncio.Redis", "bring one, or give a URL")
    pool = client.connection_pool
    if pool.connection_kwargs.get("decode_responses"):
        raise UnsupportedClientError(
            "the client has decode_responses=True, but entries are bytes",
            "bring one without it, or give a URL",
        )
    if isinstance(pool, BlockingConnectionPool) and pool.max_connections < _CONNECTIONS_NEEDED:
        raise UnsupportedClientError(
            f"the client's pool blocks at {pool.max_connections} connections",
            f"allow at least {_CONNECTIONS_NEEDED}: penstock keeps three, and one for each reader that waits",
        )
    return pool


def describe(pool: Any) -> str:
    """Where the server is, for messages. Without credentials."""
    settings = pool.connection_kwargs
    if path := settings.get("path"):
        return f"the server at unix://{path}"
    if service := getattr(pool, "service_name", None):
        return f"the master {service!r}"
    return f"the server at {settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def user_of(pool: Any) -> str:
    """The user that the server knows us as."""
    return str(pool.connection_kwargs.get("username") or "default")
