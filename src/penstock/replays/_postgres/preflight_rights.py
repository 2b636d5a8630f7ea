"""Whether the user of the connection may do what the switch does."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_rights"]

_NOT_OURS: Final = """\
SELECT c.oid::regclass::text, pg_catalog.pg_get_userbyid(c.relowner)::text FROM pg_catalog.pg_class AS c
 WHERE c.oid = ANY (?::bigint[]::oid[]) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1"""
_OWNERS: Final = """\
SELECT DISTINCT pg_catalog.pg_get_userbyid(l.relowner)::text, l.oid::regclass::text, n.nspname::text
  FROM unnest(?::bigint[], ?::bigint[]) AS pair(live, copy)
  JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
  JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
 WHERE l.relowner <> c.relowner AND NOT (pg_catalog.pg_has_role(l.relowner, 'MEMBER')
   AND pg_catalog.has_schema_privilege(l.relowner, n.oid, 'CREATE')) ORDER BY 2"""
_SCHEMAS: Final = """\
SELECT nspname::text FROM pg_catalog.pg_namespace
 WHERE nspname = ANY (?::text[]) AND NOT pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY 1"""
_DATABASE: Final = """\
SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), current_user::text,
       pg_catalog.current_database()::text"""
_PUBLICATIONS: Final = """\
SELECT DISTINCT b.pubname::text, pg_catalog.pg_get_userbyid(b.pubowner)::text
  FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid
 WHERE r.prrelid = ANY (?::bigint[]::oid[]) AND NOT pg_catalog.pg_has_role(b.pubowner, 'USAGE') ORDER BY 1"""
_FUNCTIONS: Final = """\
SELECT DISTINCT p.oid::regprocedure::text, pg_catalog.pg_get_userbyid(p.proowner)::text
  FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
 WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = ANY (?::bigint[]::oid[]) AND NOT pg_catalog.pg_has_role(p.proowner, 'USAGE') ORDER BY 1"""
_ALL_TABLES: Final = """\
SELECT pubname::text FROM pg_catalog.pg_publication WHERE puballtables ORDER BY 1"""


def of_rights(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """What is missing, and who could do it."""
    may_create, user, name = one(database, connection, _DATABASE)
    if not may_create:
        yield Finding(
            "refusal",
            f"database {name}",
            f"user {user} may not create schemas in it; GRANT CREATE ON DATABASE to that user",
        )
    homes = sorted({pair.home for pair in plan.pairs.relations} | {plan.pairs.schema})
    for (schema,) in rows(database, connection, _SCHEMAS, (homes,)):
        yield Finding(
            "refusal",
            f"schema {schema}",
            f"user {user} may not create anything in it; GRANT CREATE ON SCHEMA",
        )
    live = [each.oid for each in plan.pairs.live]
    touched = [*plan.oids, *(view.oid for view in plan.views), *(key.oid for key in plan.keys)]
    for what, sql, oids in (
        ("table or view", _NOT_OURS, touched),
        ("publication", _PUBLICATIONS, live),
        ("function", _FUNCTIONS, live),
    ):
        for thing, owner in rows(database, connection, sql, (oids,)):
            yield Finding(
                "refusal",
                f"{what} {thing}",
                f"it belongs to {owner}, and the switch has to change it; do it as that user, or "
                f"GRANT {owner} TO {user}",
            )
    for owner, table, schema in rows(database, connection, _OWNERS, plan.pairs.both):
        yield Finding(
            "refusal",
            f"table {table}",
            f"the new one is to belong to {owner} as well: {user} has to be a member of {owner}, and {owner} needs "
            f"CREATE on schema {schema}",
        )
    for (publication,) in rows(database, connection, _ALL_TABLES):
        yield Finding(
            "warning",
            f"publication {publication}",
            f"it is for all tables, so it publishes those in schema {plan.pairs.schema} too",
        )
