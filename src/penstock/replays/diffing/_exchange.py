"""What is said between who compares and the process that builds one side: one JSON value in, one in a file back."""

from datetime import timedelta

import msgspec

from penstock.errors import PenstockError
from penstock.replays._workplace import Workplace, chosen
from penstock.replays.diffing._building import Built, build
from penstock.replays.diffing._events import Chosen, Source
from penstock.replays.diffing._places import Place, scratch_at
from penstock.store import make_backend

__all__ = ["COMMAND", "Answer", "Request", "StoreAt", "build_side"]

COMMAND = "replays:build-side"
"""The hidden command that builds a side: it reads a `Request` and writes an `Answer`."""


class StoreAt(msgspec.Struct, frozen=True):
    """A store that events are read from."""

    url: str
    schema: str | None = None

    def source(self, chosen: Chosen) -> Source:
        """Its events."""
        how = {} if self.schema is None else {"schema": self.schema}
        backend = make_backend("source", self.url, **how)
        return Source(backend.reader, chosen)


class Request(msgspec.Struct, frozen=True):
    """What is to be built, and where."""

    projections: tuple[str, ...]
    store: StoreAt
    chosen: Chosen
    place: Place
    answer: str
    """The file to which the answer is written."""


class Answer(msgspec.Struct, frozen=True):
    """What was built."""

    failure: str = ""
    """Why it was not; empty if it was."""
    tables: tuple[str, ...] = ()
    versions: dict[str, int] = {}
    events: int = 0
    put_aside: int = 0
    seconds: float = 0.0

    @property
    def built(self) -> Built:
        """As the one who asks has it."""
        return Built(self.tables, self.versions, self.events, self.put_aside, timedelta(seconds=self.seconds))


async def build_side(workplace: Workplace, request: Request) -> Answer:
    """Build one side, with the app of this process. Failures of ours are answered, others are raised."""
    try:
        projections = chosen(request.projections, workplace.projections)
        scratch = scratch_at(request.place, projections)
        built = await build(workplace, projections, scratch, request.store.source(request.chosen))
    except PenstockError as failure:
        return Answer(str(failure))
    return Answer(
        "", built.tables, dict(built.versions), built.events, built.put_aside, built.took.total_seconds()
    )
