"""The layout of streamerson (TypeScript): values by their place alone, two in each field and value of an entry.

Written is what its ``writeToStream`` writes: message id, type, destination, headers, protocol, source id,
``UnoccupiedField``, payload. Read are that, and what its PROTOCOL document describes instead: seven values without the
destination, by place (an eighth, which the server demands, is passed over) or under the names of its table.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.codec import JSON, TEXT, Codec
from penstock.message import Message, Meta
from penstock.position import EntryId
from penstock.streams.layouts._foreign import (
    FIELD,
    Beside,
    fitting,
    own,
    pairs,
    read_beside,
    text,
    undecodable,
)
from penstock.streams.layouts.native import id_of_place

__all__ = ["DESTINATION", "SOURCE_ID", "STREAMERSON", "StreamersonLayout"]

DESTINATION: Final = "streamerson-destination"
"""The header for the stream that an answer is awaited on."""
SOURCE_ID: Final = "streamerson-source-id"
"""The header that, when emitting, takes the place of the app's name as source id."""

_PROTOCOLS: Final = {b"json": JSON.content_type, b"text": TEXT.content_type}
_UNOCCUPIED: Final = b"UnoccupiedField"
_NIL: Final = b"nil"
_NOTHING: Final = b"{}"
"""What its gateway sends for an absent body; the other side parses whatever is there."""
_decode_headers: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class _Slots(NamedTuple):
    """The values of an entry, whichever way it holds them."""

    id: bytes
    type: bytes
    destination: bytes
    headers: bytes
    protocol: bytes
    source: bytes
    payload: bytes


class StreamersonLayout:
    """Four pairs used as eight places.

    Event id, name, source and body have places of their own; headers, and what of our envelope is not as usual, go into
    the headers, which are ``nil`` when there are none.
    """

    name = "streamerson"
    codecs: tuple[Codec, ...] = (JSON, TEXT)

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The values of one message, in their order."""
        body, content_type = fitting(data, meta, self.codecs)
        headers = dict(meta.headers)
        destination = headers.pop(DESTINATION, "")
        source = headers.pop(SOURCE_ID, meta.source or "")
        beside = Beside(
            time=None if meta.original_id is None else meta.time,
            key=meta.key,
            version=meta.version,
            kind=meta.kind,
            headers={FIELD: headers.pop(FIELD)} if FIELD in headers else {},
            correlation=meta.correlation,
            causation=meta.causation,
            original_id=meta.original_id,
        )
        if beside:
            headers[FIELD] = beside.encode().decode()
        return [
            event_id.encode(),
            name.encode(),
            destination.encode(),
            _encode(headers) if headers else _NIL,
            b"text" if content_type == TEXT.content_type and body is not None else b"json",
            source.encode(),
            _UNOCCUPIED,
            _NOTHING if body is None else body,
        ]

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry of any of the three forms."""
        if (native := own(stream, raw_entry_id, fields)) is not None:
            return native
        slots = _slots(stream, raw_entry_id, fields)
        if slots is None or not slots.type:
            raise undecodable(
                stream,
                raw_entry_id,
                f"it has {len(fields)} values and no protocol json or text where streamerson has it",
            )
        headers = _headers(slots.headers, stream, raw_entry_id)
        beside = read_beside(_taken(headers), stream, raw_entry_id)
        if slots.destination:
            headers[DESTINATION] = text(slots.destination, stream, raw_entry_id, "the destination")
        return Message(
            text(slots.id, stream, raw_entry_id, "the message id")
            or id_of_place(stream, beside.original_id or raw_entry_id.decode()),
            text(slots.type, stream, raw_entry_id, "the message type"),
            stream,
            raw_entry_id,
            Meta(
                time=EntryId.parse(raw_entry_id).ms * 1000 if beside.time is None else beside.time,
                source=text(slots.source, stream, raw_entry_id, "the source id") or None,
                key=beside.key,
                version=beside.version,
                kind=beside.kind,
                content_type=_PROTOCOLS[slots.protocol],
                headers={**headers, **beside.headers},
                correlation=beside.correlation,
                causation=beside.causation,
                original_id=beside.original_id,
            ),
            slots.payload,
        )


STREAMERSON: Final = StreamersonLayout()
"""The layout that settings call ``streamerson``."""


def _slots(stream: str, raw_entry_id: bytes, fields: Sequence[bytes]) -> _Slots | None:
    if len(fields) == 8 and fields[4] in _PROTOCOLS:
        message_id, type_, destination, headers, protocol, source, _, payload = fields
        return _Slots(message_id, type_, destination, headers, protocol, source, payload)
    if len(fields) == 8 and fields[3] in _PROTOCOLS:
        first, type_, headers, protocol, source, _, payload, _ = fields
        # The table calls the first value a stream, the code beside it a message id.
        message_id = b"" if first == stream.encode() else first
        return _Slots(message_id, type_, b"", headers, protocol, source, payload)
    named = pairs(stream, raw_entry_id, fields)
    if named.get("messageProtocol") in _PROTOCOLS and "payload" in named:
        return _Slots(
            named.get("messageId", b""),
            named.get("messageType", b""),
            b"",
            named.get("streamHeaders", _NIL),
            named["messageProtocol"],
            named.get("sourceId", b""),
            named["payload"],
        )
    return None


def _headers(written: bytes, stream: str, raw_entry_id: bytes) -> dict[str, str]:
    """Headers as strings: of other JSON values their text."""
    if written in (_NIL, b""):
        return {}
    try:
        found = {name: bytes(value) for name, value in _decode_headers(written).items()}
        return {
            name: msgspec.json.decode(value, type=str) if value[:1] == b'"' else value.decode()
            for name, value in found.items()
        }
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise undecodable(stream, raw_entry_id, f"its headers are no JSON map: {failure}") from failure


def _taken(headers: dict[str, str]) -> bytes | None:
    ours = headers.pop(FIELD, None)
    return None if ours is None else ours.encode()
