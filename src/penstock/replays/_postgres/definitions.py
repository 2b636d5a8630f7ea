"""Tables of a copy by the code's present definitions: what SQLAlchemy would create, created in the copy's schema.

A column that is new in the code is therefore in the copy only. Types and sequences go along; a type that production has
with the same values stays the one of production, so that it can be compared with the columns of other tables.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from sqlalchemy import Sequence as NumberSequence
from sqlalchemy import Table
from sqlalchemy import schema as sa_schema
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, ENUM
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.schema import ForeignKeyConstraint
from sqlalchemy.sql.ddl import SchemaGenerator
from sqlalchemy.types import TypeDecorator

from penstock.errors import ReplayError
from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.failing import copying
from penstock.replays._postgres.layout import Later, Placed
from penstock.replays._postgres.names import default_name, quoted, written
from penstock.store.database import Connection, Database
from penstock.store.work import Workshop

__all__ = ["check_types", "create_defined", "own_names"]

_TYPE: Final = """\
SELECT (SELECT coalesce(array_agg(e.enumlabel::text ORDER BY e.enumsortorder), '{}')
          FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid)
  FROM pg_catalog.pg_type AS t WHERE t.oid = pg_catalog.to_regtype(?::text)"""
_ALSO_USED: Final = """\
SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
  FROM pg_catalog.pg_type AS t
  JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
  LEFT JOIN pg_catalog.pg_class AS c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
 WHERE t.oid = pg_catalog.to_regtype(?::text) AND c.relkind IS DISTINCT FROM 'v'
   AND d.classid <> 'pg_catalog.pg_rewrite'::regclass AND (c.oid IS NULL OR c.oid <> ALL (
       SELECT pg_catalog.to_regclass(place)::oid FROM unnest(?::text[]) AS place
        WHERE pg_catalog.to_regclass(place) IS NOT NULL))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef AS a JOIN unnest(?::text[]) AS place
                       ON a.adrelid = pg_catalog.to_regclass(place)::oid
                    WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND a.oid = d.objid)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k JOIN unnest(?::text[]) AS place
                       ON k.conrelid = pg_catalog.to_regclass(place)::oid
                    WHERE d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid)
 ORDER BY 1"""
"""Views are left out: they hang on the live tables, and the switch is what they are looked at for."""


def own_names(
    database: Database, connection: Connection, tables: Iterable[Table]
) -> set[tuple[str | None, str]]:
    """Sequences and types that belong into the copy, by schema and name as they are defined.

    Before the transaction enters the copy, since types are looked up as production finds them.
    """
    found: set[tuple[str | None, str]] = set()
    for table in tables:
        for column in table.columns:
            found.update(_place(sequence) for sequence in _sequences(column))
        found.update(_place(type_) for type_ in _own_types(database, connection, table))
    return found


def check_types(
    database: Database, connection: Connection, tables: Mapping[Placed, Table], live: Iterable[Placed]
) -> None:
    """Raises `ReplayError` for a type of the copy's own that would change under others than the *live* tables."""
    places = [written(each.schema, each.name) for each in live]
    for place, table in tables.items():
        for type_ in _own_types(database, connection, table):
            _check_others(database, connection, place, type_, places)


def _own_types(database: Database, connection: Connection, table: Table) -> Iterator[ENUM | DOMAIN]:
    """The types that the table's columns make, where production has not the same."""
    for column in table.columns:
        for type_ in _named_types(column.type):
            if type_.create_type and not _is_known(database, connection, type_):
                yield type_


def _check_others(
    database: Database, connection: Connection, place: Placed, type_: ENUM | DOMAIN, live: list[str]
) -> None:
    """A switch exchanges the types of both generations; whoever else uses the live one would keep the former."""
    name = _written(type_)
    others = [row[0] for row in rows(database, connection, _ALSO_USED, (name, live, live, live))]
    if others:
        raise ReplayError(
            f"table {place.schema}.{place.name} cannot be copied: its type {_place(type_)[1]} has other values in "
            f"production, where it is also used by {', '.join(others)}; add the values there first "
            "(ALTER TYPE ... ADD VALUE), or give the type of the new version another name"
        )


