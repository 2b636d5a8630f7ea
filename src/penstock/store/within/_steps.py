"""What is done in a caller's transaction, as statements: appending events, and loading a stream."""

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from penstock.errors import MissingMigrationError, StoreUnavailableError
from penstock.message import Meta
from penstock.store.abc import Append, Appended, Conflict, StoreBackend, StoredEvent
from penstock.store.database import Dialect
from penstock.store.within._callers import Steps
from penstock.store.within._same import prefix_of

__all__ = ["appending", "loading", "making"]

_PAGE: Final = 1000

_EVENTS: Final[dict[Dialect, str]] = {
    "sqlite": (
        "SELECT position, version, id, name, meta, data, body, recorded_at "
        "FROM {}penstock_events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
    ),
    "postgresql": (
        "SELECT position, version, id, name, meta::text, data::text, body, "
        "(extract(epoch FROM recorded_at) * 1000000)::bigint "
        "FROM {}penstock_events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
    ),
}
_VERSION: Final = (
    "SELECT coalesce(max(version), 0) FROM ("
    "SELECT max(version) AS version FROM {0}penstock_events WHERE stream = ? "
    "UNION ALL SELECT version FROM {0}penstock_streams WHERE name = ?) AS known"
)
_META: Final = msgspec.json.Decoder(Meta)


def making(backend: StoreBackend, steps: Steps[None]) -> Steps[None]:
    """Make the store's tables by *steps*."""
    try:
        yield from steps
    except Exception as failure:
        _explain(backend, failure)
        raise


def appending(backend: StoreBackend, append: Append) -> Steps[list[Appended] | Conflict]:
    """Add events; see `append_within`."""
    try:
        return (yield from backend.steps(append))
    except Exception as failure:
        _explain(backend, failure)
        raise


def loading(
    backend: StoreBackend, stream: str, after: int, limit: int | None
) -> Steps[tuple[list[StoredEvent], int]]:
    """Read a stream and its version; see `load_within`."""
    found: list[StoredEvent] = []
    prefix = prefix_of(backend)
    try:
        while limit is None or len(found) < limit:
            page = _PAGE if limit is None else min(_PAGE, limit - len(found))
            rows = yield _EVENTS[backend.dialect].format(prefix), (stream, after, page)
            found += (_event(stream, row) for row in rows)
            if len(rows) < page:
                break
            after = found[-1].stream_version
        [(version,)] = yield _VERSION.format(prefix), (stream, stream)
    except Exception as failure:
        _explain(backend, failure)
        raise
    return found, version


def _event(stream: str, row: Any) -> StoredEvent:
    position, version, event_id, name, meta, text, body, recorded_us = row
    data = text.encode() if text is not None else None if body is None else bytes(body)
    return StoredEvent(
        position=position,
        stream=stream,
        stream_version=version,
        id=event_id,
        name=name,
        meta=_META.decode(meta),
        data=data,
        recorded_us=recorded_us,
    )


def _explain(backend: StoreBackend, failure: Exception) -> None:
    """Raise what a driver's error means where its own text would lead astray; it is the cause."""
    for error in _causes(failure):
        if _lacks_tables(error):
            raise MissingMigrationError(backend.name, ["0001_events"]) from failure
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise StoreUnavailableError(_busy(backend, error)) from failure


def _busy(backend: StoreBackend, error: sqlite3.OperationalError) -> str:
    if error.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT":
        return (
            f"the transaction in store {backend.name!r} began with reading, and another has written since; "
            "roll back and do it again, and begin with BEGIN IMMEDIATE where you read first"
        )
    return (
        f"the database of store {backend.name!r} is locked by another transaction; roll back and do it again, "
        "keep transactions short, and set a longer time to wait for the lock"
    )


def _lacks_tables(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("no such table: penstock_")
    # undefined_table and undefined_function, https://www.postgresql.org/docs/current/errcodes-appendix.html
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return code in ("42P01", "42883") and "penstock_" in str(error)


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """A failure, and what lies beneath it: SQLAlchemy and Django wrap what drivers raise."""
    seen: set[int] = set()
    at: Any = failure
    while isinstance(at, BaseException) and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = getattr(at, "orig", None) or at.__cause__
