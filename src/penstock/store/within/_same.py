"""Whether a caller's database is the one that the store is in, with our tables in it.

Both sides are asked the same question: the store's once in a process, a caller's once for each connection or engine.
"""

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from penstock.errors import MissingMigrationError, UsageError
from penstock.store.abc import Statement, StoreBackend
from penstock.store.database import Dialect
from penstock.store.within._callers import Rows, Steps

__all__ = ["Homes", "check_dialect", "prefix_of"]

_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

_FILES: Final = "PRAGMA database_list"
_TABLE: Final = (
    # A table of this number in a database of this number of a server that was started then: there is one only.
    "SELECT to_regclass(?::text)::oid::bigint, "
    "(SELECT oid::bigint FROM pg_database WHERE datname = current_database()), "
    "extract(epoch FROM pg_postmaster_start_time())::text"
)


@dataclass(frozen=True, slots=True)
class _Home:
    """Where tables of ours are, or would be."""

    facts: tuple[object, ...]
    has_tables: bool

    def holds(self, other: "_Home") -> bool:
        """Whether it is where *other* is. A connection to SQLite may have attached further files."""
        return any(_is_same(mine, theirs) for mine in self.facts for theirs in other.facts)


class Homes:
    """What is known of the databases of stores and callers; kept as long as they are."""

    def __init__(self) -> None:
        self._own: WeakKeyDictionary[StoreBackend, _Home] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[Any, WeakSet[StoreBackend]] = WeakKeyDictionary()

    def checking(self, backend: StoreBackend, dialect: Dialect, place: object) -> Steps[None]:
        """Go on if the caller's database is the store's, and remember that by *place*, where that can be.

        Raises:
            UsageError: It is another.
            MissingMigrationError: Our tables are not there.
        """
        with suppress(TypeError):  # what nothing weak can be kept of is asked each time
            if backend in self._known.get(place, ()):
                return
        was_asked = backend in self._own
        if not was_asked:
            yield partial(self._learn, backend)
        theirs = _home(dialect, (yield _question(backend)))
        if was_asked and not theirs.holds(self._own[backend]):
            yield partial(self._learn, backend)  # the server may have been started again since
        if not theirs.holds(self._own[backend]):
            raise UsageError(
                f"the transaction is not in the database of store {backend.name!r} ({backend.database.shown}); "
                "take the store that is in the database of the transaction"
            )
        if not theirs.has_tables:
            raise MissingMigrationError(backend.name, ["0001_events"])
        with suppress(TypeError):
            self._known.setdefault(place, WeakSet()).add(backend)

    def _learn(self, backend: StoreBackend) -> None:
        database = backend.database
        if database.dialect == "sqlite":
            # Connecting could wait for the caller's own lock.
            self._own[backend] = _Home((database.url.removeprefix("sqlite:///"),), has_tables=True)
            return
        with closing(database.connect(application="penstock within")) as connection:
            rows = database.execute(connection, *_question(backend)).fetchall()
            connection.rollback()
        self._own[backend] = _home(backend.dialect, rows)


def prefix_of(backend: StoreBackend) -> str:
    """What stands before our names where the store is in a schema of its own."""
    prefix: str = getattr(backend.database, "prefix", "")
    return prefix


def check_dialect(backend: StoreBackend, dialect: Dialect) -> None:
    """Raises `UsageError` where a caller's database is of another kind than the store's."""
    if dialect != backend.dialect:
        raise UsageError(
            f"the transaction is in {_NAMES[dialect]}, and store {backend.name!r} is in {_NAMES[backend.dialect]}; "
            "both have to be in one database: take the store that is in the database of the transaction"
        )


def _question(backend: StoreBackend) -> Statement:
    if backend.dialect == "sqlite":
        return _FILES, ()
    return _TABLE, (f"{prefix_of(backend)}penstock_events",)


def _home(dialect: Dialect, rows: Rows) -> _Home:
    if dialect == "sqlite":
        return _Home(tuple(row[2] for row in rows if row[2]), has_tables=True)
    [(table, *rest)] = rows
    return _Home(((table, *rest),), has_tables=table is not None)


def _is_same(mine: object, theirs: object) -> bool:
    if mine == theirs:
        return True
    if not (isinstance(mine, str) and isinstance(theirs, str)):
        return False
    try:
        return os.path.samefile(mine, theirs)
    except OSError:
        return False
