"""Single events in a transaction of the store's own: plain statements, at less than functions cost the server.

They keep the order of ``penstock_append()``: the floor is locked before a position is drawn, and a stream's last
version is read before as well. Nothing has to remember the lock, for the transaction ends with the statement. They add
what goes well; of what they do not answer with, the functions find out what is the matter.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from penstock.message import Meta
from penstock.store._postgres.appending import bodies, check_texts, expectation, is_kept_in_json, one_event
from penstock.store._postgres.line import Parameter
from penstock.store.abc import ANY, EXISTS, Append

__all__ = ["statement_alone"]


class _Event(msgspec.Struct, omit_defaults=True, gc=False):
    e: int
    s: str
    i: str
    n: str
    k: str | None
    v: int
    m: Meta
    d: msgspec.Raw | None = None
    b: str | None = None


_MOST: Final = 200
"""How many rows are taken apart at less cost than as many columns."""
_encode: Final = msgspec.json.Encoder().encode

_LAST: Final = """\
coalesce((SELECT max(version) FROM penstock_events AS there WHERE there.stream = given.s), 0)"""
_ADD: Final = """\
WITH floor AS MATERIALIZED (
  SELECT pg_advisory_xact_lock_shared(
           (penstock_store_number() << 48) | coalesce(pg_sequence_last_value('penstock_positions'::regclass), 0)),
         CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
)
INSERT INTO penstock_events
       (position, stream, category, version, id, name, key, schema_version, data, body, meta, recorded_at)
SELECT nextval('penstock_positions'), s, split_part(s, '-', 1), {version} + 1, i, n, k, v, d, decode(b, 'base64'), m,
       clock_timestamp()
  FROM floor, {given}
 WHERE {condition}NOT EXISTS (SELECT FROM penstock_streams AS said WHERE said.name = given.s)
ON CONFLICT DO NOTHING RETURNING id, position, version -- for a table of {size:,} events"""
_GIVEN: Final = """\
(SELECT ?::text AS s, ?::text AS i, ?::text AS n, ?::text AS k, ?::int AS v, ?::json AS d, ?::text AS b,
        ?::jsonb AS m"""


def statement_alone(appends: Sequence[Append], position: int) -> tuple[str, tuple[Parameter, ...]] | None:
    """The statement for *appends* of one event each, all of different streams; ``None`` where it takes a function.

    *position* is about how far the store is. A connection plans a statement once and keeps the plan, which for a small
    table may be to look at all of it: with each two bits more the statement is another one, and is planned again.
    """
    size = position.bit_length() // 2
    if len(appends) == 1:
        [append] = appends
        if len(append.events) != 1 or append.expected is EXISTS:
            return None
        *facts, number, _owner = one_event(append, append.events[0])
        if append.expected is ANY:
            return _any(size), tuple(facts)
        return _expected(size), (*facts, number)
    if len(appends) > _MOST or len({append.events[0].stream for append in appends}) != len(appends):
        return None
    events: list[_Event] = []
    for append in appends:
        if len(append.events) != 1 or append.expected is EXISTS:
            return None
        event = append.events[0]
        meta = event.meta
        json, binary = bodies(event)
        # Taken apart as rows, each escape is looked at, and some that are JSON are no text of the server's.
        if json is not None and (b"\\u" in json or not is_kept_in_json(json)):
            return None
        events.append(
            _Event(
                expectation(append.expected),
                event.stream,
                event.id,
                event.name,
                meta.key,
                meta.version,
                meta,
                None if json is None else msgspec.Raw(json),
                binary,
            )
        )
    written = _encode(events).decode()
    if "\\u0000" in written:
        check_texts([append.events[0] for append in appends])
        return None
    return _several(size), (written,)


@lru_cache(maxsize=64)
def _any(size: int) -> str:
    return _ADD.format(version=_LAST, condition="", given=f"{_GIVEN}) AS given", size=4**size)


@lru_cache(maxsize=64)
def _expected(size: int) -> str:
    return _ADD.format(
        version="e",
        condition=f"e = {_LAST} AND ",
        given=f"{_GIVEN}, ?::bigint AS e) AS given",
        size=4**size,
    )


@lru_cache(maxsize=64)
def _several(size: int) -> str:
    return _ADD.format(
        version=f"CASE e WHEN -1 THEN {_LAST} ELSE e END",
        condition=f"(e = -1 OR e = {_LAST}) AND ",
        given=(
            "json_to_recordset(?::json) AS given"
            "(e bigint, s text, i text, n text, k text, v int, m jsonb, d json, b text)"
        ),
        size=4**size,
    )
