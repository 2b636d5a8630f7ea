"""The history of one entity, as an app tells it."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from penstock import App, EntryId, Event, Message
from penstock.archive import Archiver, MemoryArchive, Restorer
from penstock.errors import ConfigurationError, DecodeError, UsageError
from penstock.listeners.history import parse_until
from penstock.position import BEGINNING
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class OrderPlaced(Event, name="order.placed", key="order_id", history=True):
    """An order came in."""

    order_id: str
    customer: str = "ann"
    total_cents: int = 100


class OrderPaid(Event, name="order.paid", key="order_id", history=True):
    """It was paid."""

    order_id: str
    paid_cents: int = 0


class Ignored(Event, name="ignored", key="order_id"):
    """Nobody asks for its history."""

    order_id: str


class Emptied(Event, name="emptied", key=lambda _: "o-1", history=True):
    """An event without a body."""


@contextlib.asynccontextmanager
async def on_memory(app: App | None = None) -> AsyncIterator[AppTester]:
    """An app on memory, by a clock of the test."""
    clock = ManualClock(BEGIN)
    async with AppTester(app or App("shop"), MemoryBroker(clock), clock) as tester:
        yield tester


async def told(app: App, *arguments: object, until: EntryId | datetime | None = None) -> list[Message]:
    """The events of a history."""
    events, identifier = arguments
    return [message async for message in app.history(events, identifier).events(until)]


@pytest.mark.covers("HIST-2")
async def test_the_state_of_an_entity_is_folded_from_its_events() -> None:
    """Later fields over earlier ones, of its own events only."""
    async with on_memory() as shop:
        await shop.emit(OrderPlaced(order_id="o-1", customer="ann", total_cents=5))
        await shop.emit(OrderPlaced(order_id="o-2", customer="bob"))
        await shop.emit(OrderPlaced(order_id="o-1", customer="cid", total_cents=7))

        history = shop.app.history(OrderPlaced, "o-1")
        assert await history.state() == {"order_id": "o-1", "customer": "cid", "total_cents": 7}
        assert [message.get("total_cents") async for message in history.events()] == [5, 7]


@pytest.mark.covers("HIST-2")
async def test_events_of_several_names_are_told_together() -> None:
    """In the order in which they entered their streams, whichever that is."""
    async with on_memory() as shop:
        for number in range(3):
            await shop.emit(OrderPlaced(order_id="o-1", total_cents=number))
            await shop.advance("1ms")
            await shop.emit(OrderPaid(order_id="o-1", paid_cents=number))
            await shop.emit(Emptied())
            await shop.advance("1ms")

        messages = await told(shop.app, [OrderPlaced, "order.paid", Emptied], "o-1")
        assert [message.name for message in messages[::3]] == ["order.placed"] * 3
        assert {message.name for message in messages[1:3]} == {"order.paid", "emptied"}
        assert await shop.app.history([OrderPlaced, OrderPaid, Emptied], "o-1").state() == {
            "order_id": "o-1",
            "customer": "ann",
            "total_cents": 2,
            "paid_cents": 2,
        }


@pytest.mark.covers("HIST-2", "HIST-6")
async def test_a_thousand_events_of_one_identifier() -> None:
    """1,010 of one, among others, over several pages."""
    async with on_memory() as shop:
        await shop.emit_many(
            OrderPlaced(order_id=f"o-{number % 2}", total_cents=number) for number in range(2020)
        )
        messages = await told(shop.app, OrderPlaced, "o-1")
        assert [message.get("total_cents") for message in messages] == list(range(1, 2020, 2))
        assert (await shop.app.history(OrderPlaced, "o-1").state())["total_cents"] == 2019


@pytest.mark.covers("HIST-2")
async def test_a_fold_of_ones_own() -> None:
    """Any function of a state and an event, from any beginning; the default refuses bodies without fields."""
    app = App("shop", stream={"count": {"history": True}})
    async with on_memory(app) as shop:
        for number in (3, 4):
            await shop.emit(number, name="count", key="c")

        history = app.history("count", "c")
        assert await history.state(fold=lambda total, message: total + message.payload, initial=10) == 17
        with pytest.raises(DecodeError, match="no keys"):
            await history.state()


@pytest.mark.covers("HIST-3")
async def test_the_state_at_a_time_includes_that_moment() -> None:
    """To the microsecond, in whatever zone the time is said."""
    async with on_memory() as shop:
        times: list[datetime] = []
        for number in range(4):
            times.append(BEGIN + number * timedelta(microseconds=300))
            await shop.emit(OrderPlaced(order_id="o-1", total_cents=number))
            await shop.advance("300us")

        history = shop.app.history(OrderPlaced, "o-1")
        for number, time in enumerate(times):
            assert (await history.state(time))["total_cents"] == number
            far = time.astimezone(timezone(timedelta(hours=9)))
            assert (await history.state(far))["total_cents"] == number
        just_before = times[2] - timedelta(microseconds=1)
        assert (await history.state(until=just_before))["total_cents"] == 1
        assert await history.state(BEGIN - timedelta(microseconds=1)) == {}
        with pytest.raises(UsageError, match="no time zone"):
            await history.state(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.covers("HIST-3")
async def test_the_state_at_an_entry_includes_it() -> None:
    """Of all streams, what entered up to that place."""
    async with on_memory() as shop:
        placed = [await shop.emit(OrderPlaced(order_id="o-1", total_cents=number)) for number in range(3)]
        await shop.advance("1ms")
        paid = await shop.emit(OrderPaid(order_id="o-1", paid_cents=9))

        history = shop.app.history([OrderPlaced, OrderPaid], "o-1")
        for number, each in enumerate(placed):
            assert await history.state(each.entry_id) == {
                "order_id": "o-1",
                "customer": "ann",
                "total_cents": number,
            }
        assert (await history.state(paid.entry_id))["paid_cents"] == 9
        assert await history.state(placed[0].entry_id.previous()) == {}


@pytest.mark.covers("HIST-5")
async def test_an_unknown_identifier_has_no_history() -> None:
    """Its state is empty, and it has no events; so have events whose history nobody asked for."""
    async with on_memory() as shop:
        await shop.emit(Ignored(order_id="o-1"))
        assert await shop.app.history(OrderPlaced, "nobody").state() == {}
        assert await told(shop.app, [OrderPlaced, Ignored], "o-1") == []
        assert await shop.app.history(Ignored, "o-1").state(fold=lambda a, _: a, initial=5) == 5


@pytest.mark.covers("HIST-4")
async def test_deleted_events_are_passed_over_and_forgotten() -> None:
    """Without an archive they are nowhere, and the index lets go of them."""
    async with on_memory() as shop:
        ids = [
            (await shop.emit(OrderPlaced(order_id="o-1", total_cents=number))).entry_id for number in range(5)
        ]
        await shop.broker.delete("order.placed", [ids[0], ids[3], ids[4]])

        messages = await told(shop.app, OrderPlaced, "o-1")
        assert [message.entry_id for message in messages] == ids[1:3]
        assert await shop.broker.history.length("order.placed", "order.placed", "o-1") == 2


@pytest.mark.covers("HIST-4", "ARCH-9")
async def test_archived_events_are_part_of_the_history() -> None:
    """Before, after and between they were put back: the same events in the same order, and the same state."""
    app = App("shop")
    app.archive = archive = MemoryArchive()
    async with on_memory(app) as shop:
        emitted = [
            await shop.emit(OrderPlaced(order_id=f"o-{number % 2}", total_cents=number))
            for number in range(12)
        ]
        await shop.broker.create_group("order.placed", "billing", BEGINNING)
        expected = [message.id for message in await told(app, OrderPlaced, "o-1")]
        middle = emitted[5].entry_id
        state, early = (
            await app.history(OrderPlaced, "o-1").state(),
            await app.history(OrderPlaced, "o-1").state(middle),
        )
        assert early["total_cents"] == 5

        async def check() -> None:
            assert [message.id for message in await told(app, OrderPlaced, "o-1")] == expected
            assert await app.history(OrderPlaced, "o-1").state() == state
            assert await app.history(OrderPlaced, "o-1").state(middle) == early

        for _ in range(2):
            async for _ in Archiver(archive).run(shop.broker, "order.placed", force=True):
                pass
            assert await shop.broker.length("order.placed") == 0
            await check()
            copies = await archive.find_many("order.placed")
            restorer = Restorer(archive, index_of=app.index_of)
            await restorer.restore(shop.broker, copies[6:9])
            await check()
            await restorer.restore(shop.broker, [*copies[:6], *copies[9:]])
            assert await archive.counts() == {}
            await check()
            await shop.advance("1h")
        await shop.emit(OrderPlaced(order_id="o-1", total_cents=99))
        assert (await app.history(OrderPlaced, "o-1").state())["total_cents"] == 99


@pytest.mark.covers("HIST-4", "ARCH-9")
async def test_a_stream_that_was_deleted_gets_its_histories_back_with_its_messages() -> None:
    """Where the declaration is known; who does not know it puts back into histories that there are."""
    for knows in (True, False):
        app = App("shop", stream={"order.placed": {"history": True}} if knows else {})
        app.archive = archive = MemoryArchive()
        async with on_memory(app) as shop:
            for number in range(3):
                await shop.emit(OrderPlaced(order_id="o-1", total_cents=number))
            async for _ in Archiver(archive).run(shop.broker, "order.placed", force=True):
                pass
            await shop.broker.delete_stream("order.placed")
            copies = await archive.find_many("order.placed")
            await Restorer(archive, index_of=app.index_of).restore(shop.broker, copies[::-1])
            told_now = [message.get("total_cents") for message in await told(app, OrderPlaced, "o-1")]
            assert told_now == ([0, 1, 2] if knows else [])


async def test_a_stream_may_ask_for_the_history_of_all_its_events() -> None:
    """Whatever their classes say, and also for bare names; events without a key have no history."""
    app = App("shop", stream={"ignored": {"history": True}, "bare": {"history": True}})
    async with on_memory(app) as shop:
        await shop.emit(Ignored(order_id="o-1"))
        await shop.emit({"a": 1}, name="bare", key="b")
        await shop.emit({"a": 2}, name="bare")
        assert len(await told(app, Ignored, "o-1")) == 1
        assert await app.history("bare", "b").state() == {"a": 1}


async def test_identifiers_are_those_that_keys_can_be() -> None:
    """Text, whole numbers and UUIDs."""
    number = UUID(int=7)
    async with on_memory() as shop:
        for key in (str(number), "7"):
            await shop.emit(OrderPlaced(order_id=key))
        for identifier in (number, 7):
            assert len(await told(shop.app, OrderPlaced, identifier)) == 1
        for wrong in (None, 1.5, True):
            with pytest.raises(UsageError, match="identifies nothing"):
                shop.app.history(OrderPlaced, wrong)
        nothing: list[object] = [[], 5, int, ""]
        for wrong_events in nothing:
            with pytest.raises(UsageError, match="event"):
                shop.app.history(wrong_events, "o-1")


async def test_a_name_is_looked_for_on_the_stream_of_its_class() -> None:
    """Where a listener knows the class; else *stream* says it."""

    class Moved(Event, name="moved", key="order_id", stream="orders", history=True):
        order_id: str

    app = App("shop")

    @app.listener(Moved)
    async def hear(event: Moved) -> None: ...

    async with on_memory(app) as shop:
        await shop.emit(Moved(order_id="o-1"))
        for events in (Moved, "moved"):
            assert len(await told(app, events, "o-1")) == 1
        app.registry.group("shop").listeners.clear()
        assert [message.name async for message in app.history("moved", "o-1", stream="orders").events()] == [
            "moved"
        ]


def test_a_history_needs_a_key() -> None:
    """A class that asks for one says whose it is."""
    with pytest.raises(ConfigurationError, match="give key="):

        class Keyless(Event, name="keyless", history=True):  # pyright: ignore[reportUnusedClass]
            pass


@pytest.mark.covers("HIST-3")
@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("1700000000000-3", EntryId(1700000000000, 3)),
        ("1700000000000", EntryId(1700000000000)),
        ("2026-01-01T00:00:00Z", BEGIN),
        ("2026-01-01T01:00:00.000001+01:00", BEGIN + timedelta(microseconds=1)),
    ],
)
def test_a_moment_is_a_time_or_an_entry(text: str, until: object) -> None:
    """As people write them."""
    assert parse_until(text) == until


@pytest.mark.parametrize("text", ["2026-01-01", "yesterday", "-5", "1-2-3"])
def test_what_is_neither_is_refused(text: str) -> None:
    """A date without a zone, too."""
    with pytest.raises(UsageError):
        parse_until(text)
