"""A projection of a version that is not in this process: it can be looked at and waited for, and not be run."""

import time
from typing import Final

from penstock.errors import ReplayRefusedError
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._lease import is_alive
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, Handlers, Page, ProjectionPlan
from penstock.replays.abc import Candidate
from penstock.store.abc import EventFilter
from penstock.store.database import Connection, Database

__all__ = ["OnlyElsewhere", "Others", "candidate_elsewhere"]

_ALONE_SECONDS: Final = 5.0
"""How long somebody is waited for who can run what this process cannot, if nobody does."""


class OnlyElsewhere:
    """Handlers that are in other processes only. Whoever runs them brings the copy nearer."""

    names: frozenset[str] | None = None

    def __init__(self, replay: str, projection: str, version: int) -> None:
        self.replay = replay
        self.reason = (
            f"its copy of projection {projection!r} is of version {version}, which is not in this process and has to "
            "come nearer by those who run it; start one of these, or do this where that version is"
        )
        """Why nothing can be done with it here, and what to do."""

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """Refused."""
        raise self.refused()

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Refused."""
        raise self.refused()

    def prepare(self, connection: Connection) -> None:
        """Refused."""
        raise self.refused()

    def refused(self) -> ReplayRefusedError:
        """What is raised in the end where nobody runs it."""
        return ReplayRefusedError(self.replay, step="be switched", reasons=[self.reason])


class Others:
    """Those who can run what this process cannot: whether there are any. *database* is the copy's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left_alone: dict[str, tuple[int | None, float]] = {}
        """For each projection the epoch of its copy, and since when nobody was seen to have it (monotonic)."""

    def look(self, connection: Connection, name: str, handlers: OnlyElsewhere) -> None:
        """See whether somebody has it, who brings it nearer. After a switch it takes those who do a moment.

        It is only looked at: the lease is theirs, and whoever found it taken might go away. *connection* is in no
        transaction. Raises `ReplayRefusedError` when nobody had it for long.
        """
        key = name, handlers.replay
        with transaction(self._database, connection, write=False):
            place = _checkpoints.read(self._database, connection, *key)
            is_run = is_alive(self._database, connection, *key)
        # Who had it between two looks has left another epoch.
        now, epoch = time.monotonic(), None if place is None else place.epoch
        before, since = self._left_alone.get(name, (epoch, now))
        if is_run or epoch != before:
            since = now
        self._left_alone[name] = epoch, since
        if now - since >= _ALONE_SECONDS:
            raise handlers.refused()


def candidate_elsewhere(
    database: Database, connection: Connection, key: str, name: str, *, target: str
) -> Candidate:
    """A projection of a replay by what its checkpoint tells. Raises `ReplayRefusedError` if there is none."""
    with transaction(database, connection, write=False):
        place = _checkpoints.read(database, connection, name, key)
        row = database.execute(
            connection,
            "SELECT source FROM penstock_checkpoints WHERE projection = ? AND generation = ?",
            (name, key),
        ).fetchone()
    if place is None or row is None:
        raise ReplayRefusedError(
            key, step="be switched", reasons=[f"its copy has no checkpoint of projection {name!r}"]
        )
    split = [source.partition(":") for source in place.sources]
    plan = ProjectionPlan(
        name,
        version=place.version,
        source=row[0],
        target=target,
        wanted=EventFilter(
            streams=tuple(each for kind, _, each in split if kind == "stream"),
            categories=tuple(each for kind, _, each in split if kind == "category"),
        ),
    )
    handlers: Handlers = OnlyElsewhere(key, name, place.version)
    return Candidate(plan, handlers)
