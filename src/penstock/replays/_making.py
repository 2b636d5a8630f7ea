"""Making and removing the copy of a replay with its record: neither is left alone by a process that is killed.

The record comes first and goes last. One without a place is of a copy that is not made, or half made; making it again
is harmless, and so is removing it. One process at a time does either.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from penstock.errors import PenstockError, ReplayBusyError, ReplayError
from penstock.projections._engine._sql import dumps
from penstock.replays._elsewhere_places import Elsewhere, Models, models_of
from penstock.replays._keeping import alone_at
from penstock.replays._lanes import forget as forget_lanes
from penstock.replays._looking import holder_of
from penstock.replays._playing import Site
from penstock.replays._records import Record, Records
from penstock.replays.abc import Candidate, ReadModelCopy, Replay

__all__ = ["create", "ensure_made", "remove"]

_STEP: Final = "be removed"
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
    with alone_at(records.database, replay.key, "be created"):
        if records.get(replay.key).replay.place:
            return  # somebody has started it already
        elsewhere = Elsewhere(records.database, replay.key, models_of(candidates))
        try:
            elsewhere.make()
            copy.create(candidates)
        except BaseException:
            with suppress(PenstockError):
                copy.drop()
                elsewhere.remove()
                records.forget(replay.key)
            raise
        records.place(replay.key, copy.where, copy.tables)


def ensure_made(records: Records, record: Record, site: Site) -> None:
    """Make the copy where the process that created or removed the replay was killed before that was done.

    Raises `UnknownReplayError` if it is gone by now.
    """
    if record.replay.place:
        return
    with alone_at(records.database, site.key, "start"):
        if records.get(site.key).replay.place:
            return  # whoever created it has come to that now, or another has started it
        elsewhere = Elsewhere(records.database, site.key, models_of(site.candidates))
        site.copy.drop()
        forget_lanes(site.copy)
        elsewhere.make()
        site.copy.create(site.candidates)
        records.place(site.key, site.copy.where, site.copy.tables)


def remove(
    records: Records,
    key: str,
    copy: ReadModelCopy,
    who: str,
    models: Models | None = None,
    *,
    why: str = "",
) -> None:
    """Have nobody feed it, wait until nobody does, and remove it. Raises `ReplayBusyError`; it is as it was then."""
    with alone_at(records.database, key, _STEP):
        record = records.get(key)
        if record.replay.state == "building" and (holder := holder_of(copy)):
            raise ReplayBusyError(key, step=_STEP, reason=f"it is played by {holder}")
        if record.is_fed:
            records.move(key, "unfollow", changes={"is_fed": False}, revision=record.revision)
        try:
            _wait_let_go(copy)
            # Nothing is marked before it is sure to go through: who is at it would find himself without a copy.
            with copy.alone():
                former = records.get(key)
                if former.is_fed:
                    raise ReplayBusyError(key, step=_STEP, reason="somebody feeds it again")
                records.move(key, "remove", changes=_UNMADE, revision=former.revision)
            try:
                copy.drop()
            except Exception:
                _restore(records, former.replay)
                raise
        except Exception:
            if record.is_fed:
                with suppress(ReplayError):
                    records.move(key, "follow", changes={"is_fed": True})
            raise
        # What is left when this fails, or the process is killed, goes when it is removed or made again.
        forget_lanes(copy)
        Elsewhere(records.database, key, models or {}).remove()
        records.remove(key, who=who, why=why)


def _restore(records: Records, former: Replay) -> None:
    """It is all there still; only of a process that was killed is the rest not known."""
    records.set(
        former.key,
        state=former.state,
        place=former.place,
        is_verified=former.is_verified,
        former_versions=dumps(former.former_versions),
    )


def _wait_let_go(copy: ReadModelCopy) -> None:
    ends = time.monotonic() + _LET_GO_SECONDS
    while holder := holder_of(copy):
        if time.monotonic() >= ends:
            reason = f"it is worked on by {holder}, which does not let go"
            raise ReplayBusyError(copy.key, step=_STEP, reason=reason)
        time.sleep(_LOOK_SECONDS)
