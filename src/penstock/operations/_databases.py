"""The databases of event stores for people: which schema changes they have had, which they lack, what is wrong."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from penstock.app import App
from penstock.errors import PenstockError
from penstock.operations._stores import Stores, ask
from penstock.store import migrating
from penstock.store.abc import Dialect
from penstock.store.database import Database

__all__ = ["AppliedMigration", "DatabaseMigrated", "DatabaseOperations", "DatabaseStatus", "PendingSql"]


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A schema change that a database has had."""

    name: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The database of one store. One that cannot be reached says so in `problems` and has nothing else."""

    store: str
    dialect: Dialect
    url: str
    """Without the password."""
    exists: bool
    """False: an SQLite file that the first use makes."""
    server: str | None = None
    """Product and version."""
    applied: tuple[AppliedMigration, ...] = ()
    pending: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether the store can be worked with as it is."""
        return not self.problems and (not self.pending or self.dialect == "sqlite")


@dataclass(frozen=True, slots=True)
class DatabaseMigrated:
    """What a migration did, or would do."""

    store: str
    migrations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PendingSql:
    """The statements that a database lacks, for people who run them by hand."""

    store: str
    dialect: Dialect
    migrations: tuple[str, ...]
    sql: str


class DatabaseOperations:
    """What can be done with the databases of an app's event stores. Made by `Operations.databases`.

    *stores* are names; empty for all that are configured. Raises `UnknownStoreError`.
    """

    def __init__(self, app: App) -> None:
        self._stores = Stores(app)

    async def status(self, stores: Sequence[str] = ()) -> list[DatabaseStatus]:
        """Each database with its migrations and with what speaks against working on it; never raises for a database."""
        return [await self._status(name) for name in self._stores.named(stores)]

    async def pending(self, stores: Sequence[str] = ()) -> list[DatabaseMigrated]:
        """What `migrate` would apply. Raises `StoreUnavailableError`, `StoreRefusedError`, `OtherMigrationError`."""
        return [DatabaseMigrated(each.store, each.migrations) for each in await self.sql(stores)]

    async def migrate(self, stores: Sequence[str] = ()) -> list[DatabaseMigrated]:
        """Apply what each database lacks, all of it or nothing; what that was. Many may call it at once.

        Raises as `pending`; a database that was reached before one that fails has been migrated.
        """
        return [DatabaseMigrated(name, await self._migrate(name)) for name in self._stores.named(stores)]

    async def _migrate(self, name: str) -> tuple[str, ...]:
        if self._stores.where(name).exists:
            applied = await asyncio.to_thread(migrating.apply, self._stores.database(name))
            return tuple(each.name for each in applied)
        lacking = migrating.migrations(self._stores.where(name).dialect)
        await self._stores.opened(name)  # which makes the file
        return tuple(each.name for each in lacking)

    async def sql(self, stores: Sequence[str] = ()) -> list[PendingSql]:
        """The statements that `migrate` would run. Raises as `pending`."""
        found: list[PendingSql] = []
        for name in self._stores.named(stores):
            where = self._stores.where(name)
            if where.exists:
                lacking = await asyncio.to_thread(migrating.pending, self._stores.database(name))
            else:
                lacking = list(migrating.migrations(where.dialect))
            names = tuple(each.name for each in lacking)
            text = migrating.sql(where.dialect, lacking) if lacking else ""
            found.append(PendingSql(name, where.dialect, names, text))
        return found

    async def _status(self, name: str) -> DatabaseStatus:
        where = self._stores.where(name)
        if not where.exists:
            lacking = tuple(each.name for each in migrating.migrations(where.dialect))
            return DatabaseStatus(name, where.dialect, where.shown, exists=False, pending=lacking)
        problems: list[str] = []
        server: str | None = None
        applied: tuple[AppliedMigration, ...] = ()
        pending: tuple[str, ...] = ()
        try:
            database = self._stores.database(name)
            server = await asyncio.to_thread(_server, database)
            applied = tuple(map(_applied, await asyncio.to_thread(migrating.applied, database)))
            pending = tuple(each.name for each in await asyncio.to_thread(migrating.pending, database))
            if not pending:
                await self._stores.opened(
                    name
                )  # which looks whether server and schema are as they have to be
        except PenstockError as failure:
            problems.append(str(failure))
        return DatabaseStatus(
            name, where.dialect, where.shown, True, server, applied, pending, tuple(problems)
        )


def _applied(each: migrating.Applied) -> AppliedMigration:
    return AppliedMigration(each.name, datetime.fromisoformat(each.applied_at).astimezone(UTC))


def _server(database: Database) -> str:
    if database.dialect == "sqlite":
        return f"SQLite {ask(database, 'SELECT sqlite_version()')}"
    return f"PostgreSQL {ask(database, 'SHOW server_version')}"
