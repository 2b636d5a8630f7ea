"""The server does not answer, before a call or after it took effect: the lane goes on, and nothing is lost."""

import asyncio

import pytest

from penstock.errors import BrokerUnavailableError
from penstock.retry import Retry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import Faulty, ManualClock
from penstock.testing.faulty import After, Fault
from tests.listeners.ordered.workshop import LIFE, SECOND, StockMoved, Workshop, another

AWAY = BrokerUnavailableError("away")
CALLS = (
    *("open", "create_group", "groups", "consumers", "pending", "own_pending", "read_group", "range"),
    *("leases.acquire", "leases.renew", "members.join", "lanes.acknowledge", "lanes.settle", "lanes.park"),
    *("lanes.join", "lanes.parked_keys", "release", "removal.register_groups"),
)


@pytest.mark.covers("GROUP-15", "CONF-7")
@pytest.mark.parametrize("on_failure", ["retry", "park"])
@pytest.mark.parametrize("call", CALLS)
async def test_calls_that_get_no_answer_lose_nothing_and_keep_the_order(
    server: MemoryServer, clock: ManualClock, call: str, on_failure: str
) -> None:
    """Whichever call it is, and whether or not it took effect; handled twice at most, in order."""
    faults: list[Fault] = [After(AWAY), AWAY, None, After(AWAY)]
    broker = Faulty(MemoryBroker(server=server), fail={call: faults})
    shop = Workshop(broker, clock, on_failure=on_failure, retry=Retry(attempts=1))
    seen: list[int] = []

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)
        if moved.number == 1:
            raise ValueError("cannot book 1")

    emitter = await another(server, clock)
    await emitter.move(("nail", 1), ("nut", 2), ("nail", 3), ("nut", 4))
    worker = shop.ordered(until_idle=True)
    running = asyncio.create_task(worker.run())
    for _ in range(400):
        await clock.advance(SECOND)
        await asyncio.sleep(0.001)
        if running.done():
            break
    await asyncio.wait_for(running, 10)
    await clock.advance(2 * LIFE)
    assert await emitter.still_pending() == 0
    wanted = [1, 2, 3, 4] if on_failure == "retry" else [1, 2, 4]
    assert list(dict.fromkeys(seen)) == wanted
    assert len(await emitter.records()) == (1 if on_failure == "retry" else 2)
