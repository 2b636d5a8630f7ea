"""How a replay stands: read from its checkpoints, its leases and its plays, by anybody, whoever works on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from penstock.errors import StoreError
from penstock.projections._engine import _lease
from penstock.projections._engine._sql import rows, transaction
from penstock.projections._engine._status import statuses
from penstock.projections.abc import LIVE, ProjectionPlan, ProjectionStatus
from penstock.replays import _plays
from penstock.replays._connecting import connected
from penstock.replays._records import Record, Records
from penstock.replays.abc import Play, ReadModelCopy, Replay, ReplayProgress
from penstock.store.abc import EventReader

__all__ = ["holder_of", "last_play", "progress_of", "standing", "standing_live", "with_error"]

Readers = Mapping[str, Callable[[], EventReader]]


def standing(
    copy: ReadModelCopy, record: Record, readers: Readers, plans: Sequence[ProjectionPlan]
) -> list[ProjectionStatus]:
    """Each projection of a replay, as it stands in the copy; as declared, where the copy was not made yet."""
    names = record.replay.projections
    known = [plan for plan in plans if plan.name in names]
    replay = record.replay
    is_bare = replay.state == "promoted" and not replay.former_versions
    if not replay.place or is_bare or not copy.exists():
        with connected(copy.live_database) as connection:
            # Nobody has run this generation: every plan is told as one that never ran.
            found = statuses(copy.live_database, connection, readers, plans=known, generation=copy.key)
    else:
        with connected(copy.database) as connection:
            found = statuses(copy.database, connection, readers, plans=known, generation=copy.key)
    return [each for each in found if each.name in names]


def standing_live(copy: ReadModelCopy, record: Record) -> list[ProjectionStatus]:
    """Each projection of a replay that ever ran, as what is live stands; its lag is not looked at."""
    database = copy.live_database
    with connected(database) as connection:
        found = statuses(database, connection, {}, generation=LIVE)
    return [each for each in found if each.name in record.replay.projections]


def progress_of(replay: Replay, found: Sequence[ProjectionStatus], play: Play | None) -> ReplayProgress:
    """How far it is, out of how its projections stand and its last play."""
    rate, handled = 0.0, 0
    if play is not None and play.outcome == "running":
        handled = play.events
        took = (datetime.now(UTC) - play.started_at).total_seconds()
        rate = handled / took if took > 0 else 0.0
    lag = sum(each.lag_events for each in found)
    return ReplayProgress(
        key=replay.key,
        state=replay.state,
        position=min((each.position for each in found), default=0),
        head=max((each.head for each in found), default=0),
        lag_events=lag,
        handled=handled,
        rate=rate,
        remaining=timedelta(seconds=lag / rate) if rate > 0 else None,
        is_running=any(each.holder is not None for each in found),
    )


def last_play(records: Records, key: str) -> Play | None:
    """Its latest play."""
    found = records.call(lambda connection: _plays.latest(records.database, connection, key, limit=1))
    return found[0] if found else None


def holder_of(copy: ReadModelCopy) -> str | None:
    """Who plays or feeds one of its projections in the copy at this moment."""
    if not copy.exists():
        return None
    database = copy.database
    with (
        connected(database) as connection,
        transaction(database, connection, write=False),
    ):
        found = rows(
            database,
            connection,
            "SELECT projection, holder FROM penstock_projections WHERE generation = ? AND token IS NOT NULL",
            (copy.key,),
        )
        alive = (holder for name, holder in found if _lease.is_alive(database, connection, name, copy.key))
        return next(alive, None)


def with_error(copy: ReadModelCopy, record: Record) -> Replay:
    """A replay with what is wrong with it now: what made its last play fail, else what those who feed it stand at."""
    replay = record.replay
    if replay.error:
        return replay
    try:
        error = _deaths(copy, replay) if replay.state == "building" else _standing_at(copy, record)
    except StoreError as failure:
        error = str(failure)
    return replace(replay, error=error) if error else replay


def _standing_at(copy: ReadModelCopy, record: Record) -> str:
    """What those who feed it stand at."""
    if not record.is_fed or not copy.exists():
        return ""
    with connected(copy.database) as connection:
        found = statuses(copy.database, connection, {}, generation=copy.key)
    wrong = [each for each in found if each.name in record.replay.projections and each.error]
    return "; ".join(f"projection {each.name!r}: {each.error}" for each in wrong)


def _deaths(copy: ReadModelCopy, replay: Replay) -> str:
    """What is said of one that nobody goes on with by himself any more."""
    live = copy.live_database
    with connected(live) as connection:
        place = _plays.died_in_vain(live, connection, replay.key)
    if place is None or holder_of(copy) is not None:
        return ""
    return (
        f"the processes that played it died one after the other, and came no further than position {place}; nobody "
        "goes on with it by himself now: see what its handlers do there, and start it again"
    )
