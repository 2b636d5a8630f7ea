"""Entries of other systems, byte by byte: what they write is read, and what we write is what they would."""

import hashlib
from typing import Any

import pytest

from penstock import EntryId, Event, Message, upcaster
from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT
from penstock.errors import CodecError, UndecodableEntryError
from penstock.message import Meta
from penstock.streams.layouts import (
    BEEORM,
    CLOUDEVENTS,
    LARAVEL_STREAMER,
    LAYOUTS,
    NATIVE,
    STREAMERSON,
    LaravelStreamerLayout,
    Layout,
)
from tests.layouts.fixtures import beeorm, cloudevents, laravel_streamer, streamerson
from tests.layouts.fixtures.beeorm import BeeOrmEntry
from tests.layouts.fixtures.laravel_streamer import LaravelEntry

PLACE = b"1700000005000-0"
EVENT_ID = "0190d7c4-5f6a-7000-8000-000000000001"
TIME_US = 1_700_000_000_123_456


def read(layout: Layout, fields: list[bytes], *, stream: str = "orders") -> Message:
    """The message in an entry of these fields."""
    return layout.read(stream, PLACE, fields)


# -- laravel-streamer -----------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize("entry", laravel_streamer.FIXTURES)
def test_an_entry_of_laravel_streamer_is_read(entry: LaravelEntry) -> None:
    """Name, type, domain, time and payload come out as the PHP side put them in."""
    message = read(LARAVEL_STREAMER, entry.fields)
    assert (message.name, message.kind, message.source) == (entry.name, entry.kind, entry.domain)
    assert message.meta.time == entry.created * 1_000_000
    assert message.payload == entry.payload
    assert (message.version, message.key, message.headers) == (1, None, {})


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize("entry", laravel_streamer.FIXTURES)
def test_what_we_write_is_what_laravel_streamer_writes(entry: LaravelEntry) -> None:
    """The same event gives the same bytes, so that the hash is the one that PHP computes."""
    body = None if entry.payload is None else JSON.encode(entry.payload)
    meta = Meta(entry.created * 1_000_000 + 999_999, entry.domain, kind=entry.kind)
    fields = LARAVEL_STREAMER.pack(EVENT_ID, entry.name, meta, body)
    assert fields == entry.fields
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    said = values[b"type"] + values[b"name"] + values[b"domain"] + values[b"data"]
    assert values[b"hash"] == hashlib.sha256(said).hexdigest().encode()


@pytest.mark.covers("MSG-9", "MSG-11")
def test_a_restored_entry_of_laravel_streamer_keeps_its_first_id_and_its_event_id() -> None:
    """The id stands where the PHP side has it, and the event is the same one as before."""
    message = read(LARAVEL_STREAMER, laravel_streamer.RESTORED)
    assert message.meta.original_id == "1699999999999-3"
    first = LARAVEL_STREAMER.read("orders", b"1699999999999-3", laravel_streamer.FIXTURES[0].fields)
    assert message.id == first.id
    assert (
        LARAVEL_STREAMER.pack(message.id, message.name, message.meta, message.data)
        == laravel_streamer.RESTORED
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"5", "application/json"),
        (b'"text"', "application/json"),
        (b"null", "application/json"),
        (b"x", "text/plain"),
    ],
)
def test_laravel_streamer_gets_no_body_that_breaks_its_readers(body: bytes, content_type: str) -> None:
    """PHP reads a payload into an array: what is neither object nor list is refused before it is sent."""
    with pytest.raises(CodecError, match="objects and lists alone; wrap it in one"):
        LARAVEL_STREAMER.pack(EVENT_ID, "n", Meta(0, content_type=content_type), body)


