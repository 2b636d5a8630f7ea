"""Read models: tables that are made when they are missing, emptied and dropped; and read models of your own making."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import ConfigurationError
from penstock.store._quoting import quoted_path
from penstock.store.database import Connection, Database
from penstock.store.work import Rows, Wanted, Work, alchemy_table

__all__ = ["ReadModel", "Rows", "TableName", "TableSet"]

_LOCK = 0x70656E73746F6D6F
"""The advisory lock of those who make tables in a PostgreSQL database."""


class ReadModel:
    """A read model that makes, empties and removes itself; subclass it, and give the class as ``read_model=``.

    Handlers ask for it by its type. One is made for each page, and everything it does is in the transaction of that. At
    the start `is_initialised` is asked, and `init` called if it is not; then come the handlers, and `persist` at the
    end of each page; `reset` and `delete` when somebody wants that.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._stacked: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def connection(self) -> Any:
        """The driver's connection, ``sqlite3.Connection`` or ``psycopg.Connection``; it cannot end the transaction."""
        return self._work.get(Wanted.RAW)

    @property
    def session(self) -> Any:
        """The ``sqlalchemy.orm.Session`` of the page."""
        return self._work.get(Wanted.SESSION)

    @property
    def rows(self) -> Rows:
        """Changes to rows, written in batches."""
        return self._work.rows

    def is_initialised(self) -> bool:
        """Whether it is there; by default it is."""
        return True

    def init(self) -> None:
        """Make it; called when it is not there."""

    def reset(self) -> None:
        """Empty it."""
        raise ConfigurationError(f"{type(self).__name__} cannot be emptied; write its method reset")

    def delete(self) -> None:
        """Remove it; by default it is emptied."""
        self.reset()

    def stack(self, operation: str, *arguments: Any) -> None:
        """Call the method *operation* with *arguments* when the page ends."""
        self._stacked.append((operation, arguments))

    def persist(self) -> None:
        """Write what was held back: call what was stacked, in that order."""
        stacked, self._stacked = self._stacked, []
        for operation, arguments in stacked:
            getattr(self, operation)(*arguments)


@dataclass(frozen=True, slots=True)
class TableName:
    """One table of a read model."""

    name: str
    """Without schema, unquoted."""
    schema: str | None = None
    definition: Any = None
    """Its ``sqlalchemy.Table``; ``None`` if only its name was given."""


class TableSet:
    """The tables of a read model: SQLAlchemy models or tables, which can be made, and names, which cannot."""

    def __init__(self, projection: str, tables: Sequence[Any]) -> None:
        self._names: list[str] = []
        self._tables: list[Any] = []
        for each in tables:
            if isinstance(each, str) and each and "\0" not in each:
                self._names.append(each)
            else:
                self._tables.append(_table(projection, each))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, as they are named in the database."""
        return (*self._names, *(str.__str__(each.fullname) for each in self._tables))

    def copied(self) -> tuple[TableName, ...]:
        """All of them, with the ``sqlalchemy.Table`` of those that can be made."""
        named = [TableName(*_split(name)) for name in self._names]
        return (
            *named,
            *(TableName(str.__str__(each.name), _text(each.schema), each) for each in self._tables),
        )

    def create(self, database: Database, connection: Connection, work: Work) -> None:
        """Make those that are missing and can be made. Raises `ConfigurationError` for a name that is not there."""
        if self._tables:
            if database.dialect == "postgresql":
                # Two that look at the same time would both make it, and one would fail.
                database.execute(connection, "SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            for metadata in dict.fromkeys(each.metadata for each in self._tables):
                tables = [each for each in self._tables if each.metadata is metadata]
                metadata.create_all(work.alchemy.connection, tables=tables)

    def empty(self, database: Database, connection: Connection) -> None:
        """Delete every row; those named last first, since they may refer to the ones before."""
        for name in reversed(self.names):
            database.execute(connection, f"DELETE FROM {quoted_path(name)}")

    def drop(self, database: Database, connection: Connection) -> None:
        """Remove them."""
        for name in reversed(self.names):
            database.execute(connection, f"DROP TABLE IF EXISTS {quoted_path(name)}")


def _table(projection: str, table: Any) -> Any:
    found = alchemy_table(table)
    if found is None:
        raise ConfigurationError(
            f"projection {projection!r} has {table!r} among its tables; give SQLAlchemy models, tables, or names"
        )
    return found


def _split(name: str) -> tuple[str, str | None]:
    """Name and schema of a table that is named in one text."""
    schema, dot, rest = name.partition(".")
    return (rest, schema) if dot else (name, None)


def _text(name: Any) -> str | None:
    return None if name is None else str.__str__(name)
