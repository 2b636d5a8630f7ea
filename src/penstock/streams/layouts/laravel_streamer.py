"""The layout of laravel-streamer (PHP): ``_id type version name domain created data hash``.

The fields, their order and the hash are those of its ``Message`` class at message version 1.3. The body is JSON as
PHP's ``json_encode`` writes it without flags, since the hash is taken over that text: slashes escaped, all but ASCII
by the four hexadecimal digits of each UTF-16 unit, floats as ``serialize_precision = -1`` has them (``php_gcvt`` in
PHP's ``main/snprintf.c``).
"""

import hashlib
import re
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from penstock.codec import JSON, Codec
from penstock.errors import EncodeError
from penstock.message import Message, Meta
from penstock.position import EntryId
from penstock.streams.layouts._foreign import (
    FIELD,
    Beside,
    fitting,
    headers_of,
    own,
    pairs,
    read_beside,
    text,
    undecodable,
    whole,
)
from penstock.streams.layouts.native import id_of_place

__all__ = ["LARAVEL_STREAMER", "LaravelStreamerLayout"]

_VERSION: Final = b"1.3"
_EMPTY: Final = b"[]"
"""How PHP writes an empty payload, whether it is a list or a map."""
_KNOWN: Final = frozenset(
    {"_id", "original_id", "type", "version", "name", "domain", "created", "data", "hash", FIELD}
)


class LaravelStreamerLayout:
    """Entries as laravel-streamer writes them, and nothing more.

    With *envelope* one more field, ``penstock``, carries what those have no place for: event id, key, headers, version,
    cause, time below the second. laravel-streamer keeps it beside the others and passes over it; its archive drops it.
    """

    name = "laravel-streamer"
    codecs: tuple[Codec, ...] = (JSON,)

    def __init__(self, *, envelope: bool = False) -> None:
        self._envelope = envelope

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """The fields of one message. Raises `EncodeError` for a body that is neither object nor list nor absent."""
        body, _ = fitting(data, meta, self.codecs)
        written = _EMPTY if body is None else _php_body(body)
        kind, domain = meta.kind.encode(), (meta.source or "").encode()
        fields = [b"_id", b"*"]
        if meta.original_id is not None:
            fields += (b"original_id", meta.original_id.encode())
        fields += (b"type", kind, b"version", _VERSION, b"name", name.encode(), b"domain", domain)
        fields += (b"created", b"%d" % (meta.time // 1_000_000), b"data", written)
        fields += (b"hash", hashlib.sha256(kind + name.encode() + domain + written).hexdigest().encode())
        if self._envelope:
            beside = Beside(
                id=event_id,
                time=meta.time,
                key=meta.key,
                version=meta.version,
                headers=meta.headers,
                correlation=meta.correlation,
                causation=meta.causation,
            )
            fields += (FIELD.encode(), beside.encode())
        return fields

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """The message in an entry that has at least a ``name``."""
        if (native := own(stream, raw_entry_id, fields)) is not None:
            return native
        values = pairs(stream, raw_entry_id, fields)
        if "name" not in values:
            shown = ", ".join(sorted(values)) or "none"
            raise undecodable(stream, raw_entry_id, f"it has no field 'name' (its fields: {shown[:200]})")
        said = {
            each: text(values[each], stream, raw_entry_id, f"field {each!r}")
            for each in ("name", "type", "domain", "original_id")
            if values.get(each)
        }
        beside = read_beside(values.get(FIELD), stream, raw_entry_id)
        original_id = said.get("original_id")
        created, data = whole(values.get("created")), values.get("data")
        others = {each: value for each, value in values.items() if each not in _KNOWN}
        return Message(
            beside.id or id_of_place(stream, original_id or raw_entry_id.decode()),
            said.get("name", ""),
            stream,
            raw_entry_id,
            Meta(
                time=beside.time or _time_us(created, raw_entry_id),
                source=said.get("domain"),
                key=beside.key,
                version=beside.version,
                kind=said.get("type", "event"),
                headers={**headers_of(others, stream, raw_entry_id), **beside.headers},
                correlation=beside.correlation,
                causation=beside.causation,
                original_id=original_id,
            ),
            None if data == _EMPTY else data,
        )


LARAVEL_STREAMER: Final = LaravelStreamerLayout()
"""The layout that settings call ``laravel-streamer``."""

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999, which is as far as times go."""


def _time_us(created: int | None, raw_entry_id: bytes) -> int:
    if created is None or created > _LATEST:
        return EntryId.parse(raw_entry_id).ms * 1000
    return created * 1_000_000


# -- JSON as PHP writes it ------------------------------------------------------------------------------------------

_SHORT: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


_ESCAPED: Final = re.compile(r'[\x00-\x1f"/\\]|[^\x00-\x7f]')


def _php_body(body: bytes) -> bytes:
    try:
        value = msgspec.json.decode(body)
        written = _php(value).encode("ascii")
    except (msgspec.MsgspecError, RecursionError) as failure:
        raise EncodeError(JSON.content_type, f"the body is not JSON that PHP reads: {failure}") from failure
    if not isinstance(value, dict | list):
        raise EncodeError(
            JSON.content_type,
            f"the body is {type(value).__name__}, and laravel-streamer reads objects and lists alone; wrap it in one",
        )
    return written


def _php(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _php_float(value)
        case str():
            return _php_text(value)
        case dict():
            pairs_of = cast("dict[str, Any]", value).items()
            return "{" + ",".join(f"{_php_text(key)}:{_php(each)}" for key, each in pairs_of) + "}"
        case _:
            items: list[Any] = value
            return "[" + ",".join(_php(each) for each in items) + "]"


def _php_text(value: str) -> str:
    return f'"{_ESCAPED.sub(_php_escape, value)}"'


def _php_escape(match: re.Match[str]) -> str:
    if (short := _SHORT.get(match[0])) is not None:
        return short
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _php_float(value: float) -> str:
    """The shortest digits that give the number again; with an exponent below 1e-4 and from 1e17 on."""
    sign, digits_of, exponent = Decimal(repr(value)).as_tuple()
    written = "".join(map(str, digits_of)).lstrip("0")
    digits = written.rstrip("0") or "0"
    # Where the decimal point stands, counted from the first digit.
    point = len(written) + int(exponent) if written else 1
    minus = "-" if sign else ""
    if point < -3 or point > 17:
        return f"{minus}{digits[0]}.{digits[1:] or '0'}e{point - 1:+d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return minus + digits.ljust(point, "0")
    return f"{minus}{digits[:point]}.{digits[point:]}"
