"""Statements about single streams: what is there, what is said about them, and what is removed."""

from datetime import timedelta
from typing import Final

import msgspec

from penstock.store._postgres.line import Parameter, Row
from penstock.store.abc import StreamInfo, StreamMetadata

__all__ = ["CLOSE", "DELETE", "SAY", "STREAM", "STREAMS", "info_of", "said_values"]

_FACTS: Final = """\
SELECT wanted.name,
       (SELECT max(version) FROM penstock_events WHERE stream = wanted.name),
       (SELECT count(*) FROM penstock_events WHERE stream = wanted.name),
       (SELECT position FROM penstock_events WHERE stream = wanted.name ORDER BY version LIMIT 1),
       (SELECT position FROM penstock_events WHERE stream = wanted.name ORDER BY version DESC LIMIT 1),
       said.version, said.deleted, said.owner, said.max_count, said.max_age_us, said.extra::text, said.name"""

STREAM: Final = f"""\
{_FACTS}
  FROM (SELECT ?::text COLLATE "C" AS name) AS wanted LEFT JOIN penstock_streams AS said ON said.name = wanted.name"""

STREAMS: Final = f"""\
WITH RECURSIVE given AS (
  SELECT ?::text COLLATE "C" AS after, ?::text COLLATE "C" AS category, ?::bigint AS most, ?::boolean AS ruled
), event_stream(name) AS (
  (SELECT stream FROM penstock_events
    WHERE stream > (SELECT after FROM given) AND NOT (SELECT ruled FROM given) ORDER BY stream LIMIT 1)
  UNION ALL
  SELECT (SELECT stream FROM penstock_events WHERE stream > event_stream.name ORDER BY stream LIMIT 1)
    FROM event_stream WHERE event_stream.name IS NOT NULL
), of_events(name) AS (
  SELECT event_stream.name FROM event_stream, given
   WHERE event_stream.name IS NOT NULL
     AND (given.category IS NULL OR split_part(event_stream.name, '-', 1) = given.category)
   LIMIT (SELECT most FROM given)
), of_sayings(name) AS (
  SELECT said.name FROM penstock_streams AS said, given
   WHERE said.name > given.after AND (given.category IS NULL OR split_part(said.name, '-', 1) = given.category)
     AND (NOT given.ruled OR said.max_count IS NOT NULL OR said.max_age_us IS NOT NULL)
   ORDER BY said.name LIMIT (SELECT most FROM given)
), wanted(name) AS (
  SELECT name FROM of_events UNION SELECT name FROM of_sayings ORDER BY name LIMIT (SELECT most FROM given)
)
{_FACTS} FROM wanted LEFT JOIN penstock_streams AS said ON said.name = wanted.name ORDER BY wanted.name"""
"""Jumps from name to name in the index, so that long streams cost no more than short ones."""

SAY: Final = """\
INSERT INTO penstock_streams (name, owner, max_count, max_age_us, extra)
VALUES (?, ?, ?::bigint, ?::bigint, ?::jsonb)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, max_count = excluded.max_count,
  max_age_us = excluded.max_age_us, extra = excluded.extra"""

DELETE: Final = """\
WITH gone AS (
  DELETE FROM penstock_events WHERE position = ANY (ARRAY(
    SELECT position FROM penstock_events WHERE stream = ? AND version <= ?::bigint ORDER BY version LIMIT ?::bigint
  )) RETURNING stream, version
), noted AS (
  INSERT INTO penstock_streams (name, version) SELECT stream, max(version) FROM gone GROUP BY stream
  ON CONFLICT (name) DO UPDATE SET version = greatest(penstock_streams.version, excluded.version)
)
SELECT count(*) FROM gone"""
"""The highest version that went is noted in the same statement, so that versions never begin again."""

CLOSE: Final = """\
INSERT INTO penstock_streams (name, deleted) VALUES (?, true) ON CONFLICT (name) DO UPDATE SET deleted = true"""

_decode: Final = msgspec.json.Decoder(dict[str, object]).decode
_encode: Final = msgspec.json.Encoder().encode
_MICROSECOND: Final = timedelta(microseconds=1)


def info_of(row: Row) -> StreamInfo | None:
    """The stream of a row; ``None`` if it never was."""
    name, version, events, first, last, gone, deleted, owner, max_count, max_age_us, extra, said = row
    if version is None and said is None:
        return None
    metadata = StreamMetadata()
    if said is not None:
        max_age = None if max_age_us is None else timedelta(microseconds=max_age_us)
        metadata = StreamMetadata(owner, max_count, max_age, _decode(extra))
    return StreamInfo(
        name=name,
        version=max(version or 0, gone or 0),
        events=events,
        first_position=first,
        last_position=last,
        metadata=metadata,
        deleted=bool(deleted),
    )


def said_values(stream: str, metadata: StreamMetadata) -> tuple[Parameter, ...]:
    """The parameters of `SAY`."""
    max_age_us = None if metadata.max_age is None else metadata.max_age // _MICROSECOND
    return stream, metadata.owner, metadata.max_count, max_age_us, _encode(dict(metadata.extra)).decode()
