"""A read model of two tables in two versions, a copy of it in PostgreSQL, and everything that is done to them."""

from contextlib import closing
from typing import Any

from penstock.projections.abc import LIVE
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays.abc import CopiedTable
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.replays.things import KEY, AnyThing, SpendingPage

__all__ = ["TABLES", "Spending", "Thing"]

TABLES = (
    "CREATE TABLE totals (customer text PRIMARY KEY, orders integer NOT NULL, v integer NOT NULL)",
    "CREATE INDEX totals_by_orders ON totals (orders)",
    "CREATE TABLE entries (id serial PRIMARY KEY, customer text NOT NULL REFERENCES totals, "
    "position integer NOT NULL UNIQUE, v integer NOT NULL)",
)


class TablePage(SpendingPage):
    """One page of `Spending`."""

    def __init__(self, owner: "Spending", connection: Any) -> None:
        self._owner, self._connection = owner, connection

    def handle(self, event: StoredEvent) -> None:
        """Count one for its key in one table, and note it in the other."""
        owner = self._owner
        self._connection.execute(
            "INSERT INTO totals (customer, orders, v) VALUES (%s, 1, %s) "
            "ON CONFLICT (customer) DO UPDATE SET orders = totals.orders + 1",
            (event.key, owner.version),
        )
        self._connection.execute(
            "INSERT INTO entries (customer, position, v) VALUES (%s, %s, %s)",
            (event.key, event.position, owner.version),
        )


class Spending:
    """Handlers of one version, which is in every row."""

    projection = "spending"
    names = None

    def __init__(self, version: int) -> None:
        self.version = version

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> TablePage:
        """One page."""
        return TablePage(self, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the tables."""
        raw: Any = connection
        raw.execute("TRUNCATE entries, totals")

    def prepare(self, connection: Connection) -> None:
        """They are there."""


class Thing(AnyThing[PostgresCopy]):
    """The live read model, and its copy."""

    def __init__(self, store: StoreBackend, *, page: int = 50) -> None:
        tables = (CopiedTable("totals"), CopiedTable("entries"))
        super().__init__(store, PostgresCopy(KEY, store.database, tables, projections=["spending"]), page)

    def handlers(self, version: int) -> Spending:
        """Those of a version."""
        return Spending(version)

    def make(self) -> None:
        """The live tables."""
        with closing(self.live.connect()) as connection:
            for sql in TABLES:
                self.live.execute(connection, sql)
