"""Tables that are known by their names: copied from production as they are, with the names of keys and indexes.

``LIKE`` copies columns. Indexes and keys are made from what the server says of them, because ``LIKE`` would give them
other names; foreign keys it does not copy at all, and serial columns it would leave with the sequence of production.
"""

from collections.abc import Sequence
from typing import Any, Final

from penstock.errors import ReplayError
from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.failing import copying
from penstock.replays._postgres.layout import Later, Placed
from penstock.replays._postgres.names import LONGEST, literal, quoted, written
from penstock.store.database import Connection, Database

__all__ = ["create_alike", "foreign_keys_alike", "own_sequences"]

_TABLE: Final = """\
SELECT c.relkind::text, c.relpersistence::text, c.relispartition, c.reloptions,
       EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE c.oid IN (inhrelid, inhparent))
  FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(?::text)"""
_KEYS: Final = """\
SELECT conname::text, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint
 WHERE conrelid = pg_catalog.to_regclass(?::text) AND contype IN ('p', 'u', 'x') ORDER BY contype, conname"""
_INDEXES: Final = """\
SELECT pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index AS i
 WHERE i.indrelid = pg_catalog.to_regclass(?::text) AND i.indisvalid
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c
                    WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid AND c.contype IN ('p', 'u', 'x'))
 ORDER BY i.indexrelid"""
_TRIGGERS: Final = """\
SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger
 WHERE tgrelid = pg_catalog.to_regclass(?::text) AND NOT tgisinternal AND tgtype & 3 = 3 AND tgenabled <> 'D'
 ORDER BY tgname"""
"""Those before each row (bits 0 and 1 of ``tgtype``, as in the server's ``pg_trigger.h``)."""
_FOREIGN: Final = """\
SELECT c.conname::text, pg_catalog.pg_get_constraintdef(c.oid), n.nspname::text, f.relname::text,
       pg_catalog.format('%I.%I', n.nspname, f.relname)
  FROM pg_catalog.pg_constraint AS c
  JOIN pg_catalog.pg_class AS f ON f.oid = c.confrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = f.relnamespace
 WHERE c.conrelid = pg_catalog.to_regclass(?::text) AND c.contype = 'f' AND c.conparentid = 0 ORDER BY c.conname"""
_DRAWN: Final = """\
SELECT t.relname::text, a.attname::text, pg_catalog.pg_get_expr(d.adbin, d.adrelid), s.oid::bigint, s.relname::text,
       n.nspname::text, pg_catalog.format('%I.%I', n.nspname, s.relname),
       EXISTS (SELECT FROM pg_catalog.pg_depend AS o
                 JOIN pg_catalog.pg_attribute AS oa ON oa.attrelid = o.refobjid AND oa.attnum = o.refobjsubid
                 JOIN pg_catalog.pg_class AS ot ON ot.oid = o.refobjid
                WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = s.oid AND o.deptype = 'a'
                  AND ot.relname = t.relname AND oa.attname = a.attname)
  FROM pg_catalog.pg_attrdef AS d
  JOIN pg_catalog.pg_class AS t ON t.oid = d.adrelid
  JOIN pg_catalog.pg_namespace AS g ON g.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  JOIN pg_catalog.pg_depend AS p ON p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
   AND p.refclassid = 'pg_catalog.pg_class'::regclass
  JOIN pg_catalog.pg_class AS s ON s.oid = p.refobjid AND s.relkind = 'S'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
 WHERE g.nspname = ? AND n.nspname <> g.nspname ORDER BY t.relname, a.attnum, s.oid"""
_NUMBERS: Final = """\
SELECT pg_catalog.format(
    'AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s',
    pg_catalog.format_type(seqtypid, NULL), seqincrement, seqmin, seqmax, seqstart, seqcache,
    CASE WHEN seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
  FROM pg_catalog.pg_sequence WHERE seqrelid = ?::bigint::oid"""
_NOT_TABLES: Final = {
    "v": "a view; name the tables that are written, views on them come along when the copy is promoted",
    "m": "a materialized view; name the tables that are written",
    "f": "a foreign table, which is in another database",
    "p": "partitioned; replay it into a table that is not",
    "S": "a sequence",
}


