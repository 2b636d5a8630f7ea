"""Making a copy: schema, tables, and the checkpoints of its projections, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from penstock.errors import ReplayError
from penstock.projections._engine import _checkpoints, _notes
from penstock.projections._engine._sql import one, rows
from penstock.replays._postgres.database import entering
from penstock.replays._postgres.isolation import refusal, touched
from penstock.replays._postgres.layout import Later, Layout, Placed, placed, write_layout
from penstock.replays._postgres.likeness import create_alike, foreign_keys_alike, own_sequences
from penstock.replays._postgres.models import make_read_models
from penstock.replays._postgres.names import quoted
from penstock.replays.abc import Candidate, CopiedTable, Part
from penstock.store.database import Connection, Database
from penstock.store.work import Moved, move

__all__ = ["make_checkpoints", "make_copy", "reset_checkpoints"]

_NOTHING_VISIBLE: Final = "SELECT pg_catalog.set_config('search_path', '', true)"
_WAS: Final = "SELECT pg_catalog.current_setting('search_path')"
_TABLES: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.oid"""


def make_copy(
    database: Database,
    connection: Connection,
    schema: str,
    key: str,
    tables: Sequence[CopiedTable],
    candidates: Sequence[Candidate],
) -> Layout:
    """Make schema and tables inside a transaction of the live database; what was made.

    Nothing outside is locked but for reading. Raises `ReplayError` naming the table that cannot be copied.
    """
    places = placed(database, connection, tables)
    defined = {place: table.definition for place, table in places.items() if table.definition is not None}
    names = _declared(tables, places)
    if defined:
        from penstock.replays._postgres.definitions import check_types, own_names

        names |= own_names(database, connection, defined.values())
        check_types(database, connection, defined, places)
    before = one(database, connection, _WAS)[0]
    database.execute(connection, f"CREATE SCHEMA {quoted(schema)}")
    # Handlers may be asked for their tables, and look whose the schema is.
    write_layout(database, connection, schema, Layout(key, (), is_made=False))
    move(connection, Moved(schema, frozenset(names)))
    later: list[Later] = []
    alike = [place for place in places if place not in defined]
    live = frozenset((place.schema, place.name) for place in places)
    database.execute(connection, _NOTHING_VISIBLE)
    for place in alike:
        create_alike(database, connection, schema, place)
    _look_at(database, connection, before)
    if defined:
        from penstock.replays._postgres.definitions import create_defined

        database.execute(connection, entering(schema)).fetchall()
        copied = frozenset(_declared(tables, places))
        later += create_defined(database, connection, schema, defined, copied)
        _look_at(database, connection, before)
    database.execute(connection, _NOTHING_VISIBLE)
    for place in alike:
        later += foreign_keys_alike(database, connection, schema, place, live)
    _look_at(database, connection, before)
    make_read_models(database, connection, schema, candidates)
    database.execute(connection, _NOTHING_VISIBLE)
    twins = own_sequences(database, connection, schema)
    _look_at(database, connection, before)
    found = _discovered(database, connection, schema, places)
    layout = Layout(key, (*places, *found), tuple(sorted(names, key=str)), tuple(later), (), tuple(twins))
    _check_outside(database, connection, schema, key)
    write_layout(database, connection, schema, layout)
    return layout


def _declared(
    tables: Sequence[CopiedTable], places: Mapping[Placed, CopiedTable]
) -> set[tuple[str | None, str]]:
    """How definitions, and names given to `Rows`, name what is copied."""
    found: set[tuple[str | None, str]] = {(each.schema, each.name) for each in tables}
    return found | {(place.schema, place.name) for place in places}


def _look_at(database: Database, connection: Connection, search_path: str) -> None:
    database.execute(connection, "SELECT pg_catalog.set_config('search_path', ?, true)", (search_path,))


def _discovered(
    database: Database, connection: Connection, schema: str, places: Mapping[Placed, CopiedTable]
) -> list[Placed]:
    """Tables that read models have made themselves."""
    known = {place.name for place in places}
    found = [row[0] for row in rows(database, connection, _TABLES, (schema,)) if row[0] not in known]
    return list(placed(database, connection, [CopiedTable(name) for name in found]))


def _check_outside(database: Database, connection: Connection, schema: str, key: str) -> None:
    """What is run to make tables may be a user's; it was not to touch anything else."""
    found = refusal(touched(database, connection, schema), frozenset())
    if found is not None:
        what, remedy = found
        raise ReplayError(f"replay {key!r} cannot be made: the definition of a table {what} {remedy}")


def make_checkpoints(
    database: Database,
    connection: Connection,
    schema: str,
    key: str,
    candidates: Sequence[Candidate],
    part: Part,
) -> None:
    """Give each projection its checkpoint under the replay's key, before what is to be played. Repeatable."""
    names = [each.plan.name for each in candidates]
    for each in candidates:
        there = _checkpoints.read(database, connection, each.plan.name, key)
        made = _checkpoints.ensure(database, connection, each.plan, key, declared=names)
        if there is None and part.after:
            _checkpoints.move(database, connection, made, replace(made, position=part.after))
    for name in names:
        database.execute(
            connection,
            "UPDATE penstock_checkpoints SET schema_name = ? WHERE projection = ? AND generation = ?",
            (schema, name, key),
        )


def reset_checkpoints(
    database: Database, connection: Connection, key: str, projections: Sequence[str], part: Part
) -> None:
    """Put them back, with all that was noted of the generation, inside a transaction."""
    for name in projections:
        database.execute(
            connection,
            "UPDATE penstock_checkpoints SET position = ?, epoch = epoch + 1, behind = '{}', former = '{}', "
            "state = NULL WHERE projection = ? AND generation = ?",
            (part.after, name, key),
        )
        database.execute(
            connection,
            "DELETE FROM penstock_projection_failures WHERE projection = ? AND generation = ?",
            (name, key),
        )
        _notes.clear(database, connection, (name, key))
