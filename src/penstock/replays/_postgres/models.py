"""Read models that make their tables themselves, made inside the copy."""

from collections.abc import Sequence
from typing import Any

from penstock.projections.read_models import ReadModel
from penstock.replays._postgres.database import entering
from penstock.replays._postgres.failing import copying
from penstock.replays._postgres.names import quoted
from penstock.replays.abc import Candidate
from penstock.store.database import Connection, Database
from penstock.store.work import Workshop

__all__ = ["make_read_models"]


def make_read_models(
    database: Database, connection: Connection, schema: str, candidates: Sequence[Candidate]
) -> None:
    """Have them make what is missing, inside a transaction. Raises `ReplayError` naming the projection."""
    for candidate in candidates:
        # Whatever stands around the handlers of a projection passes these on.
        handlers: Any = candidate.handlers
        workshop: Any = getattr(handlers, "workshop", None)
        with copying(f"of projection {candidate.plan.name!r}"):
            if isinstance(workshop, Workshop):
                _make(database, connection, schema, workshop, handlers.read_model)
            else:
                database.execute(connection, entering(schema)).fetchall()
                handlers.prepare(connection)


def _make(
    database: Database,
    connection: Connection,
    schema: str,
    workshop: Workshop,
    read_model: type[ReadModel] | None,
) -> None:
    if read_model is None:
        return
    work = workshop.begin(connection)
    try:
        model = read_model(work)
        if not _is_there(database, connection, schema, model):
            database.execute(connection, entering(schema)).fetchall()
            model.init()
        work.settle()
    finally:
        work.end()


def _is_there(database: Database, connection: Connection, schema: str, model: ReadModel) -> bool:
    """What it says when it sees nothing but the copy: the tables of production are not its own."""
    database.execute(connection, "SAVEPOINT penstock_look")
    database.execute(
        connection, "SELECT pg_catalog.set_config('search_path', ?, true)", (quoted(schema),)
    ).fetchall()
    try:
        return model.is_initialised()
    except Exception:  # noqa: BLE001  it may miss what is elsewhere; then it is asked to make what it needs
        return False
    finally:
        database.execute(connection, "ROLLBACK TO SAVEPOINT penstock_look")
