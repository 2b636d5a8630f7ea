"""Small values by key in memory, each with the end of its life."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, TypeAlias

from penstock.errors import UsageError
from penstock.streams.keys import Keys

__all__ = ["MemoryValues"]

_Held: TypeAlias = bytes | dict[str, bytes]
_MS: Final = timedelta(milliseconds=1)
_LARGEST: Final = 2**63 - 1


class MemoryValues:
    """`ValueStore` without a server."""

    def __init__(self, keys: Keys, time_us: Callable[[], int]) -> None:
        self._keys = keys
        self._time_us = time_us
        self._held: dict[tuple[str, str], _Held] = {}
        self._ends_ms: dict[tuple[str, str], int] = {}

    async def get(self, space: str, key: str) -> bytes | None:
        """The text of a key."""
        return self._text(space, key)

    async def set(
        self, space: str, key: str, value: bytes, *, life: timedelta | None = None, if_absent: bool = False
    ) -> bool:
        """Set the text of a key, for *life* or for good; with *if_absent* only where nothing is. Whether it was set."""
        ends_ms = None if life is None else self._now_ms + _milliseconds(life)
        if self._find(space, key) is not None and if_absent:
            return False
        self._held[space, key] = value
        self._ends_ms.pop((space, key), None)
        if ends_ms is not None:
            self._ends_ms[space, key] = ends_ms
        return True

    async def incr(self, space: str, key: str, by: int) -> int:
        """Add to a counter, which begins at 0; its value now."""
        total = _add(self._text(space, key), by, space, key)
        self._held[space, key] = b"%d" % total
        return total

    async def delete(self, space: str, keys: Sequence[str]) -> int:
        """Remove keys, whatever they hold; how many there were."""
        return sum([self._drop(space, key) for key in keys])

    async def expire(self, space: str, key: str, life: timedelta | None) -> bool:
        """Have a key end after *life* (``None``: never); whether it is there."""
        wait = None if life is None else _milliseconds(life)
        if self._find(space, key) is None:
            return False
        self._ends_ms.pop((space, key), None)
        if wait is not None:
            self._ends_ms[space, key] = self._now_ms + wait
        return True

    async def hash_get(self, space: str, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Some fields of a hash, in the given order."""
        held = self._hash(space, key)
        return [held.get(field) for field in fields]

    async def hash_all(self, space: str, key: str) -> dict[str, bytes]:
        """All fields of a hash; empty where there is none."""
        return dict(self._hash(space, key))

    async def hash_set(self, space: str, key: str, fields: Mapping[str, bytes]) -> int:
        """Set fields of a hash; how many of them are new."""
        held = self._hash(space, key)
        new = len(fields.keys() - held.keys())
        if fields:
            self._held[space, key] = {**held, **fields}
        return new

    async def hash_incr(self, space: str, key: str, field: str, by: int) -> int:
        """Add to a field, which begins at 0; its value now."""
        held = self._hash(space, key)
        total = _add(held.get(field), by, space, key)
        self._held[space, key] = {**held, field: b"%d" % total}
        return total

    async def hash_delete(self, space: str, key: str, fields: Sequence[str]) -> int:
        """Remove fields; how many there were."""
        held = self._hash(space, key)
        gone = held.keys() & set(fields)
        for field in gone:
            del held[field]
        if gone and not held:
            self._drop(space, key)
        return len(gone)

    # -- helpers ------------------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._time_us() // 1000

    def _find(self, space: str, key: str) -> _Held | None:
        self._keys.value(space, key)  # refuses what no server could keep
        if self._ends_ms.get((space, key), self._now_ms + 1) <= self._now_ms:
            self._drop(space, key)
        return self._held.get((space, key))

    def _drop(self, space: str, key: str) -> bool:
        there = self._ends_ms.pop((space, key), self._now_ms + 1) > self._now_ms
        return self._held.pop((space, key), None) is not None and there

    def _text(self, space: str, key: str) -> bytes | None:
        held = self._find(space, key)
        if isinstance(held, dict):
            raise _other_kind(space, key)
        return held

    def _hash(self, space: str, key: str) -> dict[str, bytes]:
        held = self._find(space, key)
        if isinstance(held, bytes):
            raise _other_kind(space, key)
        return held if held is not None else {}


def _add(held: bytes | None, by: int, space: str, key: str) -> int:
    try:
        before = int(held) if held is not None else 0
        right = held is None or held == b"%d" % before
    except ValueError:
        before, right = 0, False
    if not right or abs(before) > _LARGEST + (before < 0) or abs(by) > _LARGEST + (by < 0):
        raise UsageError(f"the value {key!r} of {space!r} is no whole number of 64 bits")
    total = before + by
    if not -_LARGEST - 1 <= total <= _LARGEST:
        raise UsageError(f"the value {key!r} of {space!r} would leave 64 bits")
    return total


def _other_kind(space: str, key: str) -> UsageError:
    return UsageError(f"the value {key!r} of {space!r} holds a value of another kind")


def _milliseconds(life: timedelta) -> int:
    if life < _MS:
        raise UsageError(f"{life} is no life; it is at least 1ms")
    return life // _MS
