"""How large the tables of a copy are."""

from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.names import written
from penstock.replays.abc import CopySize
from penstock.store.database import Connection, Database

__all__ = ["read_size"]

_SIZES: Final = """\
SELECT c.relname::text, pg_catalog.pg_total_relation_size(c.oid)::bigint, pg_catalog.pg_relation_size(c.oid)::bigint,
       c.reltuples::float8, c.relpages::bigint, pg_catalog.current_setting('block_size')::bigint
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind = 'r' ORDER BY c.oid"""
_COUNTED_BYTES: Final = 32 * 1024 * 1024
"""Up to this size of a table its rows are counted."""


def read_size(database: Database, connection: Connection, schema: str) -> CopySize:
    """Rows by table and bytes in all, of every table in the schema."""
    counts: dict[str, int] = {}
    total = 0
    for name, whole, size, estimated, pages, block in rows(database, connection, _SIZES, (schema,)):
        total += whole
        if size <= _COUNTED_BYTES or pages == 0 or estimated < 0:
            counts[name] = one(database, connection, f"SELECT count(*) FROM {written(schema, name)}")[0]
        else:
            # As the planner does: as many rows in a page as when they were last counted.
            counts[name] = round(estimated / pages * (size // block))
    return CopySize(counts, total)
