"""Connections as they are handed on: to handlers, who must not end our transaction; to SQLAlchemy, which need not."""

import functools
import re
import sqlite3
from collections.abc import Callable
from typing import Any, NoReturn, Self

from penstock.errors import UsageError
from penstock.store.database import Connection, Dialect

__all__ = ["Guarded", "Silent", "check_sql", "is_in_transaction", "is_lent", "refuse"]

_ENDS = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(COMMIT|END|ABORT|BEGIN|START\s+TRANSACTION|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)


def refuse(what: str) -> NoReturn:
    """Raises `UsageError`: *what* would end the transaction of the page."""
    raise UsageError(
        f"a handler may not {what}: what it writes is committed together with the position or the event's id; "
        "leave that out (savepoints are allowed)"
    )


def check_sql(sql: object) -> None:
    """Raises `UsageError` for a statement that begins or ends a transaction."""
    text = sql.decode("utf-8", "replace") if isinstance(sql, bytes) else sql
    if isinstance(text, str) and (word := _ending(text)) is not None:
        refuse(f"run {word}")


@functools.lru_cache(maxsize=1024)
def _ending(text: str) -> str | None:
    """The word by which a statement begins or ends a transaction, if it does."""
    found = _ENDS.match(text)
    return None if found is None else found[1].upper()


def is_in_transaction(connection: Connection, dialect: Dialect) -> bool:
    """Whether a transaction is open on *connection*."""
    raw: Any = connection
    # IDLE of libpq's PGTransactionStatusType is 0.
    return bool(raw.in_transaction if dialect == "sqlite" else raw.pgconn.transaction_status)


def _type_of(raw: object) -> type:
    return type(raw)


class GuardedCursor(sqlite3.Cursor):
    """A cursor that runs everything but what ends a transaction."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        check_sql(sql)
        return super().execute(sql, parameters)

    def executescript(self, sql_script: str, /) -> NoReturn:
        # It commits before it begins (sqlite3 documents so).
        refuse("run executescript")


@functools.cache
def _psycopg_cursor() -> Any:
    """The same of psycopg, which is imported by now."""
    import psycopg

    class Guarding(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            check_sql(query)
            return super().execute(query, *args, **options)

    return Guarding


class Guarded:
    """The driver's connection for a handler: everything but ending the transaction. Passes for what it stands for.

    *before* is called whenever the handler may be about to run a statement: what was held back has to be there.
    """

    __slots__ = ("_before", "_raw")
    _raw: Any
    _before: Callable[[], None]

    def __init__(self, raw: Connection, before: Callable[[], None]) -> None:
        object.__setattr__(self, "_raw", raw)
        object.__setattr__(self, "_before", before)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _type_of(self._raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise UsageError(f"the connection of a handler is lent; set {name} on a cursor of yours")

    def cursor(self, *args: Any, **options: Any) -> Any:
        """A cursor."""
        self._before()
        if issubclass(_type_of(self._raw), sqlite3.Connection):
            return self._raw.cursor(*(args or (GuardedCursor,)), **options)
        if args and args[0]:
            return self._raw.cursor(
                *args, **options
            )  # a cursor on the server, which runs nothing but queries
        return _psycopg_cursor()(self._raw, **options)

    def execute(self, sql: Any, *args: Any, **options: Any) -> Any:
        """Run one statement on a new cursor, which looks at it first."""
        return self.cursor().execute(sql, *args, **options)

    def executemany(self, sql: str, parameters: Any) -> Any:
        """Run one statement many times on a new cursor."""
        check_sql(sql)
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql: str) -> NoReturn:
        """Refused: it commits before it begins."""
        refuse("run executescript")

    def commit(self) -> NoReturn:
        """Refused."""
        refuse("commit")

    def rollback(self) -> NoReturn:
        """Refused."""
        refuse("roll back")

    def close(self) -> NoReturn:
        """Refused."""
        refuse("close its connection")

    def __enter__(self) -> NoReturn:
        refuse("use its connection as a context manager, which ends the transaction")

    def __exit__(self, *_: object) -> None:
        """Never entered."""


class Silent:
    """The driver's connection for SQLAlchemy: ending the transaction has no effect. Passes for what it stands for."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Connection) -> None:
        self._raw: Any = raw

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _type_of(self._raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def commit(self) -> None:
        """Nothing: we commit."""

    def rollback(self) -> None:
        """Nothing: we roll back."""

    def close(self) -> None:
        """Nothing: we close."""


def is_lent(connection: object) -> bool:
    """Whether a DB-API connection is one that SQLAlchemy was lent by us, for a page or a listener's transaction."""
    return _type_of(connection) is Silent
