"""How projections stand, read from the tables: nobody has to run for it, and a runner that died cannot lie about it."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec

from penstock.projections._engine._holding import Holding
from penstock.projections._engine._lease import left_us
from penstock.projections._engine._notes import Described
from penstock.projections._engine._sources import declared_sources, next_stretch
from penstock.projections._engine._sql import NOW, moment, rows
from penstock.projections.abc import LIVE, Checkpoint, ProjectionPlan, ProjectionState, ProjectionStatus
from penstock.store.abc import EventFilter, EventReader
from penstock.store.database import Connection, Database

__all__ = ["Stood", "state_of", "statuses"]

_MOST_LOOKS = 100
"""How many stretches are looked at for the oldest event that waits."""


@dataclass(frozen=True, slots=True)
class Stood:
    """What a state is made of."""

    wanted: str
    request: str
    holder: str | None
    lease_left_us: int
    error: str | None
    stands: bool
    on_failure: str
    lag: int
    page_events: int

    @property
    def is_alive(self) -> bool:
        """Whether somebody runs it."""
        return self.holder is not None and self.lease_left_us > 0


def state_of(stood: Stood) -> ProjectionState:
    """The one word for it. A runner that ended without a word is a failure, whatever it wrote last."""
    if stood.wanted == "stop" or stood.request:
        return "stopping" if stood.is_alive else "stopped"
    if stood.stands or (stood.error is not None and stood.on_failure == "halt"):
        return "halted"
    if stood.error is not None or (stood.holder is not None and not stood.is_alive):
        return "failed"
    if not stood.is_alive:
        return "idle"
    return "catching_up" if stood.lag > stood.page_events else "running"


_COLUMNS = (
    "p.projection, p.plan, p.wanted, p.request, p.holder, p.lease_until, p.session, p.stands, p.attempts, p.error, "
    "p.error_position, p.failed_at, c.position, c.version, c.sources, c.behind, c.former, c.updated_at, c.kind, "
    "c.source"
)
_POSITION, _VERSION = 12, 13
"""Where among them those of the checkpoint begin."""


def statuses(
    database: Database,
    connection: Connection,
    readers: Mapping[str, Callable[[], EventReader]],
    *,
    plans: Sequence[ProjectionPlan] = (),
    declared: Collection[str] | None = None,
    generation: str = LIVE,
    awaited: Collection[tuple[str, int]] = (),
) -> list[ProjectionStatus]:
    """Every projection and relay whose checkpoint is in this database, and the declared ones that never ran.

    Args:
        database: Where the checkpoints are.
        connection: A connection to it, in no transaction.
        readers: How each store is read, by its name; the lag of what reads another is not known, and told as 0.
        plans: The declarations that have this database as their target.
        declared: The names that are declared, when no plans are at hand; ``None``: those of *plans*, all without any.
        generation: Which copy of the read models.
        awaited: Projections and versions that some replay has. Where the live one is of another version than the
            declared one, and that is among these, nothing is wrong: it waits.
    """
    now = NOW[database.dialect]
    found = rows(
        database,
        connection,
        f"SELECT {_COLUMNS}, {now}, (SELECT count(*) FROM penstock_projection_failures f "
        "WHERE f.projection = p.projection AND f.generation = p.generation AND f.state <> 'failed') "
        "FROM penstock_projections p LEFT JOIN penstock_checkpoints c "
        "ON c.projection = p.projection AND c.generation = p.generation WHERE p.generation = ? ORDER BY p.projection",
        (generation,),
    )
    by_name = {plan.name: plan for plan in plans}
    known = declared if declared is not None else by_name.keys() if plans else None
    open_readers: dict[str, EventReader] = {}
    try:
        told = {
            row[0]: _status(database, connection, row, by_name.get(row[0]), known, readers, open_readers)
            for row in found
            if row[_POSITION] is not None or row[0] in by_name
        }
        for plan in plans:
            if plan.name not in told:
                told[plan.name] = _status(database, connection, None, plan, known, readers, open_readers)
    finally:
        for reader in open_readers.values():
            with closing(reader):
                pass
    recorded = {row[0]: row[_VERSION] for row in found}
    return [_waiting(told[name], by_name.get(name), recorded.get(name), awaited) for name in sorted(told)]


def _waiting(
    status: ProjectionStatus,
    plan: ProjectionPlan | None,
    recorded: int | None,
    awaited: Collection[tuple[str, int]],
) -> ProjectionStatus:
    """The same, but for one of another version that nobody runs while its own is in a replay."""
    if plan is None or recorded in (None, plan.version) or (plan.name, plan.version) not in awaited:
        return status
    if status.holder is not None or status.state == "stopped":
        return status
    return replace(status, state="waiting", error=None, error_position=None, attempts=0)


def _status(
    database: Database,
    connection: Connection,
    row: Any,
    plan: ProjectionPlan | None,
    declared: Collection[str] | None,
    readers: Mapping[str, Callable[[], EventReader]],
    open_readers: dict[str, EventReader],
) -> ProjectionStatus:
    if row is None:
        assert plan is not None
        row = (plan.name, "{}", "run", "", None, 0, None, 0, 0, None, None, None, *[None] * 8, 0, 0)
    (
        name,
        kept,
        wanted,
        request,
        holder,
        lease_until,
        session,
        stands,
        attempts,
        error,
        error_position,
        failed_at,
        *rest,
    ) = row
    position, version, sources, behind, former, updated_at, kind, source, now_us, parked = rest
    described = msgspec.json.decode(kept, type=Described)
    if plan is not None:
        described = Described.of(plan, described.names or plan.wanted.names)
    elif kind is not None:
        described = msgspec.structs.replace(described, kind=kind, source=source, version=version)
    filter_ = plan.wanted if plan is not None else EventFilter(described.streams, described.categories)
    checkpoint = Checkpoint(
        name,
        position=position or 0,
        sources=declared_sources(filter_)
        if sources is None
        else msgspec.json.decode(sources, type=tuple[str, ...]),
        behind=msgspec.json.decode(behind or "{}", type=dict[str, int]),
        former=msgspec.json.decode(former or "{}", type=dict[str, int]),
    )
    if described.source in readers and described.source not in open_readers:
        open_readers[described.source] = readers[described.source]()
    lag = _lag(open_readers.get(described.source), checkpoint, replace(filter_, names=described.names))
    left = 0 if holder is None else left_us(database, connection, Holding.read(session), lease_until - now_us)
    stood = Stood(
        wanted,
        request,
        holder,
        left,
        error,
        bool(stands),
        described.on_failure,
        lag.events,
        described.page_events,
    )
    state = state_of(stood)
    if state == "failed" and error is None:
        error = f"its runner {holder} went away without a word"
    return ProjectionStatus(
        name=name,
        kind=described.kind,
        version=described.version,
        source=described.source,
        target=described.target if plan is not None else database.name,
        streams=described.streams + tuple(f"{each}-*" for each in described.categories),
        mode=described.mode,
        on_failure=described.on_failure,
        state=state,
        position=checkpoint.position,
        head=lag.head,
        lag_events=lag.events,
        lag_seconds=lag.seconds,
        holder=holder if stood.is_alive else None,
        attempts=attempts if error is not None else 0,
        error=error,
        error_position=error_position,
        failed_at=moment(failed_at),
        parked=parked,
        updated_at=moment(updated_at or None),
        declared=declared is None or name in declared,
    )


@dataclass(frozen=True, slots=True)
class _Lag:
    head: int = 0
    events: int = 0
    seconds: float = 0.0


def _lag(reader: EventReader | None, checkpoint: Checkpoint, wanted: EventFilter) -> _Lag:
    if reader is None:
        return _Lag()
    head = reader.horizon().position
    events, oldest_us = 0, None
    for behind_first in (False, True):
        if behind_first and not checkpoint.behind:
            break
        stretch = next_stretch(checkpoint, wanted, through=head, behind_first=behind_first)
        if stretch is None:
            break
        events += reader.count(stretch.wanted, after=stretch.after, through=stretch.through)
        after = stretch.after
        for _ in range(_MOST_LOOKS):
            page = reader.read(stretch.wanted, after=after, through=stretch.through, limit=1)
            if page.events:
                recorded = page.events[0].recorded_us
                oldest_us = recorded if oldest_us is None else min(oldest_us, recorded)
                break
            if page.through >= stretch.through:
                break
            after = page.through
    age = 0.0 if oldest_us is None else max(0.0, time.time() - oldest_us / 1e6)
    return _Lag(head, events, timedelta(seconds=age).total_seconds())
