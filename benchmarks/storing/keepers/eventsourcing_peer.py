"""eventsourcing: events by its application, kept by its recorders, projected by its runner into a tracking recorder."""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import StoredEvent, Tracking, TrackingRecorder
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteTrackingRecorder
from psycopg.sql import SQL

from benchmarks.storing.keeper import Attributes, Keeper

__all__ = ["EventSourcingPostgres", "EventSourcingSqlite"]


class Orders(Application[Any]):
    """The application whose events are kept."""


class Placed(DomainEvent):
    """An order, the first event of an aggregate of its own."""

    number: int
    order_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    placed_ns: int


class _Spent(TrackingRecorder):
    @abstractmethod
    def spend(self, customer: str, cents: int, tracking: Tracking) -> None: ...

    @abstractmethod
    def total(self) -> int: ...


class SpentInPostgres(PostgresTrackingRecorder, _Spent):
    """The read model, with the position in the same transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS es_spent (customer text PRIMARY KEY, cents bigint)").format()
        )

    def spend(self, customer: str, cents: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT INTO es_spent VALUES (%s, %s)"
                " ON CONFLICT (customer) DO UPDATE SET cents = es_spent.cents + excluded.cents",
                (customer, cents),
            )
            self._insert_tracking(cursor, tracking)

    def total(self) -> int:
        with self.datastore.transaction() as cursor:
            row: Any = cursor.execute("SELECT sum(cents)::bigint AS total FROM es_spent").fetchone()
            return int(row["total"])


class SpentInSqlite(SQLiteTrackingRecorder, _Spent):
    """The same in SQLite."""

    def construct_create_table_statements(self) -> list[str]:
        return [
            *super().construct_create_table_statements(),
            "CREATE TABLE IF NOT EXISTS es_spent (customer TEXT PRIMARY KEY, cents INTEGER)",
        ]

    def spend(self, customer: str, cents: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT INTO es_spent VALUES (?, ?)"
                " ON CONFLICT (customer) DO UPDATE SET cents = cents + excluded.cents",
                (customer, cents),
            )
            self._insert_tracking(cursor, tracking)

    def total(self) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT sum(cents) FROM es_spent")
            return int(cursor.fetchone()[0])


class SpendProjection(Projection[_Spent]):
    """Counts what customers spend."""

    name = "spending"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.view.spend(domain_event.customer, domain_event.total_cents, tracking)


class _EventSourcing(Keeper):
    view: ClassVar[type[Any]]

    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    async def open(self) -> None:
        self._application = Orders(env=self.environment())
        self._threads = ThreadPoolExecutor(16)

    async def close(self) -> None:
        self._threads.shutdown()
        self._application.close()

    def _stored(self, order: Attributes) -> StoredEvent:
        placed = Placed(
            originator_id=uuid4(), originator_version=1, timestamp=Placed.create_timestamp(), **order
        )
        return self._application.mapper.to_stored_event(placed)

    async def append(self, order: Attributes) -> None:
        self._application.recorder.insert_events([self._stored(order)])

    async def append_shared(self, order: Attributes) -> None:
        stored = self._stored(order)
        insert = self._application.recorder.insert_events
        await asyncio.get_running_loop().run_in_executor(self._threads, insert, [stored])

    async def append_batch(self, orders: Sequence[Attributes]) -> None:
        self._application.recorder.insert_events([self._stored(order) for order in orders])

    async def read(self) -> int:
        found, start = 0, 1
        while notifications := self._application.recorder.select_notifications(start, 1000):
            for notification in notifications:
                self._application.mapper.to_domain_event(notification)
            found, start = found + len(notifications), notifications[-1].id + 1
        return found

    async def project(self, events: int, *, page: int) -> int:
        return await asyncio.to_thread(self._project, events)

    def _project(self, events: int) -> int:
        with ProjectionRunner(
            application_class=Orders,
            projection_class=SpendProjection,
            view_class=self.view,
            env=self.environment(),
        ) as runner:
            runner.wait(events, timeout=100)
            view: Any = runner.projection.view
            return int(view.total())


class EventSourcingPostgres(_EventSourcing):
    """Its PostgreSQL modules."""

    view = SpentInPostgres

    def environment(self) -> dict[str, str]:
        """Its settings for the database at our URL."""
        parts = urlsplit(self.url)
        hosts = parse_qs(parts.query).get("host") or [parts.hostname or "localhost"]
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": parts.path.lstrip("/"),
            "POSTGRES_HOST": unquote(hosts[0]),
            "POSTGRES_PORT": str(parts.port or 5432),
            "POSTGRES_USER": unquote(parts.username or "postgres"),
            "POSTGRES_PASSWORD": unquote(parts.password or "-"),
            "POSTGRES_POOL_SIZE": "16",
        }


class EventSourcingSqlite(_EventSourcing):
    """Its SQLite modules."""

    view = SpentInSqlite

    def environment(self) -> dict[str, str]:
        """Its settings for the file at our URL."""
        return {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": self.url.removeprefix("sqlite:///"),
            "SQLITE_LOCK_TIMEOUT": "10",
        }
