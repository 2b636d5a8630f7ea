"""Codecs: how a body becomes bytes and comes back. The content type in the envelope names the codec.

A codec builds plain values or types that the reader names itself; nothing in the bytes ever names code.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NoReturn, Protocol, cast

import msgspec

from penstock.errors import DecodeError, EncodeError, UnknownContentTypeError, UsageError

__all__ = ["BYTES", "JSON", "MESSAGEPACK", "TEXT", "Codec", "codec_for"]

Read = Callable[[bytes], Any]


class Codec(Protocol):
    """One way to write a body. One of yours may stand wherever ours do (``codec=``)."""

    @property
    def content_type(self) -> str:
        """What the envelope calls it."""
        ...

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        ...

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*, as *type_*; ``Any`` gives plain Python values. Raises `DecodeError`."""
        ...


class _Json:
    """JSON by RFC 8259, UTF-8. Integers of any size; no NaN and no infinities, which JSON does not have."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_refuse).encode

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        try:
            data = self._encode(value)
        except (TypeError, ValueError, RecursionError) as failure:
            raise EncodeError(self.content_type, str(failure)) from failure
        # msgspec writes NaN and infinities as null, so they can only be where there is one.
        if b"null" in data:
            refuse_not_finite(value, data)
        return data

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*. Raises `DecodeError`, and `UsageError` for a type that nothing is read as."""
        read = _reader(_json_reader, _build_json, type_)
        try:
            return read(data)
        except MemoryError:
            raise
        except Exception as failure:
            raise DecodeError(self.content_type, reason_of(failure)) from failure


class _MessagePack:
    """MessagePack. Integers beyond 64 bits travel as extension 1, which holds their decimal digits.

    Other extensions are read as they are, as `msgspec.msgpack.Ext`.
    """

    content_type = "application/msgpack"

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder(enc_hook=_write_big).encode

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        try:
            try:
                return self._encode(value)
            except OverflowError:
                plain = msgspec.to_builtins(value, builtin_types=NATIVE, enc_hook=_refuse)
                return self._encode(_mark_big(plain))
        except (TypeError, ValueError, RecursionError) as failure:
            raise EncodeError(self.content_type, str(failure)) from failure

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*. Raises `DecodeError`, and `UsageError` for a type that nothing is read as."""
        read = _reader(_msgpack_reader, _build_msgpack, type_)
        try:
            try:
                return read(data)
            except msgspec.ValidationError:
                if type_ is Any or not _MAY_HOLD_BIG.search(data):
                    raise
                # msgspec hands an extension only to places of type Any, so a big integer takes the long way.
                return msgspec.convert(_msgpack_reader(Any)(data), type_)
        except MemoryError:
            raise
        except Exception as failure:
            raise DecodeError(self.content_type, reason_of(failure)) from failure


class _Text:
    """A string, UTF-8."""

    content_type = "text/plain"

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        if not isinstance(value, str):
            raise EncodeError(self.content_type, f"it carries str, not {type(value).__name__}")
        try:
            return value.encode()
        except UnicodeEncodeError as failure:
            raise EncodeError(self.content_type, str(failure)) from failure

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The string in *data*. Raises `DecodeError`."""
        if type_ not in (Any, str):
            raise DecodeError(self.content_type, f"it carries str, not {_shown(type_)}")
        try:
            return data.decode()
        except UnicodeDecodeError as failure:
            raise DecodeError(self.content_type, str(failure)) from failure


class _Bytes:
    """Bytes as they are."""

    content_type = "application/octet-stream"

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        if isinstance(value, bytes):
            return value
        if not isinstance(value, bytearray | memoryview):
            raise EncodeError(self.content_type, f"it carries bytes, not {type(value).__name__}")
        return bytes(cast("bytearray | memoryview[int]", value))

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """*data* itself. Raises `DecodeError`."""
        if type_ not in (Any, bytes):
            raise DecodeError(self.content_type, f"it carries bytes, not {_shown(type_)}")
        return data


# -- what msgspec does not do by itself ---------------------------------------------------------------------------

_BIG_INTEGER: Final = 1
"""The MessagePack extension code of an integer beyond 64 bits."""
_DIGITS = re.compile(rb"-?[0-9]{1,4300}")
"""As long as Python (``sys.set_int_max_str_digits``) and msgspec's JSON read an integer."""
_MAY_HOLD_BIG = re.compile(rb"[\xc7\xc8]")
"""How an extension of the length of such digits begins (ext 8 and ext 16)."""
NATIVE: Final = (bytes, bytearray, memoryview, datetime)
"""What MessagePack has and JSON has not."""
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How NaN and infinities begin in MessagePack: a 64-bit float whose exponent is all ones."""


class _Big:
    """An integer beyond 64 bits on its way to MessagePack; unlike an ``Ext`` it can be the key of a dict."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def _mark_big(value: Any) -> Any:
    if isinstance(value, dict):
        mapping = cast("dict[object, Any]", value)
        return {_mark_big(key): _mark_big(item) for key, item in mapping.items()}
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        return type(items)(_mark_big(item) for item in items)
    return _Big(value) if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


