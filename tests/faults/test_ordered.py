"""Ordered groups and what happens to processes: stopped for longer than their lease lives, and killed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.listeners import Router
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.message import Message
from penstock.retry import Retry
from penstock.streams.abc import NewEntry
from penstock.streams.valkey import ValkeyBroker
from tests.faults.ledger import GROUP, STREAM, Ledger


@contextmanager
def member(ledger: Ledger, who: str, mode: str = "keyed") -> Iterator["subprocess.Popen[bytes]"]:
    """A process that works the group."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ordered_worker", ledger.url, ledger.namespace, who, mode],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def done(ledger: Ledger) -> list[str]:
    """What members have begun and ended, in order."""
    return [entry[1][1].decode() for entry in await ledger.broker.range("done")]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.mark.covers("GROUP-5")
@pytest.mark.parametrize("mode", ["exclusive", "keyed"])
async def test_an_owner_that_stood_still_for_longer_than_its_lease_changes_nothing(
    ledger: Ledger, mode: str
) -> None:
    """SIGSTOP in the middle of a handler; another member takes over; after SIGCONT the first one's work does not count.

    The event stays pending with the new owner until that has handled it, and is settled once.
    """
    await ledger.emit("slow-1", "good-1")
    with member(ledger, "first", mode) as first:
        await until(lambda: _has(ledger, "first begins slow-1"))
        first.send_signal(signal.SIGSTOP)
        with member(ledger, "second", mode) as second:
            await until(lambda: _has(ledger, "second begins slow-1"))
            owner = await ledger.broker.leases.look(f"group:{GROUP}", stream=STREAM)
            assert owner is not None
            assert f"process {second.pid} " in owner.description
            await until(lambda: _members(ledger, 1))
            before = await ledger.broker.pending(STREAM, GROUP)
            first.send_signal(signal.SIGCONT)
            # It is awake again once it asks for the lane that it has lost: its membership is renewed.
            await until(lambda: _members(ledger, 2))
            assert [each.entry_id for each in await ledger.broker.pending(STREAM, GROUP)] == [
                each.entry_id for each in before
            ]
            await ledger.broker.append(NewEntry("go", [b"go", b""]))
            await until(lambda: _is_settled(ledger))
            again = await ledger.broker.leases.look(f"group:{GROUP}", stream=STREAM)
            assert again is not None
            assert (again.token, again.fence) == (owner.token, owner.fence)
    noted = await done(ledger)
    assert noted.count("second ends slow-1") == 1
    assert "first ends slow-1" not in noted
    assert await ledger.broker.failures.find(STREAM) == []


@pytest.mark.covers("GROUP-4", "GROUP-15")
@pytest.mark.timeout(120)
async def test_owners_that_are_killed_lose_nothing_and_keep_the_order(ledger: Ledger) -> None:
    """kill -9 in mid-work, four times: the next member goes on within the lease's life, each key in order."""
    orders = [f"good-{number}" for number in range(2000)]
    await ledger.emit(*orders)
    for turn in range(5):
        with member(ledger, f"member-{turn}", "exclusive") as process:
            enough = 300 * (turn + 1)

            async def is_enough(enough: int = enough) -> bool:
                return await ledger.broker.length("done") > enough or await _is_settled(ledger)

            await until(is_enough if turn < 4 else lambda: _is_settled(ledger))
            process.kill()
    ended = [line.split()[2] for line in await done(ledger) if " ends " in line]
    assert list(dict.fromkeys(ended)) == orders
    assert await ledger.broker.failures.find(STREAM) == []


async def _has(ledger: Ledger, line: str) -> bool:
    return line in await done(ledger)


async def _members(ledger: Ledger, count: int) -> bool:
    return len(await ledger.broker.members.members(STREAM, GROUP)) == count


async def _is_settled(ledger: Ledger) -> bool:
    groups = await ledger.broker.groups(STREAM)
    return bool(groups) and groups[0].pending == 0 and groups[0].lag_entries == 0


@pytest.mark.covers("LEAD-7", "LISTEN-18")
async def test_keys_stay_in_order_on_a_real_server_while_some_fail_and_are_unparked(ledger: Ledger) -> None:
    """Two members over four lanes, one of which leaves; failing keys are parked, unparked, and handled in order."""
    lanes = [f"{STREAM}:{number}" for number in range(4)]
    seen: dict[str, list[int]] = {}
    bad = {("key-3", 5), ("key-8", 1)}

    async def lanes_of(_stream: str) -> list[str]:
        return lanes

    def make() -> OrderedWorker:
        router = Router()
        group = router.group(
            "shop", mode="keyed", on_failure="park", retry=Retry(attempts=1), lease_life="1s", concurrency=5
        )

        @group.on("moved")
        async def handle(message: Message) -> None:
            key, number = str(message.key), message.get("number")
            await asyncio.sleep(0)
            if (key, number) in bad:
                raise ValueError(f"cannot do {key} {number}")
            seen.setdefault(key, []).append(number)

        broker = ValkeyBroker(ledger.url, namespace=ledger.namespace)
        brokers.append(broker)
        return OrderedWorker(broker, group, streams=[STREAM], lanes_of=lanes_of)

    brokers: list[ValkeyBroker] = []
    for number in range(40):
        for key in range(10):
            fields = [b"id", b"%d-%d" % (key, number), b"name", b"moved", b"meta"]
            fields += [b'{"time":0,"key":"key-%d"}' % key, b"data", b'{"number":%d}' % number]
            await ledger.broker.append(NewEntry(lanes[key % 4], fields))
    workers = [make(), make()]
    running = [asyncio.create_task(worker.run()) for worker in workers]

    async def handled(count: int) -> bool:
        for task in running:
            if task.done():
                task.result()
        return sum(map(len, seen.values())) == count

    await until(lambda: handled(8 * 40 + 5 + 1))
    bad.clear()
    workers[0].stop()
    for key in (3, 8):
        await ledger.broker.lanes.unpark(lanes[key % 4], GROUP, f"key-{key}")
    await until(lambda: handled(400))
    workers[1].stop()
    await asyncio.gather(*running)
    assert all(numbers == list(range(40)) for numbers in seen.values())
    for lane in lanes:
        assert await ledger.broker.failures.find(lane) == []
        assert (await ledger.broker.pending_summary(lane, GROUP)).count == 0
    for broker in brokers:
        await broker.close()
