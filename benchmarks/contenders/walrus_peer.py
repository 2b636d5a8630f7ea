"""walrus: redis-py's synchronous client with containers; its stream and consumer group objects, without threads."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import walrus

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.orders import Fields, OrderPlaced, decode, fields_of, fields_of_many
from benchmarks.tally import Tally

__all__ = ["Walrus"]


def _mapping(fields: Fields) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


class _WalrusPublisher(Publisher[OrderPlaced]):
    """Its methods never give way to the event loop; nothing else runs on it."""

    def __init__(self, database: Any, stream: str) -> None:
        self._database, self._key = database, stream
        self._stream = database.Stream(stream)

    async def publish(self, order: OrderPlaced) -> None:
        self._stream.add(_mapping(fields_of(order)))

    async def publish_batch(self, orders: Sequence[OrderPlaced]) -> None:
        with self._database.pipeline(transaction=False) as pipeline:
            for fields in fields_of_many(orders):
                pipeline.xadd(self._key, _mapping(fields))
            pipeline.execute()


class Walrus(Contender[OrderPlaced]):
    """A synchronous loop with a synchronous handler."""

    def __init__(self) -> None:
        super().__init__(OrderPlaced)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderPlaced], None]:
        with walrus.Database(unix_socket_path=place.socket) as database:
            yield _WalrusPublisher(database, place.stream)

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        def handle(order: OrderPlaced) -> None:
            tally.saw(order)

        with walrus.Database(unix_socket_path=place.socket) as database:
            group = database.consumer_group(place.group, [place.stream], consumer=place.consumer)
            stream = group.streams[place.stream]
            while not tally.done:
                entries = stream.read(count=place.batch, block=2000)
                for entry_id, fields in entries:
                    handle(decode(fields[b"data"]))
                    if acknowledge is Acknowledge.EACH:
                        stream.ack(entry_id)
                if entries and acknowledge is Acknowledge.BATCH:
                    stream.ack(*[entry_id for entry_id, _ in entries])
