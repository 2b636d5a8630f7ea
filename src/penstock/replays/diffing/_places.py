"""Where throw-away copies are: a SQLite file, or a schema of a PostgreSQL database that was named for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import UsageError
from penstock.projections import Projection
from penstock.replays._workplace import Workplace
from penstock.replays.copies import copied_tables
from penstock.replays.diffing._scratch import Scratch, ScratchFile

__all__ = ["Place", "live_file", "only_store", "scratch_at"]


class Place(msgspec.Struct, frozen=True):
    """Where one is."""

    file: str = ""
    beside: str = ""
    """The SQLite file of the live read models."""
    url: str = ""
    schema: str = ""


def scratch_at(place: Place, projections: Sequence[Projection]) -> Scratch:
    """The throw-away database at a place, not made yet. Raises `UsageError`, `MissingExtraError`."""
    if not place.url:
        moved = frozenset(
            (each.schema, each.name) for each in copied_tables(projections) if each.schema is not None
        )
        return ScratchFile(Path(place.file), beside=Path(place.beside) if place.beside else None, moved=moved)
    if place.url.partition(":")[0] not in ("postgresql", "postgres"):
        raise UsageError(
            f"copies are built in SQLite files by themselves, or where a URL of PostgreSQL says; {place.url!r} is none"
        )
    from penstock.replays.diffing._scratch_postgres import ScratchSchema

    return ScratchSchema(place.url, place.schema)


def live_file(workplace: Workplace, projections: Sequence[Projection]) -> str:
    """The one SQLite file that the live read models are in, if they are in one and it is there; else an empty text."""
    found = {each.into for each in projections}
    if len(found) != 1:
        return ""
    database: Any = workplace.store(found.pop()).database
    return str(database.path) if database.dialect == "sqlite" and database.path.exists() else ""


def only_store(projections: Sequence[Projection]) -> str:
    """The store that all of them read. Raises `UsageError`."""
    found = sorted({each.store for each in projections})
    if len(found) > 1:
        said = ", ".join(f"{each.name!r} reads {each.store!r}" for each in projections)
        raise UsageError(f"the projections read different stores: {said}; take those of one store at a time")
    return found[0]
