"""What a side has to provide: ways to append, to read and to project orders in a database of its own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

__all__ = ["Attributes", "Keeper"]

Attributes: TypeAlias = dict[str, Any]
"""One order, as `benchmarks.orders.attributes` has it."""


class Keeper(ABC):
    """A library, used as its own documentation recommends. A side leaves out what it does not take part in."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make the tables if they are missing."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def append(self, order: Attributes) -> None:
        """Append one order to its own stream; it is on disk when this returns."""

    async def append_shared(self, order: Attributes) -> None:
        """The same while other tasks do the same."""
        await self.append(order)

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        """Append orders in one transaction."""
        raise self._refusal("batches")

    async def read(self) -> int:
        """Read everything by position, each body as an order; how many that were."""
        raise self._refusal("reading")

    async def project(self, events: int, *, page: int) -> int:
        """Count what each customer spent, *page* events a transaction, the position with it; the sum of all."""
        raise self._refusal("projections")

    async def wake(self, events: int) -> list[float]:
        """Append one by one, and take the time until a projection's handler has seen each, in microseconds."""
        raise self._refusal("waking up")

    async def grown(self, held: int, events: int) -> tuple[float, float, float]:
        """With so many events there already: seconds for appending, for projecting, and for loading one stream."""
        raise self._refusal("growth")

    def _refusal(self, what: str) -> Exception:
        return RuntimeError(f"{type(self).__name__} has no {what} here")
