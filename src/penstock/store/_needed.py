"""How far the readers of a store have come, as their checkpoints in a database say, whether anybody declares them now
or not. Events above that are still needed.
"""

import json
from contextlib import closing
from pathlib import Path

from penstock.store.database import Connection, Database

__all__ = ["exists", "lowest_checkpoint"]

_IS_THERE = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'penstock_checkpoints'",
    "postgresql": "SELECT (to_regclass('penstock_checkpoints') IS NOT NULL)::int",
}
_CHECKPOINTS = "SELECT position, behind FROM penstock_checkpoints WHERE source = ?"
_FAILURES = (
    "SELECT min(failure.position) FROM penstock_projection_failures AS failure"
    " JOIN penstock_checkpoints AS checkpoint"
    " ON checkpoint.projection = failure.projection AND checkpoint.generation = failure.generation"
    " WHERE checkpoint.source = ?"
)


def exists(database: Database) -> bool:
    """Whether there is anything to ask: the file of SQLite is made by its first use."""
    return database.dialect != "sqlite" or Path(database.url.removeprefix("sqlite:///")).exists()


def lowest_checkpoint(database: Database, store: str) -> int | None:
    """The position up to which all readers of *store* whose checkpoints are in *database* have handled everything.

    ``None``: there are none. An event that failed, or waits behind one that did, is not handled.
    Raises `StoreUnavailableError`, `StoreRefusedError`.
    """
    if not exists(database):
        return None
    with closing(database.connect(application="penstock rules")) as connection:
        database.begin(connection, write=False)
        try:
            return _lowest(database, connection, store)
        finally:
            connection.rollback()


def _lowest(database: Database, connection: Connection, store: str) -> int | None:
    [is_there] = database.execute(connection, _IS_THERE[database.dialect]).fetchone()
    if not is_there:
        return None
    found: list[int] = []
    for position, behind in database.execute(connection, _CHECKPOINTS, (store,)).fetchall():
        found += [position, *json.loads(behind).values()]
    [failed] = database.execute(connection, _FAILURES, (store,)).fetchone()
    if failed is not None:
        found.append(failed - 1)
    return min(found, default=None)
