"""Reading without a group: positions, order over several streams, cursors, and nothing lost between two reads."""

import asyncio
from datetime import timedelta

import pytest

from penstock import BEGINNING, NEW, EntryId, Event, Message
from penstock.errors import UndecodableEntryError, UsageError
from penstock.position import parse_start
from penstock.streams.abc import NewEntry
from penstock.streams.reader import StreamReader
from penstock.testing import AppTester, ManualClock


class Measured(Event, name="measured"):
    """A measurement."""

    value: int


async def _measure(shop: AppTester, *values: int) -> list[EntryId]:
    return [each.entry_id for each in await shop.emit_many([Measured(value=value) for value in values])]


def _values(messages: list[Message]) -> list[int]:
    return [message.payload["value"] for message in messages]


@pytest.mark.covers("READ-1", "LISTEN-6")
async def test_each_place_to_start_from_delivers_exactly_what_follows_it(shop: AppTester) -> None:
    """New, the beginning, after an id, and at a time (inclusive)."""
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    ids = await _measure(shop, 1, 2)
    await clock.advance(timedelta(seconds=10))
    moment = clock.now()
    await _measure(shop, 3)
    await clock.advance(timedelta(seconds=10))
    expected = {"new": [9], "beginning": [1, 2, 3, 9], str(ids[0]): [2, 3, 9], moment.isoformat(): [3, 9]}
    readers = {start: await shop.app.reader("measured", start=start) for start in expected}
    for reader in readers.values():
        await reader.prepare()
    await _measure(shop, 9)
    assert {start: _values(await reader.read()) for start, reader in readers.items()} == expected


@pytest.mark.parametrize("text", ["", "newest", "5 minutes", "2026-01-01T00:00:00", "1-2-3", "-1"])
def test_a_place_that_is_none_is_refused_with_the_four_kinds_there_are(text: str) -> None:
    """A start that cannot be read names what can, and a time without a zone is not guessed."""
    with pytest.raises(UsageError, match="write "):
        parse_start(text)


@pytest.mark.covers("LISTEN-7", "READ-1")
async def test_a_slow_reader_sees_everything_that_is_emitted_meanwhile(shop: AppTester) -> None:
    """Ten thousand events while the reader dawdles: all seen, in order, once."""
    reader = await shop.app.reader("measured", start=NEW)
    await reader.prepare()
    seen: list[int] = []

    async def read() -> None:
        async for message in reader:
            seen.append(message.payload["value"])
            if len(seen) % 97 == 0:
                await asyncio.sleep(0)
            if len(seen) == 10_000:
                return

    task = asyncio.create_task(read())
    for start in range(0, 10_000, 250):
        await _measure(shop, *range(start, start + 250))
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await task
    assert seen == list(range(10_000))


async def test_an_iteration_left_and_taken_up_again_goes_on_where_it_was(shop: AppTester) -> None:
    """Breaking out of the loop loses nothing of what was fetched already."""
    await _measure(shop, *range(10))
    reader = await shop.app.reader("measured", start=BEGINNING)
    seen: list[int] = []
    for _ in range(5):
        async for message in reader:
            seen.append(message.payload["value"])
            if len(seen) % 2 == 0:
                break
    assert seen == list(range(10))


@pytest.mark.covers("READ-3")
async def test_several_streams_come_out_merged_in_the_order_of_their_ids(shop: AppTester) -> None:
    """Interleaved ids of two streams come out sorted, also where one read does not bring all of either."""
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    expected = []
    for number in range(200):
        await shop.emit({"value": number}, name="a" if number % 3 else "b")
        expected.append(number)
        await clock.advance(timedelta(milliseconds=1))
    reader = await shop.app.reader("a", "b", start=BEGINNING, count=7)
    seen: list[int] = []
    while messages := await reader.read():
        seen += _values(messages)
    assert seen == expected


