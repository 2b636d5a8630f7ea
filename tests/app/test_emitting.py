"""Emitting: what arrives is what was emitted, and every refusal happens before anything is sent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from penstock import App, EntryId, Event, Message, Observer
from penstock.codec import BYTES, MESSAGEPACK, TEXT
from penstock.errors import (
    BodyTooLargeError,
    BrokerUnavailableError,
    EncodeError,
    EntryIdTooSmallError,
    PublishError,
    UnregisteredStreamError,
    UsageError,
)
from penstock.streams.abc import AppendOutcome, Condition, NewEntry
from penstock.streams.memory import MemoryBroker
from penstock.streams.publisher import Said
from penstock.testing import AppTester, Faulty, ManualClock


class OrderPlaced(Event, name="order.placed", key="order_id", kind="notification", version=3):
    """An order came in."""

    order_id: str
    note: str = ""


class ShopOpened(Event, name="shop.opened"):
    """An event without a body."""


@pytest.mark.covers("MSG-1", "MSG-2", "EMIT-1")
async def test_a_message_reads_back_as_it_was_emitted(shop: AppTester) -> None:
    """Every part of the envelope survives, and the returned place is the entry's."""
    published = await shop.emit(OrderPlaced(order_id="ä-1", note="zwölf ✓"), headers={"trace": "abc"})
    [message] = await shop.messages("order.placed")
    assert (message.id, message.entry_id) == (published.event_id, published.entry_id)
    assert (message.name, message.kind, message.version, message.key) == (
        "order.placed",
        "notification",
        3,
        "ä-1",
    )
    assert (message.source, message.stream, dict(message.headers)) == (
        "shop",
        "order.placed",
        {"trace": "abc"},
    )
    assert message.time == shop.app.clock.now()  # type: ignore[attr-defined]
    assert message.decode(OrderPlaced) == OrderPlaced(order_id="ä-1", note="zwölf ✓")


@pytest.mark.covers("MSG-1")
@pytest.mark.parametrize("way", ["emit", "emit_many", "emit_to", "flusher"])
async def test_every_way_of_emitting_writes_the_same_envelope(shop: AppTester, way: str) -> None:
    """However it was written, a message reads back the same."""
    event = OrderPlaced(order_id="1")
    said: Said = {"headers": {"a": "b"}, "key": "k"}
    match way:
        case "emit":
            await shop.app.emit(event, **said)
        case "emit_many":
            await shop.app.emit_many([event], **said)
        case "emit_to":
            await shop.app.emit_to(["order.placed"], event, **said)
        case _:
            async with shop.app.flusher() as flusher:
                await flusher.add(event, **said)
    [message] = await shop.messages("order.placed")
    assert (message.name, message.key, dict(message.headers)) == ("order.placed", "k", {"a": "b"})
    assert (message.kind, message.version, message.payload) == (
        "notification",
        3,
        {"order_id": "1", "note": ""},
    )


@pytest.mark.covers("MSG-4")
async def test_no_body_is_not_a_body_that_says_null(shop: AppTester) -> None:
    """An event without fields has no body at all; a null payload has one."""
    await shop.emit(ShopOpened())
    await shop.emit(None, name="shop.opened")
    await shop.broker.append(NewEntry("shop.opened", [b"name", b"shop.opened", b"data", b"null"]))
    bare, none, null = await shop.messages("shop.opened")
    assert (bare.data, none.data, null.data) == (None, None, b"null")
    assert (bare.payload, null.payload) == (None, None)
    assert bare.decode(ShopOpened) == ShopOpened()


@pytest.mark.covers("MSG-5")
@pytest.mark.parametrize(
    ("body", "codec"),
    [
        ("grüße", TEXT),
        (b"\x00\xff" * 500_000, BYTES),
        ({"n": 2**80, "x": math.inf}, MESSAGEPACK),
        (7, MESSAGEPACK),
    ],
)
async def test_the_content_type_names_the_codec(shop: AppTester, body: object, codec: object) -> None:
    """A reader needs nothing but the message to get the value back."""
    await shop.emit(
        body, name="thing", codec=codec, headers={"data": "no clash", "id": "none", "name": "none"}
    )
    [message] = await shop.messages("thing")
    assert message.payload == body
    assert message.name == "thing"
    assert message.headers["data"] == "no clash"


@pytest.mark.covers("MSG-3")
async def test_headers_are_read_without_decoding_bodies(shop: AppTester) -> None:
    """A thousand messages whose bodies cannot be decoded still show their headers."""
    for number in range(1000):
        await shop.emit(b"\xff\xfe", name="thing", codec=BYTES, headers={"number": str(number)})
    messages = await shop.messages("thing")
    assert [message.headers["number"] for message in messages] == [str(number) for number in range(1000)]


