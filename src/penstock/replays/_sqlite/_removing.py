"""Removing a copy: its shadow tables, its file, what is recorded of it. Each step may be repeated."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from penstock.errors import ReplayBusyError
from penstock.replays._sqlite._file import OURS, CopyDatabase, transaction
from penstock.replays._sqlite._making import run_on
from penstock.replays._sqlite._rows import delete_row, read_row, write_row
from penstock.replays._sqlite._shadows import Pace, clear_shadows, drop_shadows
from penstock.store._sqlite._database import uri_of

__all__ = ["alone", "remove"]

_PATIENCE_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.02


def remove(database: CopyDatabase) -> None:
    """Remove the copy. Raises `ReplayBusyError` as long as others have its file open: it is as it was then."""
    live = database.live
    with closing(live.connect()) as connection:
        run = run_on(live, connection)
        with alone(database), transaction(live, connection):
            row = read_row(run, "main", database.key)
            if row is not None:
                # From now on nobody begins anything in its file, and nobody makes that again.
                row.is_leaving = True
                write_row(run, database.key, row)
        clear_shadows(live, connection, database.key, Pace())
        _remove_file(database.key, database.path)
        with transaction(live, connection):
            drop_shadows(run, database.key)
            for table in OURS:
                run(f"DELETE FROM main.{table} WHERE generation = ?", (database.key,))
            delete_row(run, database.key)


@contextlib.contextmanager
def alone(database: CopyDatabase) -> Iterator[None]:
    """Have the file, if it is there, open alone until the block ends. Raises `ReplayBusyError` while others have it."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while (connection := _opened(database.path)) is not None:
        with closing(connection):
            if _is_alone(connection):
                yield
                return
        if time.monotonic() > ends:
            raise _is_open(database.key, database.path)
        time.sleep(_PAUSE_SECONDS)
    yield


def _remove_file(key: str, path: Path) -> None:
    """Remove a file that nobody has open: one who had would go on with a log of that name, and spoil a later file's."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while not _removed(path):
        if time.monotonic() > ends:
            raise _is_open(key, path)
        time.sleep(_PAUSE_SECONDS)
    for suffix in ("-wal", "-shm", "-journal"):
        if not path.exists():
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _removed(path: Path) -> bool:
    """Remove it under a lock that only one has who is alone; whether it is gone."""
    connection = _opened(path)
    if connection is None:
        return True
    with closing(connection):
        if not _is_alone(connection):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return True


def _opened(path: Path) -> sqlite3.Connection | None:
    """A connection to the file as it is; ``None`` where there is none (any more)."""
    try:
        return sqlite3.connect(f"{uri_of(path)}?mode=rw", uri=True, timeout=0.2, isolation_level=None)
    except sqlite3.OperationalError:
        if path.exists():
            raise
        return None


def _is_alone(connection: sqlite3.Connection) -> bool:
    """Whether nobody else has the file open; from then on nobody can use it until this connection is closed."""
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        # Without its log, which goes with this, the file is all there is.
        [mode] = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != "delete":
            return False
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as failure:
        return failure.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
    return True


def _is_open(key: str, path: Path) -> ReplayBusyError:
    return ReplayBusyError(
        key,
        step="be removed",
        reason=f"another process has its file {path} open; stop what feeds or reads it",
    )
