"""Sequences that live tables share with others: what the numbers of the copy mean to those."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
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
_RIGHTS: Final = """\
SELECT pg_catalog.has_sequence_privilege(c.oid, 'SELECT') AND pg_catalog.has_sequence_privilege(c.oid, 'USAGE'),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.pg_get_userbyid(c.relowner)::text, current_user::text
  FROM pg_catalog.pg_class AS c WHERE c.oid = ?::bigint::oid"""


def of_numbers(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Who else draws from them, and whether the user of the connection may."""
    for twins in read_twins(database, connection, plan.pairs.schema, plan.pairs.layout):
        may_draw, is_owner, owner, user = one(database, connection, _RIGHTS, (twins.oid,))
        if not may_draw:
            yield Finding(
                "refusal",
                f"sequence {twins.shared}",
                f"user {user} may not read and draw from it; GRANT SELECT, USAGE ON SEQUENCE",
            )
        elif twins.is_stocked and not is_owner:
            yield Finding(
                "refusal",
                f"sequence {twins.shared}",
                f"it belongs to {owner}, and the switch has connections forget the numbers that they have in stock; "
                f"ALTER SEQUENCE ... CACHE 1, or GRANT {owner} TO {user}",
            )
        others = [name for (name,) in rows(database, connection, _OTHERS, (twins.oid, plan.oids))]
        if others:
            yield Finding(
                "warning",
                f"sequence {twins.shared}",
                f"{', '.join(others)} draw from it too; the copy's rows have numbers of a sequence of their own, which "
                "rows there may have as well; those that come after the switch are drawn from the shared one",
            )
