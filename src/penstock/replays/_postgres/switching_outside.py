"""What reads or refers to a live table from outside of the copy: views, foreign keys, functions, rules, policies.

The server binds all of them to the table itself and not to its name. Each is written down while the live one has its
name, and made again from that text when the new one has it. Views and functions are replaced in place, so their owners,
grants, comments, and whatever uses them stay as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.projections._engine._sql import rows
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.switching_pairs import Pairs, Step
from penstock.store.database import Connection, Database

__all__ = ["OutsideKey", "View", "outside_keys_to", "owners_of_dependents", "repointed", "views_on"]

_VIEWS: Final = """\
SELECT DISTINCT c.oid::bigint, n.nspname::text, c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text,
       pg_catalog.pg_get_viewdef(c.oid), coalesce(c.reloptions, '{}')
  FROM pg_catalog.pg_depend AS d
  JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid AND r.rulename = '_RETURN'
  JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'v' AND c.relpersistence <> 't'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = ANY (?::bigint[]::oid[]) ORDER BY 1"""
_OTHERS: Final = """\
WITH live AS (SELECT unnest(?::bigint[])::oid AS oid),
     dependent AS (SELECT DISTINCT d.classid, d.objid FROM live JOIN pg_catalog.pg_depend AS d
                       ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = live.oid)
SELECT 'function ' || p.oid::regprocedure::text, pg_catalog.pg_get_functiondef(p.oid)
  FROM dependent JOIN pg_catalog.pg_proc AS p ON p.oid = dependent.objid
 WHERE dependent.classid = 'pg_catalog.pg_proc'::regclass AND p.prosqlbody IS NOT NULL
UNION ALL
SELECT 'rule ' || r.rulename || ' on ' || r.ev_class::regclass::text,
       'CREATE OR REPLACE ' || pg_catalog.substr(pg_catalog.pg_get_ruledef(r.oid), 8)
  FROM dependent JOIN pg_catalog.pg_rewrite AS r ON r.oid = dependent.objid AND r.rulename <> '_RETURN'
 WHERE dependent.classid = 'pg_catalog.pg_rewrite'::regclass AND r.ev_class NOT IN (SELECT oid FROM live)
