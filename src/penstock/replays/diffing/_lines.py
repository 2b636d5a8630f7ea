"""Events of an exported file in a throw-away store, each at the position that it had."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from penstock.errors import UsageError
from penstock.replays.diffing._events import Chosen
from penstock.store import migrating
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.abc import category_of
from penstock.store.lines import read_event_line

__all__ = ["load_lines"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT: Final = """\
INSERT OR IGNORE INTO penstock_events
    (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_AT_ONCE: Final = 1000


def load_lines(file: Path, database: SqliteDatabase, chosen: Chosen) -> int:
    """Put the events of *file* that are wanted into *database*; the last position.

    One that has no position, or none above the one before, comes next after that. Raises `UsageError`, naming the line,
    for one that is no event.
    """
    migrating.apply(database)
    try:
        source = file.open("rb")
    except OSError as failure:
        raise UsageError(
            f"{file} cannot be opened: {failure.strerror}; name a file that an export wrote"
        ) from failure
    with source, closing(database.connect()) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN IMMEDIATE")
        rows = _rows(file, source, chosen)
        while some := list(itertools.islice(rows, _AT_ONCE)):
            connection.executemany(_INSERT, some)
        connection.commit()
        [last] = connection.execute("SELECT coalesce(max(position), 0) FROM penstock_events").fetchone()
    return int(last)


def _rows(file: Path, source: BinaryIO, chosen: Chosen) -> Iterator[tuple[Any, ...]]:
    last, versions = 0, dict[str, int]()
    for number, text in enumerate(source, 1):
        if not text.strip():
            continue
        try:
            event, line = read_event_line(text)
        except UsageError as failure:
            raise UsageError(
                f"line {number} of {file} {failure}; name a file that an export wrote"
            ) from failure
        last = max(last + 1, line.position or 0)
        if chosen.through and last > chosen.through:
            return
        version = max(versions.get(event.stream, 0) + 1, line.stream_version or 0)
        versions[event.stream] = version
        recorded_us = ((line.recorded_at or line.time) - _EPOCH) // timedelta(microseconds=1)
        meta = event.meta
        if chosen.keys and meta.key not in chosen.keys:
            continue
        if not chosen.fits(meta.key, event.stream, recorded_us):
            continue
        is_json = bool(bytes(line.data))
        yield (
            last,
            event.stream,
            category_of(event.stream),
            version,
            event.id,
            event.name,
            meta.key,
            meta.version,
            event.data.decode() if is_json and event.data is not None else None,
            None if is_json else event.data,
            msgspec.json.encode(meta).decode(),
            recorded_us,
        )
