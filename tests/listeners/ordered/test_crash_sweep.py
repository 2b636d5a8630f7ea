"""The owner of a lane dies before, or after, each of its calls to the server: the next one loses nothing."""

import asyncio
from typing import Any, cast

import pytest

from penstock.retry import Retry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import Faulty, ManualClock
from penstock.testing.faulty import Crashed
from tests.listeners.ordered.workshop import LIFE, StockMoved, Workshop, another

MOVES = [("nail", 1), ("nail", 2), ("nut", 3), ("nut", 4)]


@pytest.mark.covers("GROUP-15", "GROUP-7")
@pytest.mark.parametrize("mode", ["exclusive", "keyed"])
@pytest.mark.timeout(120)
async def test_an_owner_may_die_at_any_step(mode: str) -> None:
    """Then one key is parked with both of its events, the other one handled in order, and nothing is pending."""
    steps = await _watched(mode)
    for step in range(steps):
        clock = ManualClock()
        server = MemoryServer(clock)
        chosen: dict[str, Any] = {"mode": mode, "on_failure": "park", "retry": Retry(attempts=1)}
        seen: list[int] = []
        emitter = await another(server, clock, **chosen)
        await emitter.move(*MOVES)
        dying = Workshop(Faulty(MemoryBroker(server=server), crash_at=step), clock, **chosen)
        _book(dying, seen)
        await _run_to_its_death(dying)
        await clock.advance(2 * LIFE)
        _book(emitter, seen)
        await emitter.work()

        assert [(key.key, key.events) for key in await emitter.parked()] == [("nail", 2)], f"step {step}"
        assert (await emitter.still_pending(), len(await emitter.records())) == (0, 2), f"step {step}"
        assert list(dict.fromkeys(number for number in seen if number > 2)) == [3, 4], f"step {step}"
        assert 2 not in seen, f"step {step}"


async def _watched(mode: str) -> int:
    """How many steps a run has."""
    clock = ManualClock()
    broker = Faulty(MemoryBroker(server=MemoryServer(clock)))
    shop = Workshop(broker, clock, mode=mode, on_failure="park", retry=Retry(attempts=1))
    _book(shop, [])
    await shop.move(*MOVES)
    begin = len(broker.steps)
    await shop.work()
    count = len(broker.steps) - begin
    assert count > 30
    return count


async def _run_to_its_death(shop: Workshop) -> None:
    running = asyncio.create_task(shop.ordered(until_idle=True).run())
    await asyncio.wait([running], timeout=10)
    assert running.done()
    if (failure := running.exception()) is not None:
        assert _is_death(failure), failure


def _is_death(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return all(map(_is_death, group.exceptions))
    return isinstance(failure, Crashed)


def _book(shop: Workshop, seen: list[int]) -> None:
    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)
        if moved.item == "nail":
            raise ValueError(f"cannot book {moved.number}")
