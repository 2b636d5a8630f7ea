"""A read model of two tables in two versions, a copy of it in SQLite, and everything that is done to them."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from penstock.projections.abc import LIVE
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import CopiedTable, Part
from penstock.store.abc import StoreBackend, StoredEvent
from penstock.store.database import Connection
from tests.replays.things import KEY, AnyThing, SpendingPage

__all__ = [
    "Spending",
    "Thing",
    "both",
    "direct",
    "folder_in_memory",
    "raw_of",
]

_IN_MEMORY = Path("/dev/shm")


class FilePage(SpendingPage):
    """One page of `Spending`."""

    def __init__(self, owner: "Spending", connection: Connection) -> None:
        self._owner, self._connection = owner, connection

    def handle(self, event: StoredEvent) -> None:
        """Count one for its key in one table, and note it in the other."""
        owner = self._owner
        raw: Any = self._connection
        owner.before(event, raw)
        if owner.version == 1:
            raw.execute(
                "INSERT INTO totals (customer, orders, v) VALUES (?, 1, 1) "
                "ON CONFLICT (customer) DO UPDATE SET orders = orders + 1",
                (event.key,),
            )
        else:
            raw.execute(
                "INSERT INTO totals (customer, orders, v, grade) VALUES (?, 1, ?, 'new') "
                "ON CONFLICT (customer) DO UPDATE SET orders = orders + 1, grade = 'known'",
                (event.key, owner.version),
            )
        raw.execute(
            "INSERT INTO entries (customer, position, v) VALUES (?, ?, ?)",
            (event.key, event.position, owner.version),
        )


class Spending:
    """Handlers of one version; the second one has a column more."""

    projection = "spending"
    names = None

    def __init__(
        self,
        version: int,
        before: Callable[[StoredEvent, sqlite3.Connection], None] = lambda event, raw: None,
        *,
        gives_ids: bool = True,
    ) -> None:
        self.version, self.before, self.gives_ids = version, before, gives_ids

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> FilePage:
        """One page."""
        return FilePage(self, connection)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Empty the tables."""
        raw: Any = connection
        for table in ("entries", "totals"):
            raw.execute(f"DELETE FROM {table}")

    def prepare(self, connection: Connection) -> None:
        """Make the tables of this version."""
        raw: Any = connection
        grade = "" if self.version == 1 else ", grade TEXT NOT NULL"
        for sql in (
            "CREATE TABLE IF NOT EXISTS main.totals "
            f"(customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, v INTEGER NOT NULL{grade})",
            "CREATE INDEX IF NOT EXISTS main.totals_by_orders ON totals (orders)",
            f"CREATE TABLE IF NOT EXISTS main.entries ({'id INTEGER PRIMARY KEY AUTOINCREMENT, ' * self.gives_ids}"
            "customer TEXT NOT NULL REFERENCES totals (customer), position INTEGER NOT NULL UNIQUE, "
            "v INTEGER NOT NULL)",
            "CREATE INDEX IF NOT EXISTS main.entries_by_customer ON entries (customer, position)",
        ):
            raw.execute(sql)


class Thing(AnyThing[SqliteCopy]):
    """The live read model, and its copy; without *tables* the handlers make them."""

    def __init__(
        self,
        store: StoreBackend,
        tables: Sequence[CopiedTable] = (),
        *,
        part: Part | None = None,
        page: int = 50,
    ) -> None:
        copy = SqliteCopy(
            KEY, store.database, tables, projections=["spending"], part=part, makes_own=not tables
        )
        super().__init__(store, copy, page)

    def handlers(self, version: int) -> Spending:
        """Those of a version."""
        return Spending(version)


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder that is in memory where the system has such."""
    with TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def raw_of(database: Any) -> Iterator[sqlite3.Connection]:
    """A connection of one of our databases, as the driver's own."""
    with closing(database.connect()) as connection:
        yield connection


@contextlib.contextmanager
def direct(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection of a user's own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


def both(connection: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
    """What is in the two tables, as far as both versions have it."""
    rows: Sequence[str] = (
        "SELECT customer, orders, v FROM totals ORDER BY customer",
        "SELECT customer, position, v FROM entries ORDER BY position",
    )
    first, second = (connection.execute(sql).fetchall() for sql in rows)
    return first, second