@pytest.mark.covers("EMIT-1")
async def test_a_name_decided_at_run_time_is_its_stream_too(shop: AppTester) -> None:
    """Plain payloads need a name; a declared event may be given another one."""
    await shop.emit({"a": 1}, name="anything.at.all")
    await shop.emit(OrderPlaced(order_id="1"), name="order.copied")
    assert [message.payload for message in await shop.messages("anything.at.all")] == [{"a": 1}]
    assert [message.name for message in await shop.messages("order.copied")] == ["order.copied"]


@pytest.mark.covers("EMIT-2")
async def test_an_explicit_id_must_be_above_the_last(shop: AppTester) -> None:
    """A lower id is refused with an error that says so; nothing is written."""
    place = EntryId(2_000_000_000_000, 5)
    assert (await shop.emit(OrderPlaced(order_id="1"), entry_id=place)).entry_id == place
    with pytest.raises(EntryIdTooSmallError, match="not above the last id"):
        await shop.emit(OrderPlaced(order_id="2"), entry_id=place)
    assert len(await shop.messages("order.placed")) == 1


@pytest.mark.covers("EMIT-3")
async def test_ten_thousand_events_in_one_call_keep_their_order(shop: AppTester) -> None:
    """Ids are returned in publish order and map to their inputs."""
    events = [OrderPlaced(order_id=str(number)) for number in range(10_000)]
    published = await shop.emit_many(events)
    messages = {message.id: message for message in await shop.messages("order.placed")}
    assert [messages[each.event_id].key for each in published] == [str(number) for number in range(10_000)]
    places = [each.entry_id for each in published]
    assert places == sorted(places)


@pytest.mark.covers("EMIT-3")
async def test_a_partial_failure_says_which_events_were_written(app: App) -> None:
    """Written, not written and unknown are told apart, and a flusher keeps only what was surely not written."""

    class Cut(MemoryBroker):
        async def append_many(self, entries: Sequence[NewEntry]) -> list[AppendOutcome]:
            cause = BrokerUnavailableError("connection cut")
            if len(entries) != 3:
                return await super().append_many(entries)
            [first] = await super().append_many(entries[:1])
            return [
                first,
                AppendOutcome(Condition.UNKNOWN, cause=cause),
                AppendOutcome(Condition.NOT_WRITTEN, cause=cause),
            ]

    async with AppTester(app, Cut(), ManualClock()) as shop:
        with pytest.raises(PublishError) as failure:
            await shop.emit_many([OrderPlaced(order_id=each) for each in "abc"])
        assert failure.value.outcomes == ("written", "unknown", "not written")
        assert failure.value.entry_ids[0] is not None
        async with app.flusher() as flusher:
            for each in "xyz":
                await flusher.add(OrderPlaced(order_id=each))
            with pytest.raises(PublishError):
                await flusher.flush()
            [again] = await flusher.flush()
        assert [message.key for message in await shop.messages("order.placed")] == ["a", "x", "z"]
        assert flusher.published == [again]


async def test_a_flusher_refuses_a_bad_event_at_once_and_keeps_the_good_ones(shop: AppTester) -> None:
    """One event that cannot be published never blocks those collected with it."""
    async with shop.app.flusher(limit=2) as flusher:
        await flusher.add(OrderPlaced(order_id="1"))
        with pytest.raises(BodyTooLargeError):
            await flusher.add(OrderPlaced(order_id="2", note="x" * 2_000_000))
        await flusher.add(OrderPlaced(order_id="3"))
        await flusher.add(OrderPlaced(order_id="4"))
        assert len(flusher.published) == 2
    assert [message.key for message in await shop.messages("order.placed")] == ["1", "3", "4"]


