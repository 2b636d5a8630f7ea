"""What a copy is made of, noted in the comment of its schema: whose it is, and where the live tables are.

The note makes a copy known to every process, and it is what tells a schema of ours from one that only has its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.errors import ReplayError
from penstock.projections._engine._sql import one
from penstock.replays._postgres.names import LONGEST, literal, quoted
from penstock.replays.abc import CopiedTable
from penstock.store.database import Connection, Database

__all__ = ["Later", "Layout", "Placed", "placed", "read_layout", "write_layout"]

_READ: Final = """\
SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = ?"""
_PLACE: Final = """\
SELECT coalesce(
    (SELECT n.nspname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid = pg_catalog.to_regclass(?::text)),
    pg_catalog.current_schema()::text)"""


@dataclass(frozen=True, slots=True)
class Placed:
    """A table of the copy, and the schema in which the live one is or will be."""

    name: str
    schema: str


@dataclass(frozen=True, slots=True)
class Later:
    """A foreign key to a table that is not copied; it is made when history has been played."""

    table: str
    name: str
    definition: str
    """From ``CONSTRAINT`` on."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was made."""

    replay: str
    tables: tuple[Placed, ...]
    moved: tuple[tuple[str | None, str], ...] = ()
    """Tables, sequences and types that are in the copy's schema, by the schema and name of their definitions."""
    later: tuple[Later, ...] = ()
    unvalidated: tuple[tuple[str, str, str], ...] = ()
    """Foreign keys of other tables that a switch has made again, and whose rows were not looked at yet: schema, table
    and name."""
    twins: tuple[tuple[str, str, str], ...] = ()
    """Sequences that the copy has instead of those that stay where they are: name, and schema and name of that."""
    is_made: bool = True
    """Whether all of this is there; else it is being made, in a transaction that nobody sees yet."""

    @property
    def places(self) -> frozenset[tuple[str, str]]:
        """Schema and name of the live tables."""
        return frozenset((each.schema, each.name) for each in self.tables)


def read_layout(database: Database, connection: Connection, schema: str, key: str) -> Layout | None:
    """The note of a copy; ``None`` if there is no such schema. Raises `ReplayError` if it is somebody else's."""
    row = one(database, connection, _READ, (schema,))
    if row is None:
        return None
    try:
        layout = msgspec.json.decode(row[0] or "", type=Layout)
    except msgspec.MsgspecError:
        layout = None
    if layout is None or layout.replay != key:
        raise ReplayError(
            f"there is a schema {schema!r} in {database.shown} which replay {key!r} has not made; "
            "rename or remove it, or take another key"
        )
    return layout


def write_layout(database: Database, connection: Connection, schema: str, layout: Layout) -> None:
    """Keep the note, inside a transaction."""
    note = msgspec.json.encode(layout).decode()
    database.execute(connection, f"COMMENT ON SCHEMA {quoted(schema)} IS {literal(note)}")


def placed(
    database: Database, connection: Connection, tables: Sequence[CopiedTable]
) -> dict[Placed, CopiedTable]:
    """Where the live table of each is, or will be: what says no schema is found as any statement would find it.

    One that is declared twice, with its schema and without, is there once. Raises `ReplayError` for two tables of one
    name, which a copy cannot tell from each other, and for names that the server would cut.
    """
    found: dict[Placed, CopiedTable] = {}
    by_name: dict[str, Placed] = {}
    for table in tables:
        for name in filter(None, (table.name, table.schema)):
            if len(name.encode()) > LONGEST:
                raise ReplayError(
                    f"table {table.shown!r} cannot be copied: PostgreSQL cuts names after {LONGEST} bytes; "
                    "give it a shorter one"
                )
        schema = table.schema or one(database, connection, _PLACE, (quoted(table.name),))[0]
        if schema is None:
            raise ReplayError(
                f"table {table.shown!r} cannot be copied: no schema of the search path is there; name its schema"
            )
        place = Placed(table.name, schema)
        other = by_name.setdefault(table.name, place)
        if other != place:
            raise ReplayError(
                f"tables {other.schema}.{other.name} and {schema}.{table.name} cannot be copied together: all tables "
                "of a copy are in one schema; give one of them another name, or replay their projections one by one"
            )
        if place not in found or found[place].definition is None:
            found[place] = table
    return found
