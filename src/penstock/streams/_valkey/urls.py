"""URLs of streams, read: of a single server, of a cluster, and of a server that Sentinels watch over."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from penstock.streams._valkey.slots import Address

__all__ = ["ClusterUrl", "SentinelUrl", "ServerUrl", "read_url"]

_PLAIN: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
"""Schemes, and what redis-py calls them."""
_FORMS: Final = (
    "redis://HOST:6379, rediss://HOST:6379, unix:///PATH, redis+cluster://HOST:6379,HOST:6379 or "
    "redis+sentinel://HOST:26379,HOST:26379/SERVICE"
)
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_ESCAPED: Final = "in a password, write %40 for @, %3A for : and %2F for /"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A single server: a URL as redis-py reads it."""

    url: str


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """A cluster: some of its nodes, and what all of them are reached with."""

    scheme: str
    credentials: str
    """``user:password@``, as it was written, or nothing."""
    seeds: tuple[Address, ...]
    query: str

    def url_at(self, address: Address) -> str:
        """The URL of one node, as redis-py reads it."""
        return f"{self.scheme}://{self.credentials}{address}/?{self.query}"


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The Sentinels to ask, and the name of the service whose master is wanted."""

    scheme: str
    credentials: str
    sentinels: tuple[Address, ...]
    service: str
    database: int
    query: str
    sentinel_user: str | None
    sentinel_password: str | None

    @property
    def server_url(self) -> str:
        """A URL as redis-py reads it, with all that is known of the master but its address."""
        return f"{self.scheme}://{self.credentials}localhost/{self.database}?{self.query}"


def read_url(url: str) -> ServerUrl | ClusterUrl | SentinelUrl:
    """What *url* stands for. Raises `ValueError`; its message never holds a password."""
    scheme = url.partition(":")[0]
    plain, _, kind = scheme.partition("+")
    known = _PLAIN.get(plain)
    if known is None or kind not in ("", "cluster", "sentinel") or (kind and known == "unix"):
        raise ValueError(f"{scheme[:20]!r} is no scheme for streams; write {_FORMS}")
    if not kind:
        _check_server(known, url)
        return ServerUrl(known + url[len(scheme) :])
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    path = [unquote(part) for part in parts.path.split("/") if part]
    if any("@" in part or "," in part for part in path):
        raise ValueError(f"what stands behind the hosts is not understood; {_ESCAPED}")
    if parts.fragment:
        raise ValueError(f"there is a '#' in it; {_ESCAPED}, and %23 for #")
    if kind == "cluster":
        if path not in ([], ["0"]):
            raise ValueError(f"a cluster has database 0 only; write {scheme}://HOST:6379,HOST:6379")
        addresses = _addresses(hosts, _REDIS_PORT)
        return ClusterUrl(known, credentials + at, addresses, parts.query)
    if not 1 <= len(path) <= 2 or not all(number.isdecimal() for number in path[1:]):
        raise ValueError(
            f"a service's name, and no more than a database number, follow the Sentinels, as in "
            f"{scheme}://HOST:26379,HOST:26379/SERVICE/0"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    sentinel_user, sentinel_password = (
        options.pop("sentinel_username", None),
        options.pop("sentinel_password", None),
    )
    return SentinelUrl(
        scheme=known,
        credentials=credentials + at,
        sentinels=_addresses(hosts, _SENTINEL_PORT),
        service=path[0],
        database=int(path[1]) if len(path) == 2 else 0,
        query=urlencode(options),
        sentinel_user=sentinel_user,
        sentinel_password=sentinel_password,
    )


def _addresses(hosts: str, default_port: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for written in hosts.split(","):
        try:
            parts = urlsplit(f"//{written.strip()}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"a port is a number from 1 to 65535; {_ESCAPED}") from None
        if not host:
            raise ValueError(f"a host is missing; write {_FORMS}")
        found.append(Address(host, port or default_port))
    return tuple(found)


def _check_server(scheme: str, url: str) -> None:
    parts = urlsplit(url)
    if scheme == "unix" and not parts.path:
        raise ValueError("a unix:// URL needs the path of a socket, as in unix:///run/valkey.sock")
    if scheme == "unix":
        return
    # What does not fit may be a part of a password that was not escaped: it is not shown then.
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port is a number from 1 to 65535; {_ESCAPED}") from None
    database = parts.path.strip("/")
    if "@" in database:
        raise ValueError(f"the part after the host is a database number; {_ESCAPED}")
    if database and not database.isdecimal():
        raise ValueError(f"the database is a number, as in {scheme}://HOST:6379/0, and not {database!r}")
