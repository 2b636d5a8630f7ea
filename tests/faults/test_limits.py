"""Bounds: memory over a long stream, idleness over many reads, and two servers or namespaces that stay apart."""

import asyncio
import json
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import redis.asyncio

from penstock import App, Event
from penstock.listeners import GroupWorker, Router
from penstock.streams.embedded import use_server
from penstock.streams.valkey import ValkeyBroker
from penstock.telemetry import Observer
from tests.faults.test_server import Recorder


class Noted(Event, name="noted"):
    """Something was noted."""

    text: str = ""


_CONSUMER = """
import asyncio, json, sys
from penstock import App
app = App("memory", streams=sys.argv[1], namespace=sys.argv[2])
count = 0
@app.listener("noted")
async def note(text: dict) -> None:
    global count
    count += 1
asyncio.run(app.run(until_idle=True))
kib = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(json.dumps({"count": count, "peak_mib": kib / 1024}))
"""


@pytest.mark.covers("LISTEN-14")
@pytest.mark.timeout(300)
async def test_a_new_group_on_a_long_stream_reads_it_in_bounded_memory(
    server_url: str, tmp_path: Path, torture: bool
) -> None:
    """A group created on hundreds of thousands of entries handles them all, and its process stays small."""
    namespace = f"memory-{uuid.uuid4().hex[:8]}"
    entries = 1_000_000 if torture else 100_000
    peaks: list[float] = []
    async with App("writer", streams=server_url, namespace=namespace) as app:
        for count in (1000, entries - 1000):
            for start in range(0, count, 1000):
                await app.emit_many([Noted(text=f"{start:0>200}")] * 1000)
            found = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", _CONSUMER, server_url, namespace],
                cwd=tmp_path,
                capture_output=True,
                check=True,
                timeout=280,
            )
            result = json.loads(found.stdout)
            assert result["count"] == count
            peaks.append(result["peak_mib"])
        broker = await app.broker_for("noted")
        await broker.delete_stream("noted")
    assert peaks[1] < peaks[0] + 24, "the byte budget, and not the stream, is what a worker holds"


@pytest.mark.covers("CONF-9")
async def test_a_waiting_read_is_no_error_however_short_the_answer_timeout(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Reads that wait longer than an answer may take log nothing and never reconnect."""
    recorder = Recorder()
    broker = ValkeyBroker(
        server_url, namespace=uuid.uuid4().hex, answer_timeout=timedelta(milliseconds=500), observer=recorder
    )
    router = Router()

    @router.listener(Noted, group="idle")
    async def note(noted: Noted) -> None: ...

    worker = GroupWorker(broker, router.group("idle"), observer=recorder, idle_exit=timedelta(seconds=3))
    await worker.run()
    await broker.close()
    assert (recorder.delays, [record.message for record in caplog.records if record.levelno >= 30]) == (
        [],
        [],
    )


@pytest.mark.covers("CONF-1")
async def test_each_stream_lives_in_its_own_pool(
    server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pools on two servers: events of one stream only appear on the first, of the other only on the second."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    seen: list[str] = []
    with await asyncio.to_thread(use_server, tmp_path / "other", linger=timedelta(0)) as other:
        namespace = f"pools-{uuid.uuid4().hex[:8]}"
        app = App(
            "shop",
            streams=server_url,
            namespace=namespace,
            pools={"other": {"url": other.url}},
            stream={"there": {"pool": "other"}},
        )

        @app.listener("here", "there")
        async def note(text: dict[str, str]) -> None:
            seen.append(text["text"])

        async with app:
            await app.emit_many([Noted(text="here")], name="here")
            await app.emit_many([Noted(text="there")], name="there")
            await app.run(until_idle=True)
            pools = await app.brokers()
            assert await pools["default"].streams() == ["here"]
            assert await pools["other"].streams() == ["there"]
            for broker in pools.values():
                for stream in await broker.streams():
                    await broker.delete_stream(stream)
    assert sorted(seen) == ["here", "there"]


@pytest.mark.covers("CONF-2")
async def test_two_namespaces_on_one_server_see_nothing_of_each_other(
    server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same names, two namespaces: every key begins with one of them, and each app handles its own events."""
    monkeypatch.chdir(tmp_path)
    seen: dict[str, list[str]] = {}
    for name in ("one", "two"):
        app = App("shop", streams=server_url, namespace=f"ns-{name}")
        mine = seen.setdefault(name, [])

        @app.listener(Noted)
        async def note(noted: Noted, mine: list[str] = mine) -> None:
            mine.append(noted.text)
            if noted.text == "bad":
                raise ValueError(noted.text)

        async with app:
            await app.emit_many([Noted(text=name), Noted(text="bad")])
            await app.run(until_idle=True)
            broker = await app.broker_for("noted")
            assert len(await broker.failures.find("noted")) == 1
    async with redis.asyncio.Redis.from_url(server_url) as client:
        found = cast("list[bytes]", await client.keys("*ns-*"))  # pyright: ignore[reportUnknownMemberType]
        keys = [key.decode() for key in found]
        assert keys
        assert all(key.startswith(("ns-one:", "ns-two:")) for key in keys)
        await client.delete(*keys)
    assert seen == {"one": ["one", "bad"], "two": ["two", "bad"]}


@pytest.mark.covers("CONF-6")
async def test_a_client_of_the_users_own_is_the_only_one_used(
    server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection of the app carries the injected client's name, and the client still works afterwards."""
    monkeypatch.chdir(tmp_path)
    name = f"mine-{uuid.uuid4().hex[:8]}"
    client = redis.asyncio.Redis.from_url(server_url, client_name=name)
    admin = redis.asyncio.Redis.from_url(server_url)
    before = len(await admin.client_list())
    app = App("shop", streams=client, namespace=name)

    @app.listener(Noted)
    async def note(noted: Noted) -> None:
        connections = await admin.client_list()
        strangers = [each for each in connections if each["name"] != name]
        assert len(strangers) <= before

    async with app:
        await app.emit(Noted(text="x"))
        await app.run(until_idle=True)
        broker = await app.broker_for("noted")
        assert await broker.failures.find("noted") == []
        await broker.delete_stream("noted")
    assert await client.ping()
    await client.aclose()
    await admin.aclose()


@pytest.mark.covers("GROUP-12")
async def test_one_read_brings_no_more_than_its_bound_from_each_stream(server_url: str) -> None:
    """max_batch counts per stream: eight over two streams are never more than eight of either."""
    namespace = f"batch-{uuid.uuid4().hex[:8]}"
    counts: list[tuple[str, int]] = []

    class Watched(Observer):
        def delivered(self, group: str, stream: str, count: int) -> None:
            counts.append((stream, count))

    broker = ValkeyBroker(server_url, namespace=namespace)
    router = Router()

    @router.listener("a", "b", group="shop")
    async def note(payload: dict[str, int]) -> None: ...

    async with App("writer", streams=server_url, namespace=namespace) as app:
        for stream in ("a", "b"):
            await app.emit_many([{"n": number} for number in range(100)], name=stream)
    router.registry.groups["shop"].configure(max_batch=8)
    await GroupWorker(broker, router.group("shop"), until_idle=True, observer=Watched()).run()
    for stream in ("a", "b"):
        assert sum(count for name, count in counts if name == stream) == 100
        await broker.delete_stream(stream)
    assert max(count for _, count in counts) == 8
    await broker.close()
