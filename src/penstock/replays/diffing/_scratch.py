"""Places for throw-away copies: databases of their own that nobody else knows, with our tables in them."""

import contextlib
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from penstock.errors import ReplayError, UsageError
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import Handlers
from penstock.replays._sqlite._shapes import read_names, read_shape
from penstock.replays._sqlite._statements import quoted
from penstock.replays.abc import Comparing, CopiedTable
from penstock.replays.verifying.differences import comparing_files
from penstock.store import migrating
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._database import SqliteConnection, SqliteDatabase, uri_of
from penstock.store.abc import StoreBackend
from penstock.store.database import Connection, Database
from penstock.store.work import Moved, move

__all__ = ["Scratch", "ScratchFile", "not_answered"]

_PRODUCTION: Final = "production"


class Scratch(Protocol):
    """One throw-away database. Blocking."""

    @property
    def backend(self) -> StoreBackend:
        """What handlers are compiled for."""
        ...

    @property
    def database(self) -> Database:
        """Where they write."""
        ...

    def claim(self) -> None:
        """Have nobody take it for left behind, until it is removed or this process ends. Harmless to repeat."""
        ...

    def make(self, tables: Sequence[CopiedTable], handlers: Sequence[Handlers]) -> None:
        """Make it, with the tables that code defines, that read models make, and *tables* that are only named.

        Raises `ReplayError` for one that cannot be made.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """The tables that are there by now, without ours."""
        ...

    def rename(self, table: str, name: str) -> None:
        """Give a table another name."""
        ...

    def comparing(self, other: "Scratch") -> AbstractContextManager[Comparing]:
        """This one as the live side, beside *other* as the copy."""
        ...

    def reading(self) -> Connection:
        """A connection that can read it, and nothing else. Close it."""
        ...

    def query(
        self, connection: Any, sql: str, parameters: Sequence[object], *, most: int | None
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """The columns and rows of one statement on a connection of `reading`. Raises `UsageError`."""
        ...

    def key_places(self, connection: Any, table: str) -> list[int]:
        """Which columns of a table, counted from 1, are its primary key."""
        ...

    def drop(self) -> None:
        """Remove it. Harmless to repeat."""
        ...


def not_answered(sql: str, failure: Exception) -> UsageError:
    """The error for a statement that a throw-away copy does not answer."""
    text = " ".join(sql.split())
    return UsageError(
        f"{text!r} is not answered: {failure}; the copy takes one statement at a time that reads"
    )


class _FileDatabase(SqliteDatabase):
    """A file that need not outlive the machine. What it has not is read from *beside*, which can only be read.

    *moved* are tables whose definitions have a schema.
    """

    by_uri: ClassVar[bool] = True

    def __init__(self, path: Path, beside: Path | None, moved: Moved | None) -> None:
        super().__init__("scratch", path)
        self._beside = beside
        self._moved = moved

    def connect(self, *, application: str = "") -> SqliteConnection:
        """A new connection."""
        connection = super().connect(application=application)
        try:
            connection.execute("PRAGMA synchronous=OFF")
            if self._beside is not None:
                uri = uri_of(self._beside, read_only=True)
                connection.execute(f"ATTACH DATABASE ? AS {_PRODUCTION}", (uri,))
            if self._moved is not None:
                move(connection, self._moved)
        except BaseException:
            connection.close()
            raise
        return connection


class ScratchFile:
    """A `Scratch` in a SQLite file.

    Args:
        path: The file; it need not be there.
        beside: The SQLite file that has the live read model, whose other tables handlers may read.
        moved: Tables whose definitions have a schema, by schema and name.
    """

    def __init__(
        self,
        path: Path,
        *,
        beside: Path | None = None,
        moved: frozenset[tuple[str | None, str]] = frozenset(),
    ) -> None:
        self.path = path
        self._moved = Moved("main", moved) if moved else None
        self._database = _FileDatabase(path, beside, self._moved)
        self._plain = SqliteDatabase("scratch", path)
        self._backend = SqliteBackend("scratch", path)
        self._backend.database = self._database
        self._has_beside = beside is not None

    @property
    def backend(self) -> StoreBackend:
        """What handlers are compiled for."""
        return self._backend

    @property
    def database(self) -> Database:
        """Where they write."""
        return self._database

    def claim(self) -> None:
        """Nothing: the folder that it is in is claimed."""

    def make(self, tables: Sequence[CopiedTable], handlers: Sequence[Handlers]) -> None:
        """Make it; tables that are only named are made like production's."""
        migrating.apply(self._plain)
        alone = _FileDatabase(self.path, None, self._moved)
        # Without production beside it: a read model that looks whether it is there would find that one's.
        with closing(alone.connect()) as connection:
            for each in handlers:
                with transaction(alone, connection):
                    each.prepare(connection)
        with closing(self._database.connect()) as connection:
            for table in tables:
                if table.definition is None:
                    self._make_alike(connection, table)

    def _make_alike(self, connection: sqlite3.Connection, table: CopiedTable) -> None:
        if connection.execute(
            "SELECT 1 FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (table.name,)
        ).fetchone():
            return
        shape = read_shape(connection.execute, _PRODUCTION, table.name) if self._has_beside else None
        if shape is None:
            raise ReplayError(
                f"table {table.shown!r} is only named by its projection, and there is no live one to make it like; "
                "give its SQLAlchemy model or table in tables=, or a read model that makes it"
            )
        for sql in (shape.sql, *shape.indexes.values()):
            connection.execute(sql)

    def names(self) -> tuple[str, ...]:
        """The tables that are there by now."""
        with closing(self._plain.connect()) as connection:
            return tuple(read_names(connection.execute, "main"))

    def rename(self, table: str, name: str) -> None:
        """Give a table another name."""
        with closing(self._plain.connect()) as connection:
            connection.execute(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(name)}")

    def comparing(self, other: Scratch) -> AbstractContextManager[Comparing]:
        """This one as the live side, beside *other* as the copy."""
        assert isinstance(other, ScratchFile)
        return comparing_files(self._plain, self.path, other.path)

    def reading(self) -> Connection:
        """A connection that can read it, and nothing else."""
        connection = sqlite3.connect(
            uri_of(self.path, read_only=True), uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=1")
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        return connection

    def query(
        self, connection: Any, sql: str, parameters: Sequence[object], *, most: int | None
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """The columns and rows of one statement. Raises `UsageError`."""
        try:
            cursor = connection.execute(sql, tuple(parameters))
            rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        except sqlite3.Error as failure:
            raise not_answered(sql, failure) from failure
        columns = tuple(each[0] for each in cursor.description or ())
        cursor.close()
        return columns, rows

    def key_places(self, connection: Any, table: str) -> list[int]:
        """Which columns of a table are its primary key."""
        info = connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        return [each[0] + 1 for each in sorted((each for each in info if each[5]), key=lambda each: each[5])]

    def copy_to(self, path: Path) -> None:
        """The same in another file."""
        with closing(self._plain.connect()) as connection, closing(sqlite3.connect(path)) as copied:
            connection.backup(copied)

    def drop(self) -> None:
        """Remove it."""
        self._database.dispose()
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").unlink()
