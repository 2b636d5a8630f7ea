"""Deciding what becomes of appends. Everything is read first; then each one is decided without I/O, and rows remain.

It is the same for a group of the writer's and for one append in a caller's transaction. Both hold the write lock of the
file from before the reading to the commit, so what was read stays true.
"""

import time
from collections.abc import Generator, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from penstock.store.abc import (
    ANY,
    EXISTS,
    NO_STREAM,
    Append,
    Appended,
    AppendSteps,
    Conflict,
    Expected,
    NewEvent,
    Statement,
)

__all__ = ["INSERT", "Ledger", "append_steps", "read_ledger"]

_LOCK: Final = "UPDATE penstock_streams SET version = version WHERE 0"
"""Changes nothing, and takes the write lock: a transaction that only read so far would not have it."""

_KNOWN: Final = """\
SELECT id, stream, position, version FROM penstock_events WHERE id IN (SELECT value FROM json_each(?))"""
_STREAMS: Final = """\
SELECT wanted.value,
       (SELECT max(version) FROM penstock_events WHERE stream = wanted.value),
       said.version, said.owner, said.deleted,
       (SELECT seq FROM sqlite_sequence WHERE name = 'penstock_events')
FROM {} AS wanted LEFT JOIN penstock_streams AS said ON said.name = wanted.value"""
_ONE_STREAM: Final = _STREAMS.format("(SELECT ? AS value)")
_MANY_STREAMS: Final = _STREAMS.format("json_each(?)")
_INTO: Final = """\
INSERT INTO penstock_events
    (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
VALUES """
_VALUES: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT: Final = _INTO + _VALUES
"""One row of `Ledger.rows`. For a statement of many rows SQLite keeps a journal, to be able to undo it alone."""
_ROWS_IN_A_STATEMENT: Final = 100
"""In callers' transactions each statement may have a long way; more rows are not faster any more."""

_encode = msgspec.json.Encoder().encode


class _Stream(msgspec.Struct, gc=False):
    version: int
    owner: str | None = None
    deleted: bool = False


class Ledger:
    """What an append is decided by: read once, and brought up to date by every decision."""

    def __init__(self, last: int, known: dict[str, Appended], streams: dict[str, _Stream]) -> None:
        self._last = last
        self._known = known
        self._streams = streams
        self._now_us = time.time_ns() // 1000
        self.rows: list[tuple[Any, ...]] = []
        """What is to be inserted, by `INSERT`."""

    def take(self, append: Append) -> list[Appended] | Conflict:
        """Decide one append; its events, if they go in, are among `rows` then."""
        known, add = self._known, self._add
        fresh = {event.stream: None for event in append.events if event.id not in known}
        for stream in fresh:
            if (conflict := _conflict(stream, self._streams[stream], append)) is not None:
                return conflict
        places: list[Appended] = []
        for event in append.events:
            if (there := known.get(event.id)) is None:
                there = known[event.id] = add(event)
                places.append(there)
            else:
                places.append(msgspec.structs.replace(there, is_new=False) if there.is_new else there)
        return places

    def _add(self, event: NewEvent) -> Appended:
        stream, meta = event.stream, event.meta
        state = self._streams[stream]
        state.version += 1
        self._last += 1
        text, body = _bodies(event.data, meta.content_type)
        row = (
            self._last,
            stream,
            stream.partition("-")[0],
            state.version,
            event.id,
            event.name,
            meta.key,
            meta.version,
            text,
            body,
            _encode(meta).decode(),
            self._now_us,
        )
        self.rows.append(row)
        return Appended(event.id, stream, self._last, state.version)

    def inserts(self) -> Generator[Statement, object, None]:
        """The statements that put in what was decided, a few for many rows."""
        for first in range(0, len(self.rows), _ROWS_IN_A_STATEMENT):
            rows = self.rows[first : first + _ROWS_IN_A_STATEMENT]
            yield _INTO + ", ".join([_VALUES] * len(rows)), tuple(chain.from_iterable(rows))


def read_ledger(
    appends: Iterable[Append], *, ids: bool = True
) -> Generator[Statement, Sequence[Sequence[Any]], Ledger]:
    """Yields what is to be asked before *appends* can be decided, is sent the rows, and returns the ledger.

    Without *ids* all events are taken for new ones; inserting one that is not fails.
    """
    events = [event for append in appends for event in append.events]
    known: Sequence[Sequence[Any]] = ()
    if ids:
        known = yield _KNOWN, (_encode([event.id for event in events]).decode(),)
    names = [*dict.fromkeys([event.stream for event in events])]
    if len(names) == 1:
        streams = yield _ONE_STREAM, (names[0],)
    else:
        streams = yield _MANY_STREAMS, (_encode(names).decode(),)
    return Ledger(
        (streams[0][-1] or 0) if streams else 0,
        {id_: Appended(id_, stream, position, version, False) for id_, stream, position, version in known},
        {
            name: _Stream(highest or 0)
            if said is None
            else _Stream(max(highest or 0, said), owner, bool(deleted))
            for name, highest, said, owner, deleted, _ in streams
        },
    )


def append_steps(append: Append) -> AppendSteps:
    """The statements of one append in a caller's own transaction."""
    yield _LOCK, ()
    ledger = yield from read_ledger([append])
    outcome = ledger.take(append)
    yield from ledger.inserts()
    return outcome


def _conflict(stream: str, state: _Stream, append: Append) -> Conflict | None:
    if append.expected is ANY and state.owner is None and not state.deleted:
        return None
    if state.deleted:
        return Conflict(stream, "deleted")
    if state.owner is not None and state.owner != append.owner:
        return Conflict(stream, "protected", owner=state.owner)
    if not _is_as_expected(append.expected, state.version):
        return Conflict(stream, "version", actual=state.version)
    return None


def _is_as_expected(expected: Expected, version: int) -> bool:
    if expected is ANY:
        return True
    if expected is NO_STREAM:
        return version == 0
    if expected is EXISTS:
        return version > 0
    return version == expected


def _bodies(data: bytes | None, content_type: str) -> tuple[str | None, bytes | None]:
    """The body as a text where it is JSON, else as bytes."""
    if data is None or not content_type.startswith("application/json"):
        return None, data
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, data  # no JSON, whatever its content type says
