"""Events that recur, as an app has them: one emits for all, and what was missed is made up for as it was asked."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, MissingExtraError
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import AppTester, ManualClock
from tests.app.timetable import BEGIN, HOUR, JumpingClock, Reminded, Tidied, heard, on_memory


async def run_at(shop: AppTester, *after: str) -> None:
    """Let time pass and work, again and again."""
    for duration in after:
        await shop.advance(duration)
        await shop.until_idle()


@pytest.mark.covers("RECUR-1", "RECUR-3")
async def test_an_event_recurs_at_its_interval() -> None:
    """From when it was first known; its own time is that of the run, counted from 1970."""
    app = App("shop")
    messages = heard(app)
    app.every("5 min", Tidied())
    async with on_memory(app) as shop:
        await run_at(shop, "7 min", "2 min", "1 min", "5 min", "1s")

        assert [message.time - BEGIN for message in messages] == [
            timedelta(minutes=10),
            timedelta(minutes=15),
        ]
        [run] = await app.recurring()
        assert (run.name, run.stream, run.rule) == ("tidied", "tidied", "every 5min")
        assert (run.last - BEGIN, run.following) == (timedelta(minutes=15), BEGIN + timedelta(minutes=20))


@pytest.mark.covers("RECUR-1")
async def test_of_several_processes_one_emits() -> None:
    """However often they look, and whether they run at the same time or one after the other."""
    server = MemoryServer(clock := ManualClock(BEGIN))
    apps = [App("shop") for _ in range(3)]
    for app in apps:
        app.every("1 min", Tidied())
        heard(app)
    async with contextlib.AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(AppTester(app, MemoryBroker(server=server), clock))
        running = [asyncio.create_task(app.run()) for app in apps]
        await clock.advance(timedelta(minutes=10, seconds=30))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert await MemoryBroker(server=server).length("tidied") == 10


@pytest.mark.covers("RECUR-2")
@pytest.mark.parametrize(
    ("missed", "minutes"), [("once", [10, 40]), ("skip", [10]), ("all", [10, 20, 30, 40])]
)
async def test_missed_runs_by_policy(missed: Any, minutes: list[int]) -> None:
    """The last of them, none, or each; afterwards it goes on as before."""
    app = App("shop")
    messages = heard(app)
    app.every("10 min", Tidied(), missed=missed)
    async with on_memory(app) as shop:
        await run_at(shop, "0s", "10 min", "35 min")
        assert [(message.time - BEGIN) // timedelta(minutes=1) for message in messages] == minutes
        await run_at(shop, "5 min")
        assert messages[-1].time == BEGIN + timedelta(minutes=50)


@pytest.mark.covers("RECUR-2")
async def test_missed_runs_are_made_up_for_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    """The latest hundred, and it is told that others are left out."""
    app = App("shop")
    messages = heard(app)
    app.every("1 min", Tidied(), missed="all")
    async with on_memory(app) as shop:
        await run_at(shop, "0s", "5h")
        assert len(messages) == 100
        assert messages[-1].time == BEGIN + timedelta(hours=5)
        assert "missed runs or more are left out" in caplog.text


@pytest.mark.covers("RECUR-1")
async def test_a_function_makes_the_events_of_a_run() -> None:
    """One, several or none; it is told the time of the run; it stays what it was."""
    app = App("shop")
    messages = heard(app)

    @app.every("1 min", name="report")
    async def tidy_up(time: datetime) -> list[Tidied] | None:
        minute = time.minute
        return [Tidied(number=minute) for _ in range(minute - 1)] or None

    @app.every("3 min")
    def remind() -> Reminded:
        return Reminded(who="ann")

    assert remind() == Reminded(who="ann")
    async with on_memory(app) as shop:
        await run_at(shop, "0s", "1 min", "1 min", "1 min")
        assert [message.get("number", None) for message in messages if message.name == "tidied"] == [2, 3, 3]
        assert [message.key for message in messages if message.name == "reminded"] == ["ann"]
        assert {run.name for run in await app.recurring()} == {"report", "remind"}


async def test_a_function_that_fails_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    """The run is not lost, others run meanwhile, and it is said why."""
    app = App("shop")
    messages = heard(app)
    calls: list[datetime] = []

    @app.every("1 min")
    def shaky(time: datetime) -> Tidied:
        calls.append(time)
        if len(calls) == 1:
            raise ValueError("not today")
        return Tidied()

    app.every("1 min", Reminded(who="ann"))
    async with on_memory(app) as shop:
        await run_at(shop, "0s", "1 min")
        assert [message.name for message in messages] == ["reminded"]
        assert "not today" in caplog.text
        await run_at(shop, "11s")
        assert [message.name for message in messages] == ["reminded", "tidied"]
        assert calls[0] == calls[1] == messages[1].time


@pytest.mark.covers("RECUR-2")
async def test_a_clock_that_goes_back_repeats_nothing() -> None:
    """A run is not there twice; it goes on when the time has come again."""
    clock = JumpingClock(BEGIN + HOUR)
    app = App("shop")
    messages = heard(app)
    app.every("10 min", Tidied())
    async with AppTester(app, MemoryBroker(clock), clock) as shop:
        await run_at(shop, "0s", "10 min")
        assert len(messages) == 1
        clock.jump = timedelta(minutes=-10)
        await run_at(shop, "0s", "10 min")
        assert len(messages) == 1
        await run_at(shop, "10 min")
        assert [message.time - BEGIN - HOUR for message in messages] == [
            timedelta(minutes=10),
            timedelta(minutes=20),
        ]


@pytest.mark.covers("DELAY-1")
async def test_an_event_waits_for_its_time_however_the_clock_jumps() -> None:
    """It is neither early after a jump back, nor twice there, nor lost; a jump ahead makes it due."""
    clock = JumpingClock(BEGIN)
    app = App("shop")
    messages = heard(app)
    async with AppTester(app, MemoryBroker(clock), clock) as shop:
        first = await app.emit(Reminded(who="ann"), after="10 min")
        clock.jump = -HOUR
        await run_at(shop, "10 min")
        assert messages == []
        clock.jump = timedelta(0)
        await run_at(shop, "0s")
        clock.jump = -HOUR
        await run_at(shop, "2h")
        assert [message.id for message in messages] == [first.event_id]
        await app.emit(Reminded(who="bob"), after="1 day")
        clock.jump = timedelta(days=2)
        await run_at(shop, "0s")
        assert [message.key for message in messages] == ["ann", "bob"]


async def test_an_app_may_have_nothing_but_what_recurs() -> None:
    """It runs without listeners, and stops when it is told to."""
    app = App("shop")
    app.every("1 min", Tidied())
    async with on_memory(app) as shop:
        runner = await app.runner()
        running = asyncio.create_task(runner.run())
        await shop.advance("150s")
        assert await shop.broker.length("tidied") == 2
        runner.stop()
        await running


def test_what_cannot_recur_is_refused() -> None:
    """When it is declared, with what to do about it."""
    app = App("shop")
    app.every("1 min", Tidied())
    every: Any = app.every

    def untold() -> Any:
        """Nobody knows the stream of this."""

    for arguments, words in (
        (("1 min", Tidied()), "already"),
        (("1 min", 5), "does not recur"),
        (("1 min", Tidied), "does not recur"),
        (("1 min", untold), "annotate it"),
        (("1ms", Reminded(who="x")), "at least 1s"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            every(*arguments)
    with pytest.raises(ConfigurationError, match="choose one of skip, once, all"):
        every("1 min", Reminded(who="x"), missed="never")
    with pytest.raises(ConfigurationError, match="no cron expression"):
        app.cron("61 * * * *", Reminded(who="x"))
    with pytest.raises(ConfigurationError, match="Europe/Berlin"):
        app.cron("0 6 * * *", Reminded(who="x"), timezone="Mars/Olympus")


def test_cron_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it; intervals do without."""
    import sys

    monkeypatch.setitem(sys.modules, "cronsim", None)
    app = App("shop")
    with pytest.raises(MissingExtraError, match=r"penstock\[cron\]"):
        app.cron("0 6 * * *", Tidied())
    app.every("1 day", Tidied())


@pytest.mark.covers("RECUR-3")
async def test_cron_goes_by_the_clocks_of_its_zone() -> None:
    """Six in Berlin is five in winter and four in summer, by UTC."""
    app = App("shop")
    messages = heard(app)
    app.cron("0 6 * * *", Tidied(), timezone="Europe/Berlin", missed="all")
    clock = ManualClock(datetime(2026, 3, 27, 12, tzinfo=UTC))
    async with AppTester(app, MemoryBroker(clock), clock) as shop:
        await run_at(shop, "0s", "3 days")
        assert [message.time.strftime("%d %H:%M") for message in messages] == [
            "28 05:00",
            "29 04:00",
            "30 04:00",
        ]
        [run] = await app.recurring()
        assert run.rule == "cron 0 6 * * * (Europe/Berlin)"