def test_the_whole_envelope_travels_beside_laravel_streamers_fields_when_asked_for() -> None:
    """One more field, behind those of the PHP side, which are as ever."""
    meta = Meta(TIME_US, "shop", "o-1", 2, headers={"tenant": "acme"}, correlation="a", causation="b")
    layout = LaravelStreamerLayout(envelope=True)
    fields = layout.pack(EVENT_ID, "order.placed", meta, b"{}")
    assert fields[:-2] == LARAVEL_STREAMER.pack(EVENT_ID, "order.placed", meta, b"{}")
    message = read(layout, fields)
    assert (message.id, message.meta) == (EVENT_ID, meta)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({b"created": b"yesterday"}, 1_700_000_005_000_000),
        ({b"created": b"99999999999999"}, 1_700_000_005_000_000),
        ({b"created": b""}, 1_700_000_005_000_000),
    ],
)
def test_a_time_of_laravel_streamer_that_is_none_is_that_of_the_entry(
    changed: dict[bytes, bytes], expected: int
) -> None:
    """The entry's own time is at hand: no reason to lose the message."""
    values = dict(zip(*[iter(laravel_streamer.FIXTURES[0].fields)] * 2, strict=True)) | changed
    message = read(LARAVEL_STREAMER, [part for pair in values.items() for part in pair])
    assert message.meta.time == expected


# -- BeeORM ---------------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize("entry", beeorm.FIXTURES)
def test_an_entry_of_beeorm_is_read(entry: BeeOrmEntry) -> None:
    """The body from MessagePack, metadata as headers, the event named like its stream, no body where there is none."""
    message = read(BEEORM, entry.fields, stream="stream-a")
    assert message.payload == entry.payload
    assert (message.data is None) == (entry.payload is None)
    assert (message.name, message.headers, message.version) == ("stream-a", entry.headers, entry.version)
    assert message.entry_id == EntryId.parse(PLACE)
    assert message.meta.time == 1_700_000_005_000_000


class Painted(Event, name="stream-a", version=2):
    """As the document's second version of an event has it."""

    Color: str
    Price: float
    Discount: int = 0


@upcaster(Painted, from_version=1)
def _without_discount(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "Discount": -1}


@pytest.mark.covers("MSG-8", "MSG-11")
def test_the_version_that_beeorm_has_in_its_metadata_is_the_version_of_the_schema() -> None:
    """Metadata ``version`` of the Go side picks the upcasters of ours; without it, it is the first."""
    [_, first, second, _] = (read(BEEORM, each.fields, stream="stream-a") for each in beeorm.FIXTURES)
    assert first.decode(Painted).Discount == -1
    assert second.decode(Painted) == Painted(Color="blue", Price=120.5, Discount=5)


@pytest.mark.covers("MSG-5", "MSG-11")
def test_what_we_write_for_beeorm_has_the_body_in_its_place_whatever_the_headers() -> None:
    """A JSON body becomes MessagePack; a header called ``s`` travels elsewhere, and comes back under its name."""
    meta = Meta(TIME_US, "shop", "c-1", 2, headers={"s": "kept", "tenant": "acme"})
    body = JSON.encode({"Color": "red", "Price": 12.34})
    fields = BEEORM.pack(EVENT_ID, "car.painted", meta, body)
    assert fields == beeorm.WRITTEN
    message = read(BEEORM, fields)
    assert (message.id, message.name, message.payload) == (
        EVENT_ID,
        "car.painted",
        {"Color": "red", "Price": 12.34},
    )
    meta.content_type = MESSAGEPACK.content_type
    assert message.meta == meta


@pytest.mark.covers("MSG-4", "MSG-11")
def test_an_event_without_body_and_headers_is_an_entry_that_the_server_takes() -> None:
    """There is always a pair to add, which is what a nil body without metadata lacks on the other side."""
    fields = BEEORM.pack(EVENT_ID, "car.painted", Meta(TIME_US), None)
    assert fields[::2] == [b"penstock"]
    assert read(BEEORM, fields).data is None


