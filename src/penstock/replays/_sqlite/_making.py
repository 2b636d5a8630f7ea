"""Making a copy: its file, the tables by the code's present definitions or like production's, its checkpoints."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec

from penstock.errors import ReplayError
from penstock.projections._engine import _checkpoints
from penstock.replays._sqlite._capture import end_capture
from penstock.replays._sqlite._file import OURS, CopyDatabase, make_triggers, transaction, wipe
from penstock.replays._sqlite._rows import FileRow, new_name, read_row, write_row
from penstock.replays._sqlite._shapes import Run, TableShape, read_names, read_shape
from penstock.replays._sqlite._statements import folded, quoted
from penstock.replays.abc import Candidate, CopiedTable, Part
from penstock.store import migrating
from penstock.store.database import Connection, Database

__all__ = ["empty", "exists", "make", "read_shapes", "run_on"]


def run_on(database: Database, connection: Connection) -> Run:
    """Statements on a connection, with errors that speak of its database."""

    def run(sql: str, parameters: Sequence[object] = ()) -> Any:
        return database.execute(connection, sql, parameters)

    return run


def exists(database: CopyDatabase) -> bool:
    """Whether the copy was made, and is there or can be made again."""
    if not database.live.path.exists():
        return False
    with closing(database.live.connect()) as connection:
        row = read_row(run_on(database.live, connection), "main", database.key)
    return row is not None and not row.is_leaving and (bool(row.former) or database.path.exists())


def make(
    database: CopyDatabase, tables: Sequence[CopiedTable], candidates: Sequence[Candidate], part: Part
) -> tuple[str, ...]:
    """Make the copy; the names of its tables. Whatever a half-made one has left in the file goes.

    Raises `ReplayError` for a table that cannot be copied.
    """
    for table in tables:
        if table.schema not in (None, "main"):
            raise ReplayError(
                f"table {table.shown!r} is in the attached database {table.schema!r}; a copy in SQLite is a file "
                "beside the live one, so leave the schema out"
            )
    migrating.apply(database.plain)
    content = new_name()
    live = _read_live(database, [each.name for each in tables])
    # Not on the copy's own connections: a read model that looks whether it is there would find production's.
    plain = database.plain
    with closing(plain.connect()) as connection, transaction(plain, connection):
        run = run_on(plain, connection)
        wipe(run)
        for table in tables:
            if table.definition is None:
                _make_alike(run, table.name, live.get(folded(table.name)))
        for candidate in candidates:
            candidate.handlers.prepare(connection)
        names = tuple(read_names(run, "main"))
        for name in names:
            shape = read_shape(run, "main", name)
            production = live.get(folded(name))
            if shape is not None and production is not None:
                missing = {
                    each: sql for each, sql in production.triggers.items() if each not in shape.triggers
                }
                make_triggers(run, _with_triggers(shape, missing))
        _begin_checkpoints(run, plain, connection, database.key, candidates, part)
        write_row(run, database.key, FileRow(content))
    with closing(database.live.connect()) as connection, transaction(database.live, connection):
        write_row(run_on(database.live, connection), database.key, FileRow(content))
    return names


def _read_live(database: CopyDatabase, names: Sequence[str]) -> dict[str, TableShape]:
    with closing(database.live.connect()) as connection:
        run = run_on(database.live, connection)
        wanted = dict.fromkeys([*names, *read_names(run, "main")])
        found: dict[str, TableShape] = {}
        for name in wanted:
            try:
                shape = read_shape(run, "main", name)
            except ReplayError:
                if name in names:
                    raise
                continue
            if shape is not None:
                found[folded(name)] = shape
        return found


def _make_alike(run: Run, name: str, shape: TableShape | None) -> None:
    if shape is None:
        raise ReplayError(
            f"table {name!r} is named among the tables and is not there; create it, or give its SQLAlchemy table or a "
            "read model that makes it"
        )
    run(shape.sql)
    for sql in shape.indexes.values():
        run(sql)


def _with_triggers(shape: TableShape, triggers: dict[str, str]) -> TableShape:
    return msgspec.structs.replace(shape, triggers=triggers)


def _begin_checkpoints(
    run: Run,
    database: Database,
    connection: Connection,
    key: str,
    candidates: Sequence[Candidate],
    part: Part,
) -> None:
    for table in OURS:
        run(f"DELETE FROM main.{table}")
    names = [each.plan.name for each in candidates]
    for candidate in candidates:
        _checkpoints.ensure(database, connection, candidate.plan, key, declared=names)
    run("UPDATE main.penstock_checkpoints SET position = ?", (part.after,))


def read_shapes(run: Run, schema: str, names: Sequence[str]) -> tuple[TableShape, ...]:
    """What these tables look like, as far as they are there."""
    found = (read_shape(run, schema, name) for name in names)
    return tuple(shape for shape in found if shape is not None)


def empty(database: CopyDatabase, part: Part) -> None:
    """Take out every row, and put the checkpoints back."""
    with closing(database.connect()) as connection, transaction(database, connection):
        run = run_on(database, connection)
        end_capture(run)
        names = read_names(run, "main")
        # User's triggers have nothing to say to this.
        shapes = read_shapes(run, "main", names)
        for shape in shapes:
            for trigger in shape.triggers:
                run(f"DROP TRIGGER main.{quoted(trigger)}")
        for name in reversed(names):
            run(f"DELETE FROM main.{quoted(name)}")
            run("DELETE FROM main.sqlite_sequence WHERE name = ?", (name,))
        for shape in shapes:
            for sql in shape.triggers.values():
                run(sql)
        run("DELETE FROM main.penstock_projection_failures")
        run(
            "UPDATE main.penstock_projections SET suspect = NULL, attempts = 0, retry_at = 0, stands = 0, "
            "error = NULL, error_class = NULL, error_type = NULL, error_position = NULL, error_event_id = NULL, "
            "failed_at = NULL"
        )
        run(
            "UPDATE main.penstock_checkpoints SET position = ?, epoch = epoch + 1, state = NULL, behind = '{}', "
            "former = '{}'",
            (part.after,),
        )
        row = read_row(run, "main", database.key)
        if row is not None:
            write_row(run, database.key, FileRow(row.content))
