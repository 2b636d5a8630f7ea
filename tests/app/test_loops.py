"""One app from several event loops, threads and processes: each has connections of its own."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import App, Event
from penstock._building import Selection
from penstock.errors import ConfigurationError
from penstock.listeners import Router
from penstock.streams.embedded import use_server
from penstock.sync import _Running
from tests.forking import forked

# Loops that end without closing the app leave connections for the garbage collector to close, which says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What a test left behind is collected before the next one."""
    yield
    gc.collect()


class Rang(Event, name="loops.rang"):
    """The bell rang."""

    number: int


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An app on an embedded server of its own, used by somebody else too, so that it outlives each loop."""
    monkeypatch.chdir(tmp_path)
    app = App("loops", data_folder=str(tmp_path / "data"))
    with use_server(app.settings.data_folder):
        yield app


def test_a_script_may_call_asyncio_run_again_and_again(real: App) -> None:
    """What the first loop connected is left with it; the second connects by itself."""
    for number in range(3):
        asyncio.run(real.emit(Rang(number=number)))
    assert _numbers(real) == [0, 1, 2]


def test_streams_in_memory_outlive_an_event_loop(app: App) -> None:
    """They end with the app, not with a loop."""
    for number in range(3):
        asyncio.run(app.emit(Rang(number=number)))
    assert _numbers(app) == [0, 1, 2]


def test_two_loops_at_the_same_time_have_connections_of_their_own(real: App) -> None:
    """The app in one loop, ``app.sync`` in another, and threads, all emitting at once."""

    async def emit() -> None:
        await asyncio.gather(*(real.emit(Rang(number=number)) for number in range(100)))

    def emit_too(base: int) -> None:
        for number in range(base, base + 50):
            real.sync.emit(Rang(number=number))

    with real.sync:
        threads = [threading.Thread(target=emit_too, args=(base,)) for base in (100, 150)]
        for thread in threads:
            thread.start()
        asyncio.run(emit())
        for thread in threads:
            thread.join()
    assert sorted(_numbers(real)) == list(range(200))


def test_a_synchronous_handler_emits_while_its_worker_runs(real: App) -> None:
    """``app.sync`` on a handler's thread neither waits for the worker's loop nor uses its connections."""

    @real.listener(Rang)
    def echo(bell: Rang) -> None:
        if bell.number < 10:
            real.sync.emit(Rang(number=bell.number + 10))

    async def work() -> None:
        async with asyncio.timeout(20), real:
            await real.emit_many([Rang(number=number) for number in range(5)])
            await real.run(until_idle=True)

    asyncio.run(work())
    real.sync.close()
    assert sorted(_numbers(real)) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_a_forked_child_connects_by_itself(real: App) -> None:
    """Parent and child go on with the same app object, as Gunicorn's and Celery's processes do."""
    real.sync.emit(Rang(number=1))
    asyncio.run(real.emit(Rang(number=2)))

    def emit() -> None:
        signal.alarm(20)
        real.sync.emit(Rang(number=3))
        asyncio.run(real.emit(Rang(number=4)))

    _, status = os.waitpid(forked(emit), 0)
    real.sync.emit(Rang(number=5))
    real.sync.close()
    assert status == 0
    assert _numbers(real) == [1, 2, 3, 4, 5]


def test_many_tasks_may_be_the_first_to_use_an_app(real: App) -> None:
    """Connecting happens once, however many ask for it at the same time."""

    async def emit() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*(real.emit(Rang(number=number)) for number in range(50)))
        await real.close()

    asyncio.run(emit())
    assert sorted(_numbers(real)) == list(range(50))


def test_an_interrupted_wait_cancels_what_it_waited_for(app: App) -> None:
    """Ctrl-C during ``app.sync.run`` ends the worker, not only the waiting for it."""
    started, ended = threading.Event(), threading.Event()

    @app.listener(Rang)
    async def hear(bell: Rang) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt() -> None:
        started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    app.sync.emit(Rang(number=1))
    thread = threading.Thread(target=interrupt)
    # Who was started in the background of a shell ignores Ctrl-C.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            app.sync.run()
    finally:
        signal.signal(signal.SIGINT, former)
    assert ended.is_set()
    thread.join()
    app.sync.close()


def test_an_interrupt_while_work_is_handed_over_leaves_nothing_running(app: App) -> None:
    """It may come at any moment: before the other thread has the work, or when that is already far."""
    app.sync.open()
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    begin = _Running.begin

    def interrupted_before(running: "_Running[None]") -> None:
        raise KeyboardInterrupt

    def interrupted_after(running: "_Running[None]") -> None:
        begin(running)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_Running, "begin", interrupted_before)
        with pytest.raises(KeyboardInterrupt):
            app.sync._thread.run(work())
        assert not ended.is_set()
        patched.setattr(_Running, "begin", interrupted_after)
        with pytest.raises(KeyboardInterrupt):
            app.sync._thread.run(work())
    app.sync.close()


# -- declarations and settings --------------------------------------------------------------------------------------


def handle(bell: object) -> None:
    """A listener that settings name."""


def test_settings_may_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they declare is declared once, whatever is configured in between; code and file share a group."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text(
        "[groups.audit]\nconcurrency = 3\n"
        f"[listeners]\n'loops.rang' = [{{ handler = '{__name__}:handle', group = 'audit' }}]\n"
    )
    app = App("loops", streams="memory://")
    audit = app.group("audit", max_deliveries=7)
    for _ in range(3):
        _ = app.settings
        app.configure()
    _ = app.settings
    assert [each.name for each in audit.listeners] == ["handle"]
    assert (audit.settings.concurrency, audit.settings.max_deliveries) == (3, 7)


def test_settings_that_cannot_be_loaded_are_refused_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look does not find an app that lacks the listeners it should have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("[listeners]\n'loops.rang' = ['nowhere:handle']\n")
    app = App("loops", streams="memory://")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="nowhere"):
            _ = app.settings


async def test_broadcast_listeners_of_routers_come_along(app: App) -> None:
    """Those of two routers and of the app are one worker, and each hears everything."""
    seen: list[str] = []

    def declare(target: Router, name: str) -> None:
        @target.listener(Rang, broadcast=True, name=name)
        async def hear(bell: Rang) -> None:
            seen.append(name)

    first, second = Router(), Router()
    declare(first, "first")
    declare(second, "second")
    app.include(first)
    declare(app, "own")
    app.include(second)
    async with app:
        runner = await app.runner(Selection())
        running = asyncio.create_task(runner.run())
        await runner.wait_ready()
        await app.emit(Rang(number=1))
        await _until(lambda: len(seen) == 3)
        runner.stop()
        await running
    assert sorted(seen) == ["first", "own", "second"]


async def test_names_of_streams_do_not_fill_the_memory(app: App) -> None:
    """A stream per order leaves nothing behind in the app."""
    async with app:
        await app.emit_many([Rang(number=1)], stream="order-0")
        link = app._links.here()
        assert link is not None
        before = len(link.brokers._caps)
        for number in range(100):
            await app.emit(Rang(number=1), stream=f"order-{number}")
        assert len(link.brokers._caps) == before


def _numbers(app: App) -> list[int]:
    async def read() -> list[int]:
        async with app:
            return [
                event.number for event in await (await app.read(Rang, start="beginning", count=1000)).read()
            ]

    return asyncio.run(read())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
