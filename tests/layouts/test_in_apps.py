"""Streams of other systems in an app: typed listeners, retries from the record, what is emitted, what people see."""

import hashlib
from typing import Any

import pytest

from penstock import App, Event, Message, Retry
from penstock.archive import MemoryArchive
from penstock.codec import Codec
from penstock.config import load_settings
from penstock.errors import ConfigurationError, InvalidSettingsError, UndecodableEntryError, UsageError
from penstock.message import Meta
from penstock.operations import FailedWhich, Operations
from penstock.position import BEGINNING
from penstock.streams.layouts import LARAVEL_STREAMER, NATIVE, LaravelStreamerLayout, Layouts
from tests.layouts.conftest import OtherSide
from tests.layouts.fixtures import beeorm, cloudevents, laravel_streamer, streamerson


class OrderPlaced(Event, name="order.placed"):
    """As the PHP side emits it."""

    order_id: str
    customer: str
    total_cents: int
    rate: float


class Hello(Event, name="hello"):
    """As a streamerson gateway asks for it."""

    name: str


class Howdy(Event, name="resp"):
    """The answer to it."""

    howdy: str


class Happened(Event, name="com.example.someevent"):
    """A CloudEvent."""

    much: str


class Painted(Event, name="cars"):
    """As the Go side publishes it."""

    Color: str
    Price: float


PLACED = laravel_streamer.FIXTURES[1].fields


async def works(app: App) -> None:
    """Handle everything there is."""
    await app.run(until_idle=True)


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize(
    ("layout", "stream", "fields", "expected"),
    [
        (
            "laravel-streamer",
            "order.placed",
            PLACED,
            OrderPlaced(order_id="o-1", customer="Zoë/Łódź \U0001f600", total_cents=1999, rate=0.1),
        ),
        ("beeorm", "cars", beeorm.FIXTURES[1].fields, Painted(Color="red", Price=12.34000015258789)),
        ("streamerson", "hello", streamerson.EIGHT, Hello(name="ann")),
        ("cloudevents", "com.example.someevent", cloudevents.EXAMPLE, Happened(much="wow")),
    ],
)
async def test_a_typed_listener_handles_what_the_other_side_added(
    layout: str, stream: str, fields: list[bytes], expected: Event, app: App, other_side: OtherSide
) -> None:
    """The stream says how it is laid out; the listener is like any other."""
    seen: list[tuple[Event, str]] = []
    app.stream(stream, layout=layout)

    @app.listener(type(expected))
    async def handle(event: Any, message: Message) -> None:
        seen.append((event, message.stream))

    await other_side.add(stream, fields)
    await works(app)
    assert seen == [(expected, stream)]
    assert (await other_side.broker.pending_summary(stream, "shop")).count == 0


@pytest.mark.covers("MSG-11", "FAIL-1")
async def test_a_failing_listener_is_retried_from_its_record_whose_bytes_are_the_entrys(
    app: App, other_side: OtherSide
) -> None:
    """The record holds the entry as the other side wrote it; with the stream purged, the retry reads it from there."""
    gateway_works, charged = False, list[int]()
    app.stream("order.placed", layout="laravel-streamer")

    @app.listener(OrderPlaced, retry=Retry(attempts=1))
    async def charge(order: OrderPlaced) -> None:
        if not gateway_works:
            raise OSError("the gateway is closed")
        charged.append(order.total_cents)

    await other_side.add("order.placed", PLACED)
    await works(app)
    [record] = await other_side.broker.failures.find("order.placed")
    whole = await other_side.broker.failures.get(record.key)
    assert whole is not None
    assert whole.fields == PLACED
    await other_side.broker.delete("order.placed", [record.key.entry_id])

    gateway_works = True
    operations = Operations(app)
    [shown] = await operations.failed_show(FailedWhich())
    assert shown.message is not None
    assert shown.message.payload == laravel_streamer.FIXTURES[1].payload
    results = [each async for each in operations.failed_retry(FailedWhich(), everything=True)]
    assert [each.outcome.value for each in results] == ["succeeded"]
    assert charged == [1999]
    assert await other_side.broker.failures.find("order.placed") == []