# -- streamerson ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize(
    ("fields", "headers", "source"),
    [
        (
            streamerson.EIGHT,
            {"streamerson-destination": "ns::my-topic::PRODUCER_OUTGOING"},
            "3b241101-e2bb-4255-8caf-4136c566a962",
        ),
        (streamerson.SEVEN, {"tenant": "acme"}, "3b241101-e2bb-4255-8caf-4136c566a962"),
        (streamerson.NAMED, {"tenant": "acme"}, "3b241101-e2bb-4255-8caf-4136c566a962"),
        (streamerson.TEXT, {"tenant": "acme", "hops": "2"}, None),
    ],
)
def test_an_entry_of_streamerson_is_read(
    fields: list[bytes], headers: dict[str, str], source: str | None
) -> None:
    """By place, as its code writes it; and both ways, by place and by name, as its document has it."""
    message = read(STREAMERSON, fields)
    assert (message.name, message.headers, message.source) == ("hello", headers, source)
    if fields is streamerson.TEXT:
        assert (message.payload, message.content_type) == ("plain words", "text/plain")
    else:
        assert message.payload == {"name": "ann"}
    if fields is not streamerson.NAMED:
        assert message.id == "f8b8f8b8-f8b8-48b8-98b8-f8b8f8b8f8b8"


@pytest.mark.covers("MSG-11")
def test_what_we_write_is_what_streamerson_writes() -> None:
    """An answer with the same message id, destination and source id is the same eight values."""
    meta = Meta(
        TIME_US,
        "shop",
        headers={
            "streamerson-destination": "ns::my-topic::PRODUCER_OUTGOING",
            "streamerson-source-id": "3b241101-e2bb-4255-8caf-4136c566a962",
        },
    )
    fields = STREAMERSON.pack("f8b8f8b8-f8b8-48b8-98b8-f8b8f8b8f8b8", "hello", meta, b'{"name":"ann"}')
    assert fields == streamerson.EIGHT


@pytest.mark.covers("MSG-11")
def test_what_streamerson_has_no_place_for_goes_into_its_headers() -> None:
    """They are a JSON map to its readers; ours is one more entry of it, and one called like it is not lost."""
    meta = Meta(
        1_700_000_005_000_000,
        "shop",
        key="o-1",
        kind="command",
        headers={"tenant": "acme", "penstock": "mine"},
        causation="c",
    )
    fields = STREAMERSON.pack(EVENT_ID, "hello", meta, b"{}")
    assert fields[3] == (
        b'{"tenant":"acme","penstock":"{\\"key\\":\\"o-1\\",\\"kind\\":\\"command\\",'
        b'\\"headers\\":{\\"penstock\\":\\"mine\\"},\\"causation\\":\\"c\\"}"}'
    )
    assert read(STREAMERSON, fields).meta == meta


def test_streamerson_gets_a_body_where_an_event_has_none() -> None:
    """Its readers parse what is there, so that nothing would break them."""
    assert STREAMERSON.pack(EVENT_ID, "hello", Meta(0), None)[6:] == [b"UnoccupiedField", b"{}"]
    assert STREAMERSON.pack(EVENT_ID, "hello", Meta(0, content_type="text/plain"), b"x")[4:8:3] == [
        b"text",
        b"x",
    ]


def test_the_first_value_of_streamersons_document_may_be_the_stream() -> None:
    """The table calls it that, and then there is no message id: the event's id is of its place."""
    fields = [b"orders", *streamerson.SEVEN[1:]]
    assert read(STREAMERSON, fields).id == read(STREAMERSON, fields).id != "orders"


# -- CloudEvents ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-11")
def test_a_cloud_event_in_binary_mode_is_read() -> None:
    """Attributes have their places, extensions and other fields are headers, the type of the data names the codec."""
    message = read(CLOUDEVENTS, cloudevents.EXAMPLE)
    assert (message.id, message.name, message.source) == (
        "1234-1234-1234",
        "com.example.someevent",
        "/mycontext/subcontext",
    )
    assert message.time.isoformat() == "2018-04-05T03:56:24+00:00"
    assert message.headers == {"subject": "orders/17", "x-trace": "abc"}
    assert message.payload == {"much": "wow"}


