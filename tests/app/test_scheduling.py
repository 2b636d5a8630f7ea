"""Events that come later, as an app has them."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from penstock import App, Scheduled
from penstock._scheduling import mover_of
from penstock.errors import MalformedDurationError, UsageError
from penstock.operations import Operations
from penstock.streams.abc import Dedupe
from penstock.streams.partitions import partition_of
from tests.app.timetable import BEGIN, HOUR, Reminded, Tidied, heard, on_memory


@pytest.mark.covers("DELAY-1")
@pytest.mark.parametrize(
    "when",
    [
        {"after": "1h"},
        {"after": HOUR},
        {"at": BEGIN + HOUR},
        {"at": "2026-01-01T01:00:00Z"},
        {"at": "2026-01-01T02:00+01:00"},
    ],
    ids=str,
)
async def test_an_event_is_handled_at_its_time(when: dict[str, Any]) -> None:
    """Not before; its own time is the one at which it was due; its id is the one that was answered."""
    app = App("shop")
    messages = heard(app)
    async with on_memory(app) as shop:
        emit: Any = app.emit
        waiting: Scheduled = await emit(Reminded(who="ann"), **when)
        assert (waiting.due, waiting.stream, waiting.name, waiting.key) == (
            BEGIN + HOUR,
            "reminded",
            "reminded",
            "ann",
        )
        await shop.advance(HOUR - timedelta(milliseconds=1))
        await shop.until_idle()
        assert messages == []
        await shop.advance(timedelta(milliseconds=1))
        await shop.until_idle()

        [message] = messages
        assert (message.id, message.time, message.key) == (waiting.event_id, BEGIN + HOUR, "ann")
        assert await app.scheduled() == []
        assert await app.history(Reminded, "ann").state() == {"who": "ann"}


@pytest.mark.covers("DELAY-2")
async def test_what_waits_can_be_listed_and_taken_back() -> None:
    """By due time, of all streams or one; what was taken back never comes."""
    app = App("shop")
    messages = heard(app)
    async with on_memory(app) as shop:
        late = await app.emit(Reminded(who="bob"), after="2h")
        soon = await app.emit(Tidied(), after="1h")
        assert await app.scheduled() == [soon, late]
        assert await app.scheduled(stream="reminded") == [late]
        assert await app.scheduled(limit=1) == [soon]

        assert await app.cancel_scheduled(soon.event_id) is True
        assert await app.cancel_scheduled(soon.event_id) is False
        assert await app.cancel_scheduled(late.event_id, stream="tidied") is False
        await shop.advance("3h")
        await shop.until_idle()
        assert [message.id for message in messages] == [late.event_id]


async def test_what_handlers_schedule_for_now_is_handled_before_idle() -> None:
    """Until idle means that nothing is due any more."""
    app = App("shop")
    numbers: list[int] = []

    @app.listener(Tidied)
    async def tidy(event: Tidied) -> None:
        numbers.append(event.number)
        if event.number < 3:
            await app.emit(Tidied(number=event.number + 1), after="0s")

    async with on_memory(app) as shop:
        await app.emit(Tidied())
        await shop.until_idle()
    assert numbers == [0, 1, 2, 3]


@pytest.mark.covers("DELAY-1")
async def test_a_running_worker_is_woken_for_what_is_scheduled_meanwhile() -> None:
    """It sleeps until the next due time, and what comes nearer wakes it."""
    app = App("shop")
    messages = heard(app)
    async with on_memory(app) as shop:
        running = asyncio.create_task(app.run())
        await shop.advance("1s")
        await app.emit(Reminded(who="late"), after="10 days")
        await shop.advance("1s")
        await app.emit(Reminded(who="soon"), after="5s")
        await shop.advance("4s")
        assert messages == []
        await shop.advance("1s")
        assert [message.key for message in messages] == ["soon"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_cannot_come_later_is_refused() -> None:
    """Nothing waits afterwards."""
    app = App("shop")
    emit: Any = app.emit
    async with on_memory(app):
        for when in ({"at": BEGIN, "after": "1h"}, {"at": datetime(2026, 1, 1)}, {"at": "tomorrow"}):  # noqa: DTZ001
            with pytest.raises(UsageError):
                await emit(Reminded(who="ann"), **when)
        with pytest.raises(MalformedDurationError):
            await app.emit(Reminded(who="ann"), after="soon")
        with pytest.raises(UsageError, match="leave entry_id and the dedupe token out"):
            await app.emit(Reminded(who="ann"), after="1h", dedupe=Dedupe("x"))
        assert await app.scheduled() == []


async def test_an_event_of_one_id_waits_once() -> None:
    """A call whose outcome is unknown may be repeated; ``dedupe`` asks for nothing more."""
    app = App("shop")
    async with on_memory(app):
        first = await app.emit(Reminded(who="ann"), after="1h", event_id="e-1", dedupe=True)
        again = await app.emit(Reminded(who="ann"), after="9h", event_id="e-1")
        assert again == first
        assert await app.scheduled() == [first]


@pytest.mark.covers("DELAY-1", "HIST-2")
async def test_what_waits_for_a_partition_comes_also_when_the_stream_is_divided_anew() -> None:
    """Each event once, in the partition that its key chooses then, and in the history of its entity."""
    app = App("shop", stream={"reminded": {"partitions": 2}})
    names = [f"who-{number}" for number in range(20)]
    async with on_memory(app) as shop:
        await app.emit(Reminded(who="who-0"))
        for name in names:
            waiting = await app.emit(Reminded(who=name), after="1h")
            assert waiting.stream.startswith("reminded:")
        await Operations(app).repartition("reminded", 3)
        assert len(await app.scheduled()) == 20
        await shop.advance("1h")
        mover = mover_of(app, await app._opened())
        async with asyncio.timeout(20):
            while await app.scheduled():
                await mover.catch_up()
                await shop.advance("1s")

        lanes = [await shop.messages(f"reminded:{number}") for number in range(3)]
        keys = [message.key or "" for messages in lanes for message in messages]
        assert sorted(keys) == sorted(["who-0", *names])
        assert all(
            partition_of(message.key or "", 3) == number
            for number, messages in enumerate(lanes)
            for message in messages
            if message.time > BEGIN
        )
        assert len([message async for message in app.history(Reminded, "who-0").events()]) == 2
        assert len([message async for message in app.history(Reminded, "who-9").events()]) == 1