def _write_big(value: object) -> msgspec.msgpack.Ext:
    if not isinstance(value, _Big):
        _refuse(value)
    return msgspec.msgpack.Ext(_BIG_INTEGER, str(value.value).encode())


def _read_extension(code: int, data: memoryview) -> object:
    held = bytes(data)
    if code != _BIG_INTEGER:
        return msgspec.msgpack.Ext(code, held)
    if not _DIGITS.fullmatch(held):
        raise ValueError(f"extension {code} holds no integer")
    return int(held)


def _refuse(value: object) -> NoReturn:
    raise TypeError(
        f"{type(value).__qualname__} is unknown to it; make it plain values, a dataclass or a msgspec struct first"
    )


def refuse_not_finite(value: object, written: bytes) -> None:
    """Raise `EncodeError` for a NaN or an infinity in *value* where *written*, its JSON, says null."""
    try:
        may_be = _NOT_FINITE.search(msgspec.msgpack.encode(value)) is not None
    except (OverflowError, TypeError, ValueError):
        may_be = True  # something JSON takes and MessagePack does not: look without its help
    if may_be and (found := _first_lost(value, written)) is not None:
        reason = f"JSON has no {found}; send None, or write the event as MessagePack (codec=MESSAGEPACK)"
        raise EncodeError(JSON.content_type, reason)


def _first_lost(value: object, written: bytes) -> str | None:
    """The first float that became null, with its place."""
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=str)
    waiting: list[tuple[str, Any, Any]] = [("$", plain, msgspec.json.decode(written))]
    while waiting:
        place, item, sent = waiting.pop()
        if isinstance(item, float) and sent is None:
            return f"{'NaN' if math.isnan(item) else 'infinity'} (at `{place}`)"
        if isinstance(item, dict):
            pairs = cast("dict[str, Any]", item).items()
            inside = [(f"{place}.{key}", each, _at(sent, key)) for key, each in pairs]
            waiting.extend(reversed(inside))
        elif isinstance(item, list | tuple):
            inside = [
                (f"{place}[{at}]", each, _at(sent, at)) for at, each in enumerate(cast("list[Any]", item))
            ]
            waiting.extend(reversed(inside))
    return None


def _at(sent: Any, place: str | int) -> Any:
    try:
        return sent[place]
    except (KeyError, IndexError, TypeError):  # a key that is spelled differently there, such as 1e+300
        return None


def reason_of(failure: Exception) -> str:
    """What went wrong, in one line; the kind of error in front where its text needs it."""
    speaks = isinstance(failure, msgspec.MsgspecError | ValueError)
    return str(failure) if speaks else f"{type(failure).__name__}: {failure}"


# -- decoders, one a type -----------------------------------------------------------------------------------------


def _build_json(type_: Any) -> Read:
    return msgspec.json.Decoder(type_).decode


def _build_msgpack(type_: Any) -> Read:
    return msgspec.msgpack.Decoder(type_, ext_hook=_read_extension).decode


_json_reader = lru_cache(maxsize=1024)(_build_json)
_msgpack_reader = lru_cache(maxsize=1024)(_build_msgpack)


def _reader(remembered: Callable[[Any], Read], build: Callable[[Any], Read], type_: Any) -> Read:
    try:
        try:
            return remembered(type_)
        except TypeError:  # perhaps only nothing to remember it by, as Annotated with a dict
            return build(type_)
    except (TypeError, NameError) as failure:
        raise UsageError(f"nothing can be read as {_shown(type_)}: {failure}") from failure


def _shown(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) else str(type_)


# -- the codecs there are -----------------------------------------------------------------------------------------

JSON: Final[Codec] = _Json()
"""JSON, the default. Integers of any size; NaN and infinities are refused, for JSON has none."""
MESSAGEPACK: Final[Codec] = _MessagePack()
"""MessagePack: smaller, with bytes, times and every float as they are; integers beyond 64 bits as an extension."""
TEXT: Final[Codec] = _Text()
"""A single string, UTF-8."""
BYTES: Final[Codec] = _Bytes()
"""Bytes that nobody looks into."""

_BY_TYPE: Final = MappingProxyType({codec.content_type: codec for codec in (JSON, MESSAGEPACK, TEXT, BYTES)})
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


def codec_for(content_type: str) -> Codec:
    """The codec a content type names. Parameters do not matter, except a charset that is not UTF-8.

    Raises:
        UnknownContentTypeError: None of ours.
    """
    codec = _BY_TYPE.get(content_type)
    if codec is None:
        codec = _BY_TYPE.get(content_type.partition(";")[0].strip().lower())
        charset = _CHARSET.search(content_type)
        if codec is None or (charset is not None and charset[1].lower() not in _UTF_8):
            raise UnknownContentTypeError(content_type, tuple(_BY_TYPE))
    return codec