@pytest.mark.covers("MSG-10", "MSG-11")
async def test_an_entry_that_the_layout_cannot_read_fails_as_undecodable_and_no_other_waits(
    app: App, other_side: OtherSide
) -> None:
    """It is recorded once with its bytes and acknowledged; what comes behind it is handled."""
    seen: list[str] = []
    app.stream("order.placed", layout="laravel-streamer")

    @app.listener(OrderPlaced)
    async def handle(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await other_side.add("order.placed", [b"no", b"name"])
    await other_side.add("order.placed", PLACED)
    await works(app)
    assert seen == ["o-1"]
    [record] = await other_side.broker.failures.find("order.placed")
    assert (record.cause, record.key.listener) == ("undecodable", "*")
    assert (await other_side.broker.pending_summary("order.placed", "shop")).count == 0


@pytest.mark.covers("MSG-11")
async def test_what_an_app_emits_is_what_the_other_side_would_have_written(
    app: App, other_side: OtherSide
) -> None:
    """The fields of laravel-streamer in their order, and a hash over the text that PHP would have made."""
    app.stream("order.placed", layout="laravel-streamer")
    app.stream("cars", layout="beeorm")
    app.stream("hello", layout="streamerson")
    app.stream("com.example.someevent", layout="cloudevents")
    payload = laravel_streamer.FIXTURES[1].payload
    await app.emit(payload, name="order.placed")
    [fields] = await other_side.entries("order.placed")
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    expected = dict(zip(PLACED[::2], PLACED[1::2], strict=True))
    assert list(values) == list(expected)
    assert {**values, b"created": b"1700000000"} == expected

    await app.emit_many([Painted(Color="red", Price=12.34)], headers={"tenant": "acme"})
    [fields] = await other_side.entries("cars")
    assert (fields[:2], fields[4:]) == (beeorm.WRITTEN[:2], [b"tenant", b"acme"])

    await app.emit(Hello(name="ann"), event_id="f8b8f8b8-f8b8-48b8-98b8-f8b8f8b8f8b8")
    [fields] = await other_side.entries("hello")
    expected_fields = list(streamerson.EIGHT)
    expected_fields[2], expected_fields[5] = b"", b"shop"
    assert fields == expected_fields

    await app.emit(Happened(much="wow"))
    [fields] = await other_side.entries("com.example.someevent")
    assert fields[:2] == [b"ce_specversion", b"1.0"]
    assert fields[-2:] == [b"data", b'{"much":"wow"}']


@pytest.mark.covers("MSG-11")
async def test_a_request_of_a_streamerson_gateway_is_answered(app: App, other_side: OtherSide) -> None:
    """The answer carries the id, and goes where the request says; its readers match the two."""
    app.stream("hello", layout="streamerson")
    app.stream("ns::my-topic::PRODUCER_OUTGOING", layout="streamerson")

    @app.listener(Hello)
    async def answer(hello: Hello, message: Message) -> None:
        await app.emit(
            Howdy(howdy=f"there, {hello.name}"),
            stream=message.headers["streamerson-destination"],
            event_id=message.id,
            headers={"streamerson-source-id": message.source or ""},
        )

    await other_side.add("hello", streamerson.EIGHT)
    await works(app)
    [fields] = await other_side.entries("ns::my-topic::PRODUCER_OUTGOING")
    assert fields[:2] == [streamerson.EIGHT[0], b"resp"]
    assert fields[4:] == [b"json", streamerson.EIGHT[5], b"UnoccupiedField", b'{"howdy":"there, ann"}']


@pytest.mark.covers("MSG-11")
async def test_streams_of_several_layouts_are_read_side_by_side(app: App, other_side: OtherSide) -> None:
    """By a group, by a reader, and by people; each stream in its own layout, ours among them."""
    app.stream("order.placed", layout="laravel-streamer")
    app.stream("hello", layout="streamerson")
    grouped: list[str] = []

    @app.listener(OrderPlaced, Hello, Happened)
    async def handle(event: Any) -> None:
        grouped.append(type(event).__name__)

    await other_side.add("order.placed", PLACED)
    await other_side.add("hello", streamerson.EIGHT)
    await app.emit(Happened(much="wow"))
    await works(app)
    assert sorted(grouped) == ["Happened", "Hello", "OrderPlaced"]

    reader = await app.reader("order.placed", "hello", "com.example.someevent", start=BEGINNING)
    read = {message.name for message in await reader.read()}
    assert read == {"order.placed", "hello", "com.example.someevent"}
    views = Operations(app).tail("order.placed", "hello", start=BEGINNING, follow=False)
    shown = {(view.name, view.undecodable) async for view in views}
    assert shown == {("order.placed", None), ("hello", None)}


@pytest.mark.covers("MSG-11")
async def test_a_stream_changes_over_while_it_has_entries_of_both_layouts(
    app: App, other_side: OtherSide
) -> None:
    """What we wrote before the stream was declared to be the other side's is handled as before."""
    await app.emit(OrderPlaced(order_id="ours", customer="ann", total_cents=1, rate=1.0))
    await other_side.add("order.placed", PLACED)
    seen: list[str] = []
    changed = App("shop", broker=other_side.broker, stream={"order.placed": {"layout": "laravel-streamer"}})

    @changed.listener(OrderPlaced)
    async def handle(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await works(changed)
    await changed.close()
    assert sorted(seen) == ["o-1", "ours"]


class Upper:
    """A layout of a user's own: the body in one field, called by the event's name."""

    name = "upper"
    codecs: tuple[Codec, ...] = ()

    def pack(self, event_id: str, name: str, meta: Meta, data: bytes | None) -> list[bytes]:
        """One field."""
        return [name.upper().encode(), data or b""]

    def read(self, stream: str, raw_entry_id: bytes, fields: list[bytes]) -> Message:
        """One field."""
        if len(fields) != 2:
            raise UndecodableEntryError(stream, raw_entry_id.decode(), "it has more than one field")
        return Message(raw_entry_id, fields[0].decode().lower(), stream, raw_entry_id, Meta(0), fields[1])


@pytest.mark.covers("MSG-11")
@pytest.mark.parametrize("how", ["at the stream", "by name"])
async def test_a_layout_of_ones_own_is_declared_in_code(how: str, app: App, other_side: OtherSide) -> None:
    """It is written and read like those that come along; settings may call it by its name."""
    if how == "at the stream":
        app.stream("hello", layout=Upper())
    else:
        app.layout("capitals", Upper())
        app.stream("hello", layout="capitals")
    await app.emit(Hello(name="ann"))
    assert await other_side.entries("hello") == [[b"HELLO", b'{"name":"ann"}']]
    reader = await app.reader("hello", start=BEGINNING)
    assert [message.decode(Hello) for message in await reader.read()] == [Hello(name="ann")]


def test_a_layout_has_a_name_of_its_own() -> None:
    """Neither one that comes along nor another of the app's is silently replaced."""
    app = App("shop", streams="memory://")
    app.layout("envelope", LaravelStreamerLayout(envelope=True))
    for taken in ("laravel-streamer", "envelope"):
        with pytest.raises(
            ConfigurationError, match=r"there is a layout .* already; call yours something else"
        ):
            app.layout(taken, LARAVEL_STREAMER)
    with pytest.raises(ConfigurationError, match="a layout needs a name"):
        app.layout(" ", LARAVEL_STREAMER)
    app.stream("a", layout="envelope")
    with pytest.raises(ConfigurationError, match="stream 'a' is declared twice in code"):
        app.stream("a")


@pytest.mark.covers("CONF-3")
def test_a_layout_that_does_not_exist_is_refused_with_the_nearest(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has file, line and key, what may have been meant, and how one of one's own is declared."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text('streams = "memory://"\n[stream.a]\nlayout = "laravel-streamr"\n')
    with pytest.raises(InvalidSettingsError) as caught:
        _ = App("shop").settings
    [problem] = caught.value.problems
    assert problem == (
        f"{tmp_path / 'penstock.toml'}, line 3: stream.a.layout: there is no layout 'laravel-streamr'; "
        "did you mean 'laravel-streamer'?; one of your own is declared by app.layout(NAME, ...)"
    )


async def test_a_layout_whose_code_is_not_loaded_is_said_to_be_so(
    other_side: OtherSide, tmp_path: Any
) -> None:
    """Tools that load no code show the fields and the reason; emitting is refused."""
    settings = load_settings(code={"stream": {"hello": {"layout": "upper"}}}, environ={}, start=tmp_path)
    await other_side.add("hello", [b"HELLO", b"{}"])
    app = App.of_settings(settings)
    async with app.using(broker=other_side.broker):
        [view] = [each async for each in Operations(app).tail("hello", start=BEGINNING, follow=False)]
        assert view.fields == {"HELLO": "{}"}
        assert view.undecodable == "layout 'upper' is declared by code that is not loaded here; name its app"
        with pytest.raises(UsageError, match="'hello' cannot be written: layout 'upper' is declared by code"):
            await app.emit({}, name="hello")


def test_partitions_and_shards_have_the_layout_of_their_stream() -> None:
    """They are parts of one stream; another stream whose name ends in a number is not."""
    layouts = Layouts({"orders": LARAVEL_STREAMER}, partitioned=["orders"])
    assert layouts.of("orders:3") is layouts.of("orders#tenant-1") is layouts.of("orders") is LARAVEL_STREAMER
    assert layouts.of("orders:x") is layouts.of("other:3") is NATIVE
    assert Layouts({"orders": LARAVEL_STREAMER}).of("orders:3") is NATIVE
    assert Layouts().reader is NATIVE


@pytest.mark.covers("MSG-6", "MSG-11")
async def test_the_hash_of_laravel_streamer_is_in_the_entry_and_ours_is_as_ever(
    app: App, other_side: OtherSide
) -> None:
    """Theirs can be computed from the entry alone; `content_hash` says the same for entries that say the same."""
    app.stream("order.placed", layout="laravel-streamer")
    for _ in range(2):
        await other_side.add("order.placed", PLACED)
    await app.emit(laravel_streamer.FIXTURES[1].payload, name="order.placed")
    hashes = {fields[fields.index(b"hash") + 1] for fields in await other_side.entries("order.placed")}
    said = b"".join(PLACED[PLACED.index(part) + 1] for part in (b"type", b"name", b"domain", b"data"))
    assert hashes == {hashlib.sha256(said).hexdigest().encode()}
    reader = await app.reader("order.placed", start=BEGINNING)
    messages = await reader.read()
    assert len({message.content_hash for message in messages}) == 1
    assert len({message.id for message in messages}) == 3


@pytest.mark.covers("ARCH-1", "MSG-9", "MSG-11")
@pytest.mark.parametrize(
    ("layout", "stream", "fields"),
    [
        ("laravel-streamer", "order.placed", PLACED),
        ("beeorm", "cars", beeorm.FIXTURES[2].fields),
        ("streamerson", "hello", streamerson.EIGHT),
        ("cloudevents", "com.example.someevent", cloudevents.EXAMPLE),
    ],
)
async def test_an_archived_entry_is_byte_for_byte_the_other_sides_and_the_same_event_when_restored(
    layout: str, stream: str, fields: list[bytes], app: App, other_side: OtherSide
) -> None:
    """What is kept is what was there; what comes back has its id, name, body and headers, and says where it stood."""
    app.archive = MemoryArchive()
    app.stream(stream, layout=layout)
    await other_side.add(stream, fields)
    reader = await app.reader(stream, start=BEGINNING)
    [before] = await reader.read()

    archive = Operations(app).archive
    pages = [page async for page in archive.run(await archive.places([stream]))]
    assert sum(page.archived for page in pages) == 1
    assert await other_side.entries(stream) == []
    [kept] = await app.archive.find_many(stream)
    assert (list(kept.fields), kept.layout) == (fields, layout)

    [restored] = [each async for each in archive.restore(stream=stream)]
    assert restored.error is None
    [after] = await (await app.reader(stream, start=BEGINNING)).read()
    assert (after.id, after.name, after.payload) == (before.id, before.name, before.payload)
    assert (after.headers, after.version, after.source) == (before.headers, before.version, before.source)
    assert after.meta.original_id == str(before.entry_id)