UNION ALL
SELECT 'policy ' || p.polname || ' on ' || p.polrelid::regclass::text,
       pg_catalog.format('ALTER POLICY %I ON %s%s%s', p.polname, p.polrelid::regclass,
           ' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
           ' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  FROM dependent JOIN pg_catalog.pg_policy AS p ON p.oid = dependent.objid
 WHERE dependent.classid = 'pg_catalog.pg_policy'::regclass AND p.polrelid NOT IN (SELECT oid FROM live)"""
_CARRIERS: Final = """\
WITH live AS (SELECT unnest(?::bigint[])::oid AS oid),
     dependent AS (SELECT DISTINCT d.classid, d.objid FROM live JOIN pg_catalog.pg_depend AS d
                       ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = live.oid)
SELECT DISTINCT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text,
       pg_catalog.pg_get_userbyid(c.relowner)::text
  FROM (SELECT r.ev_class FROM dependent JOIN pg_catalog.pg_rewrite AS r ON r.oid = dependent.objid
         WHERE dependent.classid = 'pg_catalog.pg_rewrite'::regclass AND r.rulename <> '_RETURN'
         UNION
        SELECT p.polrelid FROM dependent JOIN pg_catalog.pg_policy AS p ON p.oid = dependent.objid
         WHERE dependent.classid = 'pg_catalog.pg_policy'::regclass) AS carrier(oid)
  JOIN pg_catalog.pg_class AS c ON c.oid = carrier.oid AND c.oid NOT IN (SELECT oid FROM live)
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1"""
_KEYS: Final = """\
SELECT t.oid::bigint, n.nspname::text, t.relname::text, t.relkind::text, k.conname::text,
       pg_catalog.pg_get_constraintdef(k.oid), k.convalidated, k.confrelid::bigint,
       pg_catalog.obj_description(k.oid, 'pg_constraint'), k.confdeltype::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(num, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.place),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(num, place)
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.place)
  FROM pg_catalog.pg_constraint AS k
  JOIN pg_catalog.pg_class AS t ON t.oid = k.conrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY (?::bigint[]::oid[])
   AND k.conrelid <> ALL (?::bigint[]::oid[]) ORDER BY t.oid, k.conname"""


@dataclass(frozen=True, slots=True)
class View:
    """A view that reads a live table."""

    oid: int
    schema: str
    name: str
    owner: str
    definition: str
    options: tuple[str, ...]

    @property
    def shown(self) -> str:
        """For people."""
        return f"view {self.schema}.{self.name}"

    @property
    def written(self) -> str:
        """As it is written in SQL."""
        return written(self.schema, self.name)

    @property
    def lock(self) -> str:
        """Changes nothing, and locks the view alone: ``LOCK TABLE`` would lock whatever it reads as well."""
        return f"ALTER VIEW {self.written} OWNER TO {quoted(self.owner)}"

    def replaced(self) -> Step:
        """What makes it read whatever has those names."""
        options = f" WITH ({', '.join(self.options)})" if self.options else ""
        return Step(
            self.shown, f"CREATE OR REPLACE VIEW {self.written}{options} AS {self.definition.rstrip(';')}"
        )


@dataclass(frozen=True, slots=True)
class OutsideKey:
    """A foreign key of a table outside that refers to a live table."""

    oid: int
    """Of the table that has it."""
    schema: str
    table: str
    kind: str
    name: str
    definition: str
    is_valid: bool
    target: int
    comment: str | None
    on_delete: str
    """As in ``pg_constraint.confdeltype``."""
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]

    @property
    def shown(self) -> str:
        """For people."""
        return f"foreign key {self.name} of {self.schema}.{self.table}"

    @property
    def written(self) -> str:
        """The table that has it, as it is written in SQL."""
        return written(self.schema, self.table)

    def dropped(self) -> Step:
        """What takes it away."""
        return Step(self.shown, f"ALTER TABLE {self.written} DROP CONSTRAINT {quoted(self.name)}")

    def added(self) -> Iterator[Step]:
        """What makes it again, for rows that come from now on."""
        late = self.is_valid and "NOT ENFORCED" not in self.definition
        yield Step(
            self.shown,
            f"ALTER TABLE {self.written} ADD CONSTRAINT {quoted(self.name)} {self.definition}"
            f"{' NOT VALID' if late else ''}",
        )
        if self.comment is not None:
            quoted_comment = "'" + self.comment.replace("'", "''") + "'"
            yield Step(
                self.shown,
                f"COMMENT ON CONSTRAINT {quoted(self.name)} ON {self.written} IS {quoted_comment}",
            )


def views_on(database: Database, connection: Connection, pairs: Pairs) -> list[View]:
    """The views that read a live table or materialised view themselves, in the order of their oids.

    What is visible in the transaction says with which schemas names are written in their definitions.
    """
    live = [each.oid for each in pairs.live]
    return [
        View(oid, schema, name, owner, definition, tuple(options))
        for oid, schema, name, owner, definition, options in rows(database, connection, _VIEWS, (live,))
    ]


def owners_of_dependents(
    database: Database, connection: Connection, pairs: Pairs
) -> tuple[dict[int, str], list[str]]:
    """What has rules or policies that read a live table: tables by their oids, and what locks each of the views."""
    tables: dict[int, str] = {}
    views: list[str] = []
    for oid, schema, name, kind, owner in rows(
        database, connection, _CARRIERS, ([each.oid for each in pairs.live],)
    ):
        if kind == "v":
            views.append(f"ALTER VIEW {written(schema, name)} OWNER TO {quoted(owner)}")
        else:
            tables[oid] = written(schema, name)
    return tables, views


def outside_keys_to(database: Database, connection: Connection, pairs: Pairs) -> list[OutsideKey]:
    """The foreign keys of other tables to the live ones."""
    live = [each.oid for each in pairs.live]
    return [
        OutsideKey(*row[:-2], *(tuple(names) for names in row[-2:]))
        for row in rows(database, connection, _KEYS, (live, live))
    ]


def repointed(database: Database, connection: Connection, pairs: Pairs) -> Iterator[Step]:
    """What makes functions, rules and policies read the new ones; asked before the switch, and run afterwards."""
    live = [each.oid for each in pairs.live]
    for subject, statement in rows(database, connection, _OTHERS, (live,)):
        yield Step(subject, statement.rstrip(";\n "))
