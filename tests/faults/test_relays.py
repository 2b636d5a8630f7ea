"""Relays and what happens to their processes and servers: nothing is lost, nothing comes twice, the order stays."""

import asyncio
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import (
    BrokerUnavailableError,
    ProjectionBusyError,
    PublishError,
    StoreUnavailableError,
)
from penstock.message import Meta
from penstock.operations import Operations
from penstock.store import NewEvent
from penstock.streams.layouts import NATIVE
from tests.faults.relayer import make_app
from tests.fixtures_postgres import find_binaries, new_database, serving
from tests.streams.valkey.clusters import RealSentinels
from tests.streams.valkey.servers import RealServer, valkey_binary

_VERSIONS = sorted(find_binaries(), key=int)


@contextmanager
def relayer(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that runs the relays; it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.relayer", str(folder), *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@asynccontextmanager
async def writing(app: App, stored: list[str], emitted: list[str]) -> AsyncIterator[None]:
    """Within the block, events are appended to the store and emitted into the stream, a few at a time."""
    is_over = asyncio.Event()

    async def append() -> None:
        while not is_over.is_set():
            events = [len(stored) + step for step in range(random.randint(1, 30))]
            ids = [uuid.uuid4().hex for _ in events]
            await _append(app, events, ids)
            stored.extend(ids)
            await asyncio.sleep(0.01)

    async def emit() -> None:
        while not is_over.is_set():
            try:
                published = await app.emit_many(
                    [{"n": n} for n in range(random.randint(1, 10))], name="came", stream="incoming", key="k"
                )
            except (PublishError, BrokerUnavailableError):
                await asyncio.sleep(0.02)
                continue
            emitted.extend(each.event_id for each in published)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(append()), asyncio.create_task(emit())]
    try:
        yield
    finally:
        is_over.set()
        await asyncio.gather(*tasks)


async def _append(app: App, events: list[int], ids: list[str]) -> None:
    """Append them, again and again while the database is away: with their ids that is safe."""
    now = time.time_ns() // 1000
    together = [
        NewEvent("order-k", event_id, "order.placed", Meta(time=now, key="k"), b"%d" % event)
        for event, event_id in zip(events, ids, strict=True)
    ]
    while True:
        try:
            await app.store().append(together)
        except StoreUnavailableError:
            await asyncio.sleep(0.02)
        else:
            return


async def _finish(app: App) -> None:
    """Relay what is left, as soon as the leases of the dead have run out."""
    async with asyncio.timeout(60):
        while True:
            try:
                await app.catch_up("publish", "share", "keep")
            except (ProjectionBusyError, BrokerUnavailableError):
                await asyncio.sleep(0.2)
            else:
                return


async def _ids(app: App, store: str) -> list[str]:
    return [event.id async for event in app.store(store).read()]


async def _published(app: App, part: int) -> list[str]:
    stream = f"orders.{part}"
    entries = await (await app.broker_for(stream)).range(stream)
    return [NATIVE.read(stream, entry_id, fields).id for entry_id, fields in entries]


