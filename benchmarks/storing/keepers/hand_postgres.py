"""PostgreSQL by hand: psycopg, one statement an append, an exclusive advisory lock so that no reader misses one."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import msgspec
import psycopg

from benchmarks.orders import attributes
from benchmarks.storing.keeper import Attributes, Keeper
from benchmarks.storing.records import Record, decode, fold, record_of, records_of

__all__ = ["HandPostgres"]

_TABLES: Final = """
create table if not exists hand_events (
  position bigint generated always as identity primary key, stream text collate "C" not null, version bigint not null,
  id text collate "C" not null unique, name text not null, key text, data json, meta jsonb not null,
  recorded_at timestamptz not null default clock_timestamp(), unique (stream, version));
create table if not exists hand_spent (customer text primary key, cents bigint not null);
create table if not exists hand_position (name text primary key, position bigint not null);
insert into hand_position values ('spent', 0) on conflict do nothing;
"""
_APPEND: Final = """
with held as materialized (select pg_advisory_xact_lock(42) as yes)
insert into hand_events (stream, version, id, name, key, data, meta)
select %s, coalesce((select max(version) from hand_events where stream = %s), 0) + 1, %s, %s, %s, %s::json, %s::jsonb
from held
"""
_APPEND_MANY: Final = """
with held as materialized (select pg_advisory_xact_lock(42) as yes)
insert into hand_events (stream, version, id, name, key, data, meta)
select r.stream, r.version, r.id, r.name, r.key, r.data::json, r.meta::jsonb
from held, jsonb_to_recordset(%s::jsonb)
  as r(stream text, version bigint, id text, name text, key text, data text, meta text)
"""
_FIELDS: Final = ("stream", "version", "id", "name", "key", "data", "meta")
_encode: Final = msgspec.json.Encoder().encode


class HandPostgres(Keeper):
    """What somebody who knows PostgreSQL well would write."""

    _connection: psycopg.AsyncConnection[Any]

    async def open(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        await self._connection.execute(_TABLES)
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await self._connection.close()

    async def append(self, order: Attributes) -> None:
        stream, _, event_id, name, key, data, meta = record_of(order)
        await self._connection.execute(_APPEND, (stream, stream, event_id, name, key, data, meta))

    async def append_shared(self, order: Attributes) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record_of(order), done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            await self._insert([record for record, _ in taken])
            for _, done in taken:
                done.set_result(None)
        self._writing = None

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        await self._insert(records_of(orders))

    async def _insert(self, records: Sequence[Record]) -> None:
        rows = [dict(zip(_FIELDS, record, strict=True)) for record in records]
        await self._connection.execute(_APPEND_MANY, (_encode(rows).decode(),))

    async def read(self) -> int:
        found = after = 0
        while True:
            rows = await self._page(after, 1000)
            if not rows:
                return found
            for row in rows:
                decode(row[6])
            found, after = found + len(rows), rows[-1][0]

    async def _page(self, after: int, limit: int) -> list[Any]:
        cursor = await self._connection.execute(
            "select position, stream, version, id, name, meta::text, data::text from hand_events"
            " where position > %s order by position limit %s",
            (after, limit),
        )
        return await cursor.fetchall()

    async def project(self, events: int, *, page: int) -> int:
        return await asyncio.to_thread(self._project, events, page)

    def _project(self, events: int, page: int) -> int:
        with psycopg.connect(self.url) as connection:
            done = 0
            while done < events:
                [(after,)] = connection.execute(
                    "select position from hand_position where name = 'spent' for update"
                ).fetchall()
                rows = connection.execute(
                    "select position, data::text from hand_events where position > %s order by position limit %s",
                    (after, page),
                ).fetchall()
                with connection.cursor() as cursor:
                    spent = fold(row[1] for row in rows)
                    cursor.execute(
                        "insert into hand_spent select * from unnest(%s::text[], %s::bigint[])"
                        " on conflict (customer) do update set cents = hand_spent.cents + excluded.cents",
                        (list(spent), list(spent.values())),
                    )
                    cursor.execute(
                        "update hand_position set position = %s where name = 'spent'", (rows[-1][0],)
                    )
                connection.commit()
                done += len(rows)
            [(total,)] = connection.execute("select sum(cents)::bigint from hand_spent").fetchall()
            return int(total)

    async def wake(self, events: int) -> list[float]:
        listener = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        await listener.execute("listen hand")
        notified = listener.notifies()
        took: list[float] = []
        after = 0
        for number in range(events):
            await self.append(attributes(number))
            committed = perf_counter()
            await self._connection.execute("notify hand")
            await anext(notified)
            [row] = await self._page(after, 10)
            after = row[0]
            decode(row[6])
            took.append((perf_counter() - committed) * 1e6)
            await asyncio.sleep(0.005)
        await notified.aclose()
        await listener.close()
        return took
