"""The message that a reader gets: envelope, body on demand, accessors, hash; and the ids of events."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Event, Message
from penstock.codec import JSON, MESSAGEPACK
from penstock.errors import CodecError, DecodeError, UnknownContentTypeError
from penstock.message import Meta, new_event_id, new_event_ids
from penstock.position import EntryId
from penstock.testing.strategies import payloads

NOON = 1_767_268_800_123_456
"""2026-01-01 12:00:00.123456 UTC."""
ORDER = {
    "id": 7,
    "customer": {"name": "Ann", "addresses": [{"city": "Łódź"}, {"city": "Bern"}]},
    "note": None,
}


class OrderPlaced(Event, name="order.placed"):
    """An event to decode messages as."""

    order_id: int
    total: float = 0.0


class Line(msgspec.Struct):
    """A body that is no event."""

    order_id: int


def message(data: bytes | None = b"{}", **meta: Any) -> Message:
    """A message as a reader makes it."""
    return Message(
        id="0199-event",
        name="order.placed",
        stream="orders",
        raw_entry_id=b"1767268800123-4",
        meta=Meta(time=NOON, **meta),
        data=data,
    )


def holding(value: Any, **meta: Any) -> Message:
    """A message with a JSON body."""
    return message(JSON.encode(value), **meta)


@pytest.mark.covers("MSG-1")
def test_the_envelope_is_read_without_the_body() -> None:
    """Where it stood, what it is, when and by whom it was made, and its headers; the body may be broken."""
    read = message(b"{broken", source="shop", key="7", version=2, kind="command", headers={"trace": "x"})

    assert (read.id, read.name, read.stream) == ("0199-event", "order.placed", "orders")
    assert read.entry_id == EntryId(1_767_268_800_123, 4)
    assert read.time == datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    assert (read.source, read.key, read.version, read.kind) == ("shop", "7", 2, "command")
    assert (dict(read.headers), read.content_type) == ({"trace": "x"}, "application/json")
    assert (read.attempt, read.fence) == (1, None)
    assert repr(read) == "<Message order.placed 1767268800123-4 of orders, id 0199-event>"


@pytest.mark.covers("MSG-2")
@pytest.mark.parametrize("kind", ["event", "notification", "command", "a word of our own"])
def test_a_kind_is_any_word(kind: str) -> None:
    """``event`` when nothing is said."""
    assert message(kind=kind).kind == kind
    assert message().kind == "event"


@given(payloads(), st.sampled_from([JSON, MESSAGEPACK]))
def test_the_payload_is_the_body_as_plain_values(value: Any, codec: Any) -> None:
    """Decoded by the content type that the envelope names."""
    assert message(codec.encode(value), content_type=codec.content_type).payload == value


@pytest.mark.covers("MSG-4")
def test_no_body_is_not_a_body_of_null() -> None:
    """Both have the payload ``None``; only one has bytes, and only one decodes."""
    without, null = message(None), message(b"null")

    assert (without.payload, without.data) == (None, None)
    assert (null.payload, null.data) == (None, b"null")
    assert null.decode(type(None)) is None
    with pytest.raises(DecodeError, match=r"'order\.placed' has no body"):
        without.decode(Line)


def test_an_unknown_content_type_costs_nothing_until_the_body_is_wanted() -> None:
    """The error names it and those that are known; headers are readable all the same."""
    read = message(b"\x00", content_type="application/x-unheard-of", headers={"a": "b"})

    assert read.headers == {"a": "b"}
    with pytest.raises(UnknownContentTypeError, match="application/json") as refused:
        _ = read.payload
    assert refused.value.content_type == "application/x-unheard-of"


def test_a_body_decodes_as_what_is_asked_for() -> None:
    """An event class, a struct, or anything else that its values fit."""
    read = holding({"order_id": 7, "total": 2.5})

    assert read.decode(OrderPlaced) == OrderPlaced(order_id=7, total=2.5)
    assert read.decode(Line) == Line(7)
    assert read.decode(dict[str, float]) == {"order_id": 7, "total": 2.5}


@pytest.mark.parametrize("wrong", [{"order_id": "seven"}, {}, [1], None])
def test_a_body_that_does_not_fit_is_refused(wrong: Any) -> None:
    """Trying again would not help, which is what its branch of the errors says."""
    for wanted in (OrderPlaced, Line):
        with pytest.raises(CodecError):
            holding(wrong).decode(wanted)


@pytest.mark.covers("MSG-7")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("id", 7),
        ("note", None),
        ("customer.name", "Ann"),
        ("customer.addresses.1.city", "Bern"),
        ("customer.addresses.0", {"city": "Łódź"}),
    ],
)
def test_a_dotted_path_finds_a_value(path: str, expected: Any) -> None:
    """Keys of mappings and places in lists; a value that is null is found, too, default or not."""
    assert holding(ORDER).get(path) == expected
    assert holding(ORDER).get(path, "default") == expected


@pytest.mark.covers("MSG-7")
@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "customer.x",
        "id.x",
        "note.x",
        "customer.addresses.2",
        "customer.addresses.city",
        ".id",
        "id.",
    ],
)
def test_a_path_to_nothing_takes_the_default(path: str) -> None:
    """Without one it is a `KeyError` that names the path."""
    assert holding(ORDER).get(path, "default") == "default"
    assert holding(ORDER).get(path, None) is None
    with pytest.raises(KeyError, match=r"'order\.placed'"):
        holding(ORDER).get(path)


def test_a_body_without_keys_has_no_paths() -> None:
    """Scalars and missing bodies only ever give the default."""
    for read in (holding(5), holding("text"), message(None)):
        assert read.get("id", 0) == 0


@pytest.mark.covers("MSG-7")
def test_a_payload_can_be_narrowed() -> None:
    """To some keys, or less some; keys it lacks are passed over, and the payload stays whole."""
    read = holding(ORDER)

    assert read.only("id", "absent") == {"id": 7}
    assert read.without("customer", "absent") == {"id": 7, "note": None}
    assert read.only() == {}
    assert read.without() == read.payload == ORDER


@pytest.mark.parametrize("read", [holding([1, 2]), holding("text"), message(None)])
def test_what_has_no_keys_cannot_be_narrowed(read: Message) -> None:
    """The error points to the payload as it is."""
    narrowings: list[Callable[[], object]] = [lambda: read.only("id"), lambda: read.without("id")]
    for narrow in narrowings:
        with pytest.raises(DecodeError, match="has no keys; use `payload`"):
            narrow()


# -- the hash ---------------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-6")
def test_equal_messages_have_equal_hashes() -> None:
    """Kind, name, source and body count; identity, time, headers and place do not."""
    one = holding(ORDER, source="shop", headers={"a": "b"})
    other = Message("other", "order.placed", "elsewhere", b"1-1", Meta(time=1, source="shop"), one.data)

    assert one.content_hash == other.content_hash
    assert len(one.content_hash) == 64


@pytest.mark.covers("MSG-6")
def test_any_difference_changes_the_hash() -> None:
    """Also one that merely moves text from one part to the next."""
    parts = [
        ("event", "a", "b", b"c"),
        ("event", "ab", "", b"c"),
        ("event", "a", "bc", b""),
        ("eventa", "", "b", b"c"),
    ]
    parts += [("event", "", "ab", b"c"), ("command", "a", "b", b"c"), ("event", "a", "b", b"d")]
    hashes = {
        Message("1", name, "s", b"1-1", Meta(time=1, kind=kind, source=source), data).content_hash
        for kind, name, source, data in parts
    }

    assert len(hashes) == len(parts)


# -- event ids --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-1")
@given(st.integers(1, 300), st.integers(0, 2**47 * 1000))
def test_event_ids_are_ascending_uuids_of_version_7(count: int, time_us: int) -> None:
    """Of the time they were made, all different, in the order in which they were made."""
    made = new_event_ids(count, time_us)

    uuids = [UUID(text) for text in made]
    assert [str(uuid) for uuid in uuids] == made == sorted(set(made))
    assert {(uuid.version, uuid.variant) for uuid in uuids} == {(7, "specified in RFC 4122")}
    assert uuids[0].int >> 80 == time_us // 1000


def test_a_large_batch_of_ids_stays_ascending() -> None:
    """More than fit into a millisecond: they run ahead of the clock rather than repeat."""
    made = new_event_ids(20_000, NOON)

    assert made == sorted(set(made))
    assert UUID(made[-1]).int >> 80 <= NOON // 1000 + 5


def test_ids_made_at_the_same_moment_differ() -> None:
    """Two processes, or two calls: 62 random bits keep them apart."""
    assert not set(new_event_ids(1000, NOON)) & set(new_event_ids(1000, NOON))
    assert new_event_ids(0, NOON) == []
    assert new_event_id() != new_event_id()
