"""The codecs under values and bytes that nobody thought of."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT, Codec
from penstock.errors import CodecError, EncodeError

STRUCTURED = st.sampled_from([JSON, MESSAGEPACK])
INTEGERS = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, -(2**63) - 1, 2**64])
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0))
SCALARS = st.none() | st.booleans() | INTEGERS | st.text()
FINITE = SCALARS | st.floats(allow_nan=False, allow_infinity=False)


def nested(leaves: "st.SearchStrategy[Any]", keys: "st.SearchStrategy[Any]") -> "st.SearchStrategy[Any]":
    """Lists and dicts of *leaves*, to any depth."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
    )


JSON_VALUES = nested(FINITE, st.text())
MESSAGEPACK_VALUES = nested(
    SCALARS | st.floats() | st.binary() | TIMES,
    SCALARS | st.binary() | st.tuples(INTEGERS, st.text()),
)


@dataclass(frozen=True)
class Leaf:
    """Everything that has a typed form, at one place each."""

    number: int
    share: float
    text: str
    data: bytes
    price: Decimal
    at: datetime
    id: UUID
    maybe: int | str | None
    by_number: dict[int, int]


class Tree(msgspec.Struct, frozen=True):
    """A type that holds itself."""

    leaf: Leaf
    trees: "list[Tree]" = []


LEAVES = st.builds(
    Leaf,
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    TIMES,
    st.uuids(),
    st.none() | INTEGERS | st.text(),
    st.dictionaries(INTEGERS, INTEGERS, max_size=3),
)
TREES = st.recursive(
    st.builds(Tree, LEAVES), lambda inner: st.builds(Tree, LEAVES, st.lists(inner, max_size=3)), max_leaves=5
)


@pytest.mark.covers("MSG-5")
@given(JSON_VALUES)
def test_json_gives_back_what_it_got(value: object) -> None:
    """Every JSON value comes back equal to the last bit, its types included."""
    assert repr(JSON.decode(JSON.encode(value))) == repr(value)


@pytest.mark.covers("MSG-5")
@given(MESSAGEPACK_VALUES)
def test_messagepack_gives_back_what_it_got(value: object) -> None:
    """So does every MessagePack value, bytes, times, NaN and keys that are no text among them."""
    assert repr(MESSAGEPACK.decode(MESSAGEPACK.encode(value))) == repr(value)


@pytest.mark.covers("MSG-5")
@given(STRUCTURED, TREES)
def test_typed_values_come_back_as_they_were(codec: Codec, value: Tree) -> None:
    """What the reader names the type of comes back as that type, whatever is in it."""
    assert codec.decode(codec.encode(value), Tree) == value


@pytest.mark.covers("MSG-5")
@given(st.text())
def test_text_gives_back_what_it_got(value: str) -> None:
    """Every str without lone surrogates is a text body."""
    assert TEXT.decode(TEXT.encode(value)) == value


@pytest.mark.covers("MSG-5")
@given(st.binary())
def test_bytes_give_back_what_they_got(value: bytes) -> None:
    """Every bytes is a bytes body."""
    assert BYTES.decode(BYTES.encode(value)) == value


@given(nested(SCALARS | st.floats() | st.binary(), st.text()))
@example([None, msgspec.msgpack.encode(math.nan)])
def test_json_refuses_floats_that_are_not_finite_and_no_others(value: object) -> None:
    """A NaN or an infinity anywhere is an error; without one, the value is written."""
    if all_finite(value):
        JSON.encode(value)
    else:
        with pytest.raises(EncodeError, match=r"JSON has no (NaN|infinity) "):
            JSON.encode(value)


def all_finite(value: object) -> bool:
    """Whether no float in *value* is NaN or infinite, written without a look at our code."""
    match value:
        case float():
            return math.isfinite(value)
        case dict():
            return all_finite(list(cast("dict[str, object]", value).values()))
        case list():
            return all(map(all_finite, cast("list[object]", value)))
        case _:
            return True


TYPES: Sequence[Any] = [
    Any,
    int,
    float,
    str,
    bytes,
    dict[str, int],
    dict[int, Any],
    set[Any],
    tuple[int, ...],
    Leaf,
    Tree,
    datetime,
    Decimal,
    UUID,
]


@given(st.sampled_from([JSON, MESSAGEPACK, TEXT, BYTES]), st.sampled_from(TYPES), st.binary())
def test_no_bytes_make_a_codec_raise_anything_but_its_error(codec: Codec, type_: Any, data: bytes) -> None:
    """Whatever comes in is read, or is a `CodecError`; nothing else ever leaves a codec."""
    read_or_refused(codec, data, type_)


@given(STRUCTURED, st.sampled_from(TYPES), MESSAGEPACK_VALUES | TREES, st.data())
def test_no_damage_makes_a_codec_raise_anything_but_its_error(
    codec: Codec, type_: Any, value: object, data: st.DataObject
) -> None:
    """A body that was one and then lost, gained or changed some bytes is read, or is a `CodecError`."""
    try:
        whole = codec.encode(value)
    except CodecError:
        return  # JSON has no such value
    start = data.draw(st.integers(0, len(whole)), "where the damage begins")
    end = data.draw(st.integers(start, min(len(whole), start + 4)), "where it ends")
    read_or_refused(
        codec, whole[:start] + data.draw(st.binary(max_size=4), "what is there now") + whole[end:], type_
    )


def read_or_refused(codec: Codec, data: bytes, type_: Any) -> None:
    """Read *data*; an error of ours is an answer too."""
    with contextlib.suppress(CodecError):
        codec.decode(data, type_)
