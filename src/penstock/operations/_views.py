"""Entries as people look at them: read as messages where they are some, as bare fields where they are not."""

from penstock.errors import CodecError, UndecodableEntryError
from penstock.message import Message
from penstock.operations._values import EntryView
from penstock.position import EntryId
from penstock.streams.abc import RawEntry, RawId
from penstock.streams.layouts import EntryReader

__all__ = ["view_of", "view_of_message"]


def view_of(pool: str, stream: str, entry: RawEntry, layouts: EntryReader) -> EntryView:
    """One entry, as *layouts* read it; never raises."""
    raw_id: RawId = entry[0]
    fields: list[bytes] = entry[1] or []
    try:
        return view_of_message(pool, layouts.read(stream, raw_id, fields))
    except UndecodableEntryError as failure:
        return EntryView(
            pool, stream, EntryId.parse(raw_id), undecodable=failure.reason, fields=_as_text(fields)
        )


def view_of_message(pool: str, message: Message) -> EntryView:
    """A message; a body that cannot be read is said to be so in `undecodable`."""
    payload, reason = None, None
    try:
        payload = message.payload
    except CodecError as failure:
        reason = str(failure)
    return EntryView(
        pool=pool,
        stream=message.stream,
        entry_id=message.entry_id,
        name=message.name,
        event_id=message.id,
        time=message.time,
        key=message.key,
        kind=message.kind,
        source=message.source,
        version=message.version,
        content_type=message.content_type,
        headers=message.headers,
        payload=payload,
        undecodable=reason,
        fields=None if reason is None or message.data is None else _as_text([b"data", message.data]),
    )


def _as_text(fields: list[bytes]) -> dict[str, str]:
    text = [field.decode("utf-8", "backslashreplace") for field in fields]
    return dict(zip(text[::2], text[1::2], strict=False))
