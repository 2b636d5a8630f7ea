"""Running an app: broadcast, selection, ends, restarts, and the same app from synchronous code."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from penstock import App, Event
from penstock._building import Selection
from penstock.errors import BrokerRefusedError, ConfigurationError, UsageError
from penstock.listeners.runner import Runner, keep_alive
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import AppTester, Faulty, ManualClock


class Rang(Event, name="bell.rang"):
    """The bell rang."""

    number: int


@pytest.mark.covers("LISTEN-15")
async def test_every_broadcast_listener_sees_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes' worth of listeners without a group: each sees all that is emitted from now on."""
    monkeypatch.chdir(tmp_path)
    server, clock = MemoryServer(ManualClock()), ManualClock()
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    apps: list[AppTester] = []
    runners: list[Runner] = []
    running: list[asyncio.Task[None]] = []
    for process in range(3):
        app = App(f"clock-{process}")

        @app.listener(Rang, broadcast=True)
        async def hear(bell: Rang, mine: list[int] = seen[process]) -> None:
            mine.append(bell.number)

        tester = AppTester(app, MemoryBroker(server=server), clock)
        await tester.__aenter__()
        apps.append(tester)
        runner = await app.runner()
        runners.append(runner)
        running.append(asyncio.create_task(runner.run()))
        await runner.wait_ready()
    await apps[0].emit_many([Rang(number=number) for number in range(20)])
    await _until(lambda: all(len(each) == 20 for each in seen.values()))
    for runner in runners:
        runner.stop()
    await asyncio.gather(*running)
    for tester in apps:
        await tester.__aexit__(None, None, None)
    assert list(seen.values()) == [list(range(20))] * 3


