"""The part of an app that gives small values by key."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from penstock._wiring import Brokers
from penstock.errors import ConfigurationError
from penstock.streams.abc import ValueStore
from penstock.streams.values import Values

__all__ = ["GivesValues", "SyncValues"]


class GivesValues(ABC):
    """The part of an app that gives small values."""

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    def values(self, name: str, *, shard: str | None = None, pool: str = "default") -> Values:
        """Small values that all processes of the namespace share: ``await app.values("carts").incr("o-1")``.

        *shard* keeps a tenant's (or other) part of them apart; *pool* is the server that keeps them. Nothing is asked
        yet; see `Values`. Raises `UsageError` without a name.
        """

        async def store() -> ValueStore:
            pools = (await self._opened()).pools
            if pool not in pools:
                raise ConfigurationError(
                    f"values {name!r}: there is no pool {pool!r}, but {', '.join(pools)}"
                )
            return pools[pool].values

        return Values(name, store, shard=shard)


class SyncValues:
    """`Values` for synchronous code; made by ``app.sync.values``. Each method does what the one of that name does."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], values: Values) -> None:
        self._run: Callable[[Coroutine[Any, Any, Any]], Any] = run
        self._values = values

    def get(self, key: str) -> str | None:
        """The text of a key; see `Values.get`."""
        found: str | None = self._run(self._values.get(key))
        return found

    def set(
        self, key: str, value: str | int, *, life: timedelta | str | None = None, if_absent: bool = False
    ) -> bool:
        """Set the text of a key; see `Values.set`."""
        return bool(self._run(self._values.set(key, value, life=life, if_absent=if_absent)))

    def incr(self, key: str, by: int = 1) -> int:
        """Add to a counter; see `Values.incr`."""
        return int(self._run(self._values.incr(key, by)))

    def decr(self, key: str, by: int = 1) -> int:
        """Take from a counter; see `Values.decr`."""
        return int(self._run(self._values.decr(key, by)))

    def delete(self, *keys: str) -> int:
        """Remove keys; see `Values.delete`."""
        return int(self._run(self._values.delete(*keys)))

    def expire(self, key: str, life: timedelta | str | None) -> bool:
        """Have a key end; see `Values.expire`."""
        return bool(self._run(self._values.expire(key, life)))

    def hash_get(self, key: str, field: str) -> str | None:
        """One field of a hash; see `Values.hash_get`."""
        found: str | None = self._run(self._values.hash_get(key, field))
        return found

    def hash_all(self, key: str) -> dict[str, str]:
        """All fields of a hash; see `Values.hash_all`."""
        found: dict[str, str] = self._run(self._values.hash_all(key))
        return found

    def hash_set(self, key: str, fields: Mapping[str, str | int]) -> int:
        """Set fields of a hash; see `Values.hash_set`."""
        return int(self._run(self._values.hash_set(key, fields)))

    def hash_incr(self, key: str, field: str, by: int = 1) -> int:
        """Add to a field; see `Values.hash_incr`."""
        return int(self._run(self._values.hash_incr(key, field, by)))

    def hash_delete(self, key: str, *fields: str) -> int:
        """Remove fields; see `Values.hash_delete`."""
        return int(self._run(self._values.hash_delete(key, *fields)))
