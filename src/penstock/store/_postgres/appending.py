"""An append as one statement: what is sent to ``penstock_append()``, and what its answer means.

It takes texts and numbers and gives one row of texts, so that it is the same over every driver.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.errors import UsageError
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
)

__all__ = [
    "append_steps",
    "bodies",
    "check_texts",
    "expectation",
    "is_kept_in_json",
    "one_event",
    "statement",
    "unpacked",
]


class _Request(msgspec.Struct, omit_defaults=True, gc=False):
    e: int
    o: str | None = None


class _Stream(msgspec.Struct, omit_defaults=True, gc=False):
    s: str
    e: int
    o: str | None = None


_ONE: Final = "?::text, ?::text, ?::text, ?::text, ?::int, ?::text, ?::text, ?::text, ?::bigint, ?::text"
_MANY: Final = "?::text, " * 13 + "?::text"
_SPACE: Final = b" \t\r\n"
_encode: Final = msgspec.json.Encoder().encode
_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
_decode_known: Final = msgspec.json.Decoder(list[tuple[int, str, int, int]]).decode
_decode_refused: Final = msgspec.json.Decoder(list[tuple[int, str, str, int, str | None]]).decode


def append_steps(append: Append, prefix: str = "") -> AppendSteps:
    """The one statement of an append, for the caller's own transaction.

    *prefix* is the schema with its dot, where that is not on the search path.
    """
    if not append.events:
        return []
    rows = yield statement([append], prefix)
    [outcome] = unpacked([append], rows[0])
    return outcome


def statement(appends: Sequence[Append], prefix: str = "") -> tuple[str, tuple[str | int | None, ...]]:
    """The statement for *appends*, in which two of them never hold the same event id."""
    columns = f"SELECT positions, versions, known, refused FROM {prefix}"
    if len(appends) == 1 and len(appends[0].events) == 1:
        return f"{columns}penstock_append_one({_ONE})", one_event(appends[0], appends[0].events[0])
    return f"{columns}penstock_append({_MANY})", _many(appends)


def one_event(append: Append, event: NewEvent) -> tuple[str | int | None, ...]:
    """The parameters of ``penstock_append_one()``."""
    json, binary = bodies(event)
    text = None if json is None else json.decode()
    meta = event.meta
    envelope = _encode(meta).decode()
    if "\\u0000" in envelope or "\0" in event.stream + event.id + event.name:
        check_texts([event])
    number = expectation(append.expected)
    return (
        *(event.stream, event.id, event.name, meta.key, meta.version, text, binary, envelope),
        *(number, append.owner),
    )


def _many(appends: Sequence[Append]) -> tuple[str | int | None, ...]:
    requests = [_Request(expectation(append.expected), append.owner) for append in appends]
    streams: dict[str, _Stream] = {}
    counts: dict[str, int] = {}
    places: dict[str, int] = {}
    of_request: list[int] = []
    numbers: list[int] = []
    events: list[NewEvent] = []
    for number, append in enumerate(appends):
        request = requests[number]
        for event in _unique(append.events):
            name = event.stream
            if (count := counts.get(name)) is None:
                count = 0
                streams[name] = _Stream(name, request.e, request.o)
                places[name] = len(streams)
            elif streams[name].o != request.o:
                streams[
                    name
                ].o = None  # as if nobody's: a stream that has an owner is then looked at with care
            counts[name] = count = count + 1
            of_request.append(number)
            numbers.append(count)
            events.append(event)
    metas = [event.meta for event in events]
    columns = [
        _column(of_request),
        _column([places[event.stream] for event in events]),
        _column(numbers),
        _column([event.stream for event in events]),
        _column([event.id for event in events]),
        _column([event.name for event in events]),
        _column([meta.key for meta in metas]),
        _column([meta.version for meta in metas]),
        _column(metas),
    ]
    if any("\\u0000" in column for column in columns):
        check_texts(events)
    written = (_encode(requests).decode(), _encode([*streams.values()]).decode())
    return (*written, *columns, *_body_columns(events))


def _column(values: Sequence[object]) -> str:
    return _encode(values).decode()


def _body_columns(events: Sequence[NewEvent]) -> tuple[str | None, ...]:
    """Bodies as JSON, as texts of JSON, and in Base64; ``None`` for a column with nothing in it."""
    raws: list[msgspec.Raw | None] = []
    texts: dict[int, str] = {}
    binaries: dict[int, str] = {}
    for number, event in enumerate(events):
        json, binary = bodies(event)
        raws.append(None)
        if binary is not None:
            binaries[number] = binary
        elif json is not None:
            if is_kept_in_json(json):
                raws[number] = msgspec.Raw(json)
            else:
                texts[number] = json.decode()
    count = range(len(events))
    return (
        _column(raws),
        _column([texts.get(number) for number in count]) if texts else None,
        _column([binaries.get(number) for number in count]) if binaries else None,
    )


def is_kept_in_json(body: bytes) -> bool:
    """Whether it stays as it is within other JSON, of which the server trims the parts; a null is no body there."""
    return body[0] not in _SPACE and body[-1] not in _SPACE and body != b"null"


def check_texts(events: Sequence[NewEvent]) -> None:
    """Raises `UsageError` where a text of an envelope has a NUL, which PostgreSQL keeps nowhere."""
    for event in events:
        if "\\u0000" in _encode((event.stream, event.id, event.name, event.meta)).decode().replace(
            "\\\\", ""
        ):
            raise UsageError(
                f"event {event.id!r} ({event.name!r}) has a NUL character in its stream, id, name or envelope; "
                "leave it out"
            )


def unpacked(appends: Sequence[Append], row: Sequence[Any]) -> list[list[Appended] | Conflict]:
    """The outcome of each of *appends*."""
    positions, versions, known, refused = row
    at = _numbers(positions)
    number = _numbers(versions)
    old = {place[0]: place for place in _decode_known(known)} if known else {}
    conflicts = {each[0]: each for each in _decode_refused(refused)} if refused else {}
    outcomes: list[list[Appended] | Conflict] = []
    first = 0
    for index, append in enumerate(appends):
        events = _unique(append.events)
        if index in conflicts:
            outcomes.append(_conflict(conflicts[index]))
        elif not old:
            outcomes.append(
                [
                    Appended(event.id, event.stream, at[place], number[place])
                    for place, event in enumerate(events, first)
                ]
            )
        else:
            outcomes.append(
                [
                    Appended(event.id, *_place(old[place + 1]), is_new=False)
                    if place + 1 in old
                    else Appended(event.id, event.stream, at[place], number[place])
                    for place, event in enumerate(events, first)
                ]
            )
        first += len(events)
        if len(events) != len(append.events):
            outcomes[-1] = _with_repeats(append, outcomes[-1])
    return outcomes


def _unique(events: Sequence[NewEvent]) -> Sequence[NewEvent]:
    """The first event of each id."""
    if len(events) == 1:
        return events
    found: dict[str, NewEvent] = {}
    for event in events:
        found.setdefault(event.id, event)
    return events if len(found) == len(events) else tuple(found.values())


def _with_repeats(append: Append, outcome: list[Appended] | Conflict) -> list[Appended] | Conflict:
    """The outcome with the events that stood in the append more than once in their places."""
    if isinstance(outcome, Conflict):
        return outcome
    places = {each.event_id: each for each in outcome}
    seen: set[str] = set()
    found: list[Appended] = []
    for event in append.events:
        place = places[event.id]
        if event.id in seen:
            place = Appended(place.event_id, place.stream, place.position, place.stream_version, is_new=False)
        seen.add(event.id)
        found.append(place)
    return found


def bodies(event: NewEvent) -> tuple[bytes | None, str | None]:
    """The body as it is, if it is JSON, else in Base64."""
    data = event.data
    if data is None:
        return None, None
    if event.meta.content_type.startswith("application/json"):
        try:
            _check_json(data)
            data.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # The server would refuse it, and the caller's transaction would be lost.
        else:
            return data, None
    return None, base64.b64encode(data).decode()


def expectation(expected: Expected) -> int:
    """What is expected of a stream as a number: -1 for anything, -2 for that it exists."""
    if expected is ANY:
        return -1
    if expected is EXISTS:
        return -2
    return 0 if expected is NO_STREAM else int(expected)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.strip("{}").split(",")]


def _place(known: tuple[int, str, int, int]) -> tuple[str, int, int]:
    _, stream, version, position = known
    return stream, position, version


def _conflict(refused: tuple[int, str, str, int, str | None]) -> Conflict:
    _, reason, stream, version, owner = refused
    if reason == "deleted":
        return Conflict(stream, "deleted")
    if reason == "protected":
        return Conflict(stream, "protected", owner=owner or "")
    return Conflict(stream, "version", actual=version)