def create_defined(
    database: Database,
    connection: Connection,
    schema: str,
    tables: Mapping[Placed, Table],
    copied: frozenset[tuple[str | None, str]],
) -> list[Later]:
    """Create them inside the transaction, which is in the copy, and what has to wait for their foreign keys.

    *copied* are all tables of the copy, as definitions name them; *connection* knows them as moved. Foreign keys among
    them are made here. Raises `ReplayError` naming the table.
    """
    work = Workshop(database).begin(connection)
    by_table = {id(table): place for place, table in tables.items()}
    later: list[Later] = []
    try:
        alchemy: Any = work.alchemy.connection
        generator = _GENERATOR(alchemy.dialect, alchemy, checkfirst=True)
        after: list[ForeignKeyConstraint] = []
        for table, keys in _SORTED(list(tables.values())):
            inside = [each for each in keys if _target(each) in copied]
            if table is None:
                after.extend(inside)
                continue
            place = by_table[id(table)]
            with copying(f"{place.schema}.{place.name}"):
                for column in table.columns:
                    for sequence in _sequences(column):
                        generator.traverse_single(sequence)
                generator.traverse_single(table, create_ok=True, include_foreign_key_constraints=inside)
        for key in after:
            with copying(key.table.fullname):
                definition = _definition(alchemy.dialect, key).definition
                database.execute(
                    connection, f"ALTER TABLE {written(schema, key.table.name)} ADD {definition}"
                )
        for table in tables.values():
            outside = [key for key in table.foreign_key_constraints if _target(key) not in copied]
            later.extend(_definition(alchemy.dialect, key) for key in outside)
    finally:
        work.end()
    return sorted(later, key=lambda each: (each.table, each.name))


def _target(key: ForeignKeyConstraint) -> tuple[str | None, str]:
    return _place(key.referred_table)


def _definition(dialect: Any, key: ForeignKeyConstraint) -> Later:
    """A foreign key as it is written after ``ADD``, with a name in any case."""
    compiler = dialect.ddl_compiler(dialect, None)
    text: str = compiler.process(key)
    table = str.__str__(key.table.name)
    given: str | None = None if key.name is None else compiler.preparer.format_constraint(key)
    if given is None:
        name = default_name(table, [each.name for each in key.columns], "fkey")
        return Later(table, name, f"CONSTRAINT {quoted(name)} {text}")
    return Later(table, given[1:-1].replace('""', '"') if given.startswith('"') else given, text)


def _sequences(column: Any) -> Iterator[NumberSequence]:
    """Those that a definition draws the values of a column from."""
    if isinstance(column.default, NumberSequence):
        yield column.default
    drawn = getattr(getattr(column.server_default, "arg", None), "sequence", None)
    if isinstance(drawn, NumberSequence):
        yield drawn


def _named_types(type_: Any) -> Iterator[ENUM | DOMAIN]:
    """The types with a name of their own that a column needs."""
    while isinstance(type_, TypeDecorator):
        type_ = type_.load_dialect_impl(_DIALECT)
    found = type_.dialect_impl(_DIALECT)
    if isinstance(found, ARRAY):
        yield from _named_types(cast("Any", found).item_type)
    elif isinstance(found, ENUM | DOMAIN) and found.name:
        yield found


def _is_known(database: Database, connection: Connection, type_: ENUM | DOMAIN) -> bool:
    """Whether production has it with these values; of a domain, whether production has it."""
    row = one(database, connection, _TYPE, (_written(type_),))
    if row is None:
        return False
    return isinstance(type_, DOMAIN) or list(row[0]) == list(type_.enums)


def _written(type_: ENUM | DOMAIN) -> str:
    schema, name = _place(type_)
    return quoted(name) if schema is None else written(schema, name)


def _place(named: Any) -> tuple[str | None, str]:
    """Schema and name of what a definition names, as plain texts."""
    return None if named.schema is None else str.__str__(named.schema), str.__str__(named.name)


# Without types of their own.
_GENERATOR: Final[Any] = SchemaGenerator
_SORTED: Final = cast("Any", sa_schema).sort_tables_and_constraints
_DIALECT: Final[Any] = cast("Any", PGDialect_psycopg)()
