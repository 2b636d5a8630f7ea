"""CloudEvents 1.0 in binary mode: an attribute a field, its name behind ``ce_``, and ``content-type`` and ``data``.

There is no binding for streams of this kind, so the names are those of the Kafka protocol binding (version 1.0, section
3.2), whose headers are what fields are here. Facts of ours that are no attributes of the core are extensions:
``partitionkey`` (the key), ``correlationid``, ``causationid``, and ``kind``, ``schemaversion``, ``originalid`` where
they say something.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.codec import Codec
from penstock.message import Message, Meta
from penstock.position import EntryId
from penstock.streams.layouts._foreign import (
    FIELD,
    Beside,
    headers_of,
    own,
    pairs,
    read_beside,
    undecodable,
    whole,
)

__all__ = ["CLOUDEVENTS", "CloudEventsLayout"]

_PREFIX: Final = "ce_"
_TYPE: Final = "content-type"
_DATA: Final = "data"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_OURS: Final = frozenset(
    {
        *_REQUIRED,
        "time",
        "datacontenttype",
        "data",
        "partitionkey",
        "kind",
        "schemaversion",
        "correlationid",
        "causationid",
        "originalid",
    }
)
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
_NOBODY: Final = "/"
"""The source of an event that names none; the attribute may not be empty."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CloudEventsLayout:
    """Binary mode. Headers whose names can be attributes' are attributes, others are fields of their own."""

    name = "cloudevents"
    codecs: tuple[Codec, ...] = ()

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message; no ``content-type`` and no ``data`` when it has no body."""
        said = {
            "specversion": "1.0",
            "id": event_id,
            "source": meta.source or _NOBODY,
            "type": name,
            "time": _written(meta.time),
            "partitionkey": meta.key,
            "kind": None if meta.kind == "event" else meta.kind,
            "schemaversion": None if meta.version == 1 else str(meta.version),
            "correlationid": meta.correlation,
            "causationid": meta.causation,
            "originalid": meta.original_id,
        }
        values = {_PREFIX + each: value for each, value in said.items() if value is not None}
        moved: dict[str, str] = {}
        for header, value in meta.headers.items():
            if header in (_TYPE, _DATA, FIELD) or header.startswith(_PREFIX):
                moved[header] = value
            elif _ATTRIBUTE.fullmatch(header) and header not in _OURS:
                values[_PREFIX + header] = value
            else:
                values[header] = value
        if moved:
            values[FIELD] = Beside(headers=moved).encode().decode()
        fields = [part.encode() for pair in values.items() for part in pair]
        if data is not None:
            fields += (_TYPE.encode(), meta.content_type.encode(), _DATA.encode(), data)
        return fields

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry that has the four attributes which every event must have."""
        if (native := own(stream, raw_entry_id, fields)) is not None:
            return native
        values = pairs(stream, raw_entry_id, fields)
        data = values.pop(_DATA, None)
        beside = read_beside(values.pop(FIELD, None), stream, raw_entry_id)
        said = headers_of(values, stream, raw_entry_id)
        content_type = said.pop(_TYPE, None) or said.get(_PREFIX + "datacontenttype") or "application/json"
        if content_type.lower().startswith("application/cloudevents"):
            raise undecodable(
                stream, raw_entry_id, "it is a CloudEvent in structured mode; have its sender use binary mode"
            )
        attributes = {
            name.removeprefix(_PREFIX): said.pop(name) for name in [*said] if name.startswith(_PREFIX)
        }
        missing = [f"{_PREFIX}{each}" for each in _REQUIRED if not attributes.get(each)]
        if missing:
            raise undecodable(stream, raw_entry_id, f"it is no CloudEvent; it lacks {', '.join(missing)}")
        if not attributes["specversion"].startswith("1."):
            raise undecodable(stream, raw_entry_id, f"CloudEvents {attributes['specversion']} is not 1.0")
        extensions = {name: value for name, value in attributes.items() if name not in _OURS}
        return Message(
            attributes["id"],
            attributes["type"],
            stream,
            raw_entry_id,
            Meta(
                time=_read_time(attributes.get("time"), stream, raw_entry_id),
                source=None if attributes["source"] == _NOBODY else attributes["source"],
                key=attributes.get("partitionkey"),
                version=max(1, whole(attributes.get("schemaversion")) or 1),
                kind=attributes.get("kind", "event"),
                content_type=content_type,
                headers={**said, **extensions, **beside.headers},
                correlation=attributes.get("correlationid"),
                causation=attributes.get("causationid"),
                original_id=attributes.get("originalid"),
            ),
            data,
        )


CLOUDEVENTS: Final = CloudEventsLayout()
"""The layout that settings call ``cloudevents``."""


def _written(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


def _read_time(written: str | None, stream: str, raw_entry_id: bytes) -> int:
    if written is None:
        return EntryId.parse(raw_entry_id).ms * 1000
    try:
        time = datetime.fromisoformat(written)
    except ValueError as failure:
        raise undecodable(stream, raw_entry_id, f"ce_time is {written!r}, which is no time") from failure
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
