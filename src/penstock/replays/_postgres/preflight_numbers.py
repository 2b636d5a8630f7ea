"""Sequences that live tables share with others: what the numbers of the copy mean to those."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import rows
from penstock.replays._postgres.switching_numbers import read_twins
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_numbers"]

_OTHERS: Final = """\
SELECT DISTINCT t.oid::regclass::text FROM pg_catalog.pg_depend AS p
  JOIN pg_catalog.pg_attrdef AS d ON d.oid = p.objid JOIN pg_catalog.pg_class AS t ON t.oid = d.adrelid
 WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.refclassid = 'pg_catalog.pg_class'::regclass
   AND p.refobjid = ?::bigint::oid AND t.oid <> ALL (?::bigint[]::oid[]) ORDER BY 1"""


def of_numbers(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Who else draws from them."""
    for twins in read_twins(database, connection, plan.pairs.schema, plan.pairs.layout):
        others = [name for (name,) in rows(database, connection, _OTHERS, (twins.oid, plan.oids))]
        if others:
            yield Finding(
                "warning",
                f"sequence {twins.shared}",
                f"{', '.join(others)} draw from it too; the copy's rows have numbers of a sequence of their own, which "
                "rows there may have as well; those that come after the switch are drawn from the shared one",
            )
