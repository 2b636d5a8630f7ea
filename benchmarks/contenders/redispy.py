"""What one writes by hand with redis-py's asyncio client and nothing else: its own calls, XACK a batch."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.orders import Fields, OrderPlaced, decode, fields_of, fields_of_many
from benchmarks.tally import Tally

__all__ = ["RedisPy"]


def _mapping(fields: Fields) -> dict[Any, Any]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


class _RedisPyPublisher(Publisher[OrderPlaced]):
    def __init__(self, client: Redis, stream: str) -> None:
        self._client, self._stream = client, stream

    async def publish(self, order: OrderPlaced) -> None:
        await self._client.xadd(self._stream, _mapping(fields_of(order)))

    async def publish_batch(self, orders: Sequence[OrderPlaced]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for fields in fields_of_many(orders):
                pipeline.xadd(self._stream, _mapping(fields))
            await pipeline.execute()


class RedisPy(Contender[OrderPlaced]):
    """The plain loop. Many tasks share one client, which takes a connection of its pool for every call."""

    def __init__(self) -> None:
        super().__init__(OrderPlaced)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderPlaced], None]:
        async with Redis(unix_socket_path=place.socket) as client:
            yield _RedisPyPublisher(client, place.stream)

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        async def handle(order: OrderPlaced) -> None:
            tally.saw(order)

        async with Redis(unix_socket_path=place.socket) as client:
            while not tally.done:
                answer = await client.xreadgroup(
                    place.group, place.consumer, {place.stream: ">"}, count=place.batch, block=2000
                )
                for _, entries in cast("list[Any]", answer):
                    for entry_id, fields in entries:
                        await handle(decode(fields[b"data"]))
                        if acknowledge is Acknowledge.EACH:
                            await client.xack(place.stream, place.group, entry_id)
                    if acknowledge is Acknowledge.BATCH:
                        await client.xack(place.stream, place.group, *[entry_id for entry_id, _ in entries])
