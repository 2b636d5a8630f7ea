"""What an error of SQLite means to a caller, by its result code (``sqlite3.h``)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from penstock.errors import StoreError, StoreRefusedError, StoreUnavailableError

__all__ = ["explained", "speaking_of"]

_LATER: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another connection, for longer than we wait",
    sqlite3.SQLITE_LOCKED: "is locked by another connection of this process",
    sqlite3.SQLITE_FULL: "is full: free some space on its disk; nothing of this was kept",
    sqlite3.SQLITE_IOERR: "cannot be read or written: look at its disk",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: look at its folder, and at what this user may do there",
    sqlite3.SQLITE_PROTOCOL: "is locked by others, again and again",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
}
_NEVER: Final = {
    sqlite3.SQLITE_READONLY: "may only be read: give this user the right to write the file and its folder",
    sqlite3.SQLITE_PERM: "is not for this user: look at the rights of the file",
    sqlite3.SQLITE_AUTH: "is not for this user",
    sqlite3.SQLITE_NOTADB: "is no SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_FORMAT: "has a format of another version of SQLite",
}


def explained(shown: str, failure: sqlite3.Error) -> StoreError | None:
    """Our error for one of SQLite's; ``None`` for what is a mistake in a statement or in its values."""
    code: int = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _LATER:
        return StoreUnavailableError(f"the database {shown} {_LATER[code]} ({failure})")
    if code in _NEVER:
        return StoreRefusedError(f"the database {shown} {_NEVER[code]} ({failure})")
    return None


@contextmanager
def speaking_of(shown: str) -> Iterator[None]:
    """Within the block, errors of SQLite become ours where they have a meaning."""
    try:
        yield
    except sqlite3.Error as failure:
        if (ours := explained(shown, failure)) is not None:
            raise ours from failure
        raise
