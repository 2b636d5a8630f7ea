"""Policies that the two generations do not share: the copy's own are left to it, so they are told."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import rows
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_policies"]

_OWN: Final = """\
WITH pair AS (SELECT * FROM unnest(?::bigint[], ?::bigint[]) AS given(live, copy)),
     said AS (SELECT polrelid AS table_oid, polname::text AS name,
                     (polcmd, polpermissive, polroles, pg_catalog.pg_get_expr(polqual, polrelid),
                      pg_catalog.pg_get_expr(polwithcheck, polrelid))::text AS what
                FROM pg_catalog.pg_policy)
SELECT pair.live::oid::regclass::text, c.name, l.name IS NOT NULL
  FROM pair JOIN said AS c ON c.table_oid = pair.copy::oid
  LEFT JOIN said AS l ON l.table_oid = pair.live::oid AND l.name = c.name
 WHERE l.what IS DISTINCT FROM c.what ORDER BY 1, 2"""
_SECURED: Final = """\
SELECT l.oid::regclass::text FROM unnest(?::bigint[], ?::bigint[]) AS pair(live, copy)
  JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
 WHERE c.relrowsecurity AND NOT l.relrowsecurity ORDER BY 1"""


def of_policies(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Those that say something else than the live ones, or that only the copy has."""
    for table, name, is_live in rows(database, connection, _OWN, plan.pairs.both):
        yield Finding(
            "warning",
            f"policy {name} of {table}",
            "the copy has one of this name that says something else; after the switch that is the one that holds"
            if is_live
            else "only the copy has it; it holds after the switch",
        )
    for (table,) in rows(database, connection, _SECURED, plan.pairs.both):
        yield Finding(
            "warning",
            f"policies of {table}",
            "row level security is enabled in the copy and not on the live table; after the switch it is enabled",
        )
