"""Events of a store as lines of JSON, and back: what `store export` writes and `store import` reads.

One event a line, under the names of the Python API. A JSON body stands in the line as it lies in the store; any other,
and JSON that is written over several lines, as base64 in ``body``, so that every byte comes back. Where an event stood
(``position``, ``stream_version``, ``recorded_at``) is told and not taken over: the store that imports orders by itself.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from penstock.codec import JSON
from penstock.errors import UsageError
from penstock.message import Meta
from penstock.store.abc import NewEvent, StoredEvent

__all__ = ["EventLine", "read_event_line", "write_event_line"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = msgspec.Raw(b"")


class EventLine(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """One line. `stream`, `id`, `name` and `time` are needed, the rest may be left out."""

    position: int | None = None
    stream: str
    stream_version: int | None = None
    id: str
    name: str
    time: datetime
    """When the event was made."""
    recorded_at: datetime | None = None
    source: str | None = None
    key: str | None = None
    version: int = 1
    """Of the body's schema."""
    kind: str = "event"
    content_type: str = JSON.content_type
    headers: dict[str, str] = {}
    correlation: str | None = None
    causation: str | None = None
    original_id: str | None = None
    data: msgspec.Raw = _NOTHING
    """The body, as JSON."""
    body: bytes | None = None
    """The body, whatever its content type, as base64."""


_SAME_IN_META = (
    "source",
    "key",
    "version",
    "kind",
    "content_type",
    "correlation",
    "causation",
    "original_id",
)
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(EventLine)
_ANY_JSON = msgspec.json.Decoder()


def write_event_line(event: StoredEvent) -> bytes:
    """The line of an event, its line break included."""
    meta = event.meta
    data, body = _NOTHING, None
    if event.data is not None:
        if _stands_in_a_line(event.data, meta.content_type):
            data = msgspec.Raw(event.data)
        else:
            body = event.data
    line = EventLine(
        stream=event.stream,
        id=event.id,
        name=event.name,
        time=event.time,
        position=event.position,
        stream_version=event.stream_version,
        recorded_at=event.recorded_at,
        headers=meta.headers,
        data=data,
        body=body,
        **{name: getattr(meta, name) for name in _SAME_IN_META},
    )
    return _ENCODER.encode(line) + b"\n"


def read_event_line(text: bytes) -> tuple[NewEvent, EventLine]:
    """The event of a line, and the line itself. Raises `UsageError` for one that is none."""
    try:
        line = _DECODER.decode(text)
    except (msgspec.MsgspecError, ValueError) as failure:
        raise UsageError(f"is no event: {failure}") from None
    if bytes(line.data) and line.body is not None:
        raise UsageError("has its body twice, in 'data' and in 'body'")
    if line.time.tzinfo is None:
        raise UsageError("has a time without a zone; write it as in 2026-01-31T12:00:00Z")
    _check_names(line)
    meta = Meta(
        time=(line.time - _EPOCH) // timedelta(microseconds=1),
        headers=line.headers,
        **{name: getattr(line, name) for name in _SAME_IN_META},
    )
    return NewEvent(line.stream, line.id, line.name, meta, bytes(line.data) or line.body), line


def _stands_in_a_line(data: bytes, content_type: str) -> bool:
    if content_type != JSON.content_type or data != data.strip() or b"\n" in data or b"\r" in data:
        return False
    try:
        _ANY_JSON.decode(data)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


def _check_names(line: EventLine) -> None:
    for name in ("stream", "id", "name"):
        if not getattr(line, name):
            raise UsageError(f"has an empty {name!r}")
    texts = (line.stream, line.id, line.name, line.key or "", *line.headers, *line.headers.values())
    if any("\0" in each for each in texts):
        raise UsageError("has a NUL character in a name, key or header, which no database takes")
