"""The four codecs: what each carries, what it refuses, and how it says so."""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT, Codec, codec_for
from penstock.errors import CodecError, DecodeError, EncodeError, UnknownContentTypeError, UsageError

MIB = bytes(range(256)) * 4096
UNICODE = 'żółć 漢字 🦆 \x00 \u2028 " \\ é'
STRUCTURED = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
EVERY = pytest.mark.parametrize(
    "codec", [JSON, MESSAGEPACK, TEXT, BYTES], ids=["json", "messagepack", "text", "bytes"]
)


class Colour(Enum):
    """An enumeration by value."""

    RED = "red"


@dataclass(frozen=True)
class Rich:
    """A value of everything that has a typed form."""

    at: datetime
    local: datetime
    day: date
    lasted: timedelta
    id: UUID
    price: Decimal
    colour: Colour
    data: bytes
    by_number: dict[int, float]
    pair: tuple[int, str]
    chosen: frozenset[str]


RICH = Rich(
    at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    local=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    day=date(2026, 2, 28),
    lasted=timedelta(days=1, microseconds=3),
    id=UUID("0190a6a0-0000-7000-8000-000000000001"),
    price=Decimal("19.990"),
    colour=Colour.RED,
    data=b"\x00\xff",
    by_number={-1: 0.1, 2**80: 1e-300},
    pair=(2**64, "x"),
    chosen=frozenset({"a"}),
)


class Line(msgspec.Struct):
    """A struct with a float and something that may be null."""

    price: float
    note: str | None = None


@pytest.mark.covers("MSG-5")
@EVERY
def test_a_codec_is_found_by_the_content_type_that_it_writes(codec: Codec) -> None:
    """The envelope's content type leads back to the codec, whatever its case and parameters."""
    assert codec_for(codec.content_type) is codec
    assert codec_for(f"{codec.content_type.upper()} ; Charset=UTF-8; v=1") is codec


@pytest.mark.parametrize(
    "content_type", ["", "application/pickle", "text/plain; charset=latin-1", 'text/plain;charset="UTF-16"']
)
def test_a_content_type_that_nobody_reads_is_refused_by_name(content_type: str) -> None:
    """An unknown type, or one in another charset than UTF-8, is an error that names the known ones."""
    with pytest.raises(UnknownContentTypeError, match="known are application/json, ") as caught:
        codec_for(content_type)
    assert caught.value.content_type == content_type


@pytest.mark.covers("MSG-5")
@STRUCTURED
@pytest.mark.parametrize(
    "value",
    [
        UNICODE,
        {UNICODE: [UNICODE]},
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1.0],
        [2**63 - 1, 2**64 - 1, -(2**63)],
        [2**64, -(2**63) - 1, 10**4299, {"nested": [-(2**200)]}],
        [True, False, None, [], {}, ""],
    ],
    ids=["text", "keys", "floats", "integers", "big integers", "small things"],
)
def test_plain_values_come_back_as_they_were(codec: Codec, value: object) -> None:
    """Text, floats and integers of any size survive JSON and MessagePack to the last bit, type included."""
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@pytest.mark.covers("MSG-5")
@STRUCTURED
def test_typed_values_come_back_as_they_were(codec: Codec) -> None:
    """Times, durations, UUIDs, decimals, enumerations, bytes and sets survive when the reader names their type."""
    assert codec.decode(codec.encode(RICH), Rich) == RICH


@pytest.mark.covers("MSG-5")
@pytest.mark.parametrize(
    ("codec", "value", "type_"),
    [
        (JSON, MIB, bytes),
        (MESSAGEPACK, MIB, bytes),
        (MESSAGEPACK, MIB, Any),
        (BYTES, MIB, Any),
        (TEXT, UNICODE * 65536, Any),
        (JSON, UNICODE * 65536, Any),
    ],
)
def test_a_mebibyte_comes_back_as_it_was(codec: Codec, value: bytes | str, type_: Any) -> None:
    """Size changes nothing; JSON carries bytes as base64, so there the reader says that it wants bytes."""
    assert len(value) >= 2**20
    assert codec.decode(codec.encode(value), type_) == value


def test_bytes_in_json_are_base64() -> None:
    """A reader in another language finds bytes where RFC 4648 says."""
    assert JSON.decode(JSON.encode({"data": b"\x00\xff"})) == {"data": base64.b64encode(b"\x00\xff").decode()}


