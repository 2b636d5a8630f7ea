"""The limit: a protocol on the event loop, hiredis to pack and to parse, nothing in between.

It does what a hand-written client would do at best: one write a loop turn for many tasks, one write a batch, and the
acknowledgement of the last batch in the same write as the next read. It handles no error, reconnects nowhere, claims
nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import hiredis

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.orders import OrderPlaced, decode, fields_of, fields_of_many, pack
from benchmarks.tally import Tally

__all__ = ["Raw"]


class _Exchange:
    """Commands that were sent and the replies still awaited for them."""

    __slots__ = ("done", "expected", "replies")

    def __init__(self, expected: int, done: "asyncio.Future[list[Any]]") -> None:
        self.expected, self.done = expected, done
        self.replies: list[Any] = []


class _Connection(asyncio.Protocol):
    """Commands out, replies back in the same order."""

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final = hiredis.Reader(notEnoughData=self)
        self._waiting: Final[deque[_Exchange]] = deque()
        self._unsent: Final[list[bytes]] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        gets, waiting = self._reader.gets, self._waiting
        while (reply := gets()) is not self:
            exchange = waiting[0]
            exchange.replies.append(reply)
            if len(exchange.replies) == exchange.expected:
                waiting.popleft().done.set_result(exchange.replies)

    def connection_lost(self, exc: Exception | None) -> None:
        for exchange in self._waiting:
            exchange.done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def exchange(self, packed: bytes, replies: int = 1) -> "asyncio.Future[list[Any]]":
        """Write at once."""
        self._transport.write(packed)
        return self._expect(replies)

    def exchange_together(self, packed: bytes) -> "asyncio.Future[list[Any]]":
        """Write with whatever other tasks send in this turn of the loop."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        return self._expect(1)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _expect(self, replies: int) -> "asyncio.Future[list[Any]]":
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append(_Exchange(replies, done))
        return done

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def _connected(socket: str) -> AsyncGenerator[_Connection, None]:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_unix_connection(_Connection, socket)
    try:
        yield connection
    finally:
        connection.close()


class _RawPublisher(Publisher[OrderPlaced]):
    def __init__(self, connection: _Connection, stream: str) -> None:
        self._connection = connection
        self._prefix = (b"XADD", stream.encode(), b"*")

    async def publish(self, order: OrderPlaced) -> None:
        await self._connection.exchange(pack(self._prefix + fields_of(order)))

    async def publish_shared(self, order: OrderPlaced) -> None:
        await self._connection.exchange_together(pack(self._prefix + fields_of(order)))

    async def publish_batch(self, orders: Sequence[OrderPlaced]) -> None:
        prefix = self._prefix
        packed = b"".join([pack(prefix + fields) for fields in fields_of_many(orders)])
        await self._connection.exchange(packed, len(orders))


class Raw(Contender[OrderPlaced]):
    """The raw loop, in its three ways to publish and two to acknowledge."""

    def __init__(self) -> None:
        super().__init__(OrderPlaced)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderPlaced], None]:
        async with _connected(place.socket) as connection:
            yield _RawPublisher(connection, place.stream)

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        async def handle(order: OrderPlaced) -> None:
            tally.saw(order)

        xack = (b"XACK", place.stream, place.group)
        read = pack(
            (b"XREADGROUP", b"GROUP", place.group, place.consumer, b"COUNT", place.batch)
            + (b"BLOCK", 2000, b"STREAMS", place.stream, b">")
        )
        acks = b""
        async with _connected(place.socket) as connection:
            while not tally.done:
                replies = await connection.exchange(acks + read, 2 if acks else 1)
                acks = b""
                if replies[-1] is None:
                    continue
                [[_, entries]] = replies[-1]
                for entry_id, fields in entries:
                    await handle(decode(fields[7]))
                    if acknowledge is Acknowledge.EACH:
                        await connection.exchange(pack((*xack, entry_id)))
                if acknowledge is Acknowledge.BATCH:
                    acks = pack(xack + tuple(entry_id for entry_id, _ in entries))
            if acks:
                await connection.exchange(acks)
