"""Small values by key: texts, counters and hashes, for what a service has to remember beside its streams."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

__all__ = ["ValueStore"]


class ValueStore(Protocol):
    """Values in spaces: all keys of a space are in one cluster slot. Every call is atomic by itself.

    A key holds one text (as bytes) or one hash. Reading as one what is the other raises `UsageError`; so does counting
    what is no whole number, or beyond 64 bits.
    """

    async def get(self, space: str, key: str) -> bytes | None:
        """The text of a key."""
        ...

    async def set(
        self, space: str, key: str, value: bytes, *, life: timedelta | None = None, if_absent: bool = False
    ) -> bool:
        """Set the text of a key, for *life* or for good; with *if_absent* only where nothing is. Whether it was set."""
        ...

    async def incr(self, space: str, key: str, by: int) -> int:
        """Add to a counter, which begins at 0; its value now. Its life, if it has one, stays."""
        ...

    async def delete(self, space: str, keys: Sequence[str]) -> int:
        """Remove keys, whatever they hold; how many there were."""
        ...

    async def expire(self, space: str, key: str, life: timedelta | None) -> bool:
        """Have a key end after *life* (``None``: never); whether it is there."""
        ...

    async def hash_get(self, space: str, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of a hash, in the given order."""
        ...

    async def hash_all(self, space: str, key: str) -> dict[str, bytes]:
        """All fields of a hash; empty where there is none."""
        ...

    async def hash_set(self, space: str, key: str, fields: Mapping[str, bytes]) -> int:
        """Set fields of a hash; how many of them are new."""
        ...

    async def hash_incr(self, space: str, key: str, field: str, by: int) -> int:
        """Add to a field, which begins at 0; its value now."""
        ...

    async def hash_delete(self, space: str, key: str, fields: Sequence[str]) -> int:
        """Remove fields; how many there were. A hash without fields is gone."""
        ...
