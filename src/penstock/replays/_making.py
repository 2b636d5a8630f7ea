"""Making and removing the copy of a replay with its record: neither is left alone by a process that is killed.

The record comes first and goes last. One without a place is of a copy that is not made, or half made; making it again
is harmless, and so is removing it.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Final

from penstock.errors import ReplayBusyError, ReplayError, StoreError
from penstock.projections._engine import _lease
from penstock.projections._engine._sql import dumps, rows, transaction
from penstock.replays._elsewhere_places import Elsewhere, Models, models_of
from penstock.replays._lanes import forget as forget_lanes
from penstock.replays._playing import Site
from penstock.replays._records import Record, Records
from penstock.replays.abc import Candidate, ReadModelCopy, Replay

__all__ = ["create", "ensure_made", "remove"]

_LET_GO_SECONDS: Final = 15.0
"""So long those who feed a copy have to notice that they are to stop."""
_LOOK_SECONDS: Final = 0.05
_UNMADE: Final[Mapping[str, object]] = {"place": "", "is_verified": False, "former_versions": "{}"}
"""What the record says while its copy is being removed: if that is cut short, there is no copy to rely on."""


def create(
    records: Records, replay: Replay, copy: ReadModelCopy, candidates: Sequence[Candidate], *, why: str = ""
) -> None:
    """Make a record and its copy; whatever is raised, neither is left. Raises `ReplayExistsError`, `ReplayError`."""
    records.insert(replay, why=why)
    try:
        Elsewhere(records.database, replay.key, models_of(candidates)).make()
        copy.create(candidates)
    except BaseException:
        with suppress(StoreError):
            copy.drop()
            Elsewhere(records.database, replay.key, models_of(candidates)).remove()
            records.forget(replay.key)
        raise
    records.place(replay.key, copy.where, copy.tables)


def ensure_made(records: Records, record: Record, site: Site) -> None:
    """Make the copy where the process that created or removed the replay was killed before that was done."""
    if not record.replay.place:
        site.copy.drop()
        Elsewhere(records.database, site.key, models_of(site.candidates)).make()
        site.copy.create(site.candidates)
        records.place(site.key, site.copy.where, site.copy.tables)


def remove(
    records: Records,
    record: Record,
    copy: ReadModelCopy,
    who: str,
    elsewhere: Models | None = None,
    *,
    why: str = "",
) -> None:
    """Have nobody feed it, wait until nobody does, and remove it. Raises `ReplayBusyError`; it is as it was then."""
    key = record.replay.key
    if record.replay.state == "building" and (holder := _holder(copy, record)):
        raise ReplayBusyError(key, step="be removed", reason=f"it is played by {holder}")
    if record.is_fed:
        records.move(key, "unfollow", changes={"is_fed": False})
    try:
        if record.is_fed:
            _wait_let_go(copy, record)
        # Nothing is marked before it is sure to go through: who is at it would find himself without a copy.
        with copy.alone():
            former = records.get(key).replay
            records.move(key, "remove", changes=_UNMADE)
        _take_away(records, copy, former, elsewhere or {})
    except Exception:
        if record.is_fed:
            with suppress(ReplayError):
                records.move(key, "follow", changes={"is_fed": True})
        raise
    records.remove(key, who=who, why=why)


def _take_away(records: Records, copy: ReadModelCopy, former: Replay, elsewhere: Models) -> None:
    try:
        Elsewhere(records.database, former.key, elsewhere).remove()
        forget_lanes(copy)
        copy.drop()
    except Exception:
        # It is all there still; only of a process that was killed is the rest not known.
        records.set(
            former.key,
            state=former.state,
            place=former.place,
            is_verified=former.is_verified,
            former_versions=dumps(former.former_versions),
        )
        raise


def _wait_let_go(copy: ReadModelCopy, record: Record) -> None:
    ends = time.monotonic() + _LET_GO_SECONDS
    while holder := _holder(copy, record):
        if time.monotonic() >= ends:
            reason = f"it is fed by {holder}, which does not let go"
            raise ReplayBusyError(record.replay.key, step="be removed", reason=reason)
        time.sleep(_LOOK_SECONDS)


def _holder(copy: ReadModelCopy, record: Record) -> str | None:
    """Who runs one of its projections in the copy at this moment."""
    if not copy.exists():
        return None
    database, key = copy.database, record.replay.key
    with (
        closing(database.connect(application="penstock replays")) as connection,
        transaction(database, connection, write=False),
    ):
        found = rows(
            database,
            connection,
            "SELECT projection, holder FROM penstock_projections WHERE generation = ? AND token IS NOT NULL",
            (key,),
        )
        alive = [holder for name, holder in found if _lease.is_alive(database, connection, name, key)]
    return alive[0] if alive else None