@pytest.mark.covers("MSG-11")
def test_what_we_write_is_a_cloud_event() -> None:
    """Every fact of the envelope has an attribute, and no header takes the place of one."""
    headers = {"tenant": "acme", "x-trace": "abc", "id": "mine", "data": "kept"}
    meta = Meta(TIME_US, "shop", "o-1", 2, headers=headers, causation="0190d7c4-5f6a-7000-8000-000000000000")
    fields = CLOUDEVENTS.pack(EVENT_ID, "order.placed", meta, b'{"order_id":"o-1"}')
    assert fields == cloudevents.WRITTEN
    message = read(CLOUDEVENTS, fields)
    assert (message.id, message.name, message.meta) == (EVENT_ID, "order.placed", meta)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({b"ce_id": b""}, "it is no CloudEvent; it lacks ce_id"),
        ({b"ce_specversion": b"0.3"}, "CloudEvents 0.3 is not 1.0"),
        ({b"ce_time": b"noon"}, "ce_time is 'noon', which is no time"),
        ({b"content-type": b"application/cloudevents+json"}, "it is a CloudEvent in structured mode"),
        ({b"ce_source": b"\xff"}, "field 'ce_source' is no text"),
        ({b"penstock": b"5"}, "its field 'penstock' is not ours"),
    ],
)
def test_a_cloud_event_that_is_none_is_undecodable_with_the_reason(
    changed: dict[bytes, bytes], reason: str
) -> None:
    """The four attributes must be there and the version known; one whole in its body is another mode."""
    values = dict(zip(*[iter(cloudevents.EXAMPLE)] * 2, strict=True)) | changed
    with pytest.raises(UndecodableEntryError) as caught:
        read(CLOUDEVENTS, [part for pair in values.items() for part in pair])
    assert reason in caught.value.reason


# -- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("MSG-10")
@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("laravel-streamer", [b"type", b"event"], "it has no field 'name' (its fields: type)"),
        ("laravel-streamer", [b"name", b"\xff"], "field 'name' is no text"),
        ("beeorm", [b"s", b"\xc0", b"\xff", b"v"], "the name of a field is no text"),
        ("beeorm", [b"s", b"\xc0", b"tenant", b"\xff"], "field 'tenant' is no text"),
        ("beeorm", [b"s", b"\xc0", b"penstock", b"{"], "its field 'penstock' is not ours"),
        ("streamerson", [b"name", b"order.placed"], "it has 2 values and no protocol json or text"),
        (
            "streamerson",
            [b"1", b"", b"", b"nil", b"json", b"", b"", b"{}"],
            "it has 8 values and no protocol",
        ),
        ("streamerson", [b"1", b"t", b"", b"[1]", b"json", b"", b"", b"{}"], "its headers are no JSON map"),
        ("cloudevents", [b"name", b"order.placed"], "it lacks ce_specversion, ce_id, ce_source, ce_type"),
    ],
)
def test_an_entry_that_a_layout_cannot_read_is_undecodable_with_the_reason(
    name: str, fields: list[bytes], reason: str
) -> None:
    """The error names stream, entry and what is missing."""
    with pytest.raises(UndecodableEntryError) as caught:
        read(LAYOUTS[name], fields)
    assert reason in caught.value.reason
    assert (caught.value.stream, caught.value.entry_id) == ("orders", PLACE.decode())


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_entries_of_our_own_layout_are_read_in_every_layout(layout: Layout) -> None:
    """A stream that changes over has entries of both for a while."""
    meta = Meta(TIME_US, "shop", "o-1", 3, headers={"a": "b"})
    message = read(layout, NATIVE.pack(EVENT_ID, "order.placed", meta, b"{}"))
    assert (message.id, message.name, message.meta, message.data) == (EVENT_ID, "order.placed", meta, b"{}")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_body_by_another_codec_is_written_by_one_that_the_layout_has(layout: Layout) -> None:
    """Whoever moves messages from one layout to another need not know how bodies are written in them."""
    for codec in (JSON, MESSAGEPACK):
        meta = Meta(TIME_US, "shop", content_type=codec.content_type)
        message = read(layout, layout.pack(EVENT_ID, "order.placed", meta, codec.encode({"a": [1, "é"]})))
        assert message.payload == {"a": [1, "é"]}
        assert not layout.codecs or message.content_type in {each.content_type for each in layout.codecs}


def test_bytes_do_not_fit_where_json_has_to_be() -> None:
    """JSON has no bytes: nothing is guessed, nothing is sent."""
    with pytest.raises(CodecError):
        LARAVEL_STREAMER.pack(EVENT_ID, "n", Meta(0, content_type=BYTES.content_type), b"\xff")
    assert TEXT in STREAMERSON.codecs
