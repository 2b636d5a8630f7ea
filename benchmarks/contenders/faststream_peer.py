"""FastStream on Redis streams, in its normal and its batch mode.

Messages are pydantic models, as in its documentation (its msgspec serializer was no faster when tried); it logs
nothing. ``max_records`` bounds a read, which is otherwise the whole backlog in one reply.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from faststream.redis import RedisBroker, StreamSub

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.contenders.model import OrderModel
from benchmarks.tally import Tally

__all__ = ["FastStream", "FastStreamBatch"]


def _broker(socket: str) -> RedisBroker:
    return RedisBroker(f"unix://{socket}", logger=None)  # pyright: ignore[reportArgumentType]


class _FastStreamPublisher(Publisher[OrderModel]):
    def __init__(self, broker: RedisBroker, stream: str) -> None:
        self._broker, self._stream = broker, stream

    async def publish(self, order: OrderModel) -> None:
        await self._broker.publish(order, stream=self._stream)

    async def publish_batch(self, orders: Sequence[OrderModel]) -> None:
        client = await self._broker.connect()
        async with client.pipeline(transaction=False) as pipeline:
            for order in orders:
                await self._broker.publish(order, stream=self._stream, pipeline=pipeline)
            await pipeline.execute()


class FastStream(Contender[OrderModel]):
    """One handler call and one awaited acknowledgement an entry, whatever was asked for: it has no other way."""

    def __init__(self) -> None:
        super().__init__(OrderModel)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderModel], None]:
        broker = _broker(place.socket)
        await broker.connect()
        try:
            yield _FastStreamPublisher(broker, place.stream)
        finally:
            await broker.stop()

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        broker = _broker(place.socket)
        source = StreamSub(place.stream, group=place.group, consumer=place.consumer, max_records=place.batch)

        @broker.subscriber(stream=source)
        async def handle(order: OrderModel) -> None:
            tally.saw(order)

        await _run(broker, tally)


class FastStreamBatch(FastStream):
    """One handler call and one acknowledgement for all entries of a read."""

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        broker = _broker(place.socket)
        source = StreamSub(
            place.stream, group=place.group, consumer=place.consumer, max_records=place.batch, batch=True
        )

        @broker.subscriber(stream=source)
        async def handle(orders: list[OrderModel]) -> None:
            for order in orders:
                tally.saw(order)

        await _run(broker, tally)


async def _run(broker: RedisBroker, tally: Tally) -> None:
    await broker.start()
    try:
        await tally.finished.wait()
    finally:
        await broker.stop()
