"""What is different about the tables of the two generations: columns, indexes, and names that are taken."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.names import quoted, written
from penstock.replays._postgres.switching_pairs import Pair
from penstock.replays._postgres.switching_plan import Plan
from penstock.replays.abc import Finding
from penstock.store.database import Connection, Database

__all__ = ["of_shapes"]

_COLUMNS: Final = """\
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = ?::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_EXTRAS: Final = """\
SELECT 'index ' || x.relname, pg_catalog.pg_get_indexdef(x.oid) FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
 WHERE i.indrelid = ?::bigint::oid AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS o JOIN pg_catalog.pg_class AS y ON y.oid = o.indexrelid
     WHERE o.indrelid = ?::bigint::oid AND y.relname = x.relname)
UNION ALL
SELECT 'constraint ' || k.conname, pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint AS k
 WHERE k.conrelid = ?::bigint::oid AND k.contype IN ('c', 'f') AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS o WHERE o.conrelid = ?::bigint::oid AND o.conname = k.conname)
 ORDER BY 1"""
_ALSO_THERE: Final = """\
WITH ours AS (SELECT unnest(?::bigint[])::oid AS oid),
     theirs AS (SELECT unnest(?::bigint[])::oid AS oid),
     belonging(side, relid, oid) AS (
    SELECT 'copy', ours.oid, x.oid FROM ours JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = ours.oid AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_class AS x ON x.oid = d.objid AND x.relkind IN ('S', 'i') AND d.classid = d.refclassid
    UNION ALL SELECT 'copy', ours.oid, i.indexrelid FROM ours JOIN pg_catalog.pg_index AS i ON i.indrelid = ours.oid
    UNION ALL SELECT 'live', theirs.oid, x.oid FROM theirs JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = theirs.oid AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_class AS x ON x.oid = d.objid AND x.relkind IN ('S', 'i') AND d.classid = d.refclassid
    UNION ALL SELECT 'live', theirs.oid, i.indexrelid
      FROM theirs JOIN pg_catalog.pg_index AS i ON i.indrelid = theirs.oid
    UNION ALL SELECT 'live', oid, oid FROM theirs
    UNION ALL SELECT 'copy', oid, oid FROM ours),
     home(copy, schema) AS (SELECT * FROM unnest(?::bigint[], ?::text[]))
SELECT DISTINCT c.relname::text, home.schema, o.oid::regclass::text
  FROM belonging JOIN home ON home.copy::oid = belonging.relid AND belonging.side = 'copy'
  JOIN pg_catalog.pg_class AS c ON c.oid = belonging.oid
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = home.schema
  JOIN pg_catalog.pg_class AS o ON o.relnamespace = n.oid AND o.relname = c.relname
   AND o.oid NOT IN (SELECT oid FROM belonging WHERE side = 'live')
 WHERE c.relnamespace <> n.oid ORDER BY 1"""
_TWICE: Final = """\
WITH theirs AS (SELECT unnest(?::bigint[])::oid AS oid)
SELECT x.relname::text, count(*) FROM theirs JOIN pg_catalog.pg_index AS i ON i.indrelid = theirs.oid
  JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid GROUP BY x.relname HAVING count(*) > 1 ORDER BY 1"""
_IS_THERE: Final = "SELECT pg_catalog.to_regclass(?::text) IS NOT NULL"
_RECORDED: Final = """\
SELECT projection, tables FROM penstock_checkpoints WHERE generation = '' AND projection = ANY (?::text[])"""


def of_shapes(
    database: Database, connection: Connection, plan: Plan, projections: Sequence[str]
) -> Iterator[Finding]:
    """Columns that readers would miss, what was made on the live tables only, and names that are in the way."""
    for pair in plan.pairs.full:
        if pair.live is None or pair.copy is None or not pair.live.is_table:
            continue
        yield from _of_columns(database, connection, pair)
        live, copy = pair.live.oid, pair.copy.oid
        for what, definition in rows(database, connection, _EXTRAS, (live, copy, live, copy)):
            yield Finding(
                "warning",
                f"{what} of {pair.shown}",
                f"the copy has none of this name; if it is wanted, make it on {pair.copy.written} as well "
                f"({definition})",
            )
    yield from _of_names(database, connection, plan)
    known = {pair.name for pair in plan.pairs.relations}
    for projection, recorded in rows(database, connection, _RECORDED, (list(projections),)):
        for name in msgspec.json.decode(recorded, type=list[str]):
            schema, _, table = name.rpartition(".")
            place = written(schema, table) if schema else quoted(table)
            if table not in known and one(database, connection, _IS_THERE, (place,))[0]:
                yield Finding(
                    "refusal",
                    f"table {name}",
                    f"the live version of projection {projection!r} has it and the copy has not: it would stay, the "
                    "former version could not be fed any more, and there would be no way back once events have come; "
                    "declare it in the new version too, until the replay is removed",
                    can_be_forced=True,
                )


def _of_columns(database: Database, connection: Connection, pair: Pair) -> Iterator[Finding]:
    assert pair.live is not None
    assert pair.copy is not None
    live = [tuple(row) for row in rows(database, connection, _COLUMNS, (pair.live.oid,))]
    copy = [tuple(row) for row in rows(database, connection, _COLUMNS, (pair.copy.oid,))]
    ours = dict(copy)
    if gone := [name for name, _ in live if name not in ours]:
        yield Finding(
            "warning",
            pair.shown,
            f"the copy has no column {', '.join(gone)}; whoever reads it has to be changed before",
        )
    if changed := [f"{name} ({was}, then {ours[name]})" for name, was in live if ours.get(name, was) != was]:
        yield Finding(
            "warning",
            pair.shown,
            f"the type changes of column {', '.join(changed)}: statements that connections have prepared fail; have "
            "them reconnect, or use prepare_threshold=None before the switch",
        )
    if [name for name, _ in live] != [name for name, _ in copy]:
        yield Finding(
            "warning",
            pair.shown,
            "not the same columns in the same order: `SELECT *` in statements that connections have prepared fails "
            "from then on (cached plan must not change result type); name the columns or use prepare_threshold=None "
            "before the switch, or reconnect after it (DEALLOCATE ALL does as well)",
        )


def _of_names(database: Database, connection: Connection, plan: Plan) -> Iterator[Finding]:
    ours = [each.oid for each in plan.pairs.copied]
    theirs = [each.oid for each in plan.pairs.live]
    homes = [pair.home for pair in plan.pairs.relations if pair.copy is not None and pair.copy.kind != "S"]
    for name, home, other in rows(database, connection, _ALSO_THERE, (ours, theirs, ours, homes)):
        yield Finding(
            "refusal",
            f"name {name}",
            f"something of the copy has it, and so has {other} in schema {home}, which stays there; rename one of them",
        )
    if len({pair.home for pair in plan.pairs.relations}) < 2:
        return
    for name, _ in rows(database, connection, _TWICE, (theirs,)):
        yield Finding(
            "refusal",
            f"index {name}",
            "live tables in two schemas have indexes of this name, and would come into one schema; rename one of them",
        )
