"""Held leases: renewed by themselves, waited for, and noticed when they are lost, on a clock that the test owns."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import BrokerRefusedError, BrokerUnavailableError, UsageError
from penstock.streams.abc import Lease, LeaseInfo
from penstock.streams.leasing import FOR_EVER, HeldLease, take_lease
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock
from penstock.testing.faulty import After, Faulty, Step

LIFE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
AWAY = BrokerUnavailableError("the server is away")


@pytest.fixture
def clock() -> ManualClock:
    """The clock of everybody."""
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    """A broker with leases."""
    return MemoryBroker(clock)


async def taken(broker: Any, clock: ManualClock, **how: Any) -> HeldLease:
    """A lease that is free."""
    held = await take_lease(broker.leases, "report", clock=clock, life=how.pop("life", LIFE), **how)
    assert isinstance(held, HeldLease)
    return held


# -- holding -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("GROUP-5")
async def test_a_lease_is_kept_for_as_long_as_its_owner_works(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Work of five times its life never lets it lapse: it is renewed at a third of its life, whatever the work does."""
    held = await taken(broker, clock)
    for _ in range(150):
        await clock.advance(SECOND)
        assert held.is_held
        info = await broker.leases.look("report")
        assert info is not None
        assert info.remaining >= LIFE * 2 / 3 - SECOND
        assert held.remaining() >= LIFE * 2 / 3 - SECOND

    assert await held.release()
    assert await broker.leases.look("report") is None


async def test_a_released_lease_is_renewed_no_more(broker: MemoryBroker, clock: ManualClock) -> None:
    """It is free at once; nothing of it runs on, and releasing again does nothing."""
    async with await taken(broker, clock) as held:
        await clock.advance(SECOND)
        assert clock.sleeping == 2

    assert not held.is_held
    assert held.remaining() == timedelta(0)
    assert clock.sleeping == 0
    assert not await held.release()
    assert not await held.refresh()
    other = await taken(broker, clock)
    await clock.advance(LIFE)
    assert other.is_held
    assert not held.lost.is_set()


async def test_it_may_be_refreshed_for_another_life(broker: MemoryBroker, clock: ManualClock) -> None:
    """From then on it is renewed by the new life, be it longer or shorter."""
    held = await taken(broker, clock)
    for life in (timedelta(hours=1), timedelta(seconds=3), LIFE):
        assert await held.refresh(life)
        assert held.remaining() == life
        await clock.advance(life * 4)
        assert held.is_held
    with pytest.raises(UsageError, match="millisecond"):
        await held.refresh(timedelta(0))
    assert held.is_held
    await held.release()


