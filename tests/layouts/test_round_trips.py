"""Whatever an event says: written in a layout and read again, all is there that the layout has room for."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.codec import JSON, MESSAGEPACK, TEXT
from penstock.errors import UndecodableEntryError
from penstock.message import Message, Meta, new_event_id
from penstock.streams.layouts import (
    BEEORM,
    CLOUDEVENTS,
    LARAVEL_STREAMER,
    LAYOUTS,
    STREAMERSON,
    LaravelStreamerLayout,
    Layout,
)
from penstock.testing.strategies import fields, payloads

PLACE = b"1700000005000-0"
LAST_SECOND = 253_402_300_799
WORDS = st.text(min_size=1, max_size=20)
TELLING = st.sampled_from(
    ["s", "id", "name", "meta", "data", "penstock", "version", "content-type", "ce_id", "time"]
)
METAS = st.builds(
    Meta,
    time=st.integers(0, LAST_SECOND * 1_000_000),
    source=st.none() | WORDS.filter(lambda source: source != "/"),
    key=st.none() | st.text(max_size=20),
    version=st.integers(1, 2**31),
    kind=st.sampled_from(["event", "command"]) | WORDS,
    headers=st.dictionaries(TELLING | WORDS, st.text(max_size=20), max_size=5),
    correlation=st.none() | WORDS,
    causation=st.none() | WORDS,
    original_id=st.none() | st.just("1699999999999-3"),
)
# PHP writes a whole float without a point: beyond 2**53 the integer that is read is another number.
EXACT = st.none() | st.booleans() | st.integers() | st.floats(-(2**53), 2**53) | st.text(max_size=30)
EXACT_VALUES = st.recursive(
    EXACT, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=10), inner), max_leaves=15
)
ARRAYS = st.dictionaries(st.text(max_size=10), EXACT_VALUES, min_size=1) | st.lists(EXACT_VALUES, min_size=1)


def again(layout: Layout, name: str, meta: Meta, body: bytes | None) -> tuple[str, Message]:
    """An event id, and the message that comes back."""
    event_id = new_event_id()
    return event_id, layout.read("orders", PLACE, layout.pack(event_id, name, meta, body))


@pytest.mark.covers("MSG-1", "MSG-11")
@given(WORDS, METAS, st.none() | payloads())
def test_beeorm_loses_nothing(name: str, meta: Meta, payload: Any) -> None:
    """Body, headers under whatever names, and the whole envelope."""
    meta.content_type = MESSAGEPACK.content_type
    body = None if payload is None else MESSAGEPACK.encode(payload)
    event_id, message = again(BEEORM, name, meta, body)
    assert (message.id, message.name, message.meta, message.data) == (event_id, name, meta, body)


@pytest.mark.covers("MSG-1", "MSG-11")
@given(WORDS, METAS, st.sampled_from([JSON, MESSAGEPACK]), st.none() | payloads())
def test_cloudevents_lose_nothing(name: str, meta: Meta, codec: Any, payload: Any) -> None:
    """Body by any codec, headers under whatever names, and the whole envelope."""
    body = None if payload is None else codec.encode(payload)
    meta.content_type = JSON.content_type if body is None else codec.content_type
    event_id, message = again(CLOUDEVENTS, name, meta, body)
    assert (message.id, message.name, message.meta, message.data) == (event_id, name, meta, body)


@pytest.mark.covers("MSG-1", "MSG-11")
@given(WORDS, METAS, payloads() | st.text())
def test_streamerson_keeps_all_but_the_time_below_the_entrys(name: str, meta: Meta, payload: Any) -> None:
    """Only a restored event, whose entry is younger, has its time written out."""
    codec = TEXT if isinstance(payload, str) else JSON
    meta.content_type = codec.content_type
    event_id, message = again(STREAMERSON, name, meta, codec.encode(payload))
    assert (message.id, message.name, message.payload) == (event_id, name, payload)
    if meta.original_id is None:
        meta.time = 1_700_000_005_000_000
    assert message.meta == meta


@pytest.mark.covers("MSG-2", "MSG-9", "MSG-11")
@given(WORDS, METAS, ARRAYS)
def test_laravel_streamer_keeps_what_its_fields_hold(name: str, meta: Meta, payload: Any) -> None:
    """Name, type, domain, first id, the time in seconds, the payload as values; the rest when it may travel beside."""
    _, message = again(LARAVEL_STREAMER, name, meta, JSON.encode(payload))
    assert (message.name, message.kind, message.source) == (name, meta.kind, meta.source)
    assert (message.meta.original_id, message.meta.time) == (
        meta.original_id,
        meta.time // 1_000_000 * 1_000_000,
    )
    assert message.payload == payload
    event_id, whole = again(LaravelStreamerLayout(envelope=True), name, meta, JSON.encode(payload))
    assert (whole.id, whole.meta, whole.payload) == (event_id, meta, payload)


@pytest.mark.covers("MSG-10", "MSG-11")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(
    entry=fields()
    | st.lists(st.sampled_from([b"s", b"json", b"nil", b"name", b"{}", b"\xff", b"ce_id"])).map(
        lambda of: of * 2
    )
)
def test_whatever_an_entry_holds_it_is_read_or_undecodable(layout: Layout, entry: list[bytes]) -> None:
    """No entry of anybody's makes a layout fail in another way; what is read says where it stood."""
    with contextlib.suppress(UndecodableEntryError):
        message = layout.read("orders", PLACE, entry)
        assert (message.stream, message.raw_entry_id) == ("orders", PLACE)
        assert message.id
