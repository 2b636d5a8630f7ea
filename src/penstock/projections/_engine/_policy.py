"""What becomes of an event that cannot be handled, and whose fault a failure is. Everything here is pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from penstock.errors import TransientError
from penstock.projections.abc import ProjectionPlan
from penstock.retry import Record, RetryLater, decide
from penstock.telemetry import ErrorType, error_type

__all__ = [
    "Again",
    "ErrorType",
    "PutAside",
    "RunnerDied",
    "Stand",
    "Verdict",
    "error_type",
    "is_of_the_database",
    "judge",
    "said",
]


class RunnerDied(Exception):  # noqa: N818  what is recorded of an event whose handler ended the process
    """The process ended while it handled the event, as often as the policy lets it."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try the same event again after a while."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Stand:
    """Stand before the event until somebody says to go on."""


@dataclass(frozen=True, slots=True)
class PutAside:
    """Write the event to the failures and go on; *parking*: with every later one of its key."""

    parking: bool


Verdict: TypeAlias = Again | Stand | PutAside


def judge(plan: ProjectionPlan, failure: BaseException, attempts: int) -> Verdict:
    """Choose what becomes of an event that failed for the *attempts*-th time, alone."""
    if plan.on_failure == "halt":
        return Again(failure.after if isinstance(failure, RetryLater) else plan.retry.delay(attempts))
    match decide(failure, attempts, plan.retry):
        case Record(after=None):
            return Stand() if plan.on_failure == "retry" else PutAside(parking=plan.on_failure == "park")
        case Record(after=after) if after is not None:
            return Again(after)
        case _:
            return Again(plan.retry.delay(attempts))


def said(plan: ProjectionPlan, verdict: Verdict) -> str:
    """What comes next, for the log."""
    match verdict:
        case Again(after):
            return f"it is tried again in {after.total_seconds():.1f} s"
        case PutAside(parking):
            return "it is parked, and later ones of its key wait" if parking else "it is skipped"
        case _:
            return f"it stands until 'penstock {plan.kind}s retry {plan.name}'"


_SQLSTATES: Final = ("08", "40", "53", "57P", "58", "55P03")
"""Connection, rollback of a transaction by the server, resources, shutdown, system error, lock timeout."""
_SQLITE_CODES: Final = frozenset({5, 6, 7, 8, 10, 13, 14})
"""BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN (sqlite.org/rescode.html), without their extensions."""


def _chain(failure: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    follow: BaseException | None = failure
    while follow is not None and follow not in found:
        found.append(follow)
        follow = follow.__cause__ or getattr(follow, "orig", None)
    return found


def is_of_the_database(failure: BaseException) -> bool:
    """Whether it was the database that failed (away, full, locked, a deadlock), and not the event."""
    return any(map(_is_trouble, _chain(failure)))


def _is_trouble(failure: BaseException) -> bool:
    if isinstance(failure, TransientError):
        return True
    state, code = getattr(failure, "sqlstate", None), getattr(failure, "sqlite_errorcode", None)
    if isinstance(state, str):
        return state.startswith(_SQLSTATES)
    if isinstance(code, int):
        return code & 0xFF in _SQLITE_CODES
    # psycopg names no state when the connection itself is gone.
    kind = type(failure)
    return kind.__module__.startswith("psycopg") and kind.__name__ in ("OperationalError", "InterfaceError")
