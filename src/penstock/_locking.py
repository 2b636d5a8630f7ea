"""The part of an app that gives locks, and the same locks for synchronous code."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from penstock._wiring import Brokers
from penstock.clock import Clock
from penstock.errors import ConfigurationError, LeaseLostError
from penstock.streams.abc import LeaseStore
from penstock.streams.leasing import describe_process
from penstock.streams.locks import Lock

__all__ = ["GivesLocks", "SyncLock"]


class GivesLocks(ABC):
    """The part of an app that gives locks."""

    name: str
    clock: Clock

    @abstractmethod
    async def _opened(self) -> Brokers: ...

    def lock(
        self,
        name: str,
        *,
        life: timedelta | str = "30s",
        wait: timedelta | str | bool | None = None,
        cancel_when_lost: bool = True,
        pool: str = "default",
    ) -> Lock:
        """A lock that all processes of the namespace share, for ``async with app.lock("nightly report")``.

        It is held for *life* and renewed at a third of it until the block ends. *wait*: not at all (``None``), for a
        duration, or for ever (``True``). Lost in the block, it cancels the block and raises `LeaseLostError`, unless
        *cancel_when_lost* is off. *pool* is the server that keeps it. Nothing is asked yet; see `Lock`.

        Raises:
            UsageError: The name is empty, or *life* below a millisecond.
        """

        async def leases() -> LeaseStore:
            pools = (await self._opened()).pools
            if pool not in pools:
                raise ConfigurationError(f"lock {name!r}: there is no pool {pool!r}, but {', '.join(pools)}")
            return pools[pool].leases

        return Lock(
            name,
            leases,
            life=life,
            clock=self.clock,
            wait=wait,
            cancel_when_lost=cancel_when_lost,
            description=f"{self.name}, {describe_process()}",
        )


class SyncLock:
    """A `Lock` for synchronous code, renewed in the loop thread while the block runs; made by ``app.sync.lock``.

    A block without asyncio cannot be cancelled: look at `is_held` in long ones. When the lock was lost in the block,
    leaving it raises `LeaseLostError`.
    """

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], lock: Lock) -> None:
        self._run = run
        self._lock = lock

    def acquire(self) -> None:
        """Take the lock, waiting as was said; see `Lock.acquire`."""
        self._run(self._lock.acquire())

    def refresh(self, life: timedelta | str | None = None) -> None:
        """Renew now; see `Lock.refresh`."""
        self._run(self._lock.refresh(life))

    def release(self) -> bool:
        """Give it up; False when it was not ours any more."""
        return bool(self._run(self._lock.release()))

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._lock.name

    @property
    def fence(self) -> int:
        """A number that is higher for every later holder. Raises `UsageError` when it was not taken."""
        return self._lock.fence

    @property
    def is_held(self) -> bool:
        """Whether it is surely ours at this moment, as far as our own clock can tell."""
        return self._lock.is_held

    def remaining(self) -> timedelta:
        """How long it is surely ours if it were not renewed; zero when it is not."""
        return self._lock.remaining()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost: LeaseLostError | None = self._run(self._lock.leave())
        if lost is not None and error is None:
            raise lost
