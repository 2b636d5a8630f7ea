"""What is asked for when events are read, and how rows become events. No I/O: statements and rows are values here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec

from penstock.errors import UndecodableEntryError, UsageError
from penstock.message import Meta
from penstock.store._postgres.line import Parameter, Row
from penstock.store.abc import EventFilter, EventPage, StoredEvent

__all__ = [
    "FIND",
    "STRETCH",
    "Query",
    "check_limit",
    "count_query",
    "events_of",
    "page_of",
    "page_query",
    "stream_query",
]

STRETCH: Final = 10_000
"""How many positions one call looks at, at most, for events that fit."""

_COLUMNS: Final = """\
position, stream, version, id, name, (date_part('epoch', recorded_at) * 1000000)::bigint, meta::text, data, body"""
_LANE: Final = """\
('x' || left(encode(sha256(convert_to(coalesce(key, stream), 'UTF8')), 'hex'), 4))::bit(16)::int % ?::int = ?::int"""
"""As `Lane.has`."""
_ALL: Final = 2**63 - 1
FIND: Final = """\
SELECT id, stream, position, version FROM penstock_events WHERE id = ANY (?::text[])"""

_decode_meta = msgspec.json.Decoder(Meta).decode
_encode = msgspec.json.Encoder().encode


class Query(NamedTuple):
    """A statement for events by position, and the stretch of positions that it looks at."""

    sql: str
    parameters: tuple[Parameter, ...]
    after: int
    through: int
    limit: int
    backwards: bool


def check_limit(limit: int) -> None:
    """Raises `UsageError` for a page without room, which would never lead on."""
    if limit < 1:
        raise UsageError(f"a page of {limit} events cannot be read; ask for 1 or more")


def page_query(
    wanted: EventFilter, *, after: int, through: int, limit: int, backwards: bool = False
) -> Query:
    """The statement for a page above *after* and up to *through*, in a stretch that costs little to look at.

    The stretch bounds what a plan can cost that was made for a table of another size.
    """
    if wanted.streams and not wanted.categories and not backwards and len(wanted.streams) * limit <= STRETCH:
        return _streams_query(wanted, after=after, through=through, limit=limit)
    conditions, parameters = _conditions(wanted)
    stretch = max(STRETCH, 2 * limit) if conditions else 2 * limit
    if backwards:
        after = max(after, through - stretch)
    else:
        through = min(through, after + stretch)
    where = " AND ".join(["position > ?::bigint AND position <= ?::bigint", *conditions])
    order = "DESC" if backwards else "ASC"
    sql = f"SELECT {_COLUMNS} FROM penstock_events WHERE {where} ORDER BY position {order} LIMIT ?::bigint"
    return Query(sql, (after, through, *parameters, limit), after, through, limit, backwards)


def _streams_query(wanted: EventFilter, *, after: int, through: int, limit: int) -> Query:
    """The statement for a page of a few streams, which finds its beginning in each by halving.

    Within a stream positions ascend with versions, so that no index on both is needed.
    """
    conditions, parameters = _conditions(replace(wanted, streams=()))
    more = "".join(f" AND {condition}" for condition in conditions)
    sql = f"""\
