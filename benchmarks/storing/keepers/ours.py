"""Penstock's event store and projections, as its pages show them."""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from benchmarks.event import OrderPlaced
from benchmarks.orders import attributes
from benchmarks.storing.keeper import Attributes, Keeper
from penstock import App
from penstock.projections import Rows

__all__ = ["Postgres", "Sqlite"]


class _Ours(Keeper):
    async def open(self) -> None:
        self._app = App("bench", store=self.url, streams="memory://")
        self._store = self._app.store()
        await self._prepare()
        await self._store.open()

    async def _prepare(self) -> None:
        """See to it that the tables are there."""

    async def close(self) -> None:
        await self._app.close()

    async def append(self, order: Attributes) -> None:
        await self._store.append(OrderPlaced(**order))

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        await self._store.append([OrderPlaced(**order) for order in orders])

    async def read(self) -> int:
        found = 0
        async for event in self._store.read():
            event.decode(OrderPlaced)
            found += 1
        return found

    async def project(self, events: int, *, page: int) -> int:
        self._declare(page)
        await self._app.catch_up("spent")
        with self._connection() as connection:
            [(total,)] = connection.execute("select sum(cents) from spent").fetchall()
        return int(total)

    def _declare(self, page: int) -> None:
        spent = self._app.projection("spent", page=page)

        @spent.on(OrderPlaced)
        def spend(order: OrderPlaced, rows: Rows) -> None:
            rows.increment("spent", {"customer": order.customer}, cents=order.total_cents)

        with self._connection() as connection:
            connection.execute("create table spent (customer text primary key, cents bigint not null)")

    async def grown(self, held: int, events: int) -> tuple[float, float, float]:
        """Seconds for appending *events* in batches, for projecting them, and for loading a stream of a hundred."""
        self._declare(1000)
        await self._app.catch_up("spent")
        with self._connection() as connection:
            for statement in self.filling:
                connection.execute(statement.format(held=held))
        began = perf_counter()
        for start in range(0, events, 1000):
            await self.append_batch([attributes(number) for number in range(start, start + 1000)])
        appended = perf_counter()
        await self._app.catch_up("spent")
        projected = perf_counter()
        hundred = [OrderPlaced(**attributes(number)) for number in range(100)]
        await self._store.append(hundred, event_stream="order-hundred")
        begun = perf_counter()
        for _ in range(20):
            await self._store.load("order-hundred")
        return appended - began, projected - appended, (perf_counter() - begun) / 20

    filling: tuple[str, ...]
    """Statements that put ``{held}`` events there, as if the projection had seen them."""

    @abstractmethod
    def _connection(self) -> Any:
        """A connection that commits when its context ends."""

    async def wake(self, events: int) -> list[float]:
        seen = asyncio.Event()
        loop = asyncio.get_running_loop()
        watching = self._app.projection("watching")

        @watching.on(OrderPlaced)
        def see(order: OrderPlaced) -> None:
            loop.call_soon_threadsafe(seen.set)

        running = asyncio.create_task(self._app.run())
        took: list[float] = []
        for number in range(events + 10):
            seen.clear()
            await self._store.append(OrderPlaced(**attributes(number)))
            committed = perf_counter()
            await seen.wait()
            took.append((perf_counter() - committed) * 1e6)
            await asyncio.sleep(0.005)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return took[10:]


class Postgres(_Ours):
    """Its PostgreSQL store."""

    filling: tuple[str, ...] = (
        """insert into penstock_events
        (position, stream, category, version, id, name, key, schema_version, data, meta, recorded_at)
        select nextval('penstock_positions'), 'held-' || (n / 10), 'held', n % 10 + 1, 'held-' || n, 'held', null, 1,
               '{{"number": 1}}', '{{"time": 0}}', now() from generate_series(1, {held}) as n""",
        "update penstock_checkpoints set position = {held} where projection = 'spent'",
        "analyze penstock_events",
    )

    async def _prepare(self) -> None:
        from penstock.operations import Operations

        await Operations(self._app).databases.migrate()

    def _connection(self) -> Any:
        import psycopg

        return psycopg.connect(self.url)


class Sqlite(_Ours):
    """Its SQLite store."""

    filling: tuple[str, ...] = (
        """insert into penstock_events
        (position, stream, category, version, id, name, key, schema_version, data, meta, recorded_at)
        with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < {held})
        select n, 'held-' || (n / 10), 'held', n % 10 + 1, 'held-' || n, 'held', null, 1,
               '{{"number": 1}}', '{{"time": 0}}', 0 from numbers""",
        "update penstock_checkpoints set position = {held} where projection = 'spent'",
    )

    def _connection(self) -> Any:
        import sqlite3

        return sqlite3.connect(self.url.removeprefix("sqlite:///"))
