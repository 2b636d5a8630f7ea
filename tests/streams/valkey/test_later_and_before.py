"""History and schedule on real servers: what they cost, what lies there, and announcements that were cut off."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio

from penstock.clock import SystemClock
from penstock.errors import BrokerFullError, BrokerUnavailableError
from penstock.streams.abc import Index, NewEntry, Tick
from penstock.streams.scheduling import Mover
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.servers import RealServer

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def about(identifier: str, number: int) -> NewEntry:
    """An entry of some size with a history."""
    return NewEntry(
        "orders", [b"n", b"%d" % number, b"data", b"x" * 100], index=Index("order.placed", identifier)
    )


async def has(broker: ValkeyBroker, length: int) -> bool:
    """Whether the stream has so many entries; a server that is away has not."""
    try:
        return await broker.length("orders") >= length
    except BrokerUnavailableError:
        return False


async def keys_of(admin: redis.asyncio.Redis, namespace: str) -> set[str]:
    """Every key of a namespace."""
    keys = await admin.keys(f"{namespace}:*")
    return {key if isinstance(key, str) else key.decode() for key in keys}


async def cost_of_a_history(broker: ValkeyBroker, admin: redis.asyncio.Redis) -> tuple[dict[str, int], int]:
    """The commands that reading the history of one entity takes, and the bytes that it brings."""
    await broker.history.page("orders", "order.placed", "nobody")
    await admin.config_resetstat()
    found, after = 0, None
    while True:
        page = await broker.history.page("orders", "order.placed", "o-1", after=after, count=50)
        found += len(page.chapters)
        if not page.more:
            break
        after = page.chapters[-1].place
    commands: dict[str, Any] = await admin.info("commandstats")
    sent: dict[str, Any] = await admin.info("stats")
    assert found == 100
    calls = {name: each["calls"] for name, each in commands.items() if "config" not in name}
    return calls, sent["total_net_output_bytes"]


@pytest.mark.covers("HIST-6")
async def test_a_history_costs_the_same_in_a_long_stream(
    start_server: Callable[..., RealServer], connect: Callable[..., Any]
) -> None:
    """100 events among 1,000 and among 40,000: the same commands, and as many bytes."""
    server = start_server()
    broker: ValkeyBroker = await connect(server.url)
    admin = redis.asyncio.Redis(unix_socket_path=server.socket, protocol=2)
    try:
        costs: list[tuple[dict[str, int], int]] = []
        for length in (1_000, 40_000):
            await broker.delete_stream("orders")
            step = length // 100
            for first in range(0, length, 10_000):
                await broker.append_many(
                    [
                        about("o-1" if number % step == 0 else f"x-{number % 997}", number)
                        for number in range(first, min(length, first + 10_000))
                    ]
                )
            costs.append(await cost_of_a_history(broker, admin))
    finally:
        await admin.aclose()
    assert costs[0][0] == costs[1][0]
    assert costs[1][1] < costs[0][1] * 1.2


async def test_everything_lies_in_the_slot_of_its_stream(
    broker: ValkeyBroker, admin: redis.asyncio.Redis, namespace: str
) -> None:
    """But for the one key that tells of all streams."""
    await broker.append(NewEntry("a{b}:c", [b"n", b"1"], index=Index("e:x", "{1}")))
    await broker.history.mark_archived("a{b}:c")
    await broker.schedule.schedule(
        NewEntry("a{b}:c", [b"n", b"2"]), "e-1", due=datetime.now(UTC) + timedelta(days=1)
    )
    await broker.schedule.tick("a{b}:c", "t", expected=None, tick=Tick(LONG_AGO, None, "once"), entries=())

    keys = await keys_of(admin, namespace)
    beside = f"{namespace}:penstock:{{b}}:a%7Bb%7D%3Ac:"
    assert keys == {
        f"{namespace}:a{{b}}:c",
        f"{namespace}:penstock:streams",
        f"{namespace}:penstock:scheduled",
        *(
            beside + part
            for part in ("history:e%3Ax:%7B1%7D", "histories", "archived", "waiting", "delayed", "ticks")
        ),
    }
    await broker.delete_stream("a{b}:c")
    assert await keys_of(admin, namespace) == {f"{namespace}:penstock:scheduled"}


@pytest.mark.covers("DELAY-1")
async def test_what_was_announced_incompletely_is_found(
    broker: ValkeyBroker, admin: redis.asyncio.Redis, namespace: str
) -> None:
    """A mover that looked in the middle of a call which then died has put its look off: the next check finds it."""
    await broker.schedule.schedule(NewEntry("orders", [b"n", b"1"]), "e-1", due=LONG_AGO)
    await admin.zadd(f"{namespace}:penstock:scheduled", {"orders": "+inf"})
    assert await broker.schedule.next_due() is None
    assert (await broker.schedule.move_due()).entry_ids == ()

    await broker.schedule.check()

    assert await broker.schedule.next_due() == timedelta(0)
    assert len((await broker.schedule.move_due()).entry_ids) == 1


@pytest.mark.covers("DELAY-1")
async def test_a_mover_that_looks_in_the_middle_of_a_call_puts_nothing_off(
    server: RealServer, namespace: str, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told, found nothing yet, and noted that nothing waits; the call tells once more."""
    broker: ValkeyBroker = await connect(server.url, namespace=namespace)
    other: ValkeyBroker = await connect(server.url, namespace=namespace)
    run = broker._server.run

    async def look_first(line: Any, name: str, *arguments: Any, **how: Any) -> Any:
        if name == "schedule":
            assert (await other.schedule.move_due()).entry_ids == ()
            assert await other.schedule.next_due() is None
        return await run(line, name, *arguments, **how)

    monkeypatch.setattr(broker._server, "run", look_first)
    await broker.schedule.schedule(NewEntry("orders", [b"n", b"1"]), "e-1", due=LONG_AGO)

    assert await other.schedule.next_due() == timedelta(0)
    assert len((await other.schedule.move_due()).entry_ids) == 1