def test_text_and_bytes_carry_themselves() -> None:
    """A text body is its UTF-8, a bytes body is itself; a view of bytes counts as bytes."""
    assert TEXT.encode(UNICODE) == UNICODE.encode()
    assert TEXT.decode(UNICODE.encode(), str) == UNICODE
    assert BYTES.encode(memoryview(b"abc")) == BYTES.encode(bytearray(b"abc")) == b"abc"
    assert BYTES.decode(b"abc", bytes) == b"abc"


@pytest.mark.covers("MSG-5")
def test_messagepack_carries_what_json_does_not() -> None:
    """NaN, infinities, keys that are no text, bytes and times need no typed reader."""
    value = {1: math.inf, 2**70: b"\xff", (1, 2**70): datetime(2026, 1, 2, tzinfo=UTC)}
    assert MESSAGEPACK.decode(MESSAGEPACK.encode(value)) == value
    assert math.isnan(MESSAGEPACK.decode(MESSAGEPACK.encode(math.nan)))


def test_a_big_integer_in_messagepack_is_an_extension_of_its_digits() -> None:
    """Other languages find it as extension 1; an extension of somebody else's comes as it is."""
    found = msgspec.msgpack.decode(MESSAGEPACK.encode(-(2**64)))
    assert isinstance(found, msgspec.msgpack.Ext)
    assert (found.code, bytes(found.data)) == (1, b"-18446744073709551616")
    other = MESSAGEPACK.decode(msgspec.msgpack.encode([msgspec.msgpack.Ext(5, b"!")]))[0]
    assert (other.code, other.data) == (5, b"!")


NOT_FINITE: list[tuple[object, str]] = [
    (math.nan, "JSON has no NaN (at `$`)"),
    ([0, None, -math.inf], "JSON has no infinity (at `$[2]`)"),
    ({"lines": [Line(1.0), Line(math.nan)]}, "JSON has no NaN (at `$.lines[1].price`)"),
    ({"big": 2**70, "set": {math.inf}}, "JSON has no infinity (at `$.set[0]`)"),
    ({"null": "null", "x": (None, math.nan)}, "JSON has no NaN (at `$.x[1]`)"),
    ({1e300: {"x": [math.nan]}}, "JSON has no NaN (at `$.1e+300.x[0]`)"),
]


@pytest.mark.parametrize(("value", "says"), NOT_FINITE)
def test_nan_in_json_is_refused_and_messagepack_recommended(value: object, says: str) -> None:
    """JSON has neither NaN nor infinity; they never become null behind the emitter's back."""
    with pytest.raises(EncodeError) as caught:
        JSON.encode(value)
    assert caught.value.content_type == "application/json"
    assert says in str(caught.value)
    assert "codec=MESSAGEPACK" in str(caught.value)
    MESSAGEPACK.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [None, "null"],
        Line(1.5),
        {"null": None, "data": msgspec.msgpack.encode(math.nan)},
        [None, 2**70],
    ],
)
def test_null_in_json_is_no_reason_to_refuse(value: object) -> None:
    """Only a float that is not finite is refused, not whatever looks like one."""
    assert JSON.encode(value) == msgspec.json.encode(value)


@STRUCTURED
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"name": "\ud800"}, "surrogates not allowed"),
        ([{"\udfff": 1}], "surrogates not allowed"),
        (10**4300, "4300 digits"),
        ([object()], "object is unknown to it; make it plain values, a dataclass or a msgspec struct first"),
        ([2**64, 1j], "complex is unknown to it"),
    ],
    ids=["surrogate", "surrogate key", "endless integer", "object", "complex"],
)
def test_what_cannot_be_written_is_an_encode_error(codec: Codec, value: object, says: str) -> None:
    """The error names the content type and what is wrong."""
    with pytest.raises(EncodeError, match=says) as caught:
        codec.encode(value)
    assert caught.value.content_type == codec.content_type
    assert caught.value.__cause__ is not None


