"""The least that is a copy: a schema or a file of its own with a checkpoint, over real databases, without any guard."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from penstock.projections._engine import _checkpoints
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import Checkpoint
from penstock.replays.abc import Candidate, CopiedTable
from penstock.store import migrating
from penstock.store._postgres.database import PostgresDatabase
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.database import Connection, Database
from tests.projections.engine.doubles import TABLES

__all__ = ["BareCopy", "place_of"]


class InSchema:
    """A PostgreSQL database whose transactions have a schema before the others."""

    def __init__(self, database: PostgresDatabase, schema: str) -> None:
        self._database, self._schema = database, schema

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin, and look into the schema first."""
        self._database.begin(connection, write=write)
        self._database.execute(connection, f'SET LOCAL search_path TO "{self._schema}", public')


class BareCopy:
    """A generation with the tables of `Counting`."""

    key = "again"
    tables: tuple[CopiedTable, ...] = (CopiedTable("totals"), CopiedTable("applied"))

    def __init__(self, live: Database) -> None:
        self.live_database = live
        self.database: Database
        if isinstance(live, PostgresDatabase):
            self.where = "penstock_replay_again"
            self.database = cast("Database", InSchema(live, self.where))
        else:
            self.where = live.url.removeprefix("sqlite:///") + ".again.replay"
            self.database = SqliteDatabase(live.name, Path(self.where))

    def create(self, candidates: Sequence[Candidate]) -> None:
        """Tables and checkpoints."""
        if self.database.dialect == "sqlite":
            migrating.apply(self.database)
        with closing(self.database.connect()) as connection:
            if self.database.dialect == "postgresql":
                self.database.execute(connection, f'CREATE SCHEMA "{self.where}"')
            with transaction(self.database, connection):
                for sql in TABLES:
                    self.database.execute(connection, sql)
                for each in candidates:
                    _checkpoints.ensure(self.database, connection, each.plan, self.key)


def place_of(database: Database, name: str, generation: str) -> Checkpoint:
    """A checkpoint as it is committed."""
    with closing(database.connect()) as connection:
        found = _checkpoints.read(database, connection, name, generation)
    assert found is not None
    return found
