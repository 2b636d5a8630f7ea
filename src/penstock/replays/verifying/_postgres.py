"""Two schemas of one PostgreSQL database as they were at one moment, in a transaction that reads only."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from penstock.errors import ReplayBusyError
from penstock.projections.abc import LIVE
from penstock.replays._connecting import connected
from penstock.replays.abc import Column, CopiedTable
from penstock.replays.verifying._subject import quoted
from penstock.store._postgres.errors import speaking_of
from penstock.store.database import Connection, Database

__all__ = ["PostgresComparing", "check_positions", "comparing_schemas", "undone"]

_COLUMNS = """\
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(t.typnamespace <> 'pg_catalog'::regnamespace, false),
  t.typname
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ?::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

# A deferred key may be broken for a while, but not in what is committed; of a partial one that is not so.
_KEYS = """\
SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ?::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.place <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull)
ORDER BY i.indisprimary DESC, count(*), i.indexrelid"""

# A comparison takes its time, as a dump does; not every server knows each of them.
_NO_HURRY: Final = """\
SELECT set_config(name, '0', true) FROM pg_settings
 WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"""


@dataclass
class PostgresComparing:
    """A look at two schemas; a `Comparing`."""

    connection: Connection
    database: Database
    live_schema: str | None
    """``None``: wherever the search path finds a table."""
    copy_schema: str

    def __post_init__(self) -> None:
        self._path: str = self._one("SELECT current_setting('search_path')")[0]

    def live(self, table: CopiedTable) -> str | None:
        """How the live table is written in SQL; ``None`` where there is none."""
        name = quoted(table.name)
        schema = table.schema or self.live_schema
        return self._found(name if schema is None else f"{quoted(schema)}.{name}")

    def copy(self, table: CopiedTable) -> str:
        """How the copy's is."""
        return f"{quoted(self.copy_schema)}.{quoted(table.name)}"

    def _found(self, name: str) -> str | None:
        row = self._one(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass(?)",
            name,
        )
        return None if row is None else f"{quoted(row[0])}.{quoted(row[1])}"

    def columns(self, table: CopiedTable) -> tuple[Sequence[Column], Sequence[Column]]:
        """The live table's columns and the copy's."""
        live = self.live(table)
        return (() if live is None else self._columns(live)), self._columns(self.copy(table))

    def _columns(self, name: str) -> Sequence[Column]:
        found = self.database.execute(self.connection, _COLUMNS, (self._oid(name),)).fetchall()
        # A type of one's own may be in either schema.
        return tuple(Column(column, own if is_own else type_) for column, type_, is_own, own in found)

    def key(self, table: CopiedTable) -> Sequence[str]:
        """The first of the copy's keys, beginning with its primary key, that is one of the live table's as well."""
        live = self.live(table)
        if live is None:
            return ()
        known = {frozenset(key) for key in self._keys(live)}
        return next((key for key in self._keys(self.copy(table)) if frozenset(key) in known), ())

    def _keys(self, name: str) -> list[Sequence[str]]:
        found = self.database.execute(self.connection, _KEYS, (self._oid(name),)).fetchall()
        return [tuple(key) for [key] in found]

    def read(self, side: Literal["live", "copy"], sql: str, *, most: int) -> list[Any]:
        """The rows of one statement in which plain table names mean those of one side."""
        schema = self.copy_schema if side == "copy" else self.live_schema
        path = self._path if schema is None else f"{quoted(schema)}, {self._path}"
        with undone(self.database, self.connection), speaking_of(self.database.shown):
            self._one("SELECT set_config('search_path', ?, true)", path)
            # A prepared statement is one statement, so that nobody ends the transaction; each side has its own.
            cursor = cast("Any", self.connection).execute(f"/* {side} */ {sql}", prepare=True)
            return list(cursor.fetchmany(most)) if cursor.description else []

    def _oid(self, name: str) -> Any:
        return self._one("SELECT to_regclass(?)::oid", name)[0]

    def _one(self, sql: str, *parameters: object) -> Any:
        return self.database.execute(self.connection, sql, parameters).fetchone()


@contextlib.contextmanager
def undone(database: Database, connection: Connection) -> Iterator[None]:
    """A block after which the transaction is as it was before, also if a statement failed in it."""
    database.execute(connection, "SAVEPOINT penstock_undone")
    try:
        yield
    finally:
        database.execute(connection, "ROLLBACK TO SAVEPOINT penstock_undone")
        database.execute(connection, "RELEASE SAVEPOINT penstock_undone")


def check_positions(comparing: PostgresComparing, key: str, positions: Mapping[str, int]) -> None:
    """See that both generations stand there in what is looked at. One that was never live is alone.

    Raises `ReplayBusyError` naming the projection that does not.
    """
    found = comparing.database.execute(
        comparing.connection,
        "SELECT projection, generation, position FROM penstock_checkpoints "
        "WHERE projection = ANY (?::text[]) AND generation IN (?, ?)",
        (list(positions), LIVE, key),
    ).fetchall()
    there = {(name, generation): position for name, generation, position in found}
    for name, position in positions.items():
        for generation, shown in ((LIVE, "the live one"), (key, "its copy")):
            seen = there.get((name, generation), position if generation == LIVE else None)
            if seen != position:
                raise ReplayBusyError(
                    key,
                    step="be compared",
                    reason=f"{shown} of projection {name!r} is seen at position {seen}, and not at {position}, where "
                    "both were to be held",
                )


@contextlib.contextmanager
def comparing_schemas(
    database: Database, copy_schema: str, *, live_schema: str | None = None
) -> Iterator[PostgresComparing]:
    """A look at a schema beside the tables that are live, or beside another schema, as both are at this moment.

    What is committed while it is open is not seen. Raises `StoreUnavailableError`, `StoreRefusedError`.
    """
    with connected(database) as connection:
        database.execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # The snapshot is taken by the first statement that reads; one of settings alone may not.
        database.execute(connection, "SELECT count(*) FROM pg_class WHERE false")
        database.execute(connection, _NO_HURRY)
        database.execute(connection, "SET LOCAL jit = off")
        database.execute(connection, "SET LOCAL work_mem = '64MB'")
        # With more digits than are exact, equal numbers would stay equal; with fewer, others would become it.
        database.execute(connection, "SET LOCAL extra_float_digits = 1")
        try:
            yield PostgresComparing(connection, database, live_schema, copy_schema)
        finally:
            with contextlib.suppress(Exception):
                connection.rollback()