def create_alike(database: Database, connection: Connection, schema: str, table: Placed) -> None:
    """Create an empty table like the live one, without its foreign keys, inside a transaction.

    No name is visible in it but those of the catalog, so that the server writes all others with their schemas. Raises
    `ReplayError` naming the table.
    """
    live, made = written(table.schema, table.name), written(schema, table.name)
    found = one(database, connection, _TABLE, (live,))
    if reason := _why_not(found):
        raise ReplayError(f"table {table.schema}.{table.name} cannot be copied: {reason}")
    options = f" WITH ({', '.join(found[3])})" if found[3] else ""
    unlogged = "UNLOGGED " if found[1] == "u" else ""
    with copying(f"{table.schema}.{table.name}"):
        database.execute(
            connection,
            f"CREATE {unlogged}TABLE {made} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES){options}",
        )
        for name, definition in rows(database, connection, _KEYS, (live,)):
            database.execute(connection, f"ALTER TABLE {made} ADD CONSTRAINT {quoted(name)} {definition}")
        there = one(
            database, connection, "SELECT pg_catalog.format('%I.%I', ?::text, ?::text)", _place(table)
        )[0]
        for (definition,) in rows(database, connection, _INDEXES, (live,)):
            database.execute(connection, _on(definition, f" ON {there} USING ", f" ON {made} USING "))
        # What changes a row before it is written makes it what it is; triggers that act afterwards act elsewhere.
        for (definition,) in rows(database, connection, _TRIGGERS, (live,)):
            database.execute(connection, _on(definition, f" ON {there} ", f" ON {made} "))


def _on(definition: str, before: str, after: str) -> str:
    """The same of the copy. Raises `ReplayError` where the server writes it in another way."""
    head, found, tail = definition.partition(before)
    if not found:
        raise ReplayError(f"this cannot be read: {definition}")
    return f"{head}{after}{tail}"


def _why_not(found: Any) -> str | None:
    if found is None:
        return "there is none; create it, or give its definition (an SQLAlchemy model or Table) with tables="
    kind, _, is_part, _, inherits = found
    if kind in _NOT_TABLES:
        return f"it is {_NOT_TABLES[kind]}"
    if is_part or inherits:
        return "it is part of an inheritance or of partitions; replay it into a table that is not"
    return None


def _place(table: Placed) -> tuple[str, str]:
    return table.schema, table.name


def foreign_keys_alike(
    database: Database, connection: Connection, schema: str, table: Placed, copied: frozenset[tuple[str, str]]
) -> list[Later]:
    """Make its foreign keys to copied tables (by live schema and name) inside the copy; those to others, for later."""
    later: list[Later] = []
    live = written(table.schema, table.name)
    for name, definition, target_schema, target, shown in rows(database, connection, _FOREIGN, (live,)):
        if (target_schema, target) not in copied:
            later.append(Later(table.name, name, f"CONSTRAINT {quoted(name)} {definition}"))
            continue
        with copying(f"{table.schema}.{table.name}"):
            inside = _on(definition, f" REFERENCES {shown}(", f" REFERENCES {written(schema, target)}(")
            database.execute(
                connection,
                f"ALTER TABLE {written(schema, table.name)} ADD CONSTRAINT {quoted(name)} {inside}",
            )
    return later


def own_sequences(database: Database, connection: Connection, schema: str) -> list[tuple[str, str, str]]:
    """Give every column of the copy that draws from a sequence outside of it one in it, of the same kind.

    Of those that belong to no column the names, each with the schema and name of the one that it was made like. Inside
    a transaction in which no name is visible but those of the catalog. Raises `ReplayError`.
    """
    made: dict[int, str] = {}
    unowned: dict[int, tuple[str, str, str]] = {}
    defaults: dict[tuple[str, str], str] = {}
    drawn = rows(database, connection, _DRAWN, (schema,))
    for table, column, expression, oid, name, home, shown, is_owned in drawn:
        if oid not in made:
            made[oid] = _make_sequence(database, connection, schema, oid, name)
            unowned[oid] = made[oid], home, name
        place = written(schema, made[oid])
        if is_owned:
            owner = f"{written(schema, table)}.{quoted(column)}"
            database.execute(connection, f"ALTER SEQUENCE {place} OWNED BY {owner}")
            unowned.pop(oid, None)
        before = str(defaults.get((table, column), expression))
        after = before.replace(f"{literal(shown)}::regclass", f"{literal(place)}::regclass")
        if after == before:
            raise ReplayError(
                f"table {table!r} cannot be copied: the default of its column {column!r} draws from {shown} in a way "
                f"that cannot be read ({expression})"
            )
        defaults[table, column] = after
    for (table, column), expression in defaults.items():
        database.execute(
            connection,
            f"ALTER TABLE {written(schema, table)} ALTER {quoted(column)} SET DEFAULT {expression}",
        )
    return list(unowned.values())


def _make_sequence(database: Database, connection: Connection, schema: str, oid: int, name: str) -> str:
    numbers = one(database, connection, _NUMBERS, (oid,))[0]
    free = _free_name(database, connection, schema, name)
    database.execute(connection, f"CREATE SEQUENCE {written(schema, free)} {numbers}")
    return free


def _free_name(database: Database, connection: Connection, schema: str, name: str) -> str:
    taken = {row[0] for row in rows(database, connection, _RELATIONS, (schema,))}
    return next(each for each in _candidates(name) if each not in taken)


_RELATIONS: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ?"""


def _candidates(name: str) -> Sequence[str]:
    endings = ["", *(f"_{number}" for number in range(2, 1000))]
    return [name.encode()[: LONGEST - len(end)].decode("utf-8", "ignore") + end for end in endings]
