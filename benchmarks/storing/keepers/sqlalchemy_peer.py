"""SQLAlchemy Core over psycopg: lock, insert, commit, as an outbox is mostly written."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.storing.keeper import Attributes, Keeper
from benchmarks.storing.records import Record, decode, record_of, records_of

__all__ = ["SqlAlchemyCore"]

_events = sa.Table(
    "core_events",
    sa.MetaData(),
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("data", sa.Text),
    sa.Column("meta", sa.Text, nullable=False),
    sa.UniqueConstraint("stream", "version"),
)
_FIELDS = ("stream", "version", "id", "name", "key", "data", "meta")


class SqlAlchemyCore(Keeper):
    """An async engine, one transaction an append."""

    async def open(self) -> None:
        self._engine = create_async_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
        async with self._engine.begin() as connection:
            await connection.run_sync(_events.metadata.create_all)

    async def close(self) -> None:
        await self._engine.dispose()

    async def append(self, order: Attributes) -> None:
        await self._insert([record_of(order)])

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        await self._insert(records_of(orders))

    async def _insert(self, records: Sequence[Record]) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(42)))
            await connection.execute(
                sa.insert(_events), [dict(zip(_FIELDS, record, strict=True)) for record in records]
            )

    async def read(self) -> int:
        found = after = 0
        async with self._engine.connect() as connection:
            while True:
                query = sa.select(_events).where(_events.c.position > after)
                rows = (await connection.execute(query.order_by(_events.c.position).limit(1000))).all()
                if not rows:
                    return found
                for row in rows:
                    decode(row.data)
                found, after = found + len(rows), rows[-1].position
