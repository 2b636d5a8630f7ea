"""Callers with a transaction of their own, as any driver would run the steps of an append."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from penstock.message import Meta
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.placeholders import translated
from penstock.store.abc import ANY, Append, Appended, AppendSteps, Conflict, Expected, NewEvent

__all__ = ["add", "caller", "new", "run", "table"]


def new(stream: str, event_id: str, *, data: bytes | None = b'{"total":3}', **envelope: Any) -> NewEvent:
    """An event."""
    return NewEvent(stream, event_id, "order.placed", Meta(time=1_700_000_000_000_000, **envelope), data)


def run(connection: "psycopg.Connection[Any]", steps: AppendSteps) -> list[Appended] | Conflict:
    """Run the statements of an append on *connection*, in the transaction that it is in."""
    rows: Sequence[Sequence[Any]] | None = None
    while True:
        try:
            sql, parameters = steps.send(rows) if rows is not None else next(steps)
        except StopIteration as end:
            outcome: list[Appended] | Conflict = end.value
            return outcome
        rows = connection.execute(translated(sql, "format").encode(), parameters).fetchall()


def add(
    store: PostgresBackend, connection: "psycopg.Connection[Any]", *events: NewEvent, expected: Expected = ANY
) -> list[Appended] | Conflict:
    """Append in the transaction of *connection*."""
    return run(connection, store.steps(Append(events, expected)))


@contextmanager
def caller(store: PostgresBackend, *, application: str = "caller") -> Iterator["psycopg.Connection[Any]"]:
    """A connection whose transaction begins with its first statement; rolled back at the end."""
    url = store.database.url
    with psycopg.connect(url, application_name=application) as connection:
        yield connection
        connection.rollback()


def table(url: str) -> list[tuple[int, str, int]]:
    """Positions, streams and versions of all events, by position."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT position, stream, version FROM penstock_events ORDER BY position"
        ).fetchall()