@pytest.mark.covers("READ-4")
async def test_a_stream_added_during_a_waiting_read_is_read_too(shop: AppTester) -> None:
    """Entries of both streams arrive, the reader does not end, and a removed stream is silent."""
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    reader = await shop.app.reader("a", start=BEGINNING)
    seen: list[str] = []

    async def read() -> None:
        async for message in reader:
            seen.append(f"{message.stream}{message.payload['value']}")

    task = asyncio.create_task(read())
    await shop.emit({"value": 1}, name="a")
    await shop.emit({"value": 1}, name="b")
    await _until(lambda: seen == ["a1"], shop)
    reader.add("b")
    await _until(lambda: seen == ["a1", "b1"], shop)
    reader.remove("a")
    await shop.emit({"value": 2}, name="a")
    await shop.emit({"value": 2}, name="b")
    await _until(lambda: seen == ["a1", "b1", "b2"], shop)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.covers("READ-6")
async def test_a_durable_cursor_goes_on_after_the_last_message_that_was_done_with(shop: AppTester) -> None:
    """A reader killed while it has a message in hand gets that message again; one asked for the next does not."""
    await _measure(shop, *range(5))
    first = await shop.app.reader("measured", start=BEGINNING, cursor="report")
    seen: list[int] = []
    iterator = aiter(first)
    for _ in range(3):
        seen.append((await anext(iterator)).payload["value"])
    # The third is in hand when the reader dies: nobody asked for the fourth.
    second = await shop.app.reader("measured", start=BEGINNING, cursor="report")
    again = _values(await second.read())
    assert (seen, again) == ([0, 1, 2], [2, 3, 4])
    third = await shop.app.reader("measured", cursor="report")
    assert _values(await third.read()) == [2, 3, 4], "what was read is done with when more is asked for"
    assert await third.read() == []
    fourth = await shop.app.reader("measured", cursor="report")
    assert await fourth.read() == []


@pytest.mark.covers("READ-2")
async def test_reading_waits_no_longer_than_it_was_told(shop: AppTester) -> None:
    """A read with nothing to bring ends after its time, empty."""
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    reader = await shop.app.reader("measured")
    reading = asyncio.create_task(reader.read(block=timedelta(seconds=5)))
    await clock.advance(timedelta(seconds=4))
    assert not reading.done()
    await clock.advance(timedelta(seconds=2))
    assert await reading == []


@pytest.mark.covers("READ-2")
async def test_typed_batches_are_decoded_events(shop: AppTester) -> None:
    """Entries of other names are passed over; the batch is of the wanted class."""
    await shop.emit(Measured(value=1))
    await shop.emit({"x": 1}, name="other", stream="measured")
    await shop.emit(Measured(value=2))
    reader = await shop.app.read(Measured, start=BEGINNING)
    assert await reader.read() == [Measured(value=1), Measured(value=2)]
    await shop.emit(Measured(value=3))
    async for batch in reader:
        assert batch == [Measured(value=3)]
        break


async def test_an_entry_that_is_no_message_is_told_and_read_past(shop: AppTester) -> None:
    """It raises once, naming the entry; what came before it is handed out first, and what follows afterwards."""
    await shop.emit(Measured(value=1))
    await shop.broker.append(NewEntry("measured", [b"temperature", b"21"]))
    await shop.emit(Measured(value=2))
    reader = await shop.app.reader("measured", start=BEGINNING)
    assert _values(await reader.read()) == [1]
    with pytest.raises(UndecodableEntryError, match="no field 'name'"):
        await reader.read()
    assert _values(await reader.read()) == [2]

    told: list[UndecodableEntryError] = []
    silent = StreamReader(shop.broker, ["measured"], start=BEGINNING, on_undecodable=told.append)
    assert _values(await silent.read()) == [1, 2]
    assert len(told) == 1


@pytest.mark.covers("MSG-7")
async def test_payloads_are_read_by_dotted_paths(shop: AppTester) -> None:
    """Paths, list indexes, defaults; a missing key without a default names the path."""
    await shop.emit({"customer": {"city": "Köln", "tags": ["a", "b"]}, "total": 0}, name="order")
    [message] = await shop.messages("order")
    assert message.get("customer.city") == "Köln"
    assert message.get("customer.tags.1") == "b"
    assert message.get("total", 5) == 0
    assert message.get("customer.street", "none") == "none"
    with pytest.raises(KeyError, match=r"customer\.street"):
        message.get("customer.street")
    assert message.only("total", "nothing") == {"total": 0}
    assert set(message.without("total")) == {"customer"}
    assert message.data is not None


async def _until(condition: "object", shop: AppTester) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await shop.advance("50ms")
            await asyncio.sleep(0.001)
