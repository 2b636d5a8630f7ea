"""What hangs on the live tables: each is carried over, or refused by its name. Nothing is left out in silence."""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.names import quoted
from penstock.replays._postgres.switching_outside import OutsideKey
from penstock.replays._postgres.switching_pairs import Pair
from penstock.replays._postgres.switching_plan import Plan, unqualified
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_dependents", "of_inheritance"]

_UNKNOWN: Final = """\
WITH live AS (SELECT unnest(?::bigint[])::oid AS oid),
     kind AS (SELECT t.oid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
               WHERE (n.nspname, t.typname) IN (SELECT * FROM unnest(?::text[], ?::text[]))),
     subject(classid, oid, name) AS (
    SELECT 'pg_catalog.pg_class'::regclass, oid, oid::regclass::text FROM live
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, s.oid, s.oid::regclass::text
      FROM live JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = live.oid
       AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, t.oid::regtype::text FROM live
      JOIN pg_catalog.pg_class AS c USING (oid)
      JOIN pg_catalog.pg_type AS o ON o.oid = c.reltype
      JOIN pg_catalog.pg_type AS t ON t.oid IN (o.oid, o.typarray)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, t.oid::regtype::text FROM kind
      JOIN pg_catalog.pg_type AS o ON o.oid = kind.oid JOIN pg_catalog.pg_type AS t ON t.oid IN (o.oid, o.typarray))
SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0), subject.name
  FROM subject
  JOIN pg_catalog.pg_depend AS d ON d.refclassid = subject.classid AND d.refobjid = subject.oid
 WHERE NOT CASE d.classid::regclass::text
     WHEN 'pg_class' THEN d.objid IN (SELECT oid FROM live) OR EXISTS (
          SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = d.objid AND (c.relkind IN ('i', 'I', 't')
              OR c.relkind = 'S' AND d.deptype IN ('a', 'i')))
     WHEN 'pg_attrdef' THEN EXISTS (
          SELECT FROM pg_catalog.pg_attrdef AS a WHERE a.oid = d.objid AND a.adrelid IN (SELECT oid FROM live))
     WHEN 'pg_constraint' THEN EXISTS (
          SELECT FROM pg_catalog.pg_constraint AS k
           WHERE k.oid = d.objid AND (k.contype = 'f' OR k.conrelid IN (SELECT oid FROM live)))
     WHEN 'pg_rewrite' THEN true
     WHEN 'pg_policy' THEN true
     WHEN 'pg_publication_rel' THEN true
     WHEN 'pg_trigger' THEN EXISTS (
          SELECT FROM pg_catalog.pg_trigger AS t
           WHERE t.oid = d.objid AND (t.tgisinternal OR t.tgrelid IN (SELECT oid FROM live)))
     WHEN 'pg_statistic_ext' THEN EXISTS (
          SELECT FROM pg_catalog.pg_statistic_ext AS s WHERE s.oid = d.objid AND s.stxrelid IN (SELECT oid FROM live))
     WHEN 'pg_type' THEN EXISTS (
          SELECT FROM pg_catalog.pg_type AS t
           WHERE t.oid = d.objid
             AND (t.typrelid IN (SELECT oid FROM live) OR t.typtype = 'b' AND t.typelem = subject.oid))
     WHEN 'pg_proc' THEN subject.classid = 'pg_catalog.pg_class'::regclass AND EXISTS (
          SELECT FROM pg_catalog.pg_proc AS p WHERE p.oid = d.objid AND p.prosqlbody IS NOT NULL)
     ELSE false END
 ORDER BY 1, 2"""
_TEMPORARY: Final = """\
SELECT DISTINCT c.oid::regclass::text FROM pg_catalog.pg_depend AS d
  JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
  JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class AND c.relpersistence = 't'
 WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = ANY (?::bigint[]::oid[]) ORDER BY 1"""
_INHERITING: Final = """\
SELECT DISTINCT c.oid::regclass::text FROM pg_catalog.pg_class AS c
 WHERE c.oid = ANY (?::bigint[]::oid[]) AND (c.relkind = 'p' OR EXISTS (
    SELECT FROM pg_catalog.pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))) ORDER BY 1"""
_LABELS: Final = """\
SELECT DISTINCT l.objoid::regclass::text FROM pg_catalog.pg_seclabel AS l
 WHERE l.classoid = 'pg_catalog.pg_class'::regclass AND l.objoid = ANY (?::bigint[]::oid[])"""
_VERSION: Final = "SELECT pg_catalog.current_setting('server_version_num')::int"
_REFERRED: Final = """\
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index AS i
     WHERE i.indrelid = ?::bigint::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
       AND i.indexprs IS NULL
       AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
         = (SELECT pg_catalog.array_agg(n ORDER BY n) FROM unnest(?::text[]) AS n))"""
_MOST_COUNTED: Final = 1000
_LOOK_MS: Final = 20_000


