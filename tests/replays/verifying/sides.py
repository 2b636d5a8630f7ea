"""Two sides to be compared: schemas of one PostgreSQL database, or two SQLite files."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from penstock.replays.abc import Comparing, CopiedTable, TableDifference
from penstock.replays.verifying.differences import comparing_files, comparing_schemas, differences
from penstock.store._postgres.database import PostgresDatabase
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.database import Connection, Database

__all__ = ["FileSides", "SchemaSides", "Sides"]


class Sides(Protocol):
    """Two places for tables."""

    database: Database

    def run(self, side: str, *statements: str, many: Sequence[Sequence[Any]] = ()) -> None:
        """Run statements on the side ``live`` or ``copy``; the one statement for each row of *many*, if given."""
        ...

    def comparing(self) -> AbstractContextManager[Comparing]:
        """A look at both."""
        ...

    def clear(self) -> None:
        """Begin again."""
        ...


class SchemaSides:
    """Two schemas."""

    def __init__(self, url: str) -> None:
        self.database: Database = PostgresDatabase("local", url)
        self._connection: Connection = self.database.connect()

    def run(self, side: str, *statements: str, many: Sequence[Sequence[Any]] = ()) -> None:
        """Run statements."""
        with _transaction(self.database, self._connection):
            self.database.execute(self._connection, f'SET LOCAL search_path TO "{side} side"')
            for sql in statements:
                for row in many or [()]:
                    self.database.execute(self._connection, sql, row)

    def comparing(self) -> AbstractContextManager[Comparing]:
        """A look."""
        return comparing_schemas(self.database, "copy side", live_schema="live side")

    def clear(self) -> None:
        """Empty schemas."""
        for side in ("live side", "copy side"):
            self.database.execute(self._connection, f'DROP SCHEMA IF EXISTS "{side}" CASCADE')
            self.database.execute(self._connection, f'CREATE SCHEMA "{side}"')

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class FileSides:
    """Two files."""

    def __init__(self, folder: Path) -> None:
        # Characters that mean something in a URI are none of a name's.
        self._databases = {
            side: SqliteDatabase("local", folder / f"{side} ?#.db") for side in ("live", "copy")
        }
        self._connections = {side: each.connect() for side, each in self._databases.items()}
        self.database: Database = self._databases["live"]
        for side, connection in self._connections.items():
            self._databases[side].execute(connection, "PRAGMA synchronous = OFF")

    def clear(self) -> None:
        """Drop what is there."""
        for side, connection in self._connections.items():
            database = self._databases[side]
            found = database.execute(
                connection, "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            self.run(side, *(f'DROP TABLE "{name}"' for [name] in found))

    def run(self, side: str, *statements: str, many: Sequence[Sequence[Any]] = ()) -> None:
        """Run statements."""
        database, connection = self._databases[side], self._connections[side]
        with _transaction(database, connection):
            for sql in statements:
                for row in many or [()]:
                    database.execute(connection, sql, row)

    def comparing(self) -> AbstractContextManager[Comparing]:
        """A look."""
        return comparing_files(self.database, self._databases["live"].path, self._databases["copy"].path)

    def close(self) -> None:
        """Disconnect."""
        for connection in self._connections.values():
            connection.close()


@contextlib.contextmanager
def _transaction(database: Database, connection: Connection) -> Iterator[None]:
    database.begin(connection)
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def compared(sides: Sides, *names: str, **how: Any) -> list[TableDifference]:
    """What is found."""
    with sides.comparing() as comparing:
        return differences(comparing, [CopiedTable(name) for name in names], **how)
