"""Streams by pattern: those that come to match while a worker runs are read from their first entry on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import App, Message, Retry
from penstock._building import Selection
from penstock.listeners.patterns import is_pattern, matching
from penstock.streams.abc import NewEntry


@pytest.fixture(params=["memory", "valkey"])
async def app(
    request: pytest.FixtureRequest, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """An app that looks for streams often."""
    monkeypatch.chdir(tmp_path)
    url = "memory://" if request.param == "memory" else server_url
    async with App("shop", streams=url, namespace=uuid4().hex) as app:
        yield app


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def hearing(app: App, **options: Any) -> list[str]:
    """A group over a pattern; what it has heard."""
    seen: list[str] = []
    group = app.group("audit", streams=["order.*", "exact"], refresh="20ms", **options)

    @group.on(Any, name="hear")
    async def hear(message: Message) -> None:
        seen.append(f"{message.stream} {message.payload}")

    return seen


@asynccontextmanager
async def running(app: App) -> AsyncIterator[None]:
    """The app at work within the block."""
    runner = await app.runner(Selection())
    task = asyncio.create_task(runner.run())
    await runner.wait_ready()
    try:
        yield
    finally:
        runner.stop()
        await task


@pytest.mark.covers("LISTEN-16")
async def test_a_stream_that_comes_to_match_is_read_from_its_first_entry(app: App) -> None:
    """Streams there at the start, one that comes later, and one that does not match."""
    seen = hearing(app)
    await app.emit(1, name="order.placed")
    await app.emit(2, name="orders")
    async with running(app):
        await until(lambda: seen == ["order.placed 1"])
        await app.emit(3, name="order.paid")
        await app.emit(4, name="exact")
        await until(lambda: len(seen) == 3)
    assert sorted(seen) == ["exact 4", "order.paid 3", "order.placed 1"]
    broker = await app.broker_for("order.paid")
    assert (await broker.pending_summary("order.paid", "audit")).count == 0


@pytest.mark.covers("GC-3")
@pytest.mark.parametrize("mode", ["parallel", "exclusive"])
async def test_a_group_is_expected_on_every_stream_that_it_has_found(app: App, mode: str) -> None:
    """No app can register what only a pattern finds, so the worker does, at its start and later."""
    seen = hearing(app, mode=mode)
    await app.emit(1, name="order.placed")
    async with running(app):
        await until(lambda: len(seen) == 1)
        await app.emit(2, name="order.paid")
        await until(lambda: len(seen) == 2)
    for stream in ("order.placed", "order.paid"):
        broker = await app.broker_for(stream)
        assert set(await broker.removal.registered_groups(stream)) == {"audit"}


@pytest.mark.covers("LISTEN-16")
async def test_a_pattern_alone_waits_for_its_first_stream(app: App) -> None:
    """A worker without any stream yet neither fails nor spins; it stops when told."""
    seen: list[str] = []
    group = app.group("audit", streams=["tenant-*"], refresh="20ms")

    @group.on(Any)
    async def hear(message: Message) -> None:
        seen.append(message.stream)

    async with running(app):
        await app.emit(1, name="tenant-1")
        await until(lambda: seen == ["tenant-1"])
    async with running(app):
        pass
    await app.run(until_idle=True)
    assert seen == ["tenant-1"]


@pytest.mark.covers("LISTEN-16")
async def test_a_found_stream_that_is_deleted_is_let_go_and_found_again(app: App) -> None:
    """The worker does not make it again, as it would one that was declared by name."""
    seen = hearing(app)
    async with running(app):
        await app.emit(1, name="order.placed")
        await until(lambda: len(seen) == 1)
        broker = await app.broker_for("order.placed")
        await broker.delete_stream("order.placed")
        await app.emit(2, name="exact")
        await until(lambda: len(seen) == 2)
        assert "order.placed" not in await broker.streams()
        await app.emit(3, name="order.placed")
        await until(lambda: len(seen) == 3)
    assert seen[-1] == "order.placed 3"


@pytest.mark.covers("LISTEN-16")
async def test_retries_of_found_streams_run(app: App) -> None:
    """What fails there is retried as anywhere."""
    group = app.group("audit", streams=["order.*"], refresh="20ms", retry=Retry(attempts=3, initial="1ms"))
    runs: list[int] = []

    @group.on(Any)
    async def hear(message: Message) -> None:
        runs.append(message.attempt)
        if len(runs) < 3:
            raise ValueError("not yet")

    async with running(app):
        await app.emit(1, name="order.placed")
        await until(lambda: len(runs) == 3)
    assert runs == [1, 2, 3]


@pytest.mark.covers("LISTEN-16")
async def test_broadcast_listeners_follow_patterns_too(app: App) -> None:
    """Found at the start they begin as asked for (new); found later, with the first entry."""
    seen: list[str] = []
    group = app.registry.group(
        "tail", streams=["order.*"], refresh=timedelta(milliseconds=20), broadcast=True
    )

    @group.on(Any)
    async def hear(message: Message) -> None:
        seen.append(f"{message.stream} {message.payload}")

    await app.emit(1, name="order.placed")
    async with running(app):
        await app.emit(2, name="order.paid")
        await until(lambda: seen == ["order.paid 2"])


async def test_strict_mode_finds_registered_streams_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that nobody has registered is not read, whatever its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("strict = true\n[stream.'order.paid']\n")
    app = App("shop", streams="memory://")
    seen = hearing(app)
    app.registry.groups["audit"].configure(streams=("order.*",))
    async with app:
        broker = await app.broker_for("order.paid")
        await broker.append(NewEntry("order.placed", [b"name", b"order.placed"]))
        await app.emit(1, name="order.paid")
        await app.run(until_idle=True)
    assert seen == ["order.paid 1"]


@given(
    st.lists(st.sampled_from(["a", "b", ".", "*", "[", "?", "\n"]), max_size=6).map("".join),
    st.text("ab.[?\n*", max_size=6),
)
def test_an_asterisk_is_any_text_and_the_rest_is_itself(pattern: str, name: str) -> None:
    """As one who compares by hand would say."""
    first, *rest = pattern.split("*")
    left, fits = name.removeprefix(first), name.startswith(first)
    for number, part in enumerate(rest):
        if number == len(rest) - 1:
            fits = fits and left.endswith(part)
        else:
            at = left.find(part)
            fits, left = fits and at >= 0, left[at + len(part) :]
    if not rest:
        fits = name == pattern
    assert matching([pattern], [name]) == ([name] if fits else [])
    assert is_pattern(pattern) == bool(rest)