async def test_a_failing_broadcast_listener_is_logged_and_the_others_go_on(
    shop: AppTester, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no group to retry for; the structured log names what failed."""
    seen: list[int] = []

    @shop.app.listener(Rang, broadcast=True)
    async def deaf(bell: Rang) -> None:
        raise ValueError("deaf")

    @shop.app.listener(Rang, broadcast=True)
    async def hear(bell: Rang) -> None:
        seen.append(bell.number)

    runner = await shop.app.runner()
    running = asyncio.create_task(runner.run())
    await runner.wait_ready()
    await shop.emit_many([Rang(number=1), Rang(number=2)])
    await _until(lambda: seen == [1, 2])
    runner.stop()
    await running
    assert [record.__dict__["listener"] for record in caplog.records if "listener" in record.__dict__] == [
        "deaf"
    ] * 2


@pytest.mark.covers("FAIL-11")
async def test_a_failure_is_one_structured_log_record(
    shop: AppTester, caplog: pytest.LogCaptureFixture
) -> None:
    """Operation, stream, event name, error class, and whether a database was at fault."""
    database = type("DatabaseError", (Exception,), {})

    @shop.app.listener(Rang)
    async def hear(bell: Rang) -> None:
        raise (database("locked") if bell.number == 1 else ValueError("plain"))

    await shop.emit_many([Rang(number=1), Rang(number=2)])
    await shop.until_idle()
    first, second = (record.__dict__ for record in caplog.records if "operation" in record.__dict__)
    assert (first["operation"], first["stream"], first["group"], first["event_name"]) == (
        "handle",
        "bell.rang",
        "shop",
        "bell.rang",
    )
    assert (first["error_type"], second["error_type"], second["error_class"]) == (
        "database_error",
        "general_error",
        "ValueError",
    )


@pytest.mark.covers("OPS-4")
async def test_nothing_is_logged_per_message(shop: AppTester, caplog: pytest.LogCaptureFixture) -> None:
    """Ten or ten thousand handled messages: the log is the same at the default level."""
    caplog.set_level("INFO")

    @shop.app.listener(Rang)
    async def hear(bell: Rang) -> None: ...

    sizes = []
    for count in (10, 10_000):
        caplog.clear()
        await shop.emit_many([Rang(number=number) for number in range(count)])
        await shop.until_idle()
        sizes.append(len(caplog.records))
    assert sizes == [0, 0]


async def test_a_part_of_an_app_can_run_alone(shop: AppTester) -> None:
    """--only names groups; a name that does not exist says which do."""
    seen: list[str] = []

    @shop.app.listener(Rang, group="a")
    async def first(bell: Rang) -> None:
        seen.append("a")

    @shop.app.listener(Rang, group="b")
    async def second(bell: Rang) -> None:
        seen.append("b")

    await shop.emit(Rang(number=1))
    await shop.until_idle(only=["group:b"])
    assert seen == ["b"]
    with pytest.raises(ConfigurationError, match="no group 'c' to run; it has a, b"):
        await shop.until_idle(only=["c"])


async def test_an_app_without_listeners_has_nothing_to_run(shop: AppTester) -> None:
    """Running it is an error that says what to declare."""
    with pytest.raises(ConfigurationError, match="nothing to run"):
        await shop.app.run()


@pytest.mark.covers("LISTEN-8")
async def test_an_idle_listener_ends_after_its_limit(shop: AppTester) -> None:
    """With two seconds of idleness allowed it ends between two and three seconds after the last event."""
    clock = shop.clock
    assert isinstance(clock, ManualClock)

    @shop.app.listener(Rang)
    async def hear(bell: Rang) -> None: ...

    running = asyncio.create_task(shop.app.run(idle_exit="2s"))
    started = clock.now()
    while not running.done():
        await clock.advance(timedelta(milliseconds=100))
        await asyncio.sleep(0.01)
        assert clock.now() - started < timedelta(seconds=5)
    await running
    assert timedelta(seconds=2) <= clock.now() - started <= timedelta(seconds=3)


@pytest.mark.covers("LISTEN-9")
async def test_listening_is_started_again_so_many_times_and_then_fails(shop: AppTester) -> None:
    """Two restarts, each a little later, then the error; positions are not rewound."""
    seen: list[int] = []

    @shop.app.listener(Rang)
    async def hear(bell: Rang) -> None:
        seen.append(bell.number)

    await shop.emit(Rang(number=1))
    await shop.until_idle()
    refusals = [BrokerRefusedError("no permission")] * 3
    shop.app._broker = Faulty(shop.broker, fail={"read_group": refusals})
    await shop.app.close()
    running = asyncio.create_task(shop.app.run(until_idle=True, attempts=2))
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    while not running.done():
        await clock.advance(timedelta(seconds=1))
        await asyncio.sleep(0.001)
    with pytest.raises(BrokerRefusedError):
        await running
    assert seen == [1]


async def test_a_worker_that_fails_drains_the_others(shop: AppTester) -> None:
    """One group refused by the server ends the run with its error, after the others have stopped in order."""

    @shop.app.listener(Rang, group="a")
    async def first(bell: Rang) -> None: ...

    @shop.app.listener(Rang, group="b")
    async def second(bell: Rang) -> None: ...

    runner = await shop.app.runner()
    bad, good = runner.workers

    async def refuse() -> None:
        raise BrokerRefusedError("no permission")

    bad.run = refuse  # type: ignore[method-assign]
    with pytest.raises(BrokerRefusedError):
        await runner.run()
    assert good.life.state.value == "stopped"


async def test_restarts_without_end_need_no_number_and_zero_is_refused() -> None:
    """keep_alive counts from one."""
    with pytest.raises(UsageError, match="at least 1"):
        await keep_alive(Runner([]), attempts=0)


async def test_ungrouped_listening_runs_grouped_listeners_from_a_place(shop: AppTester) -> None:
    """A look at past events through the app's own listeners acknowledges nothing and creates no group."""
    seen: list[int] = []

    @shop.app.listener(Rang)
    async def hear(bell: Rang) -> None:
        seen.append(bell.number)

    await shop.emit_many([Rang(number=1), Rang(number=2)])
    from penstock import BEGINNING

    runner = await shop.app.runner(Selection(ungrouped=True, start=BEGINNING, until_idle=True))
    await runner.run()
    assert seen == [1, 2]
    assert await shop.broker.groups("bell.rang") == []


# -- synchronous code -----------------------------------------------------------------------------------------------


def test_synchronous_code_emits_and_reads(app: App) -> None:
    """Everything is there without a line of asyncio, from several threads too."""
    with app.sync as shop:
        threads = [threading.Thread(target=shop.emit, args=(Rang(number=number),)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shop.emit_many([Rang(number=10)])
        events = shop.read(Rang, start="beginning").read()
        assert sorted(event.number for event in events) == list(range(11))
        [first, *_] = shop.reader("bell.rang", start="beginning")._reader.streams
        assert first == "bell.rang"


async def test_the_synchronous_app_refuses_to_block_an_event_loop(app: App) -> None:
    """Inside a coroutine it says what to write instead."""
    with pytest.raises(UsageError, match=r"await app\.emit"):
        app.sync.emit(Rang(number=1))


def test_a_listener_can_be_run_from_synchronous_code(app: App) -> None:
    """app.sync.run works a group until it ends by itself."""
    seen: list[int] = []

    @app.listener(Rang)
    def hear(bell: Rang) -> None:
        seen.append(bell.number)

    with app.sync as shop:
        shop.emit(Rang(number=1))
        shop.run(until_idle=True)
    assert seen == [1]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
