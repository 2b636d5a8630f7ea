"""Processes that hold a lock and are killed, paused or slow: the next one gets it, and the former one learns of it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock import App
from penstock.errors import LeaseBusyError
from tests.faults.ledger import Ledger

ROOT = Path(__file__).parents[2]
LIFE = "1200ms"


@pytest.fixture
async def app(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """Another process's view of the same namespace."""
    monkeypatch.chdir(tmp_path)
    async with App("other", streams=ledger.url, namespace=ledger.namespace) as app:
        yield app


@asynccontextmanager
async def holder(ledger: Ledger) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A process that has the lock, and its fence."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.holder", ledger.url, ledger.namespace, LIFE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield process, int(await said(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line that the process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


@pytest.mark.covers("GROUP-17")
async def test_a_lock_outlives_many_lives_and_ends_with_its_process(ledger: Ledger, app: App) -> None:
    """While the process works, nobody else gets it; killed with kill -9, it is free when its life has run out."""
    async with holder(ledger) as (process, fence):
        with pytest.raises(LeaseBusyError, match="held by holder, process"):
            await app.lock("report", wait="4s").acquire()
        process.kill()
        async with asyncio.timeout(30), app.lock("report", wait=True) as lock:
            assert lock.fence > fence


@pytest.mark.covers("GROUP-5", "GROUP-17")
async def test_a_process_paused_beyond_the_life_learns_that_it_lost_the_lock(
    ledger: Ledger, app: App
) -> None:
    """Stopped and continued, its block is cancelled, and it takes nothing away from the present holder."""
    async with holder(ledger) as (process, fence):
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(30), app.lock("report", wait=True, life="1 min") as lock:
            assert lock.fence > fence
            process.send_signal(signal.SIGCONT)
            assert await said(process) == "lost"
            await lock.refresh()
            assert lock.is_held


async def test_a_process_paused_for_less_keeps_the_lock(ledger: Ledger) -> None:
    """Its next renewal comes in time."""
    async with holder(ledger) as (process, _):
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.close()
        assert await said(process) == "held to the end"
