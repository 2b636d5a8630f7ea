"""A database with read models in it: where checkpoints, inboxes and projections' effects live, in one transaction.

Every event store is in a database, and its read models are in the same one unless a projection says otherwise.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

__all__ = ["Connection", "Cursor", "Database", "Dialect"]

Dialect: TypeAlias = Literal["sqlite", "postgresql"]
"""Which SQL a database speaks."""


class Cursor(Protocol):
    """The part of a DB-API cursor (PEP 249) that is used."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or ``None``."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Connection(Protocol):
    """A DB-API connection of ours in manual commit mode: `sqlite3.Connection` or `psycopg.Connection`.

    A transaction begins with `Database.begin` and ends with `commit` or `rollback`.
    """

    def commit(self) -> None:
        """Make what was done last."""
        ...

    def rollback(self) -> None:
        """Undo what was done."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Database(Protocol):
    """One database. Connections are made by and used in the thread that asks for them."""

    name: str
    """The name of its store in settings."""
    dialect: Dialect
    url: str
    """As configured, with the password in it: never show it, `shown` is for that."""
    shown: str

    def connect(self, *, application: str = "") -> Connection:
        """A new connection; *application* is how PostgreSQL shows it. Close it.

        Raises `StoreUnavailableError`, `StoreRefusedError`.
        """
        ...

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction: on SQLite ``BEGIN IMMEDIATE`` to write (waits for the lock), on PostgreSQL ``BEGIN``."""
        ...

    def execute(self, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """Run one statement, written with ``?`` for parameters on both dialects.

        Raises `StoreUnavailableError` and `StoreRefusedError` for what the driver raises as operational errors;
        other errors of the driver as they are.
        """
        ...

    def engine(self) -> Any:
        """A ``sqlalchemy.Engine`` for this database, made once, for users' own sessions. Raises `MissingExtraError`."""
        ...
