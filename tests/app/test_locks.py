"""`app.lock`: one holder among all processes, told apart by fences, and a block that ends when its lock is lost."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    LeaseBusyError,
    LeaseLostError,
    MalformedDurationError,
    UsageError,
)
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock
from penstock.testing.faulty import Faulty

LIFE = timedelta(seconds=30)
LEASE = "lock:report"


@pytest.fixture
def clock(shop: AppTester) -> ManualClock:
    """The clock of the app and its server."""
    clock = shop.app.clock
    assert isinstance(clock, ManualClock)
    return clock


async def revoke(app: App) -> None:
    """Take the lock away, as a person would."""
    assert await (await app.brokers())["default"].leases.revoke(LEASE)


@pytest.mark.covers("GROUP-17")
async def test_one_has_it_and_others_are_told_who(shop: AppTester, clock: ManualClock) -> None:
    """Busy is an error that names the holder and for how long; released, the next one has it under a higher fence."""
    app = shop.app
    async with app.lock("report", life=LIFE) as first:
        assert first.is_held
        assert first.remaining() == LIFE
        await clock.advance(timedelta(seconds=4))
        with pytest.raises(
            LeaseBusyError, match=r"'report' is held by shop, process \d+ on .+, for 26.0 s"
        ) as told:
            await app.lock("report").acquire()
        assert (told.value.name, told.value.remaining) == ("report", timedelta(seconds=26))
        async with app.lock("other"):
            pass
        fence = first.fence
    assert not first.is_held
    async with app.lock("report") as second:
        assert second.fence > fence


@pytest.mark.covers("GROUP-17")
async def test_it_is_waited_for_as_one_says(shop: AppTester, clock: ManualClock) -> None:
    """Not at all, for a duration, or for ever."""
    app = shop.app
    async with app.lock("report"):
        patient = asyncio.create_task(app.lock("report", wait=True).acquire())
        hasty = asyncio.create_task(app.lock("report", wait="5s").acquire())
        await clock.advance(timedelta(seconds=4.9))
        assert not hasty.done()
        await clock.advance(timedelta(seconds=1))
        assert isinstance(hasty.exception(), LeaseBusyError)
        await clock.advance(timedelta(hours=1))
        assert not patient.done()
    await clock.advance(timedelta(seconds=1))
    assert patient.done()
    assert patient.exception() is None


@pytest.mark.covers("GROUP-17")
async def test_it_lasts_as_long_as_the_block(shop: AppTester, clock: ManualClock) -> None:
    """However short its life is; and it can be refreshed for another one by hand."""
    async with shop.app.lock("report", life="3s") as lock:
        await clock.advance(timedelta(minutes=5))
        assert lock.is_held
        assert not lock.lost.is_set()
        await lock.refresh("10 min")
        assert lock.remaining() == timedelta(minutes=10)
        await lock.refresh()
        assert lock.remaining() == timedelta(minutes=10)


@pytest.mark.covers("GROUP-17")
async def test_a_block_whose_lock_is_lost_is_cancelled(shop: AppTester, clock: ManualClock) -> None:
    """It ends with an error that says why; the task that ran it goes on."""
    reached: list[str] = []

    async def work() -> None:
        async with shop.app.lock("report", life=LIFE):
            reached.append("in")
            await asyncio.Event().wait()

    async def go_on() -> None:
        with pytest.raises(LeaseLostError, match="'report' was lost: it ran out or was taken away"):
            await work()
        reached.append("out")
        await asyncio.sleep(0)
        reached.append("on")

    task = asyncio.create_task(go_on())
    await clock.advance(timedelta(seconds=1))
    await revoke(shop.app)
    await clock.advance(LIFE / 3)
    await task
    assert reached == ["in", "out", "on"]
    assert task.cancelling() == 0


async def test_a_block_may_decide_for_itself(shop: AppTester, clock: ManualClock) -> None:
    """With `cancel_when_lost=False` the loss is told and nothing is cancelled."""
    async with shop.app.lock("report", cancel_when_lost=False) as lock:
        await revoke(shop.app)
        await clock.advance(LIFE)
        assert lock.lost.is_set()
        with pytest.raises(LeaseLostError):
            await lock.refresh()
        assert not await lock.release()


async def test_a_loss_that_nobody_had_noticed_is_told_at_the_end(shop: AppTester) -> None:
    """Leaving the block well means that the lock was held to its end."""
    with pytest.raises(LeaseLostError):
        async with shop.app.lock("report"):
            await revoke(shop.app)


async def test_the_blocks_own_error_comes_first(shop: AppTester, clock: ManualClock) -> None:
    """What the block raised is what is raised, lost or not; so is a cancellation from outside."""

    async def fail() -> None:
        async with shop.app.lock("report"):
            await revoke(shop.app)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async def work() -> None:
        async with shop.app.lock("report"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await clock.advance(timedelta(seconds=1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with shop.app.lock("report"):
        pass


async def test_a_block_cancelled_from_both_sides_is_cancelled(shop: AppTester, clock: ManualClock) -> None:
    """Who was cancelled by another ends so, even if the lock was lost at the same moment."""

    async def work() -> None:
        async with shop.app.lock("report"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await clock.advance(timedelta(seconds=1))
    await revoke(shop.app)
    await clock.advance(LIFE / 3 - timedelta(seconds=1, microseconds=1))
    clock_moves = asyncio.create_task(clock.advance(timedelta(microseconds=1)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock_moves


async def test_a_server_that_is_away_at_the_end_is_no_error(app: App) -> None:
    """The work was done under the lock; it ends with its life."""
    clock = ManualClock()
    broker = MemoryBroker(clock)
    faulty = Faulty(broker, fail={"leases.release": [BrokerUnavailableError("away")]})
    async with app.using(broker=faulty, clock=clock):
        async with app.lock("report"):
            pass
        assert await broker.leases.look(LEASE) is not None
        await clock.advance(LIFE)
        assert await broker.leases.look(LEASE) is None


@pytest.mark.covers("GROUP-17")
async def test_what_is_no_lock_is_refused(shop: AppTester) -> None:
    """A life of nothing, a name of nothing, bare numbers, an unknown pool; and a lock is taken once."""
    for life in ("0s", timedelta(0), timedelta(microseconds=999)):
        with pytest.raises(UsageError, match="millisecond"):
            shop.app.lock("report", life=life)
    with pytest.raises(UsageError, match="name"):
        shop.app.lock("")
    with pytest.raises(MalformedDurationError):
        shop.app.lock("report", life="30")
    with pytest.raises(ConfigurationError, match="no pool 'elsewhere', but default"):
        await shop.app.lock("report", pool="elsewhere").acquire()
    lock = shop.app.lock("report")
    for look in (lambda: lock.fence, lambda: lock.lost):
        with pytest.raises(UsageError, match="not taken"):
            look()
    assert lock.remaining() == timedelta(0)
    assert not await lock.release()
    await lock.acquire()
    with pytest.raises(UsageError, match="taken by this object"):
        await lock.acquire()
    assert await lock.release()


@pytest.mark.covers("GROUP-17")
def test_synchronous_code_has_the_same_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context manager, renewed while the block runs, and told at its end when it was lost."""
    monkeypatch.chdir(tmp_path)
    broker = MemoryBroker()
    app = App("shop", broker=broker)

    def fail() -> None:
        with app.sync.lock("report"):
            lose()
            raise ZeroDivisionError

    def lose() -> None:
        assert asyncio.run(broker.leases.revoke(LEASE))

    with app.sync:
        with app.sync.lock("report", life="1s") as lock:
            assert lock.is_held
            assert timedelta(0) < lock.remaining() <= timedelta(seconds=1)
            with pytest.raises(LeaseBusyError, match="held by shop"), app.sync.lock("report", wait="1500ms"):
                pass
            assert lock.is_held
            fence = lock.fence
            lock.refresh("30s")
        with app.sync.lock("report") as again:
            assert again.fence > fence
            assert again.release()
        with pytest.raises(LeaseLostError), app.sync.lock("report"):
            lose()
        with pytest.raises(ZeroDivisionError):
            fail()