def of_dependents(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Foreign keys, triggers and all else; views are rehearsed elsewhere."""
    live = [each.oid for each in plan.pairs.live]
    home = [place for place in plan.pairs.types if place[0] != plan.pairs.schema]
    with unqualified(database, connection):
        parameters = (live, [schema for schema, _ in home], [name for _, name in home])
        for what, subject in rows(database, connection, _UNKNOWN, parameters):
            yield Finding(
                "refusal",
                what,
                f"it depends on {subject} in a way that cannot be carried over; drop it before the switch, and make it "
                "again afterwards",
            )
        for (name,) in rows(database, connection, _TEMPORARY, (live,)):
            yield Finding(
                "warning",
                f"view {name}",
                "it is temporary, so it shows the former table to the session that has made it",
            )
        yield from of_inheritance(database, connection, plan)
        for (name,) in rows(database, connection, _LABELS, (live,)):
            yield Finding(
                "warning",
                f"table {name}",
                "its security labels are not carried over; set them again afterwards",
            )
    yield from _of_one_sided(plan)
    yield from _of_keys(database, connection, plan)
    for subject in dict.fromkeys(step.subject for step in plan.after):
        yield Finding("note", subject, _carried(subject))


def of_inheritance(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Tables that are more than one table."""
    for (name,) in rows(database, connection, _INHERITING, (plan.oids,)):
        yield Finding(
            "refusal",
            f"table {name}",
            "it is part of an inheritance or of partitions, which cannot change places; replay it into a table that "
            "is not",
        )


def _carried(subject: str) -> str:
    if subject.startswith("trigger "):
        return "it goes over to the new table; for the rows that the copy has by then it did not run"
    if subject.startswith("publication "):
        return "it publishes the new table then; subscribers get changes from there on, and not the rows that it has"
    return "it is carried over"


def _of_one_sided(plan: Plan) -> Iterator[Finding]:
    for pair in plan.pairs.relations:
        if pair.live is None and pair.copy is not None:
            yield Finding("note", pair.shown, "there is no live one yet; the switch puts the copy's there")
        elif pair.copy is None and pair.live is not None and pair.live.is_table:
            yield Finding("warning", pair.shown, "the other generation has none; it is gone after the switch")
            for view in plan.views:
                if pair.written in view.definition:
                    yield Finding(
                        "refusal", view.shown, f"it reads {pair.shown}, which will be gone; drop it first"
                    )


# -- foreign keys of other tables --------------------------------------------------------------------------------------


def _of_keys(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    by_oid = {pair.live.oid: pair for pair in plan.pairs.relations if pair.live is not None}
    [version] = one(database, connection, _VERSION)
    for key in plan.keys:
        pair = by_oid[key.target]
        if key.kind == "p" and version < 180_000:
            yield Finding(
                "refusal",
                key.shown,
                "this server has to look at all rows of a partitioned table to make it again, while it is locked; "
                "drop it before the switch, and make it again afterwards",
            )
        elif pair.copy is None:
            yield Finding("refusal", key.shown, f"there is no {pair.shown} in the copy; drop the key first")
        elif not one(database, connection, _REFERRED, (pair.copy.oid, list(key.target_columns)))[0]:
            yield Finding(
                "refusal",
                key.shown,
                f"it refers to {', '.join(key.target_columns)} of {pair.shown}, by which the copy has no unique key; "
                "give it one, or drop the foreign key first",
            )
        elif orphans := _orphans(database, connection, key, pair):
            yield Finding(
                "refusal",
                key.shown,
                f"{orphans} of its rows refer to rows of {pair.shown} that are not in the copy; after the switch the "
                "key would be kept for new rows only",
                can_be_forced=True,
            )
    for schema, table, name in plan.pairs.layout.unvalidated:
        yield Finding(
            "warning",
            f"foreign key {name} of {schema}.{table}",
            "since the last switch it is kept for new rows only; `ALTER TABLE ... VALIDATE CONSTRAINT` says why",
        )


def _orphans(database: Database, connection: Connection, key: OutsideKey, pair: Pair) -> str:
    """How many rows would break the key; empty for none."""
    assert pair.live is not None
    assert pair.copy is not None
    couples = list(zip(key.columns, key.target_columns, strict=True))
    same = " AND ".join(f"p.{quoted(to)} = c.{quoted(mine)}" for mine, to in couples)
    given = " AND ".join(f"c.{quoted(mine)} IS NOT NULL" for mine, _ in couples)
    sql = (
        f"SELECT count(*) FROM (SELECT FROM {key.written} AS c WHERE {given} "
        f"AND EXISTS (SELECT FROM {pair.live.written} AS p WHERE {same}) "
        f"AND NOT EXISTS (SELECT FROM {pair.copy.written} AS p WHERE {same}) LIMIT {_MOST_COUNTED}) AS found"
    )
    database.execute(connection, "SAVEPOINT penstock_look")
    try:
        database.execute(connection, f"SET LOCAL statement_timeout = {_LOOK_MS}")
        [count] = one(database, connection, sql)
    except Exception:  # noqa: BLE001  too many to look at now, or not to be compared: the server looks after the switch
        count = 0
    finally:
        database.execute(connection, "ROLLBACK TO SAVEPOINT penstock_look")
    if not count:
        return ""
    return f"{count:,}{' or more' if count >= _MOST_COUNTED else ''}"
