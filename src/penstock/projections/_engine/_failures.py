"""The table of failures: events that were put aside, and those that wait behind them because they have the same key."""

import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from penstock.projections._engine._policy import error_type
from penstock.projections._engine._sql import NOW, one, rows
from penstock.projections.abc import ProjectionFailure
from penstock.store.abc import EventFilter, EventReader, StoredEvent
from penstock.store.database import Connection, Database

__all__ = [
    "Vanished",
    "Wanted",
    "fail_again",
    "is_parked",
    "lane_of",
    "listed",
    "next_wanted",
    "parked_lanes",
    "put_aside",
    "remove",
    "settle",
    "stored",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_TEXT: Final = 20_000
"""Characters of a message or traceback that are kept."""
_SHOWN: Final = (
    "id, projection, position, event_id, event_name, stream, key, error_type, message, traceback, attempts, state, "
    "error_class, first_at, last_at"
)


def lane_of(event: StoredEvent) -> str:
    """What has to stay in order with an event: its key, or its stream if it has none."""
    return f"stream:{event.stream}" if event.key is None else f"key:{event.key}"


def parked_lanes(database: Database, connection: Connection, name: str, generation: str) -> set[str]:
    """The lanes whose later events have to wait."""
    found = rows(
        database,
        connection,
        "SELECT DISTINCT lane FROM penstock_projection_failures "
        "WHERE projection = ? AND generation = ? AND state <> 'failed'",
        (name, generation),
    )
    return {lane for [lane] in found}


def put_aside(
    database: Database,
    connection: Connection,
    key: tuple[str, str],
    event: StoredEvent,
    failure: BaseException | None,
    *,
    parking: bool,
    attempts: int,
) -> None:
    """Record an event inside the transaction that moves the checkpoint past it; without a *failure* it only waits."""
    state = "waiting" if failure is None else "parked" if parking else "failed"
    now = NOW[database.dialect]
    database.execute(
        connection,
        "INSERT INTO penstock_projection_failures (id, projection, generation, position, lane, event_id, event_name, "
        "stream, key, error_class, error_type, message, traceback, attempts, state, first_at, last_at) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now}, {now})",
        (
            *(uuid.uuid4().hex, *key, event.position, lane_of(event), event.id, event.name),
            *(event.stream, event.key, *_told(failure), attempts, state),
        ),
    )


def _told(failure: BaseException | None) -> tuple[str, str, str, str]:
    """Class, type, message and traceback, as they are kept."""
    if failure is None:
        return "", "", "", ""
    trace = "".join(traceback.format_exception(failure))
    # PostgreSQL's text holds no NUL.
    message, trace = (text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in (str(failure), trace))
    return type(failure).__name__, error_type(failure), message[:_LONGEST_TEXT], trace[-_LONGEST_TEXT:]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A failure that somebody wants to have tried again."""

    id: str
    position: int
    stream: str
    lane: str
    state: str


def next_wanted(database: Database, connection: Connection, key: tuple[str, str]) -> Wanted | None:
    """The next failure to try: of a parked lane always its first."""
    row = one(
        database,
        connection,
        "SELECT f.id, f.position, f.stream, f.lane, f.state FROM penstock_projection_failures f "
        "WHERE f.projection = ? AND f.generation = ? AND f.wanted = 1 AND (f.state = 'failed' OR NOT EXISTS "
        "(SELECT 1 FROM penstock_projection_failures e WHERE e.projection = f.projection "
        "AND e.generation = f.generation AND e.lane = f.lane AND e.state <> 'failed' AND e.position < f.position)) "
        "ORDER BY f.position LIMIT 1",
        key,
    )
    return None if row is None else Wanted(*row)


def settle(database: Database, connection: Connection, key: tuple[str, str], done: Wanted) -> bool:
    """Remove a failure that was handled, inside its transaction; whether its lane is free now."""
    remove(database, connection, key, [done.id])
    return not is_parked(database, connection, key, done.lane)


def is_parked(database: Database, connection: Connection, key: tuple[str, str], lane: str) -> bool:
    """Whether later events of a lane have to wait."""
    row = one(
        database,
        connection,
        "SELECT 1 FROM penstock_projection_failures "
        "WHERE projection = ? AND generation = ? AND lane = ? AND state <> 'failed' LIMIT 1",
        (*key, lane),
    )
    return row is not None


def fail_again(
    database: Database, connection: Connection, key: tuple[str, str], tried: Wanted, failure: BaseException
) -> None:
    """It failed once more: note how, and leave it and what waits behind it."""
    error_class, kind, message, trace = _told(failure)
    state = "failed" if tried.state == "failed" else "parked"
    database.execute(
        connection,
        "UPDATE penstock_projection_failures SET wanted = 0, attempts = attempts + 1, state = ?, error_class = ?, "
        f"error_type = ?, message = ?, traceback = ?, last_at = {NOW[database.dialect]} WHERE id = ?",
        (state, error_class, kind, message, trace, tried.id),
    )
    if tried.state != "failed":
        database.execute(
            connection,
            "UPDATE penstock_projection_failures SET wanted = 0 "
            "WHERE projection = ? AND generation = ? AND lane = ? AND state <> 'failed'",
            (*key, tried.lane),
        )


def remove(
    database: Database, connection: Connection, key: tuple[str, str], ids: Sequence[str] | None = None
) -> int:
    """Remove these failures, or all; how many there were."""
    where, parameters = "projection = ? AND generation = ?", [*key]
    if ids is not None:
        where += f" AND id IN ({', '.join('?' * len(ids))})" if ids else " AND 1 = 0"
        parameters += ids
    return database.execute(
        connection, f"DELETE FROM penstock_projection_failures WHERE {where}", parameters
    ).rowcount


class Vanished(Exception):  # noqa: N818  says why, inside the engine
    """An event of the failures is gone from the store."""


def stored(reader: EventReader, wanted: Wanted) -> StoredEvent:
    """The event of a failure. Raises `Vanished`."""
    place = wanted.position
    found = reader.read(EventFilter(streams=(wanted.stream,)), after=place - 1, through=place, limit=1)
    if not found.events:
        raise Vanished(f"the event at position {place} is not in the store any more; discard it")
    return found.events[0]


def listed(
    database: Database,
    connection: Connection,
    *,
    name: str | None = None,
    generation: str = "",
    after: int = 0,
    limit: int = 1000,
) -> list[ProjectionFailure]:
    """Failures by projection and position."""
    found = rows(
        database,
        connection,
        f"SELECT {_SHOWN} FROM penstock_projection_failures WHERE generation = ? AND position > ?"
        f"{' AND projection = ?' if name is not None else ''} ORDER BY projection, position LIMIT ?",
        (generation, after, *([name] if name is not None else []), limit),
    )
    return [_shown(row) for row in found]


def _shown(row: Any) -> ProjectionFailure:
    id_, projection, position, event_id, event_name, stream, key, *told, first_at, last_at = row
    kind, message, trace, attempts, state, error_class = told
    return ProjectionFailure(
        id=id_,
        projection=projection,
        position=position,
        event_id=event_id,
        event_name=event_name,
        stream=stream,
        key=key,
        error_type=kind,
        message=message,
        traceback=trace,
        attempts=attempts,
        state=state,
        first_at=_EPOCH + timedelta(microseconds=first_at),
        last_at=_EPOCH + timedelta(microseconds=last_at),
        error_class=error_class,
    )
