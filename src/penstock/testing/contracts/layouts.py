"""What a layout promises. Inherit it and supply the ``layout`` fixture; ``payload`` too, where it carries no maps."""

from typing import Any

import pytest

from penstock.codec import JSON, Codec
from penstock.errors import UndecodableEntryError
from penstock.message import Message, Meta, new_event_id
from penstock.streams.layouts import NATIVE, Layout

__all__ = ["LayoutContract"]

_PLACE = b"1700000005000-0"


class LayoutContract:
    """What an app relies on: an event comes back as what it was, and no entry of anybody's breaks a reader."""

    @pytest.fixture
    def payload(self) -> Any:
        """A body that the layout carries."""
        return {
            "order_id": "o-1",
            "lines": [{"sku": "a/b", "n": 1}],
            "customer": "Zoë \U0001f680",
            "note": None,
        }

    def test_it_says_what_it_is(self, layout: Layout) -> None:
        """A name for settings, and the codecs it carries, which is asked for every event."""
        assert layout.name
        assert all(codec.content_type for codec in layout.codecs)

    def test_name_and_body_come_back(self, layout: Layout, payload: Any) -> None:
        """Written by a codec it carries, an event has its name, its place, and a body that decodes to the same."""
        for codec in layout.codecs or (JSON,):
            if (body := _written(codec, payload)) is not None:
                message = _again(layout, _meta(codec), body)
                assert (message.name, message.stream, message.raw_entry_id) == (
                    "order.placed",
                    "orders",
                    _PLACE,
                )
                assert message.payload == payload

    def test_reading_twice_gives_the_same_event(self, layout: Layout, payload: Any) -> None:
        """The event id of an entry never changes: who handled it before knows it again."""
        codec = (layout.codecs or (JSON,))[0]
        meta = _meta(codec)
        fields = layout.pack(new_event_id(), "order.placed", meta, codec.encode(payload))
        first, second = (layout.read("orders", _PLACE, list(fields)) for _ in range(2))

        assert first.id == second.id
        assert first.meta == second.meta

    def test_an_event_without_body_is_an_entry(self, layout: Layout) -> None:
        """There is at least one pair of bytes to add, and it reads back under the event's name."""
        fields = layout.pack(new_event_id(), "order.placed", _meta(), None)

        assert fields
        assert len(fields) % 2 == 0
        assert all(isinstance(field, bytes) for field in fields)
        assert layout.read("orders", _PLACE, fields).name == "order.placed"

    def test_entries_of_our_own_layout_are_read(self, layout: Layout) -> None:
        """A stream that changes over has entries of both."""
        meta = _meta()
        message = layout.read("orders", _PLACE, NATIVE.pack("an-id", "order.placed", meta, b"{}"))

        assert (message.id, message.name, message.meta, message.data) == (
            "an-id",
            "order.placed",
            meta,
            b"{}",
        )

    @pytest.mark.parametrize(
        "fields",
        [[], [b"", b""], [b"\xff", b"\xff"], [b"name", b"\xff"], [b"a", b"b", b"a", b"c"], [b"{", b"}"]],
    )
    def test_what_it_cannot_read_is_undecodable(self, layout: Layout, fields: list[bytes]) -> None:
        """Whatever an entry holds, it is a message, or the one error that has it recorded and acknowledged."""
        try:
            found: Message | UndecodableEntryError = layout.read("orders", _PLACE, fields)
        except UndecodableEntryError as failure:
            found = failure

        assert found.stream == "orders"


def _meta(codec: Codec = JSON) -> Meta:
    return Meta(1_700_000_000_000_000, "shop", headers={"tenant": "acme"}, content_type=codec.content_type)


def _again(layout: Layout, meta: Meta, body: bytes) -> Message:
    return layout.read("orders", _PLACE, layout.pack(new_event_id(), "order.placed", meta, body))


def _written(codec: Codec, payload: Any) -> bytes | None:
    """The body, if the codec has a form for such a payload: a text has none for a map."""
    return (
        None
        if codec.content_type.startswith("text/") and not isinstance(payload, str)
        else codec.encode(payload)
    )
