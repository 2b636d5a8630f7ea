"""A live read model and a copy of it, and how they are brought to meet."""

import asyncio
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from penstock.errors import StoreUnavailableError
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import ProjectionRun, Supervised
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays.abc import Candidate, ReadModelCopy
from penstock.store._sqlite._database import SqliteConnection
from penstock.store.abc import EventReader, Horizon, StoreBackend
from penstock.store.database import Database
from tests.projections.engine.doubles import Counting, add
from tests.replays.bare import BareCopy, place_of

__all__ = ["PATIENCE", "Scene", "is_held", "scene_of", "seen"]

PATIENCE = timedelta(seconds=20)


class Scene:
    """A live read model and a copy of it, each as far as it was run."""

    def __init__(self, store: StoreBackend, *, more: str = "", **plan: Any) -> None:
        self.store = store
        self.live = Counting(store.database)
        self.bare = BareCopy(store.database)
        self.copied = Counting(self.bare.database)
        self.plan = ProjectionPlan("totals", **plan)
        self.candidates = [Candidate(self.plan, self.copied)]
        if more:
            self.candidates.insert(0, Candidate(replace(self.plan, name=more), self.copied))
        self.bare.create(self.candidates)

    @property
    def copy(self) -> ReadModelCopy:
        """As those who use copies see it."""
        return cast("ReadModelCopy", self.bare)

    def reader(self, name: str) -> EventReader:
        """Events of the store."""
        assert name == self.store.name
        return self.store.reader()

    def run(self, through: int, generation: str = LIVE, name: str = "totals") -> None:
        """Bring one generation to a position."""
        handlers = self.copied if generation else self.live
        database = self.bare.database if generation else self.store.database
        run = ProjectionRun(
            Supervised(replace(self.plan, name=name), handlers, generation),
            database,
            self.store.reader,
            LeaseTerms(),
            lambda: False,
            ("totals", "others"),
        )
        try:
            run.open()
            run.advance(Horizon(through, through))
        finally:
            run.close()

    def meeting(self, patience: timedelta = PATIENCE, **how: Any) -> Any:
        """Hold both."""
        return meet(self.candidates, self.copy, self.reader, patience=patience, **how)

    def place(self, generation: str) -> int:
        """Where one stands."""
        database = self.bare.database if generation else self.store.database
        return place_of(database, "totals", generation).position


async def scene_of(store: StoreBackend, live: int, copied: int, *, events: int = 40, **plan: Any) -> Scene:
    """Both brought to where they are to be."""
    for key in "abcd":
        await add(store, events // 4, key=key)
    scene = await asyncio.to_thread(Scene, store, **plan)
    await asyncio.to_thread(scene.run, live)
    if copied:
        await asyncio.to_thread(scene.run, copied, scene.bare.key)
    return scene


def seen(database: Database) -> dict[str, int]:
    """What is committed in a generation."""
    with closing(database.connect()) as connection, transaction(database, connection, write=False):
        found = database.execute(connection, "SELECT key, total FROM totals").fetchall()
    return dict(found)


def is_held(database: Database, generation: str) -> bool:
    """Whether nobody else can move a checkpoint now."""
    with closing(database.connect()) as connection:
        if isinstance(connection, SqliteConnection):
            connection.wait_seconds = 0.05
        try:
            with transaction(database, connection):
                if database.dialect == "postgresql":
                    database.execute(connection, "SET LOCAL lock_timeout = '50ms'")
                database.execute(
                    connection,
                    "UPDATE penstock_checkpoints SET epoch = epoch WHERE generation = ?",
                    (generation,),
                )
        except StoreUnavailableError:
            return True
    return False