@pytest.mark.covers("DELAY-1")
async def test_a_look_is_not_put_off_behind_what_was_announced_meanwhile(
    broker: ValkeyBroker, admin: redis.asyncio.Redis, namespace: str
) -> None:
    """Of what is scheduled while others move, nothing waits longer than its time."""

    async def schedule(number: int) -> None:
        entry = NewEntry("orders", [b"n", b"%d" % number])
        await broker.schedule.schedule(entry, f"e-{number}", due=LONG_AGO)

    async def move() -> None:
        while await broker.length("orders") < 300:
            await broker.schedule.move_due(count=3)

    async with asyncio.timeout(30):
        await asyncio.gather(move(), move(), *map(schedule, range(300)))
    assert await broker.length("orders") == 300


@pytest.mark.covers("DELAY-1")
async def test_at_the_memory_limit_nothing_moves_and_nothing_is_lost(
    start_server: Callable[..., RealServer], connect: Callable[..., Any]
) -> None:
    """Scheduling and moving are refused whole; when there is room again, what waits comes, once."""
    server = start_server("--maxmemory-policy", "noeviction")
    broker: ValkeyBroker = await connect(server.url)
    admin = redis.asyncio.Redis(unix_socket_path=server.socket, protocol=2)
    try:
        await broker.schedule.schedule(NewEntry("orders", [b"n", b"1"]), "e-1", due=LONG_AGO)
        tick = Tick(LONG_AGO, None, "once")
        await admin.config_set("maxmemory", 1)
        for refused in (
            broker.schedule.move_due(),
            broker.schedule.schedule(NewEntry("orders", [b"n", b"2"]), "e-2", due=LONG_AGO),
            broker.schedule.tick("orders", "t", expected=None, tick=tick, entries=()),
            broker.append(NewEntry("orders", [b"n", b"3"], index=Index("a", "b"))),
        ):
            with pytest.raises(BrokerFullError):
                await refused
        assert await broker.schedule.cancel("orders", "e-9") is False
        assert [waiting.event_id for waiting in await broker.schedule.delayed("orders")] == ["e-1"]
        await admin.config_set("maxmemory", 0)
        assert len((await broker.schedule.move_due()).entry_ids) == 1
        assert await broker.length("orders") == 1
        assert await broker.schedule.ticks("orders") == {}
        assert await broker.history.length("orders", "a", "b") == 0
    finally:
        await admin.aclose()


class Nothing:
    """Nothing recurs."""

    async def run_due(self) -> int:
        """Nothing is due."""
        return 0

    async def wait(self) -> None:
        """Nothing will be."""


@pytest.mark.covers("DELAY-1")
async def test_a_mover_is_punctual_and_survives_an_outage(
    start_server: Callable[..., RealServer], connect: Callable[..., Any]
) -> None:
    """What another process schedules is there within a fifth of a second or so; after a restart it goes on."""
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    broker: ValkeyBroker = await connect(server.url)
    other: ValkeyBroker = await connect(server.url)
    running = asyncio.create_task(Mover({"default": broker}, Nothing(), clock=SystemClock()).run())
    try:
        await other.schedule.schedule(NewEntry("orders", [b"n", b"0"]), "first", due=LONG_AGO)
        async with asyncio.timeout(20):
            while not await other.length("orders"):
                await asyncio.sleep(0.01)
        late: list[float] = []
        for number in range(5):
            due = datetime.now(UTC) + timedelta(milliseconds=300)
            await other.schedule.schedule(NewEntry("orders", [b"n", b"1"]), f"e-{number}", due=due)
            [(_, [[entry_id, _]])] = await other.read(
                {"orders": b"%d-0" % (due.timestamp() * 1000 - 1)}, count=1, block=timedelta(seconds=20)
            )
            late.append(int(entry_id.partition(b"-")[0]) / 1000 - due.timestamp())
        assert min(late) > -0.002
        assert sorted(late)[2] < 0.35, "most of them are punctual, also on a busy machine"

        due = datetime.now(UTC) + timedelta(seconds=1)
        await other.schedule.schedule(NewEntry("orders", [b"n", b"1"]), "e-9", due=due)
        server.kill()
        server.start()
        async with asyncio.timeout(60):
            while not await has(other, 7):
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
