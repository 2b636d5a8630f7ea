"""Rights that are given or taken at the very moment of a switch.

``GRANT`` locks no table before PostgreSQL 18, and a sequence that goes along with its table is not locked by itself. So
rows of the catalog are touched first, which waits for whoever has changed them and keeps others from it; then the
rights are looked at once more.
"""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.switching_pairs import Pairs, Step
from penstock.store.database import Connection, Database

__all__ = ["read_rights", "settled"]

_LOCKS_TABLES: Final = 180_000
"""From this version on ``GRANT`` locks what it is about, so the locks of the switch are enough for tables."""
_VERSION: Final = "SELECT pg_catalog.current_setting('server_version_num')::int"
_COLUMNS: Final = """\
SELECT 'grants of ' || n.nspname || '.' || c.relname, pg_catalog.format('ALTER %s %I.%I %s',
           CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, n.nspname, c.relname,
           pg_catalog.string_agg(
               pg_catalog.format('ALTER COLUMN %I SET STATISTICS %s', a.attname, coalesce(a.attstattarget, -1)), ', '))
  FROM unnest(?::bigint[]) AS live(oid) JOIN pg_catalog.pg_class AS c ON c.oid = live.oid::oid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 GROUP BY c.oid, n.nspname, c.relname, c.relkind ORDER BY c.oid"""
_RIGHTS: Final = """\
WITH live AS (SELECT unnest(?::bigint[])::oid AS oid)
SELECT coalesce(pg_catalog.md5(pg_catalog.string_agg(each, ',' ORDER BY each)), '') FROM (
    SELECT c.oid || ' ' || c.relacl::text FROM live JOIN pg_catalog.pg_class AS c USING (oid) WHERE c.relacl IS NOT NULL
    UNION ALL
    SELECT a.attrelid || ' ' || a.attnum || ' ' || a.attacl::text
      FROM live JOIN pg_catalog.pg_attribute AS a ON a.attrelid = live.oid WHERE a.attacl IS NOT NULL
    UNION ALL
    SELECT s.oid || ' ' || s.relacl::text FROM live
      JOIN pg_catalog.pg_depend AS d ON d.refobjid = live.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
       AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S' WHERE s.relacl IS NOT NULL) AS given(each)"""


def settled(database: Database, connection: Connection, pairs: Pairs) -> Iterator[Step]:
    """What touches the columns of the live ones and changes nothing. Their tables are touched by being moved."""
    if one(database, connection, _VERSION)[0] < _LOCKS_TABLES:
        for subject, sql in rows(database, connection, _COLUMNS, (_live(pairs),)):
            yield Step(subject, sql)


def read_rights(database: Database, connection: Connection, pairs: Pairs) -> str:
    """Changes with what anybody may do with the live ones and their sequences, wherever they are by now."""
    return str(one(database, connection, _RIGHTS, (_live(pairs),))[0])


def _live(pairs: Pairs) -> list[int]:
    return [each.oid for each in pairs.live]
