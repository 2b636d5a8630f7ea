"""SQLite by hand: the standard module, write-ahead log, every commit on disk."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from benchmarks.storing.keeper import Attributes, Keeper
from benchmarks.storing.records import fold, record_of, records_of

__all__ = ["APPEND", "TABLES", "HandSqlite"]

TABLES: Final = """
pragma journal_mode=wal; pragma synchronous=full;
create table if not exists hand_events (
  position integer primary key autoincrement, stream text not null, version integer not null, id text not null unique,
  name text not null, key text, data text, meta text not null, unique (stream, version));
create table if not exists hand_spent (customer text primary key, cents integer not null);
create table if not exists hand_position (name text primary key, position integer not null);
insert into hand_position values ('spent', 0) on conflict do nothing;
"""
APPEND: Final = (
    "insert into hand_events (stream, version, id, name, key, data, meta) values (?, ?, ?, ?, ?, ?, ?)"
)


class HandSqlite(Keeper):
    """What somebody who knows SQLite well would write, called from a coroutine as it is: it blocks."""

    _connection: sqlite3.Connection

    async def open(self) -> None:
        self._connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        self._connection.executescript(TABLES)

    async def close(self) -> None:
        self._connection.close()

    async def append(self, order: Attributes) -> None:
        self._connection.execute(APPEND, record_of(order))
        self._connection.commit()

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        self._connection.executemany(APPEND, records_of(orders))
        self._connection.commit()

    async def project(self, events: int, *, page: int) -> int:
        connection, done = self._connection, 0
        while done < events:
            [(after,)] = connection.execute("select position from hand_position where name = 'spent'")
            rows = connection.execute(
                "select position, data from hand_events where position > ? order by position limit ?",
                (after, page),
            ).fetchall()
            connection.executemany(
                "insert into hand_spent values (?, ?)"
                " on conflict (customer) do update set cents = cents + excluded.cents",
                list(fold(row[1] for row in rows).items()),
            )
            connection.execute("update hand_position set position = ? where name = 'spent'", (rows[-1][0],))
            connection.commit()
            done += len(rows)
        [(total,)] = connection.execute("select sum(cents) from hand_spent")
        return int(total)
