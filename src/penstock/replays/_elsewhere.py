"""A projection of a version that is not in this process: it can be looked at and waited for, and not be run."""

from penstock.errors import ReplayRefusedError
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, Handlers, Page, ProjectionPlan
from penstock.replays.abc import Candidate
from penstock.store.abc import EventFilter, StoredEvent
from penstock.store.database import Connection, Database

__all__ = ["candidate_elsewhere"]


class _Elsewhere:
    """Handlers that are in other processes only. Whoever runs them brings the copy nearer."""

    names: frozenset[str] | None = None

    def __init__(self, replay: str, projection: str, version: int) -> None:
        self._replay = replay
        self._reason = (
            f"its copy of projection {projection!r} is of version {version}, which is not in this process and has to "
            "come nearer by those who run it; start one of these, or do this where that version is"
        )

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """A page that refuses every event."""
        return _Refusing(self._refused())

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Refused."""
        raise self._refused()

    def prepare(self, connection: Connection) -> None:
        """Refused: nobody else runs it."""
        raise self._refused()

    def _refused(self) -> ReplayRefusedError:
        return ReplayRefusedError(self._replay, step="be switched", reasons=[self._reason])


class _Refusing:
    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def handle(self, event: StoredEvent) -> None:
        """Raises why it is not handled here."""
        # Whoever asks waits for those who do, and tries again.
        raise RuntimeError(str(self._failure))

    def finish(self) -> bytes | None:
        """Nothing was held back."""
        return None

    def discard(self) -> None:
        """Nothing was made."""

    def committed(self) -> None:
        """Nothing was made."""


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
    handlers: Handlers = _Elsewhere(key, name, place.version)
    return Candidate(plan, handlers)
