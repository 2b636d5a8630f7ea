"""Rows into a table by ``COPY``, for which a statement is not enough."""

from typing import TYPE_CHECKING, Any, cast

from penstock.store._postgres.errors import speaking_of
from penstock.store.database import Connection, Database

if TYPE_CHECKING:
    import psycopg

__all__ = ["copy_rows"]


def copy_rows(database: Database, connection: Connection, sql: str, text: str) -> None:
    """Run a ``COPY ... FROM STDIN`` that reads *text*, in the transaction that *connection* is in.

    Raises `StoreUnavailableError`, `StoreRefusedError`, and psycopg's errors for rows that cannot be.
    """
    ours = cast("psycopg.Connection[Any]", connection)
    with speaking_of(database.shown), ours.cursor() as cursor, cursor.copy(cast("Any", sql)) as copy:
        copy.write(text)