WITH RECURSIVE given AS (SELECT ?::bigint AS after, ?::bigint AS through, ?::bigint AS most),
search(name, low, high) AS (
  SELECT DISTINCT wanted.name, 0::bigint,
         coalesce((SELECT max(version) FROM penstock_events WHERE stream = wanted.name), 0) + 1
    FROM unnest(?::text[]) AS wanted(name)
  UNION ALL
  SELECT name, CASE WHEN probe.position <= after THEN probe.version ELSE low END,
         CASE WHEN probe.position <= after THEN high ELSE (low + high) / 2 END
    FROM search, given, LATERAL (
      SELECT version, position FROM penstock_events
       WHERE stream = search.name AND version >= (low + high) / 2 ORDER BY version LIMIT 1
    ) AS probe
   WHERE high - low > 1
), first AS (SELECT name AS begun, min(high) AS begins FROM search GROUP BY name)
SELECT {_COLUMNS}
  FROM given, first, LATERAL (
    SELECT * FROM penstock_events
     WHERE stream = first.begun AND version >= first.begins AND position <= given.through{more}
     ORDER BY version LIMIT (SELECT most FROM given)
  ) AS found
 ORDER BY position LIMIT (SELECT most FROM given)"""
    streams = list(wanted.streams)
    return Query(sql, (after, through, limit, streams, *parameters), after, through, limit, False)


def page_of(query: Query, rows: Sequence[Row]) -> EventPage:
    """The page that the statement answered with."""
    events = events_of(rows)
    if len(events) == query.limit:
        return EventPage(events, events[-1].position)
    # Backwards the lowest position that was looked at is the one above where it ended.
    return EventPage(events, query.after + 1 if query.backwards else query.through)


def count_query(wanted: EventFilter, *, after: int, through: int, limit: int) -> Query:
    """The statement that counts the same events in a stretch."""
    conditions, parameters = _conditions(wanted)
    through = min(through, after + max(STRETCH, limit))
    where = " AND ".join(["position > ?::bigint AND position <= ?::bigint", *conditions])
    sql = f"SELECT count(*) FROM (SELECT FROM penstock_events WHERE {where} LIMIT ?::bigint) AS found"
    return Query(sql, (after, through, *parameters, limit), after, through, limit, False)


def stream_query(
    stream: str, *, after: int, through: int | None, limit: int, backwards: bool
) -> tuple[str, tuple[Parameter, ...]]:
    """The statement for events of one stream by version."""
    check_limit(limit)
    order = "DESC" if backwards else "ASC"
    sql = (
        f"SELECT {_COLUMNS} FROM penstock_events WHERE stream = ? AND version > ?::bigint AND version <= ?::bigint"
        f" ORDER BY version {order} LIMIT ?::bigint"
    )
    return sql, (stream, after, _ALL if through is None else through, limit)


def events_of(rows: Sequence[Row]) -> list[StoredEvent]:
    """The events of rows in `_COLUMNS`. Raises `UndecodableEntryError` with the position."""
    try:
        return [
            StoredEvent(
                position,
                stream,
                version,
                id_,
                name,
                _decode_meta(meta),
                body if data is None else data,
                recorded_us,
            )
            for position, stream, version, id_, name, recorded_us, meta, data, body in rows
        ]
    except msgspec.MsgspecError as failure:
        raise next(error for row in rows if (error := _damage(row)) is not None) from failure


def _damage(row: Row) -> UndecodableEntryError | None:
    """What is wrong with the envelope of a row."""
    position, stream, _, _, _, _, meta, _, _ = row
    try:
        _decode_meta(meta)
    except msgspec.MsgspecError as failure:
        return UndecodableEntryError(stream, str(position), f"its envelope is damaged: {failure}")
    return None


def _conditions(wanted: EventFilter) -> tuple[list[str], list[Parameter]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    sources = [
        (column, list(values))
        for column, values in (("stream", wanted.streams), ("category", wanted.categories))
        if values
    ]
    if sources:
        conditions.append("(" + " OR ".join(f"{column} = ANY (?::text[])" for column, _ in sources) + ")")
        parameters += [values for _, values in sources]
    for column, values in (("name", wanted.names), ("key", wanted.keys)):
        if values:
            conditions.append(f"{column} = ANY (?::text[])")
            parameters.append(list(values))
    if wanted.headers:
        conditions.append("meta @> ?::jsonb")
        parameters.append(_encode({"headers": dict(wanted.headers)}).decode())
    if wanted.lane is not None:
        conditions.append(_LANE)
        parameters += [wanted.lane.of, wanted.lane.number]
    return conditions, parameters
