"""Events as lines of JSON: everything of an event comes back, byte by byte, and what is no event is told."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.message import Meta
from penstock.operations._event_lines import EventLine, read_event_line, write_event_line
from penstock.store.abc import NewEvent, StoredEvent

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAME = TEXT.filter(bool)
JSON_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
BODIES = (
    st.none()
    | st.binary(max_size=20)
    | JSON_BODIES.map(lambda value: json.dumps(value).encode())
    | JSON_BODIES.map(lambda value: json.dumps(value, indent=2, ensure_ascii=False).encode())
    | JSON_BODIES.map(lambda value: f" {json.dumps(value)}\t".encode())
)
TIMES = st.integers(min_value=-(10**12), max_value=4 * 10**15)
METAS = st.builds(
    Meta,
    time=TIMES,
    source=st.none() | TEXT,
    key=st.none() | TEXT,
    version=st.integers(0, 99),
    kind=TEXT,
    content_type=st.sampled_from(["application/json", "application/msgpack", "text/plain"]),
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
    correlation=st.none() | TEXT,
    causation=st.none() | TEXT,
    original_id=st.none() | TEXT,
)


@pytest.mark.covers("STORE-4")
@given(stream=NAME, event_id=NAME, name=NAME, meta=METAS, data=BODIES)
def test_everything_of_an_event_comes_back_from_its_line(
    stream: str, event_id: str, name: str, meta: Meta, data: bytes | None
) -> None:
    """Names, envelope and body are the same after writing and reading, whatever is in them, and a line is one line."""
    stored = StoredEvent(
        position=7,
        stream=stream,
        stream_version=3,
        id=event_id,
        name=name,
        meta=meta,
        data=data,
        recorded_us=5,
    )
    line = write_event_line(stored)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    event, told = read_event_line(line)
    assert event == NewEvent(stream, event_id, name, meta, data)
    assert (told.position, told.stream_version, told.recorded_at) == (7, 3, stored.recorded_at)
    assert json.loads(line)["id"] == event_id


def test_a_line_has_every_part_of_the_envelope() -> None:
    """What is added to the envelope has to be added to the line."""
    assert set(Meta.__struct_fields__) <= set(EventLine.__struct_fields__)


def test_a_json_body_stands_in_the_line_as_it_is() -> None:
    """Other programs read it without decoding anything twice; numbers keep every digit."""
    meta = Meta(time=1_700_000_000_000_001, key="17")
    stored = StoredEvent(
        position=1,
        stream="order-17",
        stream_version=1,
        id="a",
        name="order.placed",
        meta=meta,
        data=b'{"total":10.10,"big":123456789012345678901234567890}',
        recorded_us=0,
    )
    line = write_event_line(stored)
    assert b'"data":{"total":10.10,"big":123456789012345678901234567890}' in line
    assert json.loads(line)["time"] == "2023-11-14T22:13:20.000001Z"


def test_a_line_by_hand_needs_little() -> None:
    """Stream, id, name and time; the rest of the envelope has its defaults."""
    event, _ = read_event_line(
        b'{"stream":"order-1","id":"a","name":"order.placed","time":"2026-01-31T12:00:00+01:00","data":{"a":1}}'
    )
    assert event == NewEvent("order-1", "a", "order.placed", Meta(time=1_769_857_200_000_000), b'{"a":1}')


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "empty 'id'"),
        ({"stream": "a\0b"}, "NUL"),
        ({"headers": {"a": "\0"}}, "NUL"),
        ({"headers": {"a": 1}}, "headers"),
        ({"time": "2026-01-31T12:00:00"}, "without a zone"),
        ({"time": "yesterday"}, "time"),
        ({"body": "AA==", "data": 1}, "twice"),
        ({"body": "?"}, "body"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
def test_a_line_that_is_no_event_says_why(changes: dict[str, Any], reason: str) -> None:
    """The reason names the field."""
    line = {"stream": "order-1", "id": "a", "name": "order.placed", "time": "2026-01-31T12:00:00Z", **changes}
    with pytest.raises(UsageError, match=reason):
        read_event_line(
            msgspec.json.encode({name: value for name, value in line.items() if value is not None})
        )


@pytest.mark.parametrize("line", [b"oh no", b"[]", b"", b"\xff"])
def test_what_is_no_object_is_no_event(line: bytes) -> None:
    """Text, lists, nothing, and bytes that are no text."""
    with pytest.raises(UsageError, match="is no event"):
        read_event_line(line)
