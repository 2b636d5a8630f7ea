"""Keys of entries that carry none: taken from a header or the body, so that groups can keep order by them."""

from typing import Any

import pytest

from penstock import App, Event, Message
from penstock.codec import JSON, MESSAGEPACK
from penstock.errors import InvalidSettingsError
from penstock.message import Meta
from penstock.streams.layouts import (
    BEEORM,
    LARAVEL_STREAMER,
    NATIVE,
    KeyedLayout,
    LaravelStreamerLayout,
    Layout,
    UnknownLayout,
)
from tests.layouts.conftest import OtherSide

PLACE = b"1700000005000-0"


class OrderPlaced(Event, name="order.placed", stream="orders"):
    """As the PHP side emits it, and as a router brings it to a stream of ours."""

    order_id: str


def entry(order_id: str, *, layout: Layout = LARAVEL_STREAMER) -> list[bytes]:
    """An entry of the other side about one order."""
    return layout.pack("", "order.placed", Meta(0, "php"), JSON.encode({"order_id": order_id}))


@pytest.mark.parametrize(
    ("payload", "key_from", "key"),
    [
        ({"order_id": "o-1"}, "order_id", "o-1"),
        ({"order": {"id": 17}}, "order.id", "17"),
        ({"lines": [{"sku": "a"}]}, "lines.0.sku", "a"),
        ({"order_id": None}, "order_id", None),
        ({"order_id": True}, "order_id", None),
        ({"order_id": 1.5}, "order_id", None),
        ({"order_id": ["o-1"]}, "order_id", None),
        ({}, "order_id", None),
        ([1], "order_id", None),
    ],
)
def test_a_key_is_taken_from_the_body_where_the_entry_has_none(
    payload: Any, key_from: str, key: str | None
) -> None:
    """Text and whole numbers are keys; of anything else, and of nothing, none is made."""
    layout = KeyedLayout(LARAVEL_STREAMER, key_from)
    fields = layout.pack("", "order.placed", Meta(0), JSON.encode(payload))
    assert layout.read("orders", PLACE, fields).key == key
    assert layout.name == LARAVEL_STREAMER.name


def test_a_header_goes_before_the_body_and_a_key_of_its_own_before_both() -> None:
    """What the emitter said is not changed, and a body that cannot be read is left to the listener."""
    layout = KeyedLayout(BEEORM, "tenant")
    body = MESSAGEPACK.encode({"tenant": "of the body"})
    theirs = [b"s", body, b"tenant", b"of the header"]
    assert layout.read("orders", PLACE, theirs).key == "of the header"
    assert layout.read("orders", PLACE, theirs[:2]).key == "of the body"
    assert layout.read("orders", PLACE, [b"s", b"\xc1"]).key is None
    ours = layout.pack("id", "n", Meta(0, key="its own", content_type=MESSAGEPACK.content_type), body)
    assert layout.read("orders", PLACE, ours).key == "its own"


@pytest.mark.covers("MSG-11", "GROUP-5")
async def test_entries_of_others_are_handled_in_order_of_their_keys_over_partitions(
    app: App, other_side: OtherSide
) -> None:
    """A router divides the stream that PHP writes by the key in its bodies; the entries stay as PHP wrote them."""
    app.stream("php.orders", layout="laravel-streamer", key_from="order_id")
    app.stream("orders", partitions=2, routed_from="php.orders")
    handled: dict[str, list[str]] = {}

    @app.group("billing", mode="keyed").on(OrderPlaced)
    async def book(order: OrderPlaced, message: Message) -> None:
        assert message.key == order.order_id
        assert message.kind == "event"
        handled.setdefault(order.order_id, []).append(message.source or "")

    sent = [entry(f"o-{number % 5}") for number in range(20)]
    for fields in sent:
        await other_side.add("php.orders", fields)
    await app.run(until_idle=True)
    assert {key: len(each) for key, each in handled.items()} == {f"o-{number}": 4 for number in range(5)}
    lanes = [await other_side.entries("orders:0"), await other_side.entries("orders:1")]
    assert sorted(fields for lane in lanes for fields in lane) == sorted(sent)
    of_lane = [{fields[fields.index(b"data") + 1] for fields in lane} for lane in lanes]
    assert not of_lane[0] & of_lane[1]
    assert all(of_lane)


def test_what_a_router_brings_has_the_layout_and_the_key_of_where_it_comes_from() -> None:
    """Its bytes are not written anew, so there is nothing to choose."""
    app = App("shop", streams="memory://")
    app.stream("php.orders", layout="laravel-streamer", key_from="order_id")
    app.stream("orders", partitions=2, routed_from="php.orders")
    app.stream("by.hand", key_from="id")
    read = app.layouts.read("orders:1", PLACE, entry("o-1"))
    assert (read.name, read.key, read.source) == ("order.placed", "o-1", "php")
    by_hand = app.layouts.read("by.hand", PLACE, [b"name", b"n", b"data", b'{"id": 5}'])
    assert by_hand.key == "5"
    assert app.layouts.of("other") is NATIVE


@pytest.mark.covers("CONF-3")
def test_a_routed_stream_of_another_layout_than_its_source_is_refused() -> None:
    """Its partitions would hold entries that it cannot read."""
    app = App("shop", streams="memory://")
    app.stream("php.orders", layout="laravel-streamer")
    app.stream("orders", partitions=2, routed_from="php.orders", layout="beeorm")
    with pytest.raises(InvalidSettingsError) as caught:
        _ = app.settings
    assert caught.value.problems == (
        "code: stream.orders.layout: entries come from stream 'php.orders', which has the layout 'laravel-streamer', "
        "and are not written anew; leave this out",
    )


def test_a_layout_that_is_not_loaded_stays_one_that_is_not_loaded() -> None:
    """Those who must not guess, as the archive, see what it is."""
    app = App("shop", streams="memory://")
    app.layout("envelope", LaravelStreamerLayout(envelope=True))
    app.stream("a", layout="envelope", key_from="x")
    assert isinstance(app.layouts.of("a"), KeyedLayout)
    tool = App.of_settings(app.settings)
    assert isinstance(tool.layouts.of("a"), UnknownLayout)
