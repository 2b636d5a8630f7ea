"""The part of an app that gives small values by key."""

from abc import ABC, abstractmethod

from penstock._wiring import Brokers
from penstock.errors import ConfigurationError
from penstock.streams.abc import ValueStore
from penstock.streams.values import Values

__all__ = ["GivesValues"]


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
