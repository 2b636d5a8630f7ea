"""Reading without a group where it is least convenient: bad bodies, streams that come and go, cursors in between."""

import asyncio

import pytest

from penstock import BEGINNING, NEW, Event
from penstock.errors import BrokerUnavailableError, CodecError, UndecodableEntryError
from penstock.streams.abc import NewEntry
from penstock.streams.reader import StreamReader
from penstock.testing import AppTester, Faulty


class Weighed(Event, name="weighed"):
    """A weight."""

    grams: int


async def _weigh(shop: AppTester, *grams: int) -> None:
    await shop.emit_many([Weighed(grams=each) for each in grams])


async def _garble(shop: AppTester) -> None:
    await shop.emit({"grams": "heavy"}, name="weighed")


@pytest.mark.covers("READ-1")
async def test_a_body_that_does_not_fit_costs_a_typed_reader_nothing_else(shop: AppTester) -> None:
    """What came before it is handed out, it raises once, and what came after it is handed out."""
    await _weigh(shop, 1, 2)
    await _garble(shop)
    await _weigh(shop, 3)
    reader = await shop.app.read(Weighed, start=BEGINNING)
    assert [each.grams for each in await reader.read()] == [1, 2]
    with pytest.raises(CodecError):
        await reader.read()
    assert [each.grams for each in await reader.read()] == [3]
    assert await reader.read() == []


async def test_a_typed_readers_cursor_stays_before_what_was_not_handed_out(shop: AppTester) -> None:
    """A successor meets the bad body too, and everything behind it."""
    await _weigh(shop, 1)
    await _garble(shop)
    await _weigh(shop, 2)
    first = await shop.app.read(Weighed, start=BEGINNING, cursor="scales")
    assert [each.grams for each in await first.read()] == [1]
    with pytest.raises(CodecError):
        await first.read()
    successor = await shop.app.read(Weighed, start=BEGINNING, cursor="scales")
    assert [each.grams for each in await successor.read()] == [1]


async def test_an_entry_that_is_no_message_is_not_passed_before_it_raised(shop: AppTester) -> None:
    """The position stays at the last message handed out until then."""
    await _weigh(shop, 1)
    await shop.broker.append(NewEntry("weighed", [b"temperature", b"21"]))
    reader = await shop.app.reader("weighed", start=BEGINNING)
    [message] = await reader.read()
    assert reader.position("weighed") == message.entry_id
    with pytest.raises(UndecodableEntryError):
        await reader.read()
    position = reader.position("weighed")
    assert position is not None
    assert position > message.entry_id


async def test_a_stream_removed_and_added_again_begins_anew(shop: AppTester) -> None:
    """What was fetched of its first time is gone with it."""
    await _weigh(shop, 1, 2, 3)
    reader = await shop.app.reader("weighed", start=BEGINNING, count=2)
    seen: list[int] = []
    async for message in reader:
        seen.append(message.payload["grams"])
        if len(seen) == 1:
            reader.remove("weighed")
            reader.add("weighed", BEGINNING)
            reader.add("weighed", BEGINNING)
            await reader.prepare()
        if len(seen) == 4:
            break
    assert seen == [1, 1, 2, 3]
    assert reader.streams == ["weighed"]


async def test_a_stream_that_does_not_exist_yet_is_read_from_its_first_entry(shop: AppTester) -> None:
    """New, of a stream that is not there, is everything that will be."""
    reader = await shop.app.reader("a", "weighed", start=NEW)
    await reader.prepare()
    await _weigh(shop, 1, 2)
    assert [message.payload["grams"] for message in await reader.read()] == [1, 2]


async def test_a_stream_may_be_removed_while_cursors_are_saved(shop: AppTester) -> None:
    """Nothing is saved for it afterwards, and the others are saved."""
    for stream in ("a", "b", "c"):
        await shop.emit({"n": 1}, name=stream)
    removed: list[str] = []
    readers: list[StreamReader] = []

    def at_step(step: object) -> None:
        if getattr(step, "call", "") == "save_cursor" and not removed:
            removed.append("c")
            readers[0].remove("c")

    broker = Faulty(shop.broker, at_step=at_step)
    readers.append(StreamReader(broker, ["a", "b", "c"], start=BEGINNING, cursor="mine"))
    assert len(await readers[0].read()) == 3
    assert await readers[0].read() == []
    assert [await shop.broker.load_cursor(each, "mine") is None for each in ("a", "b")] == [False, False]


async def test_a_cursor_that_could_not_be_saved_is_saved_with_the_next_read(shop: AppTester) -> None:
    """One stream's cursor is saved and the other's is not: the other's follows, and nothing is handed out twice."""
    for stream in ("a", "b"):
        await shop.emit({"n": 1}, name=stream)
    away = BrokerUnavailableError("away")
    broker = Faulty(shop.broker, fail={"save_cursor": [None, away]})
    reader = StreamReader(broker, ["a", "b"], start=BEGINNING, cursor="mine")
    assert len(await reader.read()) == 2
    with pytest.raises(BrokerUnavailableError):
        await reader.read()
    assert await reader.read() == []
    assert await shop.broker.load_cursor("b", "mine") is not None


async def test_a_reader_without_streams_waits_for_one(shop: AppTester) -> None:
    """One that is added while it waits is read."""
    reader = await shop.app.reader()
    assert await reader.read() == []

    async def first() -> int:
        async for message in reader:
            return int(message.payload["grams"])
        return 0

    reading = asyncio.create_task(first())
    await asyncio.sleep(0)
    await _weigh(shop, 7)
    reader.add("weighed", BEGINNING)
    assert await asyncio.wait_for(reading, 5) == 7
