"""Throw-away copies in PostgreSQL: a schema of their own in a database that was named for it, and nothing else."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import StoreError
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import Handlers
from penstock.replays._postgres.definitions import own_names
from penstock.replays._postgres.layout import placed
from penstock.replays._postgres.likeness import create_alike, own_sequences
from penstock.replays._postgres.names import quoted, written
from penstock.replays.abc import Comparing, CopiedTable
from penstock.replays.diffing._scratch import Scratch, not_answered
from penstock.replays.verifying.differences import comparing_schemas
from penstock.store import migrating
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.abc import StoreBackend
from penstock.store.database import Connection, Database
from penstock.store.work import Moved, move

if TYPE_CHECKING:
    import psycopg

__all__ = ["ScratchSchema"]

_TABLES = """\
SELECT c.relname FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = ?::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname !~ '^penstock_' ORDER BY c.oid"""
_KEY = """\
SELECT a.attnum FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ?::regclass AND i.indisprimary ORDER BY k.place"""


_MARK: Final = "throw-away copy of penstock"
"""What a schema says of itself."""
_LOCK: Final = 1885696627
"""The class of our advisory locks: ``pens`` in ASCII. Those of the store's writers are of one number, not two."""
_IN_USE: Final = "SELECT pg_advisory_xact_lock_shared(?, hashtext(?))"
_IS_LEFT: Final = "SELECT pg_try_advisory_xact_lock(?, hashtext(?))"
# A transaction, which a pooler between leaves where it is, and which may last; not every server knows each limit.
_LASTING: Final = """\
SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings
 WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout')"""
_LEFT: Final = """\
SELECT nspname FROM pg_catalog.pg_namespace
 WHERE nspname ~ '^penstock_(at|diff)_[0-9a-f]{12}$' AND pg_catalog.obj_description(oid, 'pg_namespace') = ?
   AND pg_catalog.pg_has_role(nspowner, 'USAGE')"""


class _SchemaDatabase(PostgresDatabase):
    """A database in which only the schema is looked up."""

    moved: Moved | None = None
    """What definitions have in another schema."""

    def connect(self, *, application: str = "") -> "psycopg.Connection[Any]":
        """A new connection."""
        connection = super().connect(application=application)
        if self.moved is not None:
            move(connection, self.moved)
        return connection


class ScratchSchema:
    """A `Scratch` in a schema.

    Args:
        url: The database.
        schema: The name of a schema that is not there.
    """

    def __init__(self, url: str, schema: str) -> None:
        self.schema = schema
        self._outside = PostgresDatabase("scratch", url, application="penstock throw-away")
        self._database = _SchemaDatabase("scratch", url, application="penstock throw-away", schema=schema)
        self._backend = PostgresBackend("scratch", url, schema=schema)
        self._backend.database = self._database
        self._claim: Connection | None = None

    @property
    def backend(self) -> StoreBackend:
        """What handlers are compiled for."""
        return self._backend

    @property
    def database(self) -> Database:
        """Where they write."""
        return self._database

    def claim(self) -> None:
        """Hold the lock that says that it is in use; schemas of which nobody does are removed before."""
        if self._claim is not None:
            return
        outside, claim = self._outside, self._outside.connect()
        try:
            _clear_leftovers(outside, claim)
            outside.begin(claim)
            outside.execute(claim, _LASTING)
            outside.execute(claim, _IN_USE, (_LOCK, self.schema))
        except BaseException:
            claim.close()
            raise
        self._claim = claim

    def make(self, tables: Sequence[CopiedTable], handlers: Sequence[Handlers]) -> None:
        """Make it; tables that are only named are made like those that the database has under that name."""
        self.claim()
        definitions = [each.definition for each in tables if each.definition is not None]
        alike = [each for each in tables if each.definition is None]
        with closing(self._outside.connect()) as connection, transaction(self._outside, connection):
            self._outside.execute(connection, f"CREATE SCHEMA {quoted(self.schema)}")
            self._outside.execute(connection, f"COMMENT ON SCHEMA {quoted(self.schema)} IS '{_MARK}'")
            named = {(each.schema, each.name) for each in tables} | own_names(
                self._outside, connection, definitions
            )
            places = placed(self._outside, connection, alike)
            # The server then writes all other names with their schemas.
            self._outside.execute(connection, "SELECT set_config('search_path', '', true)")
            for place in places:
                create_alike(self._outside, connection, self.schema, place)
            own_sequences(self._outside, connection, self.schema)
        self._database.moved = Moved(self.schema, frozenset(each for each in named if each[0] is not None))
        migrating.apply(self._database)
        with closing(self._database.connect()) as connection:
            for each in handlers:
                with transaction(self._database, connection):
                    each.prepare(connection)

    def names(self) -> tuple[str, ...]:
        """The tables that are there by now."""
        with closing(self._outside.connect()) as connection:
            found = self._outside.execute(connection, _TABLES, (quoted(self.schema),)).fetchall()
        return tuple(name for [name] in found)

    def rename(self, table: str, name: str) -> None:
        """Give a table another name."""
        with closing(self._outside.connect()) as connection:
            self._outside.execute(
                connection, f"ALTER TABLE {written(self.schema, table)} RENAME TO {quoted(name)}"
            )

    def comparing(self, other: Scratch) -> AbstractContextManager[Comparing]:
        """This one as the live side, beside *other* as the copy."""
        assert isinstance(other, ScratchSchema)
        return comparing_schemas(self._outside, other.schema, live_schema=self.schema)

    def reading(self) -> Connection:
        """A connection that can read it; every transaction on it only reads."""
        connection = self._database.connect()
        connection.read_only = True
        self._database.execute(connection, "SET default_transaction_read_only = on")
        return connection

    def query(
        self, connection: Any, sql: str, parameters: Sequence[object], *, most: int | None
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """The columns and rows of one statement, with ``%s`` for parameters. Raises `UsageError`."""
        import psycopg

        try:
            # A prepared statement is one statement, so that nobody ends the transaction in the middle.
            with connection.transaction():
                cursor = connection.execute(sql, tuple(parameters) or None, prepare=True)
                columns = tuple(each.name for each in cursor.description or ())
                rows: list[Any] = []
                if columns:
                    rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        except psycopg.Error as failure:
            raise not_answered(sql, failure) from failure
        return columns, [tuple(row) for row in rows]

    def key_places(self, connection: Any, table: str) -> list[int]:
        """Which columns of a table are its primary key."""
        found = self._database.execute(connection, _KEY, (written(self.schema, table),)).fetchall()
        return [int(place) for [place] in found]

    def drop(self) -> None:
        """Remove it, with everything that is in it."""
        self._database.dispose()
        claim, self._claim = self._claim, None
        with contextlib.ExitStack() as stack:
            if claim is not None:
                stack.callback(claim.close)
            connection = stack.enter_context(closing(self._outside.connect()))
            self._outside.execute(connection, f"DROP SCHEMA IF EXISTS {quoted(self.schema)} CASCADE")


def _clear_leftovers(outside: Database, connection: Connection) -> None:
    """Remove schemas of which nobody holds the lock; what cannot be removed is left to the next one."""
    for [name] in outside.execute(connection, _LEFT, (_MARK,)).fetchall():
        with contextlib.suppress(StoreError), transaction(outside, connection):
            [is_left] = outside.execute(connection, _IS_LEFT, (_LOCK, name)).fetchone()
            if is_left:
                outside.execute(connection, "SET LOCAL lock_timeout = '1s'")
                outside.execute(connection, f"DROP SCHEMA IF EXISTS {quoted(name)} CASCADE")
