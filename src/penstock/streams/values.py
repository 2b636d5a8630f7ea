"""Small values for what a service has to remember beside its streams: texts, counters and hashes, by key."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from penstock.clock import parse_duration
from penstock.errors import UsageError
from penstock.streams.abc import ValueStore

__all__ = ["Values"]


class Values:
    """Values under one name; made by ``app.values("carts")``. All processes of the namespace share them.

    Values are texts; whole numbers are kept as their digits. A key holds one text or one hash: `UsageError` where it is
    used as the other, or counted though it is no whole number of 64 bits. Every call is atomic by itself; for more than
    one key at a time take a lock. What must change together with an acknowledgement belongs elsewhere.
    """

    def __init__(
        self, name: str, store: Callable[[], Awaitable[ValueStore]], *, shard: str | None = None
    ) -> None:
        if not name or shard == "":
            raise UsageError("values need a name, and a shard one too; leave it out for none")
        self._space = name if shard is None else f"{name}#{shard}"
        self._store = store

    async def get(self, key: str) -> str | None:
        """The text of a key; ``None`` where nothing is."""
        return _text(await (await self._store()).get(self._space, key))

    async def set(
        self,
        key: str,
        value: str | int,
        *,
        life: timedelta | str | None = None,
        if_absent: bool = False,
    ) -> bool:
        """Set the text of a key, for *life* or for good; with *if_absent* only where nothing is. Whether it was set.

        Raises:
            UsageError: The value is neither text nor a whole number, or *life* is below a millisecond.
        """
        store = await self._store()
        return await store.set(self._space, key, _bytes(key, value), life=_life(life), if_absent=if_absent)

    async def incr(self, key: str, by: int = 1) -> int:
        """Add to a counter, which begins at 0; its value now."""
        return await (await self._store()).incr(self._space, key, by)

    async def decr(self, key: str, by: int = 1) -> int:
        """Take from a counter, which begins at 0; its value now."""
        return await (await self._store()).incr(self._space, key, -by)

    async def delete(self, *keys: str) -> int:
        """Remove keys, whatever they hold; how many there were."""
        return await (await self._store()).delete(self._space, keys)

    async def expire(self, key: str, life: timedelta | str | None) -> bool:
        """Have a key end after *life* (``None``: never); whether it is there."""
        return await (await self._store()).expire(self._space, key, _life(life))

    async def hash_get(self, key: str, field: str) -> str | None:
        """One field of a hash; ``None`` where it is not."""
        [found] = await (await self._store()).hash_get(self._space, key, [field])
        return _text(found)

    async def hash_all(self, key: str) -> dict[str, str]:
        """All fields of a hash; empty where there is none."""
        found = await (await self._store()).hash_all(self._space, key)
        return {field: _text(value) or "" for field, value in found.items()}

    async def hash_set(self, key: str, fields: Mapping[str, str | int]) -> int:
        """Set fields of a hash, the others stay; how many of them are new. Raises `UsageError` as `set`."""
        packed = {field: _bytes(f"{key}.{field}", value) for field, value in fields.items()}
        return await (await self._store()).hash_set(self._space, key, packed)

    async def hash_incr(self, key: str, field: str, by: int = 1) -> int:
        """Add to a field, which begins at 0; its value now."""
        return await (await self._store()).hash_incr(self._space, key, field, by)

    async def hash_delete(self, key: str, *fields: str) -> int:
        """Remove fields; how many there were."""
        return await (await self._store()).hash_delete(self._space, key, fields)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _bytes(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int) and not isinstance(value, bool):
        return b"%d" % value
    raise UsageError(f"the value of {key!r} is {value!r}; keep a text or a whole number, others as JSON text")


def _life(life: timedelta | str | None) -> timedelta | None:
    if life is None:
        return None
    duration = parse_duration(life)
    if duration < timedelta(milliseconds=1):
        raise UsageError(f"life is {duration}; it is at least 1ms")
    return duration
