"""Appending in a transaction of ours, as what reads a store and writes one does it."""

from typing import Any

from penstock.store.abc import Appended, AppendSteps, Conflict
from penstock.store.database import Connection, Database

__all__ = ["run_steps"]


def run_steps(database: Database, connection: Connection, steps: AppendSteps) -> list[Appended] | Conflict:
    """Do what *steps* ask for, in the transaction that *connection* is in."""
    try:
        sql, parameters = next(steps)
        while True:
            cursor: Any = database.execute(connection, sql, parameters)
            # A statement that answers no rows has no description.
            sql, parameters = steps.send(cursor.fetchall() if cursor.description is not None else [])
    except StopIteration as done:
        outcome: list[Appended] | Conflict = done.value
        return outcome
