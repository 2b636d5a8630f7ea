"""Events from the tables of prooph's PostgreSQL event store, a table for each stream, as events for a store of ours.

`event_streams` names the streams and their tables; each table has `no`, `event_id`, `event_name`, `payload`,
`metadata` and `created_at` (in UTC). Event ids stay, the payload stays as it is written, metadata become headers (what
is no text as JSON: `_aggregate_version` is ``"3"``), `_aggregate_id` becomes the key and `_causation_id` the causation.
Streams keep their names and the order of `no`; among several the earliest `created_at` goes first.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec

from penstock.codec import JSON
from penstock.errors import UsageError
from penstock.message import Meta
from penstock.operations._importing import Arrival, Refused
from penstock.store._quoting import quoted
from penstock.store.abc import NewEvent
from penstock.store.database import Connection, Database

__all__ = ["prooph_events"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 500
_ROWS_IN_MEMORY = 20_000
"""Over all tables together; each has at least a few."""
_FEWEST_ROWS = 50


async def prooph_events(
    database: Database, streams: Sequence[str] = ()
) -> AsyncIterator[list[Arrival | Refused]]:
    """The events of these streams (or tables; of all, if none is named) in batches.

    Raises:
        UsageError: The database is not such an event store, or has no such stream.
        StoreUnavailableError: It cannot be reached.
    """
    merging = await asyncio.to_thread(_Merging.begin, database, streams)
    try:
        while batch := await asyncio.to_thread(merging.next_batch):
            yield batch
    finally:
        await asyncio.to_thread(merging.close)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    event_id: str
    name: str
    payload: str
    metadata: str
    created_at: datetime


@dataclass
class _Table:
    """One stream, read by its numbers, a stretch of it in memory."""

    stream: str
    table: str
    through: int = 0
    rows: deque[_Row] = field(default_factory=deque[_Row])
    is_over: bool = False

    def fill(self, database: Database, connection: Connection, limit: int) -> None:
        """Read on, if nothing is in memory."""
        if self.rows or self.is_over:
            return
        found = database.execute(
            connection,
            "SELECT no, CAST(event_id AS text), event_name, CAST(payload AS text), CAST(metadata AS text), created_at "
            f"FROM {quoted(self.table)} WHERE no > ? ORDER BY no LIMIT {limit}",
            (self.through,),
        ).fetchall()
        self.is_over = len(found) < limit
        for number, event_id, name, payload, metadata, created_at in found:
            made = created_at if created_at.tzinfo is not None else created_at.replace(tzinfo=UTC)
            self.rows.append(_Row(number, event_id, name, payload, metadata, made))
            self.through = number


@dataclass
class _Merging:
    """All tables, merged by time without leaving the order of any. Used by one thread at a time."""

    database: Database
    connection: Connection
    tables: Sequence[_Table]
    limit: int
    heads: list[tuple[datetime, int]] = field(default_factory=list[tuple[datetime, int]])

    @classmethod
    def begin(cls, database: Database, streams: Sequence[str]) -> "_Merging":
        """Find the tables, and begin to read each."""
        connection = database.connect(application="penstock import")
        try:
            database.begin(connection, write=False)
            tables = list(_tables(database, connection, streams))
            limit = max(_FEWEST_ROWS, _ROWS_IN_MEMORY // max(len(tables), 1))
            merging = cls(database, connection, tables, limit)
            for number in range(len(tables)):
                merging._offer(number)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return merging

    def _offer(self, number: int) -> None:
        table = self.tables[number]
        table.fill(self.database, self.connection, self.limit)
        if table.rows:
            heapq.heappush(self.heads, (table.rows[0].created_at, number))

    def next_batch(self) -> list[Arrival | Refused]:
        """What comes next; nothing at the end."""
        batch: list[Arrival | Refused] = []
        self.database.begin(self.connection, write=False)
        while self.heads and len(batch) < _BATCH:
            _, number = heapq.heappop(self.heads)
            table = self.tables[number]
            batch.append(_arrival(table, table.rows.popleft()))
            self._offer(number)
        self.connection.commit()  # no transaction stays open while the batch is imported
        return batch

    def close(self) -> None:
        with suppress(Exception):
            self.connection.close()


def _tables(database: Database, connection: Connection, streams: Sequence[str]) -> Iterator[_Table]:
    [there] = database.execute(connection, "SELECT to_regclass('event_streams')").fetchone()
    if there is None:
        raise UsageError(f"{database.shown} has no table event_streams; it is no event store of prooph's")
    known = database.execute(
        connection, "SELECT real_stream_name, stream_name FROM event_streams ORDER BY no"
    ).fetchall()
    wanted = set(streams)
    missing = wanted.difference(*([name, table.strip()] for name, table in known))
    if missing:
        raise UsageError(
            f"{database.shown} has no event stream {', '.join(sorted(missing))}; "
            f"it has {', '.join(sorted(name for name, _ in known)[:10]) or 'none'}"
        )
    for name, table in known:
        if not wanted or name in wanted or table.strip() in wanted:
            yield _Table(name, table.strip())


def _arrival(table: _Table, row: _Row) -> Arrival | Refused:
    where = f"{table.stream} {row.number}"
    try:
        metadata: Any = msgspec.json.decode(row.metadata)
    except (msgspec.MsgspecError, ValueError) as failure:
        return Refused(where, f"has metadata that cannot be read: {failure}")
    # PHP writes an empty array where there is none.
    said = cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {}
    headers = {name: _text(value) for name, value in said.items()}
    meta = Meta(
        time=(row.created_at - _EPOCH) // timedelta(microseconds=1),
        key=headers.get("_aggregate_id"),
        headers=headers,
        causation=headers.get("_causation_id"),
        content_type=JSON.content_type,
    )
    if any("\0" in each for each in (*headers, *headers.values())):
        return Refused(where, "has a NUL character in its metadata, which no header takes")
    return Arrival(where, NewEvent(table.stream, row.event_id, row.name, meta, row.payload.encode()))


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
