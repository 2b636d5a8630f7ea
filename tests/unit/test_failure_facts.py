"""The form that every log record of a failure has, wherever it comes from."""

import sqlite3

import psycopg
import pytest
import sqlalchemy.exc

from penstock.errors import StoreRefusedError, StoreUnavailableError, WrongVersionError
from penstock.telemetry import failure_facts


def _from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.covers("FAIL-11")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no"), "general_error"),
        (KeyError("no"), "general_error"),
        (WrongVersionError("order-1", expected="3", actual=4), "general_error"),
        (sqlite3.IntegrityError("no"), "database_error"),
        (psycopg.OperationalError("no"), "database_error"),
        (sqlalchemy.exc.IntegrityError("insert", {}, ValueError("no")), "database_error"),
        (StoreUnavailableError("away"), "database_error"),
        (StoreRefusedError("not allowed"), "database_error"),
        (_from(ValueError("no"), sqlite3.OperationalError("locked")), "database_error"),
        (_from(ValueError("no"), KeyError("no")), "general_error"),
        (None, "general_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_failure_says_whether_a_database_is_at_fault(error: BaseException | None, expected: str) -> None:
    """Drivers' errors and a store that is away are the database's, everything else is not."""
    facts = failure_facts("project", stream="order-1", event_name="order.placed", error=error)
    assert facts["error_type"] == expected


@pytest.mark.covers("FAIL-11")
def test_a_failure_names_operation_stream_event_and_class() -> None:
    """The class with its module, as tracebacks name it; a built-in one without."""
    facts = failure_facts("relay", stream="order-1", event_name="order.placed", error=ValueError("no"))
    assert facts == {
        "operation": "relay",
        "stream": "order-1",
        "event_name": "order.placed",
        "error_class": "ValueError",
        "error_type": "general_error",
    }
    theirs = failure_facts("project", stream="s", event_name="e", error=sqlite3.OperationalError("no"))
    assert theirs["error_class"] == "sqlite3.OperationalError"
