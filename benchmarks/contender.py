"""What a side of the race has to provide: a publisher, a consumer, and the class it declares its orders as."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from benchmarks.orders import Order
from benchmarks.tally import Tally

__all__ = ["Acknowledge", "Contender", "Place", "Publisher"]

OrderT = TypeVar("OrderT", bound=Order)


class Acknowledge(StrEnum):
    """When a consumer acknowledges; always after its handler."""

    BATCH = "batch"
    """A hundred entries at a time."""
    EACH = "each"
    """Every entry by itself, awaited before the next one is handled."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a contender works. The consumer group exists before a consumer starts."""

    socket: str
    stream: str
    group: str
    consumer: str = "bench"
    batch: int = 100
    """The most entries a consumer reads at once."""


class Publisher(ABC, Generic[OrderT]):
    """One connected publisher. Every method returns when the server has answered for all it was given."""

    @abstractmethod
    async def publish(self, order: OrderT) -> None:
        """Publish one order; nobody else uses the publisher meanwhile."""

    async def publish_shared(self, order: OrderT) -> None:
        """Publish one order while many tasks do the same."""
        await self.publish(order)

    async def publish_batch(self, orders: Sequence[OrderT]) -> None:
        """Publish orders in the cheapest way the contender offers."""
        for order in orders:
            await self.publish(order)


class Contender(ABC, Generic[OrderT]):
    """A library, used as its own documentation recommends."""

    def __init__(self, order: Callable[..., OrderT]) -> None:
        self.order = order
        """Makes an order out of the keywords that `benchmarks.orders.attributes` returns."""

    @abstractmethod
    def publisher(self, place: Place) -> AbstractAsyncContextManager[Publisher[OrderT]]:
        """A publisher to *place*, connected while the context lasts."""

    @abstractmethod
    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        """Handle orders by `Tally.saw` until the tally is done, then return with everything acknowledged."""
