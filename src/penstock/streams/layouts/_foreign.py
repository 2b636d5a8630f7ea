"""What the layouts of other systems have in common: bodies made to fit, ids for entries that have none, and the rest.

Each of them has places for some facts of our envelope. Where a layout has room for more, the others travel in one field
called ``penstock``, a JSON text that the other side passes over.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.codec import Codec, codec_for
from penstock.errors import UndecodableEntryError
from penstock.message import Message, Meta
from penstock.streams.layouts.native import NATIVE

__all__ = [
    "FIELD",
    "Beside",
    "fitting",
    "own",
    "pairs",
    "read_beside",
    "text",
    "undecodable",
    "whole",
    "headers_of",
]

FIELD: Final = "penstock"
"""The field, or header, that holds what the layout has no place for."""
_BEGIN_OF_META: Final = b'{"time":'


class Beside(msgspec.Struct, omit_defaults=True, gc=False):
    """The part of an envelope that a layout has no place for; what is left out has its default or its place."""

    id: str | None = None
    name: str | None = None
    time: int | None = None
    """Microseconds since the Unix epoch."""
    source: str | None = None
    key: str | None = None
    version: int = 1
    kind: str = "event"
    headers: dict[str, str] = {}
    """Those whose names mean something else in the layout."""
    correlation: str | None = None
    causation: str | None = None
    original_id: str | None = None

    def __bool__(self) -> bool:
        return self != _NOTHING

    def encode(self) -> bytes:
        """The JSON text."""
        return _encode(self)


_NOTHING: Final = Beside()
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Beside).decode


def read_beside(written: bytes | None, stream: str, raw_entry_id: bytes) -> Beside:
    """What stands in the field `FIELD`, if it is there. Raises `UndecodableEntryError`."""
    if written is None:
        return _NOTHING
    try:
        return _decode(written)
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise undecodable(stream, raw_entry_id, f"its field {FIELD!r} is not ours: {failure}") from failure


def own(stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message | None:
    """The message of an entry in our own layout, else ``None``.

    Every layout reads those too: a stream that changes over from one to the other has both for a while.
    """
    if (
        len(fields) >= 6
        and (fields[0], fields[2], fields[4]) == (b"id", b"name", b"meta")
        and fields[5].startswith(_BEGIN_OF_META)
    ):
        return NATIVE.read(stream, raw_entry_id, fields)
    return None


def pairs(stream: str, raw_entry_id: bytes, fields: Sequence[bytes]) -> dict[str, bytes]:
    """Values by the names of their fields. Raises `UndecodableEntryError` for a name that is no text."""
    names = [text(each, stream, raw_entry_id, "the name of a field") for each in fields[::2]]
    return dict(zip(names, fields[1::2], strict=False))


def text(value: bytes, stream: str, raw_entry_id: bytes, what: str) -> str:
    """*value* as text. Raises `UndecodableEntryError` naming *what* it is."""
    try:
        return value.decode()
    except UnicodeDecodeError as failure:
        raise undecodable(stream, raw_entry_id, f"{what} is no text: {failure}") from failure


def whole(value: bytes | str | None) -> int | None:
    """The whole number that *value* spells, if it does."""
    shown = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return int(shown) if shown and shown.isascii() and shown.isdecimal() and len(shown) < 19 else None


def undecodable(stream: str, raw_entry_id: bytes, reason: str) -> UndecodableEntryError:
    """The error for an entry that cannot be read."""
    return UndecodableEntryError(stream, raw_entry_id.decode("ascii", "replace"), reason)


def fitting(data: bytes | None, meta: Meta, codecs: Sequence[Codec]) -> tuple[bytes | None, str]:
    """A body in a form that *codecs* allow, and its content type; written anew by the first where it is in another.

    Raises:
        CodecError: It cannot be written so.
    """
    if data is None or any(meta.content_type == codec.content_type for codec in codecs):
        return data, meta.content_type
    value: Any = codec_for(meta.content_type).decode(data)
    return codecs[0].encode(value), codecs[0].content_type


def headers_of(values: Mapping[str, bytes], stream: str, raw_entry_id: bytes) -> dict[str, str]:
    """Fields as headers. Raises `UndecodableEntryError`."""
    return {name: text(value, stream, raw_entry_id, f"field {name!r}") for name, value in values.items()}
