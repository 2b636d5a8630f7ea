"""Sessions and connections of SQLAlchemy, over any driver that takes parameters by place."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import UsageError
from penstock.store.within._bells import ring_after_connection, ring_after_session
from penstock.store.within._callers import Caller, Rows
from penstock.store.within._placeholders import Style, translated
from penstock.store.within._sqlite import would_commit_at_once as sqlite_would_commit_at_once

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = ["ConnectionCaller", "SessionCaller"]

_IDLE: Final = 0
"""``PQTRANS_IDLE`` of libpq, as psycopg and psycopg2 have it."""

_STYLES: Final[dict[str, Style]] = {
    "qmark": "qmark",
    "format": "format",
    "pyformat": "format",
    "numeric_dollar": "numeric",
}


class ConnectionCaller(Caller):
    """A `sqlalchemy.Connection`. It begins a transaction by itself if it is in none, as for any statement."""

    def __init__(self, connection: "Connection") -> None:
        dialect = connection.dialect
        if dialect.name not in ("sqlite", "postgresql"):
            raise UsageError(
                f"this SQLAlchemy connection is to {dialect.name!r}; an event store is in SQLite or PostgreSQL"
            )
        if dialect.paramstyle not in _STYLES:
            raise UsageError(
                f"events cannot be appended over the driver {dialect.driver!r}; "
                "take psycopg, asyncpg or psycopg2 for PostgreSQL, pysqlite or aiosqlite for SQLite"
            )
        self.dialect = "sqlite" if dialect.name == "sqlite" else "postgresql"
        self._style: Style = _STYLES[dialect.paramstyle]
        self._connection = connection
        # An engine may have several faces (`execution_options`) and pools, one after another; the dialect is one.
        self.place = dialect

    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""
        if not self._connection.in_transaction():
            self._connection.begin()
        lent: Any = self._connection.connection
        if self.dialect == "sqlite":
            at_once = sqlite_would_commit_at_once(lent.driver_connection)
        else:
            at_once = lent.dbapi_connection.autocommit and _is_idle(lent.driver_connection)
        if at_once:
            raise UsageError(
                "this SQLAlchemy connection commits each statement by itself (isolation level AUTOCOMMIT); "
                "take one that does not: engine.execution_options(isolation_level=...)"
            )

    def has_begun(self) -> bool:
        """Whether the transaction may have begun in the database, too."""
        if self.dialect != "sqlite":
            return True
        lent: Any = self._connection.connection
        return bool(lent.driver_connection.in_transaction)

    def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement."""
        result = self._connection.exec_driver_sql(translated(sql, self._style), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []

    def after_commit(self, ring: Callable[[], None]) -> None:
        """Ring when the connection is given back or begins anew after a commit."""
        ring_after_connection(self._connection, ring)


class SessionCaller(ConnectionCaller):
    """A `sqlalchemy.orm.Session`, by its connection. What it holds back is written first, if it autoflushes."""

    def __init__(self, session: "Session") -> None:
        from sqlalchemy.exc import UnboundExecutionError

        # Called from a hook of a flush there is nothing to flush any more, and SQLAlchemy refuses to.
        if session.autoflush and not getattr(session, "_flushing", False):
            session.flush()
        try:
            connection = session.connection()
        except UnboundExecutionError as failure:
            raise UsageError(
                "this session has a database for each of its models and none for itself; give the connection of one: "
                "within=session.connection(bind_arguments={'mapper': Order})"
            ) from failure
        super().__init__(connection)
        self._session = session

    def after_commit(self, ring: Callable[[], None]) -> None:
        """Ring when the session has committed."""
        ring_after_session(self._session, ring)


def _is_idle(driver: Any) -> bool:
    """Whether a connection in autocommit mode is in no transaction that somebody began by hand."""
    info = getattr(driver, "info", None)
    return getattr(info, "transaction_status", _IDLE) == _IDLE