@STRUCTURED
def test_a_value_that_holds_itself_is_an_encode_error(codec: Codec) -> None:
    """Endless values end in an error, as values nested too deep do."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(EncodeError, match="recursion"):
        codec.encode(endless)


@pytest.mark.parametrize(
    ("codec", "value", "says"),
    [
        (TEXT, b"abc", "it carries str, not bytes"),
        (TEXT, "\ud800", "surrogates not allowed"),
        (BYTES, "abc", "it carries bytes, not str"),
    ],
)
def test_text_and_bytes_refuse_the_other(codec: Codec, value: object, says: str) -> None:
    """A text body is a str and a bytes body is bytes; nothing is converted quietly."""
    with pytest.raises(EncodeError, match=says):
        codec.encode(value)


@pytest.mark.parametrize(
    ("codec", "data", "type_", "says"),
    [
        (JSON, b"", Any, "Input data was truncated"),
        (JSON, b"{'a': 1}", Any, "malformed"),
        (JSON, b"NaN", Any, "malformed"),
        (JSON, b'"\xff"', Any, "can't decode byte 0xff"),
        (JSON, b"[" * 100_000, Any, "recursion"),
        (JSON, b"9" * 4301, Any, "out of range"),
        (JSON, b'{"price":"high"}', Line, r"Expected `float`, got `str` - at `\$.price`"),
        (JSON, b"[[1]]", set, "TypeError: unhashable"),
        (MESSAGEPACK, b"\xdd\xff\xff\xff\xff", Any, "truncated"),
        (MESSAGEPACK, b"\xc7\x03\x01abc", Any, "extension 1 holds no integer"),
        (MESSAGEPACK, b"\xc7\x03\x01 12", int, "extension 1 holds no integer"),
        (MESSAGEPACK, b"\x81\xa5price\xa4high", Line, r"Expected `float`, got `str` - at `\$.price`"),
        (MESSAGEPACK, MESSAGEPACK.encode({"price": [2**70]}), Line, r"got `array` - at `\$.price`"),
        (TEXT, b"\xff", Any, "can't decode byte 0xff"),
        (TEXT, b"1", int, "it carries str, not int"),
        (BYTES, b"1", list[int], r"it carries bytes, not list\[int\]"),
    ],
)
def test_what_cannot_be_read_is_a_decode_error(codec: Codec, data: bytes, type_: Any, says: str) -> None:
    """The error names the content type, what is wrong, and the place for a wrong type."""
    with pytest.raises(DecodeError, match=says) as caught:
        codec.decode(data, type_)
    assert caught.value.content_type == codec.content_type


def test_a_check_of_the_readers_own_class_is_a_decode_error() -> None:
    """What a class's own checks raise, whatever it is, means that the bytes do not fit it."""

    @dataclass
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number < 0:
                raise LookupError("negative")

    assert JSON.decode(b'{"number":1}', Positive) == Positive(1)
    with pytest.raises(DecodeError, match="LookupError: negative"):
        JSON.decode(b'{"number":-1}', Positive)


@STRUCTURED
def test_running_out_of_memory_is_not_blamed_on_the_bytes(codec: Codec) -> None:
    """A body must not be condemned for ever because its reader was short of memory once."""

    @dataclass
    class Hungry:
        def __post_init__(self) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        codec.decode(codec.encode({}), Hungry)


@STRUCTURED
def test_a_type_that_nothing_is_read_as_is_the_callers_mistake(codec: Codec) -> None:
    """Asking for an ambiguous union is an error in the call, whatever the bytes are."""
    with pytest.raises(UsageError, match=r"nothing can be read as .*Line.*: Type unions may not") as caught:
        codec.decode(codec.encode({}), dict[str, int] | Line)
    assert not isinstance(caught.value, CodecError)


@STRUCTURED
def test_a_type_that_cannot_be_remembered_is_read_all_the_same(codec: Codec) -> None:
    """Annotations may hold anything; a dict there only costs the memory of the decoder."""
    assert codec.decode(codec.encode(5), Annotated[int, {"unit": "cents"}]) == 5


@pytest.mark.parametrize("make", [lambda: 10**30, lambda: {10**30: 10**30}, lambda: [{"a": {"b": 10**30}}]])
def test_big_integers_arrive_at_typed_places(make: Callable[[], object]) -> None:
    """A reader that names the type gets them too, as keys and in depth."""
    types: dict[type, Any] = {int: int, dict: dict[int, int], list: list[dict[str, dict[str, int]]]}
    value = make()
    for codec in (JSON, MESSAGEPACK):
        assert codec.decode(codec.encode(value), types[type(value)]) == value