# -- losing ------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("GROUP-5")
async def test_a_revoked_lease_is_noticed_with_the_next_renewal(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Within a third of its life; it then says why, and releasing it changes nothing for its successor."""
    held = await taken(broker, clock)
    await broker.leases.revoke("report")
    successor = await taken(broker, clock)
    assert not held.lost.is_set()
    await clock.advance(LIFE / 3)

    assert held.lost.is_set()
    assert not held.is_held
    assert "taken away" in held.lost_because
    assert not await held.release()
    assert successor.is_held
    await successor.release()


@pytest.mark.covers("GROUP-5")
async def test_a_lease_that_cannot_be_renewed_is_lost_when_its_life_ends(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Not before, since the server may come back, and not a moment later, since another may have it then."""
    faulty = Faulty(broker, fail={"leases.renew": [AWAY] * 100})
    held = await taken(faulty, clock)
    await clock.advance(LIFE - timedelta(microseconds=1))
    assert held.is_held
    assert await broker.leases.look("report") is not None
    await clock.advance(timedelta(microseconds=1))

    assert held.lost.is_set()
    assert "the server is away" in held.lost_because
    assert await broker.leases.look("report") is None
    await held.release()


async def test_a_server_that_comes_back_in_time_costs_nothing(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Renewing is tried again, more often, until the life has run out."""
    faulty = Faulty(broker, fail={"leases.renew": [AWAY, After(AWAY), AWAY, None]})
    held = await taken(faulty, clock)
    await clock.advance(LIFE * 3)

    assert held.is_held
    await held.release()


async def test_an_answer_that_never_comes_does_not_hide_the_loss(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """The life runs out while a renewal still waits for its answer."""
    never = asyncio.Event()
    faulty = Faulty(broker, at_step=_waiting("leases.renew", never.wait))
    held = await taken(faulty, clock)
    await clock.advance(LIFE)

    assert held.lost.is_set()
    assert "no renewal was confirmed" in held.lost_because
    await held.release()


async def test_a_slow_way_to_the_server_shortens_what_is_sure(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """What is left is counted from before the request was sent: the server may have heard of it at once."""
    faulty = Faulty(broker, at_step=_waiting("leases.acquire", lambda: clock.sleep(5 * SECOND)))
    taking = asyncio.create_task(taken(faulty, clock))
    await clock.advance(10 * SECOND)
    held = await taking

    assert held.remaining() == LIFE - 10 * SECOND
    info = await broker.leases.look("report")
    assert info is not None
    assert held.remaining() <= info.remaining
    await held.release()


async def test_a_process_that_was_paused_knows_it_when_it_goes_on(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Even before any of its tasks has run, `is_held` goes by the clock and not by what was last heard."""
    paused = _Paused(clock)
    held = await take_lease(broker.leases, "report", life=LIFE, clock=paused)
    assert isinstance(held, HeldLease)
    assert held.is_held
    paused.by = LIFE.total_seconds()

    assert not held.is_held
    assert held.remaining() == timedelta(0)
    await held.release()


# -- waiting -----------------------------------------------------------------------------------------------------------


async def test_who_does_not_wait_is_told_who_has_it(broker: MemoryBroker, clock: ManualClock) -> None:
    """At once."""
    held = await taken(broker, clock, description="ann's")
    answer = await take_lease(broker.leases, "report", life=LIFE, clock=clock)

    assert answer == LeaseInfo("report", None, held.lease.token, "ann's", held.fence, LIFE)
    await held.release()


@pytest.mark.covers("GROUP-17")
async def test_who_waits_gets_it_soon_after_it_is_free(broker: MemoryBroker, clock: ManualClock) -> None:
    """Whether it was released or ran out; a wait that is over answers who has it."""
    first = await taken(broker, clock)
    waiting = asyncio.create_task(taken(broker, clock, wait=FOR_EVER))
    await clock.advance(LIFE * 10)
    assert not waiting.done()
    await first.release()
    await clock.advance(SECOND)
    second = await waiting
    assert second.fence > first.fence

    refused = asyncio.create_task(take_lease(broker.leases, "report", life=LIFE, clock=clock, wait=LIFE))
    await clock.advance(LIFE - timedelta(milliseconds=1))
    assert not refused.done()
    await clock.advance(2 * SECOND)
    assert isinstance(refused.result(), LeaseInfo)
    await second.release()


async def test_who_waits_for_one_that_dies_gets_it_when_its_life_ends(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Within a millisecond: the end of a life is known."""
    dead = await broker.leases.acquire("report", token="dead", description="", life=LIFE)
    assert isinstance(dead, Lease)
    waiting = asyncio.create_task(taken(broker, clock, wait=2 * LIFE))
    await clock.advance(LIFE)
    await clock.advance(timedelta(milliseconds=2))

    assert waiting.done()
    await waiting.result().release()


async def test_of_many_that_wait_each_has_its_turn(broker: MemoryBroker, clock: ManualClock) -> None:
    """Never two at once, and none for ever in vain."""
    at_work: list[int] = []
    most_at_once = 0

    async def work(number: int) -> None:
        nonlocal most_at_once
        async with await taken(broker, clock, wait=FOR_EVER):
            at_work.append(number)
            most_at_once = max(most_at_once, len(at_work) - len(done))
            await clock.sleep(SECOND)
            done.append(number)

    done: list[int] = []
    tasks = [asyncio.create_task(work(number)) for number in range(8)]
    await clock.advance(timedelta(minutes=2))

    assert sorted(done) == list(range(8))
    assert most_at_once == 1
    await asyncio.gather(*tasks)


async def test_an_unknown_outcome_takes_it_all_the_same(broker: MemoryBroker, clock: ManualClock) -> None:
    """The answer was lost, the lease was not: whoever waits asks again under the same token and has it."""
    faulty = Faulty(broker, fail={"leases.acquire": [After(AWAY), AWAY]})
    taking = asyncio.create_task(taken(faulty, clock, wait=SECOND))
    await clock.advance(SECOND)
    held = await taking

    assert held.is_held
    await held.release()


async def test_a_server_that_stays_away_is_told(broker: MemoryBroker, clock: ManualClock) -> None:
    """At once without waiting, and at the end of the wait with; what waiting cannot mend is never waited for."""
    with pytest.raises(BrokerUnavailableError):
        await taken(Faulty(broker, fail={"leases.acquire": [AWAY]}), clock)
    faulty = Faulty(broker, fail={"leases.acquire": [AWAY] * 1000})
    taking = asyncio.create_task(taken(faulty, clock, wait=SECOND))
    await clock.advance(2 * SECOND)
    with pytest.raises(BrokerUnavailableError):
        await taking
    refused = BrokerRefusedError("no")
    with pytest.raises(BrokerRefusedError):
        await taken(Faulty(broker, fail={"leases.acquire": [refused]}), clock, wait=FOR_EVER)


def _waiting(call: str, wait: Callable[[], Awaitable[Any]]) -> Callable[[Step], Awaitable[None] | None]:
    """Waits on both sides of one call."""

    async def waited() -> None:
        await wait()

    def at_step(step: Step) -> Awaitable[None] | None:
        return waited() if step.call == call else None

    return at_step


class _Paused:
    """A clock whose monotonic side jumped while the process could not do anything."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.by = 0.0

    def time_us(self) -> int:
        """As ever."""
        return self._clock.time_us()

    def monotonic(self) -> float:
        """Later than the tasks have noticed."""
        return self._clock.monotonic() + self.by

    async def sleep(self, duration: timedelta) -> None:
        """As ever."""
        await self._clock.sleep(duration)
