"""An app's event stores, as operations look at them: nothing is made by looking."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from penstock.app import App
from penstock.errors import UsageError
from penstock.store import EventStore
from penstock.store._needed import exists
from penstock.store.abc import Dialect, StoreBackend
from penstock.store.backends import make_backend
from penstock.store.database import Database

__all__ = ["StorePlace", "Stores", "ask", "rows_of"]


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a store is."""

    name: str
    dialect: Dialect
    shown: str
    """The URL without the password."""
    exists: bool
    """False: a file that the first use makes."""


class Stores:
    """The stores that code and settings give an app. Methods with a name raise `UnknownStoreError` for another."""

    def __init__(self, app: App) -> None:
        self._app = app

    def named(self, names: Sequence[str] = ()) -> list[str]:
        """These stores, or all of them."""
        for name in names:
            self._app.store(name)
        return list(dict.fromkeys(names)) or list(self._app.store_names)

    def all(self) -> list[StorePlace]:
        """Where every store is."""
        return [self.where(name) for name in self.named()]

    def where(self, name: str) -> StorePlace:
        """Where a store is, without asking its database."""
        database = self.database(name)
        return StorePlace(name, database.dialect, database.shown, exists(database))

    def store(self, name: str) -> EventStore:
        """A store as users hold it."""
        return self._app.store(name)

    def database(self, name: str) -> Database:
        """The database of a store."""
        return self._app.store(name).backend.database

    async def opened(self, name: str) -> StoreBackend:
        """A store that can be worked with. Raises `MissingMigrationError`, `StoreUnavailableError`."""
        backend = self._app.store(name).backend
        await backend.open()
        return backend

    @staticmethod
    def foreign(url: str) -> Database:
        """A database that is no store of ours. Raises `UsageError` for one that is not PostgreSQL."""
        if not url.startswith(("postgresql", "postgres:")):
            raise UsageError(
                "that is no URL of PostgreSQL; write postgresql://USER:PASSWORD@HOST:5432/DATABASE"
            )
        return make_backend("foreign", url).database


def ask(database: Database, sql: str) -> Any:
    """The one value that a query answers with."""
    found = rows_of(database, sql)
    return found[0][0] if found else None


def rows_of(database: Database, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
    """What a query answers with."""
    with closing(database.connect(application="penstock operations")) as connection:
        database.begin(connection, write=False)
        rows = database.execute(connection, sql, parameters).fetchall()
        connection.rollback()
    return rows
