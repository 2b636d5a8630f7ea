"""aiosqlite: its one connection, a transaction an append, as its documentation shows."""

import asyncio
from collections.abc import Sequence

import aiosqlite

from benchmarks.storing.keeper import Attributes, Keeper
from benchmarks.storing.keepers.hand_sqlite import APPEND, TABLES
from benchmarks.storing.records import record_of, records_of

__all__ = ["AioSqlite"]


class AioSqlite(Keeper):
    """One connection for all tasks; a lock keeps their transactions apart."""

    _connection: aiosqlite.Connection

    async def open(self) -> None:
        self._connection = await aiosqlite.connect(self.url.removeprefix("sqlite:///"))
        await self._connection.executescript(TABLES)
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self._connection.close()

    async def append(self, order: Attributes) -> None:
        async with self._lock:
            await self._connection.execute(APPEND, record_of(order))
            await self._connection.commit()

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        async with self._lock:
            await self._connection.executemany(APPEND, records_of(orders))
            await self._connection.commit()
