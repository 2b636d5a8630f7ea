"""Taking a copy away: what is in its schema, piece by piece, and never what hangs on it from outside."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from penstock.errors import ReplayError
from penstock.projections._engine._sql import rows
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.patience import patiently
from penstock.store.database import Connection, Database

__all__ = ["cut_outside_keys", "outside_keys", "remove_schema"]

_OUTSIDE_KEYS: Final = """\
SELECT t.relname::text, c.conname::text
  FROM pg_catalog.pg_constraint AS c
  JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
 WHERE n.nspname = ? AND c.contype = 'f' AND c.conparentid = 0 AND f.relnamespace <> t.relnamespace
 ORDER BY t.relname, c.conname"""
_RELATIONS: Final = """\
SELECT c.relkind::text, c.relname::text
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S'
                      AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)
 ORDER BY c.oid"""
_ROUTINES: Final = """\
SELECT p.oid::regprocedure::text
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname = ? ORDER BY p.oid"""
_TYPES: Final = """\
SELECT t.typname::text
  FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
 WHERE n.nspname = ? AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') ORDER BY t.oid"""
_WORDS: Final = {
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
    "r": "TABLE",
    "p": "TABLE",
    "f": "FOREIGN TABLE",
    "S": "SEQUENCE",
}
_STILL_NEEDED: Final = "2BP01"
"""The SQLSTATE of something that another depends on (appendix A of PostgreSQL's manual)."""


def outside_keys(database: Database, connection: Connection, schema: str) -> list[tuple[str, str]]:
    """Tables of the copy with the names of their foreign keys to tables outside of it."""
    return [(table, name) for table, name in rows(database, connection, _OUTSIDE_KEYS, (schema,))]


def cut_outside_keys(database: Database, connection: Connection, schema: str, *, key: str, step: str) -> None:
    """Take those keys away, each by itself: for that moment the table it refers to is locked. `ReplayBusyError`."""

    def dropping(table: str, name: str) -> Callable[[], object]:
        sql = f"ALTER TABLE {written(schema, table)} DROP CONSTRAINT IF EXISTS {quoted(name)}"
        return lambda: database.execute(connection, sql)

    for table, name in outside_keys(database, connection, schema):
        patiently(database, connection, dropping(table, name), key=key, step=step)


def remove_schema(database: Database, connection: Connection, schema: str, key: str) -> None:
    """Drop everything in the schema and itself, inside a transaction. Raises `ReplayError` naming what hangs on it."""
    database.execute(connection, "SELECT pg_catalog.set_config('search_path', '', true)")
    refused: BaseException | None = None
    while statements := [*_statements(database, connection, schema)]:
        dropped = 0
        for sql in statements:
            try:
                with _savepoint(database, connection):
                    database.execute(connection, sql)
                dropped += 1
            except Exception as failure:
                if getattr(failure, "sqlstate", None) != _STILL_NEEDED:
                    raise
                refused = failure
        if not dropped:
            raise _said(key, refused) from refused
    try:
        database.execute(connection, f"DROP SCHEMA IF EXISTS {quoted(schema)}")
    except Exception as failure:
        if getattr(failure, "sqlstate", None) != _STILL_NEEDED:
            raise
        raise _said(key, failure) from failure


def _statements(database: Database, connection: Connection, schema: str) -> Iterator[str]:
    """What drops what is there, those first on which others do not depend; all tables at once, for their keys."""
    relations = rows(database, connection, _RELATIONS, (schema,))
    for kind in "vm":
        yield from (_drop(kind, schema, [name]) for each, name in relations if each == kind)
    if tables := [name for kind, name in relations if kind in "rp"]:
        yield _drop("r", schema, tables)
    yield from (_drop("f", schema, [name]) for kind, name in relations if kind == "f")
    for (signature,) in rows(database, connection, _ROUTINES, (schema,)):
        yield f"DROP ROUTINE IF EXISTS {signature}"
    yield from (_drop("S", schema, [name]) for kind, name in relations if kind == "S")
    for (name,) in rows(database, connection, _TYPES, (schema,)):
        yield f"DROP TYPE IF EXISTS {written(schema, name)}"


def _drop(kind: str, schema: str, names: list[str]) -> str:
    return f"DROP {_WORDS[kind]} IF EXISTS {', '.join(written(schema, name) for name in names)}"


@contextlib.contextmanager
def _savepoint(database: Database, connection: Connection) -> Iterator[None]:
    database.execute(connection, "SAVEPOINT penstock_drop")
    try:
        yield
    except BaseException:
        database.execute(connection, "ROLLBACK TO SAVEPOINT penstock_drop")
        raise
    database.execute(connection, "RELEASE SAVEPOINT penstock_drop")


def _said(key: str, failure: Any) -> ReplayError:
    diagnosis = getattr(failure, "diag", None)
    detail = " ".join((getattr(diagnosis, "message_detail", None) or str(failure)).split())
    return ReplayError(
        f"the copy of replay {key!r} cannot be removed, because something outside of it needs it: {detail}; "
        "remove or change that first"
    )
