"""Codecs: how a body becomes bytes and comes back. The content type in the envelope names the codec.

A codec builds plain values or types that the reader names itself; nothing in the bytes ever names code.
"""

import math
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from penstock.errors import DecodeError, EncodeError, UnknownContentTypeError

__all__ = ["BYTES", "JSON", "MESSAGEPACK", "TEXT", "Codec", "codec_for"]

_BIG_INTEGER: Final = 1
"""The MessagePack extension code under which an integer beyond 64 bits travels, as decimal digits."""


class Codec(Protocol):
    """One way to write a body."""

    @property
    def content_type(self) -> str:
        """What the envelope calls it."""

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*, as *type_*; ``Any`` gives plain Python values. Raises `DecodeError`."""


class _Json:
    """JSON by RFC 8259, UTF-8. Integers of any size; no NaN and no infinities, which JSON does not have."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        try:
            data = self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as failure:
            raise EncodeError(self.content_type, str(failure)) from failure
        # msgspec writes NaN and infinities as null; they can only be where a null is.
        if b"null" in data and (found := _not_a_number(value)) is not None:
            raise EncodeError(
                self.content_type, f"JSON has no {found}; use MessagePack (codec=MESSAGEPACK), or None"
            )
        return data

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*. Raises `DecodeError`."""
        try:
            return _json_decoder(type_).decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as failure:
            raise DecodeError(self.content_type, str(failure)) from failure


class _MessagePack:
    """MessagePack. Integers beyond 64 bits travel as an extension of their digits."""

    content_type = "application/msgpack"

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        try:
            try:
                return self._encode(value)
            except OverflowError:
                return self._encode(_extend_big(msgspec.to_builtins(value, builtin_types=(bytes,))))
        except (TypeError, ValueError, OverflowError, RecursionError) as failure:
            raise EncodeError(self.content_type, str(failure)) from failure

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """The value in *data*. Raises `DecodeError`."""
        try:
            try:
                return _msgpack_decoder(type_).decode(data)
            except msgspec.ValidationError:
                if type_ is Any or b"\xc7" not in data and not _has_fixed_ext(data):
                    raise
                # An integer travelled as an extension, which no type but the plain one takes.
                return msgspec.convert(_msgpack_decoder(Any).decode(data), type_)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as failure:
            raise DecodeError(self.content_type, str(failure)) from failure


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
            raise DecodeError(self.content_type, f"it carries str, not {type_}")
        try:
            return data.decode()
        except UnicodeDecodeError as failure:
            raise DecodeError(self.content_type, str(failure)) from failure


class _Bytes:
    """Bytes as they are."""

    content_type = "application/octet-stream"

    def encode(self, value: object) -> bytes:
        """The bytes of *value*. Raises `EncodeError`."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise EncodeError(self.content_type, f"it carries bytes, not {type(value).__name__}")
        return bytes(value)

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """*data* itself. Raises `DecodeError`."""
        if type_ not in (Any, bytes):
            raise DecodeError(self.content_type, f"it carries bytes, not {type_}")
        return data


JSON: Final[Codec] = _Json()
MESSAGEPACK: Final[Codec] = _MessagePack()
TEXT: Final[Codec] = _Text()
BYTES: Final[Codec] = _Bytes()
_BY_TYPE: Final = MappingProxyType({codec.content_type: codec for codec in (JSON, MESSAGEPACK, TEXT, BYTES)})


def codec_for(content_type: str) -> Codec:
    """The codec a content type names; parameters such as ``; charset=utf-8`` do not matter.

    Raises:
        UnknownContentTypeError: None of ours.
    """
    codec = _BY_TYPE.get(content_type)
    if codec is None:
        codec = _BY_TYPE.get(content_type.partition(";")[0].strip().lower())
    if codec is None:
        raise UnknownContentTypeError(content_type, tuple(_BY_TYPE))
    return codec


@lru_cache(maxsize=1024)
def _json_decoder(type_: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(type_)


@lru_cache(maxsize=1024)
def _msgpack_decoder(type_: Any) -> "msgspec.msgpack.Decoder[Any]":
    return msgspec.msgpack.Decoder(type_, ext_hook=_read_extension)


def _read_extension(code: int, data: memoryview) -> object:
    digits = bytes(data)
    if code != _BIG_INTEGER or len(digits) > 4000:
        raise msgspec.ValidationError(f"extension {code} is not known")
    return int(digits)


def _has_fixed_ext(data: bytes) -> bool:
    return any(marker in data for marker in (b"\xd4", b"\xd5", b"\xd6", b"\xd7", b"\xd8", b"\xc8", b"\xc9"))


def _extend_big(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_BIG_INTEGER, str(value).encode())
    if isinstance(value, dict):
        return {_extend_big(key): _extend_big(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_extend_big(item) for item in value]
    return value


def _not_a_number(value: object) -> str | None:
    """The first NaN or infinity in *value*, as text."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ("NaN" if math.isnan(value) else "infinity")
    if not isinstance(value, dict | list | tuple | set | frozenset):
        if value is None or isinstance(value, str | bytes | int):
            return None
        value = msgspec.to_builtins(value)
        return _not_a_number(value) if isinstance(value, float | dict | list) else None
    items = value.values() if isinstance(value, dict) else value
    return next((found for item in items if (found := _not_a_number(item)) is not None), None)
