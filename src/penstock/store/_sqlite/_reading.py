"""Reading events from one connection, a bounded stretch of the store at a time.

Nothing here needs a transaction: events never change, and new ones come above what is asked for.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from penstock.errors import UsageError
from penstock.message import Meta
from penstock.store._sqlite._database import LANE_FUNCTION, SqliteDatabase
from penstock.store._sqlite._errors import speaking_of
from penstock.store.abc import Appended, EventFilter, EventPage, Horizon, StoredEvent

__all__ = ["SqliteReader", "find", "last_position", "read_page", "read_stream"]

STRETCH: Final = 10_000
"""How many events one call looks at, at most, for those that fit."""
_SOURCES_IN_A_STATEMENT: Final = 100
"""SQLite takes 500 parts of a compound select."""

_COLUMNS: Final = "position, stream, version, id, name, meta, coalesce(CAST(data AS BLOB), body), recorded_at"
_Filter: TypeAlias = tuple[str, tuple[object, ...]]
"""Conditions with their parameters."""
_decode_meta = msgspec.json.Decoder(Meta).decode


_LAST_OF: Final = (
    "SELECT version, position FROM penstock_events WHERE stream = ? ORDER BY version DESC LIMIT 1"
)
_FROM: Final = (
    "SELECT version, position FROM penstock_events WHERE stream = ? AND version >= ? ORDER BY version LIMIT 1"
)


class _Source(NamedTuple):
    """A part of the store, and the column by which its events are in order without being sorted."""

    where: str
    values: tuple[object, ...] = ()
    by: str = "position"


class _Span(NamedTuple):
    """Positions above *after* and up to *through*."""

    after: int
    through: int


class SqliteReader:
    """Blocking reads over a connection of its own; an `EventReader`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._shown = database.shown
        self._connection = database.connect()
        self._connection.execute("PRAGMA query_only=1")

    def horizon(self) -> Horizon:
        """The last position; with one writer at a time nothing comes below it."""
        with speaking_of(self._shown):
            last = last_position(self._connection)
        return Horizon(last, last)

    def read(self, wanted: EventFilter, *, after: int, through: int, limit: int) -> EventPage:
        """Up to *limit* events."""
        with speaking_of(self._shown):
            return read_page(self._connection, wanted, after=after, through=through, limit=limit)

    def count(self, wanted: EventFilter, *, after: int, through: int, limit: int = 1_000_000) -> int:
        """How many there are, at most *limit*."""
        with speaking_of(self._shown):
            return _count(self._connection, wanted, _Span(after, through), limit)

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def last_position(connection: sqlite3.Connection) -> int:
    """The highest position that was ever given."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'penstock_events'").fetchone()
    return row[0] if row else 0


def read_page(
    connection: sqlite3.Connection,
    wanted: EventFilter,
    *,
    after: int,
    through: int | None,
    limit: int,
    backwards: bool = False,
) -> EventPage:
    """Up to *limit* events by position, and how far that is. See `StoreBackend.read`."""
    _check(limit)
    span = _Span(after, last_position(connection) if through is None else through)
    if span.through <= after:
        return EventPage((), after)
    sources = _sources(connection, wanted, span)
    filters = _filters(wanted)
    order = "DESC" if backwards else "ASC"
    most = max(limit, STRETCH)
    if len(sources) > 1:
        most = most if filters[0] else limit
        candidates = _candidates(connection, sources, span, most, order)
        span = _narrowed(span, candidates[-1] if len(candidates) == most else None, backwards)
        source = _Source(
            "NOT INDEXED WHERE position IN (SELECT value FROM json_each(?))", (json.dumps(candidates),)
        )
    elif not sources:
        source = _Source("NOT INDEXED WHERE 1")
        if filters[0]:
            # There are no more events than positions, and so none have to be counted.
            span = _narrowed(span, span.through - most + 1 if backwards else span.after + most, backwards)
    else:
        [source] = sources
        if filters[0]:
            span = _narrowed(span, _boundary(connection, source, span, most, order), backwards)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM penstock_events {source.where} AND position > ? AND position <= ?{filters[0]}"
        f" ORDER BY {source.by} {order} LIMIT ?",
        (*source.values, *span, *filters[1], limit),
    ).fetchall()
    events = [_event(row) for row in rows]
    if len(events) == limit:
        return EventPage(events, events[-1].position)
    return EventPage(events, span.after + 1 if backwards else span.through)


def read_stream(
    connection: sqlite3.Connection,
    stream: str,
    *,
    after: int,
    through: int | None,
    limit: int,
    backwards: bool,
) -> list[StoredEvent]:
    """Up to *limit* events of one stream by version."""
    _check(limit)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM penstock_events WHERE stream = ? AND version > ? AND version <= ?"
        f" ORDER BY version {'DESC' if backwards else 'ASC'} LIMIT ?",
        (stream, after, 2**63 - 1 if through is None else through, limit),
    )
    return [_event(row) for row in rows]


def find(connection: sqlite3.Connection, event_ids: Sequence[str]) -> list[Appended]:
    """Where the events of these ids are, in the order of the ids."""
    rows = connection.execute(
        "SELECT id, stream, position, version FROM penstock_events WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(event_ids)),),
    )
    found = {id_: Appended(id_, stream, position, version, False) for id_, stream, position, version in rows}
    return [found[each] for each in dict.fromkeys(event_ids) if each in found]


def _event(row: Any) -> StoredEvent:
    position, stream, version, id_, name, meta, data, recorded_us = row
    return StoredEvent(position, stream, version, id_, name, _decode_meta(meta), data, recorded_us)


def _check(limit: int) -> None:
    if limit < 1:
        raise UsageError(f"limit is {limit}; at least one event is asked for")


# -- what is asked for ------------------------------------------------------------------------------------------------


def _sources(connection: sqlite3.Connection, wanted: EventFilter, span: _Span) -> list[_Source]:
    """Where to look; empty for everywhere."""
    found: list[_Source] = []
    for stream in dict.fromkeys(wanted.streams):
        versions = tuple(_version_at(connection, stream, position) for position in span)
        found.append(
            _Source("WHERE stream = ? AND version > ? AND version <= ?", (stream, *versions), "version")
        )
    for category in dict.fromkeys(wanted.categories):
        found.append(_Source("INDEXED BY penstock_events_by_category WHERE category = ?", (category,)))
    return found


def _version_at(connection: sqlite3.Connection, stream: str, position: int) -> int:
    """The version that a stream had when *position* was the last one of the store."""
    # Both rise together, so the index by version is all that is needed to find a place.
    low, high = 0, 2**63 - 1
    if position > 0 and (last := connection.execute(_LAST_OF, (stream,)).fetchone()) is not None:
        high, at = last
        if at <= position:
            return int(high)
        while low < high:
            middle = (low + high + 1) // 2
            version, at = connection.execute(_FROM, (stream, middle)).fetchone()
            low, high = (version, high) if at <= position else (low, middle - 1)
    return low


def _filters(wanted: EventFilter) -> _Filter:
    parts: list[str] = []
    values: list[object] = []
    for column, allowed in (("name", wanted.names), ("key", wanted.keys)):
        if allowed:
            parts.append(f" AND {column} IN ({', '.join('?' * len(allowed))})")
            values += allowed
    for header in wanted.headers.items():
        parts.append(" AND EXISTS (SELECT 1 FROM json_each(meta, '$.headers') WHERE key = ? AND value = ?)")
        values += header
    if wanted.lane is not None:
        parts.append(f" AND {LANE_FUNCTION}(key, stream, ?, ?)")
        values += (wanted.lane.number, wanted.lane.of)
    return "".join(parts), tuple(values)


def _boundary(
    connection: sqlite3.Connection, source: _Source, span: _Span, most: int, order: str
) -> int | None:
    """The place of the last of *most* events there; ``None`` if there are fewer."""
    row = connection.execute(
        f"SELECT position FROM penstock_events {source.where} AND position > ? AND position <= ?"
        f" ORDER BY {source.by} {order} LIMIT 1 OFFSET ?",
        (*source.values, *span, most - 1),
    ).fetchone()
    return row[0] if row else None


def _candidates(
    connection: sqlite3.Connection, sources: Sequence[_Source], span: _Span, most: int, order: str
) -> list[int]:
    """The places of the first *most* events of any of the sources."""
    found: set[int] = set()
    for first in range(0, len(sources), _SOURCES_IN_A_STATEMENT):
        some = sources[first : first + _SOURCES_IN_A_STATEMENT]
        parts = [
            f"SELECT * FROM (SELECT position FROM penstock_events {source.where} AND position > ? AND position <= ?"
            f" ORDER BY {source.by} {order} LIMIT ?)"
            for source in some
        ]
        values = [value for source in some for value in (*source.values, *span, most)]
        rows = connection.execute(
            f"{' UNION '.join(parts)} ORDER BY position {order} LIMIT ?", [*values, most]
        )
        found.update(position for (position,) in rows)
    return sorted(found, reverse=order == "DESC")[:most]


def _narrowed(span: _Span, boundary: int | None, backwards: bool) -> _Span:
    if boundary is None:
        return span
    if backwards:
        return _Span(max(span.after, boundary - 1), span.through)
    return _Span(span.after, min(span.through, boundary))


def _count(connection: sqlite3.Connection, wanted: EventFilter, span: _Span, limit: int) -> int:
    names = [*dict.fromkeys(wanted.streams)], [*dict.fromkeys(wanted.categories)]
    source = "stream IN (SELECT value FROM json_each(?)) OR category IN (SELECT value FROM json_each(?))"
    where, values = ("1", ()) if not any(names) else (f"({source})", tuple(map(json.dumps, names)))
    filters = _filters(wanted)
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM penstock_events WHERE {where}"
        f" AND position > ? AND position <= ?{filters[0]} LIMIT ?)",
        (*values, *span, *filters[1], limit),
    ).fetchone()
    return int(row[0])
