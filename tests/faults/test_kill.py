"""kill -9 of our own processes: nothing is lost, whatever the moment."""

import asyncio
import signal
from datetime import timedelta

import pytest

from penstock.position import EntryId
from penstock.streams.abc import FailureState, NewEntry
from tests.faults.ledger import GROUP, STREAM, Ledger


async def _settle(ledger: Ledger) -> None:
    """Restart until nothing is pending and no retry waits."""
    async with asyncio.timeout(90):
        while True:
            assert await ledger.run() == 0
            account = await ledger.account()
            waiting = [record for record in account.failed if record.state is FailureState.RETRYING]
            if not waiting and not account.pending and not account.unread:
                return


@pytest.mark.covers("GROUP-15")
@pytest.mark.timeout(600)
async def test_a_worker_killed_at_any_step_of_the_cycle_loses_nothing(
    server_url: str, ledger: Ledger
) -> None:
    """One process for each broker call's beginning and end, killed there, then restarted: every account adds up."""
    orders = ["good-1", "bad-1", "shy-1", "good-2"]
    visited = 0
    for step in range(10_000):
        if STREAM in await ledger.broker.streams():
            await ledger.broker.delete_stream(STREAM)
            await ledger.broker.delete_stream("done")
        await ledger.emit(*orders)
        await ledger.broker.append(NewEntry(STREAM, [b"temperature", b"21"]))
        code = await ledger.run("--die-at", str(step))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        visited += 1
        await _settle(ledger)
        account = await ledger.account()
        assert set(account.handled) == {"good-1", "good-2", "shy-1"}, f"step {step}"
        assert account.states() == {"error": 1, "undecodable": 1}, f"step {step}"
        assert (account.pending, account.unread) == (0, 0)
    assert visited > 20, "the cycle has more steps than that"


@pytest.mark.covers("GROUP-10", "FAIL-10")
async def test_only_the_killer_among_a_hundred_is_condemned(ledger: Ledger) -> None:
    """Restarted after every death, the worker finds out which entry it is; the other ninety-nine are handled."""
    await ledger.emit(
        *(f"good-{number}" for number in range(50)), "killer-1", *(f"good-{n}" for n in range(50, 99))
    )
    deaths = 0
    async with asyncio.timeout(60):
        while await ledger.run() != 0:
            deaths += 1
    account = await ledger.account()
    assert 3 <= deaths <= 5
    assert set(account.handled) == {f"good-{number}" for number in range(99)}
    assert account.states() == {"poison": 1}
    assert account.pending == 0


@pytest.mark.covers("GROUP-9")
async def test_what_a_killed_worker_held_is_handled_by_another(ledger: Ledger) -> None:
    """A living worker takes the dead one's entries over by itself, within min_idle and one interval."""
    await ledger.emit("killer-1", *(f"good-{number}" for number in range(5)))
    assert await ledger.run("--consumer", "dead") == -signal.SIGKILL
    [killer] = await ledger.broker.range(STREAM, count=1)
    await ledger.broker.delete(STREAM, [EntryId.parse(killer[0])])
    living = ledger.start("--consumer", "living", "--min-idle", "300", "--forever")
    try:
        async with asyncio.timeout(30):
            while len((await ledger.account()).handled) < 5 or (await ledger.account()).pending:
                await asyncio.sleep(0.02)
        living.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(living.wait, 30) == 0
    finally:
        living.kill()
    account = await ledger.account()
    assert account.states() == {"vanished": 1}


async def test_two_workers_on_one_due_retry_run_it_once(ledger: Ledger) -> None:
    """However many look at the due set, one claims the retry."""
    await ledger.emit("shy-1")
    assert await ledger.run() in (0,)
    await asyncio.gather(*(ledger.run("--consumer", f"member-{number}") for number in range(4)))
    account = await ledger.account()
    assert account.handled == {"shy-1": 1}
    assert account.failed == []


@pytest.mark.covers("LISTEN-10")
async def test_sigterm_drains(ledger: Ledger) -> None:
    """A worker told to stop ends with code 0 and leaves nothing that others would have to wait for."""
    process = ledger.start("--forever")
    try:
        await ledger.emit(*(f"good-{number}" for number in range(500)))
        async with asyncio.timeout(30):
            while not (await ledger.broker.range("done", count=1)):
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.kill()
    claimed = await ledger.broker.claim(STREAM, GROUP, "next", min_idle=timedelta(minutes=1), count=1000)
    account = await ledger.account()
    assert account.pending == len(claimed.entries)
    assert len(account.handled) + account.pending + account.unread == 500
    assert set(account.handled.values()) == {1}
