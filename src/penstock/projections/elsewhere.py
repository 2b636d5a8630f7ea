"""Read models that live elsewhere: in a server of hashes, a search index, files. The checkpoint stays in the database.

What a page does to them is done before the page is committed, so a page that was cut short is done again: at least
once. Each generation has a *place* of its own there, and the database keeps which generation is at which place
(``penstock_replay_places``); a switch exchanges those rows with the checkpoints, in one transaction, and then readers
are led to the other place. That is repeated by whoever runs the live generation next, so a process that is killed
between the two leaves readers where they were until then, and never between two places.
"""

from abc import ABC, abstractmethod
from typing import Final, Self

from penstock.errors import ConfigurationError
from penstock.projections.abc import LIVE
from penstock.projections.read_models import ReadModel
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Database
from penstock.store.work import Work

__all__ = ["FIRST_PLACE", "ElsewhereReadModel", "led", "place_of"]

FIRST_PLACE: Final = "first"
"""Where a read model is that was never exchanged."""


class ElsewhereReadModel(ReadModel, ABC):
    """A read model of your own making in another server; give the class as ``read_model=``, as with `ReadModel`.

    Everything it does is done at its `place`. What it does has to be harmless to repeat, up to the `position` that it
    has reached: `persist` is called before the transaction of the page is committed.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.place = FIRST_PLACE
        """Where it writes; a name for each generation, never used again."""
        self.switches = 0
        """How often readers were led elsewhere before; it tells a late `promote` from a new one."""
        self.is_replay = False
        """Whether it is a copy that nobody reads."""
        self.position = 0
        """That of the event which is handled now."""

    def for_replay(self) -> Self:
        """It is a copy: what must not happen when history is played again is left out from now on."""
        self.is_replay = True
        return self

    def use_connection(self, generation: str) -> Self:
        """Read and write at that place from now on, and nowhere else."""
        self.place = generation
        return self

    def about(self, event: StoredEvent) -> None:
        """The event that is handled next."""
        self.position = event.position

    @abstractmethod
    def promote(self) -> None:
        """Lead readers to its place, at once for all of them. Harmless to repeat, and late ones do nothing."""

    @abstractmethod
    def remove(self) -> None:
        """Remove everything at its place. Harmless to repeat."""


def place_of(
    database: Database, connection: Connection, projection: str, generation: str
) -> tuple[str, int] | None:
    """Where a generation is, and the number of switches that led there; ``None`` where that was never recorded."""
    row = database.execute(
        connection,
        "SELECT place, switches FROM penstock_replay_places WHERE projection = ? AND generation = ?",
        (projection, generation),
    ).fetchone()
    return None if row is None else (row[0], int(row[1]))


def led(
    model: ElsewhereReadModel, database: Database, connection: Connection, projection: str, generation: str
) -> ElsewhereReadModel:
    """The model at the place of its generation. Raises `ConfigurationError` where a copy has none."""
    found = place_of(database, connection, projection, generation)
    if generation != LIVE:
        if found is None:
            raise ConfigurationError(
                f"the read model of projection {projection!r} lives elsewhere, and generation {generation!r} has no "
                "place there; only replays have copies of it"
            )
        model.for_replay()
    if found is not None:
        model.switches = found[1]
        model.use_connection(found[0])
    return model
