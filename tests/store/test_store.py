"""`EventStore`: users' events in, users' events out, on both kinds of store."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.codec import MESSAGEPACK
from penstock.envelope import CURRENT_MESSAGE
from penstock.errors import (
    BodyTooLargeError,
    DeletedStreamError,
    EncodeError,
    ProtectedStreamError,
    UsageError,
    WrongVersionError,
)
from penstock.message import Message, Meta
from penstock.store import EXISTS, NO_STREAM, EventStore, NewEvent, StoreBackend, StreamMetadata
from penstock.store._encoding import EventEncoder
from penstock.testing import ManualClock
from tests.store.events import Moved, OrderPaid, OrderPlaced, Ping


@pytest.fixture
def store(store_backend: StoreBackend) -> EventStore:
    """A store of each kind, as users hold it."""
    return EventStore("local", lambda: store_backend, encoder=EventEncoder(source="shop", max_body=10_000))


@pytest.mark.covers("STORE-1")
async def test_an_event_goes_to_the_stream_of_its_category_and_key(store: EventStore) -> None:
    """``<category>-<key>``; without a key the category alone; and wherever the caller says."""
    place = await store.append(OrderPlaced(order_id="17"))
    assert (place.stream, place.stream_version, place.is_new) == ("order-17", 1, True)
    assert (await store.append(OrderPlaced(order_id="17"), key="x")).stream == "order-x"
    assert (await store.append(Ping())).stream == "system"
    assert (await store.append({"a": 1}, name="customer.named", key="9")).stream == "customer-9"
    assert (await store.append({"a": 1}, name="hello")).stream == "hello"
    assert (await store.append(OrderPlaced(order_id="17"), event_stream="elsewhere")).stream == "elsewhere"
    assert (await store.append(Moved(item="1"), event_stream="line_item-1")).stream == "line_item-1"


async def test_a_category_with_a_dash_makes_no_stream_by_itself(store: EventStore) -> None:
    """Its streams would belong to another category, so it is refused, with the remedy."""
    with pytest.raises(UsageError, match=r"category 'line-item'.*category=.*event_stream="):
        await store.append(Moved(item="1"))


@pytest.mark.covers("STORE-1")
async def test_events_come_back_typed(store: EventStore) -> None:
    """`StoredEvent.decode` gives the event, an older version of it upcast first."""
    await store.append([OrderPlaced(order_id="1", cents=3), OrderPaid(order_id="1", currency="CHF")])
    old = NewEvent("order-1", "old", "order.paid", Meta(time=1, version=1, key="1"), b'{"order_id":"1"}')
    await store.append(old)
    loaded = await store.load("order-1")
    assert loaded.version == 3
    assert loaded.events[0].decode(OrderPlaced) == OrderPlaced(order_id="1", cents=3)
    assert [event.decode(OrderPaid).currency for event in loaded.events[1:]] == ["CHF", "EUR"]


async def test_what_a_caller_says_is_in_the_envelope(store: EventStore) -> None:
    """Name, key, kind, headers, id and codec; source and time by themselves."""
    before = datetime.now(UTC)
    place = await store.append(
        OrderPlaced(order_id="1"),
        name="order.taken",
        kind="command",
        headers={"tenant": "a"},
        event_id="mine",
        codec=MESSAGEPACK,
    )
    [event] = (await store.load("order-1")).events
    assert (event.id, event.name, event.kind, event.key) == ("mine", "order.taken", "command", "1")
    assert (dict(event.headers), event.source) == ({"tenant": "a"}, "shop")
    assert event.content_type == "application/msgpack"
    assert event.decode(OrderPlaced) == OrderPlaced(order_id="1")
    assert before - timedelta(seconds=1) < event.time <= datetime.now(UTC)
    assert abs(event.recorded_at - event.time) < timedelta(seconds=60)
    assert event.position == place.position


async def test_an_event_names_the_message_that_caused_it(store: EventStore) -> None:
    """What is appended while a message is handled has it as its cause, and goes on with its conversation."""
    cause = Message("cause", "x", "s", b"1-1", Meta(time=1, correlation="begin"), None)
    token = CURRENT_MESSAGE.set(cause)
    await store.append(OrderPlaced(order_id="1"))
    CURRENT_MESSAGE.reset(token)
    await store.append(OrderPlaced(order_id="1"))
    first, second = (await store.load("order-1")).events
    assert (first.meta.causation, first.meta.correlation) == ("cause", "begin")
    assert (second.meta.causation, second.meta.correlation) == (None, None)


@pytest.mark.covers("STORE-3")
async def test_the_same_event_id_is_kept_once(store: EventStore) -> None:
    """Appending an event again under its id is answered with where it is."""
    first = await store.append(OrderPlaced(order_id="1"), event_id="a")
    again = await store.append(OrderPlaced(order_id="1"), event_id="a")
    assert (again.position, again.is_new) == (first.position, False)
    assert [place.position for place in await store.find("a")] == [first.position]
    assert await store.find([]) == []


@pytest.mark.covers("STORE-2")
async def test_a_version_conflict_says_what_was_expected_and_what_is(store: EventStore) -> None:
    """The error keeps the facts, and nothing was appended."""
    await store.append([OrderPlaced(order_id="1")] * 3, expected_version=NO_STREAM)
    for expected, shown in ((2, "2"), (NO_STREAM, "no stream")):
        with pytest.raises(WrongVersionError) as caught:
            await store.append(OrderPlaced(order_id="1"), expected_version=expected)
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("order-1", shown, 3)
    with pytest.raises(WrongVersionError, match="a stream with events was expected"):
        await store.append(OrderPlaced(order_id="2"), expected_version=EXISTS)
    assert (await store.append(OrderPlaced(order_id="1"), expected_version=3)).stream_version == 4


@pytest.mark.covers("STORE-2")
async def test_load_decide_append_wins_once(store: EventStore) -> None:
    """Of twenty that decide by the same state one appends; the others load again, until all have."""
    tries = 0

    async def decide() -> None:
        nonlocal tries
        while True:
            tries += 1
            loaded = await store.load("order-1")
            try:
                await store.append(
                    OrderPlaced(order_id="1", cents=loaded.version), expected_version=loaded.version
                )
            except WrongVersionError:
                continue
            return

    await asyncio.gather(*(decide() for _ in range(20)))
    loaded = await store.load("order-1")
    assert [event.decode(OrderPlaced).cents for event in loaded.events] == list(range(20))
    assert tries > 20


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"event_stream": ""}, "event stream '' is no name"),
        ({"event_stream": "a\0b"}, "NUL"),
        ({"event_stream": "\ud800"}, "no text that can be written"),
        ({"event_stream": "x" * 1025}, "1024 are allowed"),
        ({"name": "a\0"}, "NUL"),
        ({"key": "a\0"}, "NUL"),
        ({"headers": {"a": "\0"}}, "NUL"),
        ({"headers": {"a": 1}}, "headers are strings"),
        ({"event_id": ""}, "event id '' is no name"),
        ({"expected_version": -1}, "at version 0"),
        ({"expected_version": True}, "NO_STREAM"),
        ({"expected_version": "3"}, "NO_STREAM"),
    ],
)
async def test_what_cannot_be_appended_is_refused(
    store: EventStore, said: dict[str, Any], words: str
) -> None:
    """Before anything is sent, in words that name the thing."""
    with pytest.raises(UsageError, match=words):
        await store.append(OrderPlaced(order_id="1"), **said)
    assert (await store.horizon()).last == 0


async def test_bodies_are_checked(store: EventStore) -> None:
    """Size and content are looked at before anything is sent; of a list with a wrong one nothing goes in."""
    with pytest.raises(BodyTooLargeError):
        await store.append([OrderPlaced(order_id="1"), OrderPlaced(order_id="x" * 10_001)])
    with pytest.raises(EncodeError):
        await store.append([OrderPlaced(order_id="1"), {"a": object()}], name="x")
    with pytest.raises(UsageError, match="no event name"):
        await store.append({"a": 1})
    assert (await store.horizon()).last == 0


async def test_a_version_is_expected_of_one_stream(store: EventStore) -> None:
    """Events of several streams cannot be told one version, nor several events one id."""
    orders = [OrderPlaced(order_id="1"), OrderPlaced(order_id="2")]
    with pytest.raises(UsageError, match="order-1, order-2"):
        await store.append(orders, expected_version=0)
    with pytest.raises(UsageError, match="one event id for 2 events"):
        await store.append(orders, event_id="a")
    assert await store.append([], expected_version=5) == []
    assert [
        place.stream_version for place in await store.append(orders, event_stream="all", expected_version=0)
    ] == [1, 2]


async def test_streams_that_are_not_for_everybody(store: EventStore) -> None:
    """Derived ones take events from their projection, deleted ones from nobody."""
    await store.set_metadata("order-1", StreamMetadata(owner="totals"))
    with pytest.raises(ProtectedStreamError) as caught:
        await store.append(OrderPlaced(order_id="1"))
    assert caught.value.owner == "totals"
    await store.append(OrderPlaced(order_id="1"), owner="totals")
    await store.delete("order-1", for_good=True)
    with pytest.raises(DeletedStreamError):
        await store.append(OrderPlaced(order_id="1"), owner="totals")


# -- reading ----------------------------------------------------------------------------------------------------------


async def fill(store: EventStore) -> None:
    """Thirty orders, of which every third is paid."""
    for number in range(30):
        await store.append(OrderPlaced(order_id=str(number), cents=number), headers={"odd": str(number % 2)})
        if number % 3 == 0:
            await store.append(OrderPaid(order_id=str(number), currency="EUR"))
    await store.append(Ping())


@pytest.mark.covers("STORE-4")
async def test_events_are_read_by_what_they_are(store: EventStore) -> None:
    """By streams, categories, names or classes, keys and headers; each narrows what is named."""
    await fill(store)

    async def count(*streams: str, **wanted: Any) -> int:
        return len([event async for event in store.read(*streams, page=7, **wanted)])

    assert await count() == 41
    assert await count("order-0", "order-1") == 3
    assert await count(categories=["order"]) == 40
    assert await count(categories="order") == 40
    assert await count("order-0", categories=["system"]) == 3
    assert (
        await count(names=[OrderPaid])
        == await count(names=["order.paid"])
        == await count(names=OrderPaid)
        == 10
    )
    assert await count(names=[OrderPaid, "system.ping"]) == 11
    assert await count(keys=["3", "4"]) == 3
    assert await count(headers={"odd": "1"}) == 15
    assert await count(categories=["order"], names=[OrderPlaced], headers={"odd": "0"}) == 15
    assert await count(after=30) + await count(through=30) == 41
    with pytest.raises(UsageError, match="no event"):
        store.read(names=[int])
    with pytest.raises(UsageError, match="at least one event"):
        store.read(page=0)


@pytest.mark.covers("STORE-4")
async def test_reading_ends_where_the_store_ended_when_it_began(store: EventStore) -> None:
    """Reading and appending at the same time comes to an end; what came later is read the next time."""
    await fill(store)
    seen = last = 0
    async for event in store.read(page=5):
        seen += 1
        last = event.position
        await store.append(Ping())
    assert seen == 41
    assert len([event async for event in store.read(after=last)]) == 41


async def test_reading_backwards(store: EventStore) -> None:
    """The newest first."""
    await fill(store)
    forwards = [event.id async for event in store.read(categories=["order"], page=7)]
    assert [event.id async for event in store.read(categories=["order"], page=7, backwards=True)] == forwards[
        ::-1
    ]


async def test_a_long_stream_is_loaded_whole(store: EventStore) -> None:
    """All of it, or what comes after a version; its version even when nothing comes."""
    await store.append([OrderPlaced(order_id="1", cents=number) for number in range(2500)])
    loaded = await store.load("order-1")
    assert (loaded.version, len(loaded.events)) == (2500, 2500)
    loaded = await store.load("order-1", after=2498)
    assert (loaded.version, len(loaded.events)) == (2500, 2)
    loaded = await store.load("order-1", after=2500)
    assert (loaded.version, len(loaded.events)) == (2500, 0)
    assert (await store.load("nothing")).version == 0


async def test_folding_answers_a_question_once(store: EventStore) -> None:
    """Functions by class and name over what was asked for."""
    await fill(store)

    def add(total: int, order: OrderPlaced) -> int:
        return total + order.cents

    assert await store.fold(0, {OrderPlaced: add}) == sum(range(30))
    assert await store.fold(0, {OrderPlaced: add}, "order-7", "order-8") == 15
    assert await store.fold(0, {"order.paid": lambda count, event: count + 1}, categories=["order"]) == 10
    assert await store.fold(0, {Any: lambda count, event: count + 1}) == 41


# -- rules ------------------------------------------------------------------------------------------------------------


async def versions(store: EventStore, stream: str) -> list[int]:
    """What is left of a stream."""
    return [event.stream_version for event in (await store.load(stream)).events]


async def test_rules_of_streams_let_the_oldest_go(store: EventStore) -> None:
    """Only the newest of a stream with `max_count` stay, and what is older than `max_age` goes; others stay whole."""
    for stream in ("a", "b", "c"):
        await store.append([OrderPlaced(order_id="1")] * 10, event_stream=stream)
    await store.set_metadata("a", StreamMetadata(max_count=3))
    await store.set_metadata("b", StreamMetadata(max_age=timedelta(microseconds=1)))
    await store.set_metadata("c", StreamMetadata(max_age=timedelta(days=1), max_count=100))
    assert await store.apply_rules() == 17
    assert [await versions(store, stream) for stream in ("a", "b", "c")] == [
        [8, 9, 10],
        [],
        list(range(1, 11)),
    ]
    assert await store.apply_rules() == 0


async def test_rules_are_applied_in_bounded_steps(store: EventStore) -> None:
    """About as many events as were asked for, and the rest the next times."""
    await store.append([OrderPlaced(order_id="1")] * 30, event_stream="a")
    await store.set_metadata("a", StreamMetadata(max_count=5))
    assert [await store.apply_rules(limit=10) for _ in range(4)] == [10, 10, 5, 0]


async def test_rules_spare_what_somebody_has_still_to_read(store: EventStore) -> None:
    """Nothing above the lowest checkpoint goes, whatever the rules say."""
    places = await store.append([OrderPlaced(order_id="1")] * 10, event_stream="a")
    await store.set_metadata("a", StreamMetadata(max_count=1))
    store.protected_after = lambda: places[3].position
    assert await store.apply_rules() == 4
    assert await versions(store, "a") == list(range(5, 11))
    store.protected_after = lambda: 0
    assert await store.apply_rules() == 0
    store.protected_after = None
    assert await store.apply_rules() == 5


async def test_a_rule_that_keeps_nothing_is_refused(store: EventStore) -> None:
    """A stream without any event is what `delete` is for."""
    with pytest.raises(UsageError, match="max_count is 0"):
        await store.set_metadata("a", StreamMetadata(max_count=0))


async def test_streams_are_looked_at(store: EventStore) -> None:
    """One, or many by name."""
    await fill(store)
    info = await store.stream("order-3")
    assert info is not None
    assert (info.version, info.events) == (2, 2)
    assert await store.stream("nothing") is None
    assert len(await store.streams()) == 31
    assert [info.name for info in await store.streams(category="system")] == ["system"]
    assert len(await store.streams(category="order", after="order-2", limit=5)) == 5
    assert await store.delete("order-3", through=1) == 1
    assert await store.delete("order-3") == 1


def test_time_is_asked_of_the_clock() -> None:
    """The time of an event is the app's clock's, in tests a manual one."""
    clock = ManualClock()
    append = EventEncoder(time_us=clock.time_us).append([OrderPlaced(order_id="1")])
    assert append.events[0].meta.time == clock.time_us()