async def test_leaving_a_flusher_by_an_exception_writes_nothing_more(shop: AppTester) -> None:
    """Half of a unit of work is not published."""

    async def half() -> None:
        async with shop.app.flusher() as flusher:
            await flusher.add(OrderPlaced(order_id="1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half()
    assert await shop.messages("order.placed") == []


@pytest.mark.covers("EMIT-4")
async def test_one_event_goes_to_several_streams_under_one_identity(shop: AppTester) -> None:
    """One place per stream is returned; the event id is the same in all."""
    published = await shop.app.emit_to(["a", "b"], OrderPlaced(order_id="1"))
    assert [each.stream for each in published] == ["a", "b"]
    [first], [second] = await shop.messages("a"), await shop.messages("b")
    assert first.id == second.id == published[0].event_id


@pytest.mark.covers("EMIT-5")
async def test_a_handler_emits_on_and_the_chain_is_known(shop: AppTester) -> None:
    """a -> b -> c delivers once per hop; each names its cause and the conversation's beginning."""
    seen: list[Message] = []

    @shop.app.listener("a")
    async def first(message: Message) -> None:
        await shop.emit({"hop": 1}, name="b")

    @shop.app.listener("b")
    async def second(message: Message) -> None:
        await shop.emit({"hop": 2}, name="c")

    @shop.app.listener("c")
    async def third(message: Message) -> None:
        seen.append(message)

    start = await shop.emit({"hop": 0}, name="a")
    for _ in range(3):
        await shop.until_idle()
    [message] = seen
    [middle] = await shop.messages("b")
    assert (middle.meta.causation, message.meta.causation) == (start.event_id, middle.id)
    assert message.meta.correlation == start.event_id


@pytest.mark.covers("MSG-6")
async def test_what_says_the_same_has_the_same_hash(shop: AppTester) -> None:
    """The hash covers kind, name, source and body, not identity or time; parts cannot run into each other."""
    for order_id in ("1", "1", "2"):
        await shop.emit(OrderPlaced(order_id=order_id))
    first, again, other = await shop.messages("order.placed")
    assert first.content_hash == again.content_hash != other.content_hash
    assert first.id != again.id


@pytest.mark.covers("MSG-6")
async def test_dedupe_writes_an_event_once(shop: AppTester) -> None:
    """The same event id with dedupe gives the first one's place, so an unknown outcome may be sent again."""
    event = OrderPlaced(order_id="1")
    first = await shop.emit(event, event_id="0190a0b0-0000-7000-8000-000000000001", dedupe=True)
    again = await shop.emit(event, event_id="0190a0b0-0000-7000-8000-000000000001", dedupe=True)
    assert first.entry_id == again.entry_id
    assert len(await shop.messages("order.placed")) == 1


Attempt = tuple[object, Said, type[Exception], str]
REFUSED: list[Attempt] = [
    ({"a": 1}, {}, UsageError, "no event name"),
    (OrderPlaced(order_id="1", note="x" * 2_000_000), {}, BodyTooLargeError, "max_body"),
    ({"a": math.nan}, {"name": "x"}, EncodeError, "NaN"),
    ({"a": object()}, {"name": "x"}, EncodeError, "object"),
    ({"a": "\ud800"}, {"name": "x"}, EncodeError, "surrogates"),
    ({}, {"name": "x", "key": "\ud800"}, UsageError, "no text"),
    ({}, {"name": "x", "headers": {"a": "\ud800"}}, UsageError, "no text"),
    ({}, {"name": "x\ud800"}, UsageError, "no text"),
    ({}, {"name": "x", "headers": cast("dict[str, str]", {"n": 1})}, UsageError, "headers are strings"),
]


@pytest.mark.parametrize(("event", "said", "error", "says"), REFUSED)
async def test_what_cannot_be_published_is_refused_before_anything_is_sent(
    shop: AppTester, event: object, said: Said, error: type[Exception], says: str
) -> None:
    """Each refusal names the thing and the remedy, and the stream does not even exist afterwards."""
    with pytest.raises(error, match=says):
        await shop.app.emit(event, **said)
    assert await shop.broker.streams() == []


@pytest.mark.covers("CONF-4")
async def test_strict_mode_refuses_an_unregistered_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the stream and the nearest one; nothing is written."""
    monkeypatch.chdir(tmp_path)
    app = App("shop", strict=True, stream={"order.placed": {}})
    async with AppTester(app, MemoryBroker(), ManualClock()) as shop:
        await shop.emit(OrderPlaced(order_id="1"))
        with pytest.raises(
            UnregisteredStreamError, match=r"'order\.plcaed' is not registered .*'order\.placed'"
        ):
            await shop.emit({}, name="order.plcaed")
        assert await shop.broker.streams() == ["order.placed"]


async def test_an_unknown_outcome_is_told_to_the_caller(app: App) -> None:
    """A publish whose answer never came is neither sent again behind the caller's back nor called a success."""
    broker = Faulty(MemoryBroker(), fail={"append": [PublishError(["unknown"], [None], [None])]})
    async with AppTester(app, broker, ManualClock()) as shop:
        with pytest.raises(PublishError):
            await shop.emit(OrderPlaced(order_id="1"))


async def test_an_observer_is_told_of_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call per stream and write, not per event."""
    monkeypatch.chdir(tmp_path)

    @dataclass
    class Counting(Observer):
        calls: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

        def published(self, stream: str, count: int, seconds: float) -> None:
            self.calls.append((stream, count))

    observer = Counting()
    app = App("shop", streams="memory://", observer=observer)
    await app.emit_many([OrderPlaced(order_id=str(number)) for number in range(5)])
    await app.emit(ShopOpened())
    await app.close()
    assert observer.calls == [("order.placed", 5), ("shop.opened", 1)]
