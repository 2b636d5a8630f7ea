"""Who takes part where events are kept. To add a side, write its module here and name it in `KEEPERS`."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.storing.job import Work

__all__ = ["HAND", "KEEPERS", "OURS", "SQLITE_HAND", "SQLITE_OURS", "KeeperEntrant"]

OURS: Final = "penstock"
HAND: Final = "hand-written SQL"
"""psycopg and the fewest statements that keep the same promise."""
SQLITE_OURS: Final = "penstock, SQLite"
SQLITE_HAND: Final = "sqlite3"
"""The standard module and the fewest statements."""


@dataclass(frozen=True, slots=True)
class KeeperEntrant:
    """One side: where its code is, which packages it needs, where its data are, and in what it takes part."""

    name: str
    code: str
    """``module:Class``, the module below `benchmarks.storing.keepers`."""
    packages: tuple[str, ...]
    dialect: str
    rates: Mapping[Work, int] = field(default_factory=dict)
    """Events per second to expect: they decide how many it gets, not how it is judged."""

    def missing(self) -> tuple[str, ...]:
        """The modules it needs that are not installed."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)


KEEPERS: Final = (
    KeeperEntrant(
        HAND,
        "hand_postgres:HandPostgres",
        ("psycopg",),
        "postgresql",
        {
            Work.APPEND: 4_000,
            Work.APPEND_SHARED: 20_000,
            Work.APPEND_BATCH: 80_000,
            Work.READ: 200_000,
            Work.PROJECT: 150_000,
            Work.PROJECT_EACH: 3_000,
            Work.WAKE: 200,
        },
    ),
    KeeperEntrant(
        OURS,
        "ours:Postgres",
        ("psycopg",),
        "postgresql",
        {
            Work.APPEND: 4_000,
            Work.APPEND_SHARED: 20_000,
            Work.APPEND_BATCH: 80_000,
            Work.READ: 200_000,
            Work.PROJECT: 100_000,
            Work.PROJECT_EACH: 3_000,
            Work.WAKE: 200,
        },
    ),
    KeeperEntrant(
        "SQLAlchemy Core",
        "sqlalchemy_peer:SqlAlchemyCore",
        ("sqlalchemy", "psycopg"),
        "postgresql",
        {Work.APPEND: 1_500, Work.APPEND_BATCH: 50_000, Work.READ: 100_000},
    ),
    KeeperEntrant(
        "eventsourcing",
        "eventsourcing_peer:EventSourcingPostgres",
        ("eventsourcing", "psycopg"),
        "postgresql",
        {
            Work.APPEND: 1_500,
            Work.APPEND_SHARED: 1_500,
            Work.APPEND_BATCH: 40_000,
            Work.READ: 150_000,
            Work.PROJECT: 2_000,
            Work.PROJECT_EACH: 2_000,
        },
    ),
    KeeperEntrant(
        SQLITE_HAND,
        "hand_sqlite:HandSqlite",
        (),
        "sqlite",
        {Work.APPEND: 7_000, Work.APPEND_BATCH: 200_000, Work.PROJECT: 300_000, Work.PROJECT_EACH: 5_000},
    ),
    KeeperEntrant(
        SQLITE_OURS,
        "ours:Sqlite",
        (),
        "sqlite",
        {
            Work.APPEND: 6_000,
            Work.APPEND_SHARED: 30_000,
            Work.APPEND_BATCH: 150_000,
            Work.PROJECT: 150_000,
            Work.PROJECT_EACH: 3_000,
            Work.WAKE: 200,
        },
    ),
    KeeperEntrant(
        "aiosqlite",
        "aiosqlite_peer:AioSqlite",
        ("aiosqlite",),
        "sqlite",
        {Work.APPEND: 3_000, Work.APPEND_SHARED: 4_000, Work.APPEND_BATCH: 150_000},
    ),
    KeeperEntrant(
        "eventsourcing, SQLite",
        "eventsourcing_peer:EventSourcingSqlite",
        ("eventsourcing",),
        "sqlite",
        {Work.APPEND: 5_000, Work.APPEND_BATCH: 100_000},
    ),
)
