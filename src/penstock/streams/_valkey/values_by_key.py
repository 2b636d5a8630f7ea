"""Small values by key, as the server's own strings and hashes."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from penstock.errors import UsageError
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import milliseconds

__all__ = ["ValkeyValues"]

_WRONG: Final = {
    "WRONGTYPE": "holds a value of another kind",
    "not an integer": "is no whole number of 64 bits",
    "overflow": "would leave 64 bits",
}
"""What error replies of these commands are about. Source: ``shared`` in Valkey's ``server.c``, ``incrDecrCommand``."""


class ValkeyValues:
    """`ValueStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def get(self, space: str, key: str) -> bytes | None:
        """The text of a key."""
        found: bytes | None = await self._ask(b"GET", space, key)
        return found

    async def set(
        self, space: str, key: str, value: bytes, *, life: timedelta | None = None, if_absent: bool = False
    ) -> bool:
        """Set the text of a key, for *life* or for good; with *if_absent* only where nothing is. Whether it was set."""
        how: list[bytes | int] = [] if life is None else [b"PX", milliseconds(life)]
        return await self._ask(b"SET", space, key, value, *how, *([b"NX"] if if_absent else [])) is not None

    async def incr(self, space: str, key: str, by: int) -> int:
        """Add to a counter, which begins at 0; its value now."""
        return int(await self._ask(b"INCRBY", space, key, by))

    async def delete(self, space: str, keys: Sequence[str]) -> int:
        """Remove keys, whatever they hold; how many there were."""
        server = self._server
        if not keys:
            return 0
        return int(await server.ask(server.settles, b"DEL", *(server.keys.value(space, key) for key in keys)))

    async def expire(self, space: str, key: str, life: timedelta | None) -> bool:
        """Have a key end after *life* (``None``: never); whether it is there."""
        if life is not None:
            return bool(await self._ask(b"PEXPIRE", space, key, milliseconds(life)))
        await self._ask(b"PERSIST", space, key)
        return bool(await self._ask(b"EXISTS", space, key))

    async def hash_get(self, space: str, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of a hash, in the given order."""
        return list(await self._ask(b"HMGET", space, key, *fields)) if fields else []

    async def hash_all(self, space: str, key: str) -> dict[str, bytes]:
        """All fields of a hash; empty where there is none."""
        flat = await self._ask(b"HGETALL", space, key)
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    async def hash_set(self, space: str, key: str, fields: Mapping[str, bytes]) -> int:
        """Set fields of a hash; how many of them are new."""
        flat = [part for pair in fields.items() for part in pair]
        return int(await self._ask(b"HSET", space, key, *flat)) if flat else 0

    async def hash_incr(self, space: str, key: str, field: str, by: int) -> int:
        """Add to a field, which begins at 0; its value now."""
        return int(await self._ask(b"HINCRBY", space, key, field, by))

    async def hash_delete(self, space: str, key: str, fields: Sequence[str]) -> int:
        """Remove fields; how many there were."""
        return int(await self._ask(b"HDEL", space, key, *fields)) if fields else 0

    async def _ask(self, command: bytes, space: str, key: str, *arguments: bytes | str | int) -> Any:
        server = self._server
        at = server.keys.value(space, key)
        reply = await server.try_ask(server.settles, command, at, *arguments)
        if not isinstance(reply, ReplyError):
            return reply
        for sign, meaning in _WRONG.items():
            if sign in reply.text:
                raise UsageError(f"the value {key!r} of {space!r} {meaning}")
        raise server.error(reply, command.decode(), key=at)
