"""Ourselves, through the public API only: an app, an event class, a listener."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.event import OrderPlaced
from benchmarks.tally import Tally
from penstock import App, Delivery

__all__ = ["Exclusive", "Keyed", "Penstock"]


Mode: TypeAlias = Literal["parallel", "keyed", "exclusive"]


class _PenstockPublisher(Publisher[OrderPlaced]):
    def __init__(self, app: App, stream: str) -> None:
        self._app, self._stream = app, stream

    async def publish(self, order: OrderPlaced) -> None:
        await self._app.emit(order, stream=self._stream)

    async def publish_batch(self, orders: Sequence[OrderPlaced]) -> None:
        await self._app.emit_many(orders, stream=self._stream)


class Penstock(Contender[OrderPlaced]):
    """An app on the benchmark's server; a consumer reads as many entries at once as everybody here."""

    mode: Mode = "parallel"

    def __init__(self) -> None:
        super().__init__(OrderPlaced)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderPlaced], None]:
        async with App("bench", streams=f"unix://{place.socket}") as app:
            yield _PenstockPublisher(app, place.stream)

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        app = App("bench", streams=f"unix://{place.socket}")
        each = acknowledge is Acknowledge.EACH
        group = app.group(
            place.group,
            mode=self.mode,
            streams=[place.stream],
            max_batch=place.batch,
            concurrency=1 if each else 10,
        )
        if each:

            @group.on("order.placed", acknowledge="manual")
            async def handle_each(order: OrderPlaced, delivery: Delivery) -> None:
                tally.saw(order)
                await delivery.acknowledge()
        else:

            @group.on("order.placed")
            async def handle(order: OrderPlaced) -> None:
                tally.saw(order)

        async with app:
            runner = await app.runner()
            running = asyncio.create_task(runner.run())
            await tally.finished.wait()
            runner.stop()
            await running


class Keyed(Penstock):
    """Order per key: the orders of one id one after the other, those of different ids side by side."""

    mode: Mode = "keyed"


class Exclusive(Penstock):
    """Total order: one leased owner, one order at a time."""

    mode: Mode = "exclusive"