async def _check(app: App) -> None:
    local = [(event.id, event.payload % 3) async for event in app.store().read()]
    for part in range(3):
        assert await _published(app, part) == [event_id for event_id, each in local if each == part]
    assert await _ids(app, "shared") == [event_id for event_id, _ in local]


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The URLs of three empty stores; none where they are files. PostgreSQL is the oldest that is there."""
    if request.param == "sqlite":
        yield ()
        return
    with serving(_VERSIONS[0]) as server:
        yield tuple(new_database(server) for _ in range(3))


@pytest.mark.covers("EMIT-7", "PROJ-2")
@pytest.mark.torture
@pytest.mark.timeout(1800)
async def test_kill_9_at_any_moment_neither_loses_nor_repeats(
    server_url: str, tmp_path: Path, stores: tuple[str, ...], *, torture: bool
) -> None:
    """Of a store into streams, of a store into another, of a stream into a store: once each, in order.

    Two processes run the relays; whichever dies, the other takes over in the middle.
    """
    place = (server_url, f"relays-{uuid.uuid4().hex[:12]}", *stores)
    stored: list[str] = []
    emitted: list[str] = []
    async with make_app(tmp_path, *place) as app:
        await Operations(app).databases.migrate()
        async with writing(app, stored, emitted):
            await _kill_often(app, tmp_path, place, turns=100 if torture else 2)
        await _finish(app)

        assert len(stored) > 100
        assert stored == await _ids(app, "local")
        await _check(app)
        assert await _ids(app, "kept") == [
            NATIVE.read("incoming", entry_id, fields).id
            for entry_id, fields in await (await app.broker_for("incoming")).range("incoming")
        ]
        assert set(emitted) <= set(await _ids(app, "kept"))
        broker = await app.broker_for("incoming")
        for stream in await broker.streams():
            await broker.delete_stream(stream)


async def _kill_often(app: App, folder: Path, place: tuple[str, ...], *, turns: int) -> None:
    """Kill the process that relays, so often, and start another, so that one stands by; in the end kill both."""
    with ExitStack() as living:
        processes = [living.enter_context(relayer(folder, *place)) for _ in range(2)]
        for turn in range(1, turns + 1):
            before = await _moved(app)
            async with asyncio.timeout(40):
                while any(now < past + 20 for now, past in zip(await _moved(app), before, strict=True)):
                    assert all(process.poll() is None for process in processes)
                    await asyncio.sleep(0.02)
            await asyncio.sleep(random.uniform(0, 0.1))
            for process in processes if turn == turns or random.random() < 0.2 else processes[:1]:
                process.kill()
                process.wait(10)
            processes = [process for process in processes if process.returncode is None]
            while turn < turns and len(processes) < 2:
                processes.append(living.enter_context(relayer(folder, *place)))


async def _moved(app: App) -> list[int]:
    """How much each relay has moved."""
    published = [await (await app.broker_for(f"orders.{part}")).length(f"orders.{part}") for part in range(3)]
    return [
        sum(published),
        *[(await app.store(name).horizon()).position for name in ("shared", "kept")],
    ]


@pytest.mark.covers("EMIT-7")
async def test_a_process_killed_between_commit_and_relay_has_its_events_published(
    server_url: str, tmp_path: Path
) -> None:
    """What was committed is published by whoever relays next, also if nobody appends anything more."""
    namespace = f"relays-{uuid.uuid4().hex[:12]}"
    script = (
        "import asyncio, os, signal, sys; from pathlib import Path; from tests.faults.relayer import make_app\n"
        "async def main():\n"
        "    app = make_app(Path(sys.argv[1]), sys.argv[2], sys.argv[3])\n"
        "    await app.store().append(1, name='order.placed', event_id='the one')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    died = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path), server_url, namespace),
        cwd=Path(__file__).parents[2],
    )
    assert await died.wait() == -9

    async with make_app(tmp_path, server_url, namespace) as app:
        await app.catch_up("publish")
        assert await _published(app, 1) == ["the one"]


@pytest.mark.covers("EMIT-7")
@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_and_restarted_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    """Again and again, under load, writing its file once a second: the relay adds again what the server has lost."""
    server = RealServer(valkey_binary(), "--appendonly", "yes", "--appendfsync", "everysec").start()
    stored: list[str] = []
    try:
        async with make_app(tmp_path, server.url, "") as app:
            worker = app.relay_worker(["publish"])
            running = asyncio.create_task(worker.run())
            await worker.life.wait_ready()
            for turn in range(4):
                for number in range(40):
                    places = await app.store().append([number, number + 1], name="order.placed")
                    stored += [place.event_id for place in places]
                await asyncio.sleep(random.uniform(0, 0.1))
                server.kill()
                await app.store().append(turn, name="order.placed")
                server.start()
            worker.stop()
            await running
            await _finish(app)
            local = [(event.id, event.payload % 3) async for event in app.store().read()]
            for part in range(3):
                assert await _published(app, part) == [event_id for event_id, each in local if each == part]
    finally:
        server.remove()


@pytest.mark.covers("EMIT-7", "PROJ-2")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("version", _VERSIONS)
async def test_a_database_that_is_restarted_under_load_has_its_events_relayed(
    server_url: str, tmp_path: Path, version: str
) -> None:
    """In order or by a crash, while it is written to and read from: the running relays go on by themselves."""
    with serving(version) as server:
        urls = [new_database(server) for _ in range(3)]
        stored: list[str] = []
        emitted: list[str] = []
        async with make_app(tmp_path, server_url, f"relays-{uuid.uuid4().hex[:12]}", *urls) as app:
            await Operations(app).databases.migrate()
            worker = app.relay_worker()
            running = asyncio.create_task(worker.run())
            await worker.life.wait_ready()
            async with writing(app, stored, emitted):
                for mode in ("fast", "immediate"):
                    so_far = len(stored)
                    async with asyncio.timeout(20):
                        while len(stored) < so_far + 100:
                            await asyncio.sleep(0.01)
                    await asyncio.to_thread(server.stop, mode=mode)
                    await asyncio.to_thread(server.start)
            async with asyncio.timeout(60):
                while len(stored) > min((await _moved(app))[:2]):
                    assert not running.done()
                    await asyncio.sleep(0.02)
            worker.stop()
            await running
            await _finish(app)

            assert stored == await _ids(app, "local")
            await _check(app)
            assert set(emitted) <= set(await _ids(app, "kept"))


@pytest.mark.covers("EMIT-7", "LEAD-10")
@pytest.mark.timeout(120)
async def test_a_failover_under_load_neither_loses_nor_repeats_what_was_stored(tmp_path: Path) -> None:
    """The replica that takes over may not have had everything: what it lacks is added again, and in a stream each event
    is there once, in order. Who had read it from the old master may see it again, under another entry id.
    """
    sentinels = RealSentinels()
    stored: list[str] = []
    try:
        async with make_app(tmp_path, sentinels.url, "") as app:
            worker = app.relay_worker(["publish"])
            running = asyncio.create_task(worker.run())
            await worker.life.wait_ready()
            for turn in range(2):
                for number in range(60):
                    ids = [uuid.uuid4().hex for _ in range(3)]
                    await _append(app, [number + step for step in range(3)], ids)
                    stored += ids
                former = sentinels.master
                if turn == 0:
                    former.kill()
                    await asyncio.to_thread(sentinels.wait_for_another, former)
                    former.start()
                else:
                    await asyncio.to_thread(sentinels.fail_over)
            await _append(app, [1, 2, 3], ids := [uuid.uuid4().hex for _ in range(3)])
            stored += ids
            async with asyncio.timeout(60):
                while sum([len(await _published_or_none(app, part)) for part in range(3)]) < len(stored):
                    assert not running.done()
                    await asyncio.sleep(0.05)
            worker.stop()
            await running

            assert stored == await _ids(app, "local")
            local = [(event.id, event.payload % 3) async for event in app.store().read()]
            for part in range(3):
                assert await _published(app, part) == [event_id for event_id, each in local if each == part]
    finally:
        sentinels.remove()


async def _published_or_none(app: App, part: int) -> list[str]:
    """What is there, if the server can be asked just now."""
    try:
        return await _published(app, part)
    except BrokerUnavailableError:
        return []
