"""What an error of PostgreSQL means to a caller, by its SQLSTATE (appendix A of PostgreSQL's manual)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from penstock.errors import MissingMigrationError, PenstockError, StoreRefusedError, StoreUnavailableError

__all__ = ["SERIALIZATION_FAILURES", "explained", "explained_connecting", "speaking_of"]

SERIALIZATION_FAILURES: Final = frozenset({"40001", "40P01"})
"""Another transaction was in the way; the whole transaction may be run again."""

_AGAIN: Final = (
    "gave this transaction up for another one (it runs in REPEATABLE READ or stricter, or two waited for each other); "
    "roll it back and run all of it again"
)
_LATER: Final = {
    "40001": _AGAIN,
    "40P01": _AGAIN,
    "53100": "has no space left on its disk; nothing of this was kept",
    "53200": "is out of memory or of locks",
    "53300": "has no connection left: raise max_connections, or use fewer",
    "55P03": "is locked by another transaction, for longer than lock_timeout",
    "57014": "was told to give the statement up (statement_timeout, or a person)",
    "57P01": "is shutting down, or a person closed the connection",
    "57P02": "crashed",
    "57P03": "is starting up or shutting down",
}
_LATER_CLASSES: Final = ("08", "53", "57", "58")
_NEVER: Final = {
    "25006": "is read-only: a hot standby, or default_transaction_read_only; name the primary",
    "28000": "does not let this user in",
    "28P01": "does not know this password",
    "3D000": "does not exist",
    "42501": "does not permit this",
}
_MISSING: Final = frozenset({"42P01", "42883", "3F000"})
_REFUSALS: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not currently accepting",
    "permission denied",
)
"""What libpq says of a server that does not want us. It has no SQLSTATE for that."""


def explained(shown: str, sqlstate: str | None, said: str) -> PenstockError | None:
    """Our error for one of the server's; ``None`` for what is a mistake in a statement or in its values.

    Without an SQLSTATE the connection was lost. It serves for any driver.
    """
    said = said.strip()
    if sqlstate is None:
        return StoreUnavailableError(f"the connection to the database {shown} was lost ({said})")
    if sqlstate in _NEVER:
        return StoreRefusedError(f"the database {shown} {_NEVER[sqlstate]} ({said})")
    if sqlstate in _LATER or sqlstate[:2] in _LATER_CLASSES:
        return StoreUnavailableError(f"the database {shown} {_LATER.get(sqlstate, 'failed')} ({said})")
    return None


def explained_connecting(shown: str, said: str) -> PenstockError:
    """Our error for a connection that could not be made."""
    said = " ".join(said.split())
    if any(part in said for part in _REFUSALS):
        return StoreRefusedError(f"the database {shown} does not let us in ({said})")
    return StoreUnavailableError(f"the database {shown} cannot be reached ({said})")


@contextmanager
def speaking_of(shown: str, *, store: str | None = None) -> Iterator[None]:
    """Within the block, errors of psycopg become ours where they have a meaning.

    With *store* only our own tables and functions are spoken of, so that one which is not there is a migration missing.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as failure:
        if store is not None and failure.sqlstate in _MISSING:
            raise MissingMigrationError(store, ["0001_events"]) from failure
        if failure.sqlstate is None and not isinstance(failure, psycopg.OperationalError):
            raise
        if (ours := explained(shown, failure.sqlstate, str(failure))) is not None:
            raise ours from failure
        raise
