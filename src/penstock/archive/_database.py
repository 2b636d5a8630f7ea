"""Connecting to the database of an archive, and what its errors mean to us."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError, MissingExtraError

__all__ = ["THREADS", "explained", "make_engine", "make_folder", "parse_url"]

THREADS: Final = 4
"""How many statements run at a time."""

_BUSY_SECONDS: Final = 30
_READ_ONLY: Final = ("readonly", "read-only", "permission denied")


def parse_url(text: str) -> sa.URL:
    """The URL of a database that can keep an archive. Raises `ConfigurationError`."""
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        raise ConfigurationError(
            "the archive's url is no URL of a database; write sqlite:///archive.db or postgresql://HOST/NAME"
        ) from None
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigurationError(
            "an archive in SQLite needs a file: sqlite:///archive.db; without one, take `memory`"
        )
    if kind == "sqlite":
        return url.set(drivername="sqlite")
    raise ConfigurationError(
        f"an archive in {kind!r} is not possible; take sqlite:///archive.db or postgresql://HOST/NAME"
    )


def make_engine(url: sa.URL) -> sa.Engine:
    """An engine for it, not connected yet. Raises `MissingExtraError`."""
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        return sa.create_engine(url, pool_size=THREADS, pool_pre_ping=True)
    except ImportError as missing_driver:
        raise MissingExtraError("an archive in PostgreSQL", "postgres") from missing_driver


def make_folder(url: sa.URL | None) -> None:
    """Make the folder of a SQLite file. Raises `ArchiveUnavailableError`."""
    if url is None or url.get_backend_name() != "sqlite" or (url.database or "").startswith("file:"):
        return
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise ArchiveUnavailableError(f"the archive's folder {folder} cannot be made: {failure}") from failure


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    try:
        # A file that may only be read stays in the mode it has.
        with suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
    finally:
        cursor.close()


def explained(engine: sa.Engine, failure: exc.DBAPIError) -> ArchiveError:
    """What an error of the driver means to a caller."""
    where = engine.url.render_as_string()
    reason = str(failure.orig).strip() or type(failure.orig).__name__
    if isinstance(failure, (exc.OperationalError, exc.InternalError)) or failure.connection_invalidated:
        return ArchiveUnavailableError(f"the archive at {where} does not take part: {reason}")
    if any(text in reason.lower() for text in _READ_ONLY):
        return ArchiveUnavailableError(f"the archive at {where} is read-only: {reason}")
    return ArchiveError(f"the archive at {where} refuses: {reason}")
