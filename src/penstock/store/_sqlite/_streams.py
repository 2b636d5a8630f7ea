"""Streams as such: what there are, what is said about them, and removing their events."""

import json
import sqlite3
from datetime import timedelta
from typing import Final

from penstock.store.abc import StreamInfo, StreamMetadata

__all__ = ["delete", "set_metadata", "stream_info", "stream_infos"]

_SAID: Final = (
    "SELECT version, owner, max_count, max_age_us, extra, deleted FROM penstock_streams WHERE name = ?"
)
_EVENTS: Final = """\
SELECT max(version), count(*), min(position), max(position) FROM penstock_events WHERE stream = ?"""
_NEXT: Final = "SELECT min(stream) FROM penstock_events WHERE stream > ? AND stream < ?"
_AFTER_ALL: Final = chr(0x10FFFF) * 2
"""Sorts behind every name that can be given (noncharacters twice)."""
_MICROSECOND: Final = timedelta(microseconds=1)


def stream_info(connection: sqlite3.Connection, name: str) -> StreamInfo | None:
    """One stream; ``None`` if it has no events and nothing was said about it."""
    highest, events, first, last = connection.execute(_EVENTS, (name,)).fetchone()
    said = connection.execute(_SAID, (name,)).fetchone()
    if said is None:
        return StreamInfo(name, highest, events, first, last) if events else None
    version, owner, max_count, max_age_us, extra, deleted = said
    return StreamInfo(
        name,
        max(highest or 0, version),
        events,
        first,
        last,
        StreamMetadata(
            owner, max_count, None if max_age_us is None else _MICROSECOND * max_age_us, json.loads(extra)
        ),
        bool(deleted),
    )


def stream_infos(
    connection: sqlite3.Connection, *, category: str | None, after: str, limit: int, with_rules: bool
) -> list[StreamInfo]:
    """Up to *limit* streams by name."""
    names = _said(connection, after, limit, category, with_rules)
    if not with_rules:
        names |= _with_events(connection, after, limit, category)
    infos = (stream_info(connection, name) for name in sorted(names)[:limit])
    return [info for info in infos if info is not None]


def _said(
    connection: sqlite3.Connection, after: str, limit: int, category: str | None, with_rules: bool
) -> set[str]:
    """Names of streams about which something was said."""
    conditions, values = "name > ?", [after]
    if category is not None:
        # The names of a category are the bare one and those that go on with a "-"; "." is the next character.
        conditions += " AND (name = ? OR (name >= ? AND name < ?))"
        values += [category, f"{category}-", f"{category}."]
    if with_rules:
        conditions += " AND (max_count IS NOT NULL OR max_age_us IS NOT NULL)"
    query = f"SELECT name FROM penstock_streams WHERE {conditions} ORDER BY name LIMIT ?"
    return {name for (name,) in connection.execute(query, (*values, limit))}


def _with_events(connection: sqlite3.Connection, after: str, limit: int, category: str | None) -> set[str]:
    """Names of streams that have events, by leaps through the index: streams with many cost no more than others."""
    found: set[str] = set()
    low, high = after, _AFTER_ALL
    if category is not None:
        has_bare = connection.execute("SELECT 1 FROM penstock_events WHERE stream = ? LIMIT 1", (category,))
        if category > after and has_bare.fetchone():
            found.add(category)
        # "," comes right before "-", and no name of another category lies between "x-" and "x.".
        low, high = max(after, f"{category},{_AFTER_ALL}"), f"{category}."
    while len(found) <= limit:
        [name] = connection.execute(_NEXT, (low, high)).fetchone()
        if name is None:
            break
        found.add(name)
        low = name
    return found


def set_metadata(connection: sqlite3.Connection, stream: str, metadata: StreamMetadata) -> None:
    """Say something about a stream."""
    max_age_us = None if metadata.max_age is None else metadata.max_age // _MICROSECOND
    connection.execute(
        "INSERT INTO penstock_streams (name, owner, max_count, max_age_us, extra) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, max_count = excluded.max_count,"
        " max_age_us = excluded.max_age_us, extra = excluded.extra",
        (stream, metadata.owner, metadata.max_count, max_age_us, json.dumps(dict(metadata.extra))),
    )


def delete(
    connection: sqlite3.Connection, stream: str, *, through: int | None, for_good: bool, limit: int
) -> int:
    """Remove events from the beginning of a stream, and remember its version."""
    [highest] = connection.execute(
        "SELECT max(version) FROM penstock_events WHERE stream = ?", (stream,)
    ).fetchone()
    if highest is None and not for_good:
        return 0
    connection.execute(
        "INSERT INTO penstock_streams (name, version, deleted) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET version = max(version, excluded.version), deleted = max(deleted, excluded.deleted)",
        (stream, highest or 0, int(for_good)),
    )
    return connection.execute(
        "DELETE FROM penstock_events WHERE position IN (SELECT position FROM penstock_events"
        " WHERE stream = ? AND version <= ? ORDER BY version LIMIT ?)",
        (stream, 2**63 - 1 if through is None else through, limit),
    ).rowcount
