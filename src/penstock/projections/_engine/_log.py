"""What people did to projections, written in the transaction that does it, so that neither is there alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.projections._engine._sql import NOW, rows
from penstock.projections.abc import Deed
from penstock.store.database import Connection, Database

__all__ = ["MOST_LOGGED", "LoggedDeed", "latest", "note"]

MOST_LOGGED: Final = 1000
"""So many deeds of one projection are kept, the latest ones."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LoggedDeed:
    """A deed with the projection that it was done to."""

    projection: str
    when: datetime
    deed: Deed
    count: int
    """How many events it was about; 0 for one that is about the projection."""


def note(
    database: Database,
    connection: Connection,
    names: Sequence[str],
    generation: str,
    deed: Deed | None,
    *,
    count: int = 0,
) -> None:
    """Note a deed, if any, in the caller's transaction. Beyond `MOST_LOGGED` the oldest are dropped."""
    if deed is None:
        return
    for name in names:
        database.execute(
            connection,
            "INSERT INTO penstock_projection_log (projection, generation, at, who, what, which, why, events) "
            f"VALUES (?, ?, {NOW[database.dialect]}, ?, ?, ?, ?, ?)",
            (name, generation, deed.who, deed.what, deed.which, deed.why, count),
        )
        database.execute(
            connection,
            "DELETE FROM penstock_projection_log WHERE projection = ? AND id <= (SELECT id FROM "
            "penstock_projection_log WHERE projection = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (name, name, MOST_LOGGED),
        )


def latest(
    database: Database, connection: Connection, name: str | None, *, count: int = 100
) -> list[LoggedDeed]:
    """What was done to one projection or relay, or to all of this database, latest first."""
    chosen = "" if name is None else "WHERE projection = ? "
    found = rows(
        database,
        connection,
        "SELECT projection, at, who, what, which, why, events FROM penstock_projection_log "
        f"{chosen}ORDER BY at DESC, id DESC LIMIT ?",
        (*(() if name is None else (name,)), count),
    )
    return [
        LoggedDeed(projection, _EPOCH + timedelta(microseconds=at), Deed(who, what, which, why), events)
        for projection, at, who, what, which, why, events in found
    ]
