"""What the server is and can, found once when the broker opens."""

import re
from dataclasses import replace
from typing import Final

from penstock.errors import BrokerRefusedError, BrokerUnavailableError
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import text
from penstock.streams.abc import Capabilities

__all__ = ["probe"]

_OLDEST: Final = (6, 2, 0)
_BASIS: Final = """
client del evalsha exists hdel hexists hget hgetall hincrby hkeys hlen hmget hset hsetnx pexpire pttl sadd scard
script set sismember smembers srem time type unlink xack xadd xclaim xdel xgroup xinfo xlen xpending xrange xread
xreadgroup xrevrange xtrim zadd zcard zrange zrangebylex zrangebyscore zrank zrem zrevrange zscore
"""
_NEEDED: Final = tuple(_BASIS.split())
_OPTIONAL: Final = ("config", "info", "memory", "xackdel", "xautoclaim", "xdelex", "xnack")


async def probe(server: Server) -> Capabilities:
    """Ask *server* about itself, of a cluster every master that answers; what one lacks, all lack.

    What it may not tell (by its access rules) is taken to be in order. Raises `BrokerRefusedError` for a server too
    old, or without a command that is needed.
    """
    found: list[Capabilities] = []
    away: BrokerUnavailableError | None = None
    for line in server.looks.each():
        try:
            found.append(await _probe(server, line))
        except BrokerUnavailableError as error:
            away = error
    if not found:
        raise away or BrokerUnavailableError(f"{server.name} has no node that keeps anything")
    oldest = min(found, key=lambda able: able.version)
    commands = oldest.commands
    for able in found:
        commands &= able.commands
    return replace(oldest, commands=commands)


async def _probe(server: Server, line: Line) -> Capabilities:
    names = (*_NEEDED, *_OPTIONAL)
    info, cluster, known, memory, fsync, appending = await server.ask_all(
        line,
        [
            (b"INFO", b"server"),
            (b"INFO", b"cluster"),
            (b"COMMAND", b"INFO", *names),
            *((b"CONFIG", b"GET", name) for name in (b"maxmemory-policy", b"appendfsync", b"appendonly")),
        ],
    )
    facts = _facts(info) | _facts(cluster)
    product, version = product_of(facts)
    if facts and version < _OLDEST:
        raise BrokerRefusedError(
            f"{server.name} is {product} {'.'.join(map(str, version))}; 6.2 or later is needed"
        )
    commands = frozenset(names)
    if not isinstance(known, ReplyError):
        commands = frozenset(name for name, facts_of in zip(names, known, strict=True) if facts_of)
        if missing := [name.upper() for name in _NEEDED if name not in commands]:
            raise BrokerRefusedError(
                f"{server.name} does not know {', '.join(missing)}, which penstock needs"
            )
    return Capabilities(
        product=product,
        version=version,
        commands=commands,
        maxmemory_policy=_setting(memory),
        appendfsync="off" if _setting(appending) == "no" else _setting(fsync),
        cluster=facts.get("cluster_enabled") == "1",
    )


def product_of(facts: dict[str, str]) -> tuple[str, tuple[int, int, int]]:
    """What a server calls itself, and its version."""
    for product in ("valkey", "dragonfly", "redis"):
        if found := re.match(r"v?(\d+)\.(\d+)\.(\d+)", facts.get(f"{product}_version", "")):
            return product, (int(found[1]), int(found[2]), int(found[3]))
    return "unknown", (0, 0, 0)


def _facts(reply: bytes | ReplyError) -> dict[str, str]:
    lines = [] if isinstance(reply, ReplyError) else text(reply).splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines) if value}


def _setting(reply: list[bytes] | ReplyError) -> str | None:
    return None if isinstance(reply, ReplyError) or len(reply) < 2 else text(reply[1])
