"""What is noted about a running projection beside its checkpoint: attempts at one event, the error it stands at."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import msgspec

from penstock.clock import parse_duration
from penstock.errors import StaleRunnerError
from penstock.projections._engine._policy import error_type
from penstock.projections._engine._sql import NOW, dumps, one, transaction
from penstock.projections.abc import Mode, OnFailure, ProjectionKind, ProjectionPlan
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER, failure_facts

__all__ = [
    "Described",
    "Notes",
    "clear",
    "count_attempt",
    "describe",
    "log_failure",
    "note_error",
    "read_notes",
]

_LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Notes:
    """What a runner has to know before it goes on."""

    suspect: int | None
    """The position of an event that is handled alone, because it failed or because its handler ended the process."""
    attempts: int
    wait: timedelta
    """How long to leave it alone still."""
    stands: bool
    has_error: bool = False


class Described(msgspec.Struct, frozen=True):
    """What is kept of a declaration, for those who look without loading the code."""

    kind: ProjectionKind = "projection"
    source: str = "local"
    target: str = "local"
    version: int = 1
    streams: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    mode: Mode = "background"
    on_failure: OnFailure = "halt"
    page_events: int = 1000

    @classmethod
    def of(cls, plan: ProjectionPlan, names: tuple[str, ...]) -> Self:
        """The part of a plan that is kept, with the event *names* that have handlers."""
        return cls(
            plan.kind,
            plan.source,
            plan.target,
            plan.version,
            plan.wanted.streams,
            plan.wanted.categories,
            names,
            plan.mode,
            plan.on_failure,
            plan.page_events,
        )


def describe(
    database: Database, connection: Connection, plan: ProjectionPlan, generation: str, names: tuple[str, ...]
) -> None:
    """Keep the declaration, where it is not the one that is kept."""
    text = dumps(Described.of(plan, names))
    database.execute(
        connection,
        "UPDATE penstock_projections SET plan = ? WHERE projection = ? AND generation = ? AND plan <> ?",
        (text, plan.name, generation, text),
    )


def read_notes(
    database: Database, connection: Connection, plan: ProjectionPlan, key: tuple[str, str]
) -> Notes:
    """The notes on a projection. A wait that the database's clock cannot be right about is none."""
    longest_us = parse_duration(plan.retry.longest) * (1 + plan.retry.jitter) // timedelta(microseconds=1)
    row = one(
        database,
        connection,
        f"SELECT suspect, attempts, retry_at - {NOW[database.dialect]}, stands, error IS NOT NULL, "
        f"failed_at - {NOW[database.dialect]} FROM penstock_projections  WHERE projection = ? AND generation = ?",
        key,
    )
    if row is None:
        return Notes(None, 0, timedelta(0), stands=False)
    suspect, attempts, wait_us, stands, has_error, failed_in_us = row
    if failed_in_us is None:
        wait_us = min(wait_us, longest_us)
    elif failed_in_us > 0:
        # The clock went back since; what is left of the wait is not known.
        wait_us = 0
    return Notes(suspect, attempts, timedelta(microseconds=max(wait_us, 0)), bool(stands), bool(has_error))


def count_attempt(
    database: Database,
    connection: Connection,
    plan: ProjectionPlan,
    key: tuple[str, str],
    position: int,
    *,
    token: str,
) -> int:
    """Count an attempt at one event, durably, before its handler runs; which one it is.

    The event is left alone for the back-off of this attempt, should the process end in it. Raises `StaleRunnerError`
    when the lease under *token* has gone to another.
    """
    with transaction(database, connection):
        row = one(
            database,
            connection,
            "UPDATE penstock_projections SET attempts = CASE WHEN suspect = ? THEN attempts + 1 ELSE 1 END, "
            "suspect = ? WHERE projection = ? AND generation = ? AND token = ? RETURNING attempts",
            (position, position, *key, token),
        )
        if row is None:
            raise StaleRunnerError(plan.name)
        attempts = int(row[0])
        database.execute(
            connection,
            f"UPDATE penstock_projections SET retry_at = {NOW[database.dialect]} + ? "
            "WHERE projection = ? AND generation = ?",
            (plan.retry.delay(attempts) // timedelta(microseconds=1), *key),
        )
    return attempts


def note_error(
    database: Database,
    connection: Connection,
    key: tuple[str, str],
    failure: BaseException,
    *,
    token: str,
    event: StoredEvent | None = None,
    after: timedelta | None = None,
    stands: bool = False,
) -> None:
    """Show what went wrong, with the event if it was one, and when it will be tried again; in a transaction of its own.

    Nothing is noted when the lease under *token* has gone to another.
    """
    with transaction(database, connection):
        database.execute(
            connection,
            "UPDATE penstock_projections SET error = ?, error_class = ?, error_type = ?, error_position = ?, "
            f"error_event_id = ?, failed_at = {NOW[database.dialect]}, "
            f"retry_at = {NOW[database.dialect]} + ?, stands = ? "
            "WHERE projection = ? AND generation = ? AND token = ?",
            (
                str(failure).replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST_TEXT],
                type(failure).__name__,
                error_type(failure),
                event.position if event is not None else None,
                event.id if event is not None else None,
                (after or timedelta(0)) // timedelta(microseconds=1),
                int(stands),
                *key,
                token,
            ),
        )


def clear(database: Database, connection: Connection, key: tuple[str, str]) -> None:
    """Nothing is wrong any more: inside the transaction that gets past the event."""
    database.execute(
        connection,
        "UPDATE penstock_projections SET error = NULL, error_class = NULL, error_type = NULL, error_position = NULL, "
        "error_event_id = NULL, failed_at = NULL, suspect = NULL, attempts = 0, retry_at = 0, stands = 0 "
        "WHERE projection = ? AND generation = ?",
        key,
    )


def log_failure(
    plan: ProjectionPlan,
    failure: BaseException,
    *,
    event: StoredEvent | None = None,
    attempts: int = 0,
    outcome: str,
) -> None:
    """One structured record for each failure (`penstock.telemetry.failure_facts`); the traceback goes along."""
    operation = "consume" if plan.kind == "projection" else "produce"
    what = f"{plan.kind} {plan.name!r}"
    place = f" at position {event.position} ({event.name}, event {event.id})" if event is not None else ""
    LOGGER.error(
        "%s failed%s: %s; %s",
        what,
        place,
        failure,
        outcome,
        exc_info=failure,
        extra={
            **failure_facts(
                operation,
                stream=event.stream if event is not None else "",
                event_name=event.name if event is not None else "",
                error=failure,
            ),
            "projection": plan.name,
            "event_id": event.id if event is not None else None,
            "position": event.position if event is not None else None,
            "attempt": attempts,
        },
    )
