"""kill -9 around the commit of a listener with a store: its effect is there once."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.ledger import GROUP, STREAM, Ledger

STEPS = [
    *(("commit", number) for number in range(4)),
    *(("sql", number) for number in (range(16) if "PENSTOCK_TORTURE" in os.environ else (3,))),
    *(("broker", number) for number in (range(70) if "PENSTOCK_TORTURE" in os.environ else (16,))),
]
"""Where to die: around the commits always, everywhere in the long form."""


def run(ledger: Ledger, store: Path, *arguments: str) -> int:
    """Run a worker process to its end; its exit code, negative for a signal."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.faults.inbox_worker", ledger.url, ledger.namespace),
            *(f"sqlite:///{store}", *arguments),
        ],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
    )
    try:
        return process.wait(60)
    finally:
        process.kill()


def charges(store: Path) -> Counter[str]:
    """How often each order was charged."""
    with closing(sqlite3.connect(store)) as connection:
        return Counter(order_id for (order_id,) in connection.execute("SELECT order_id FROM charges"))


@pytest.mark.covers("PROJ-15")
@pytest.mark.timeout(3600 if "PENSTOCK_TORTURE" in os.environ else 600)
async def test_killed_at_any_step_the_effect_is_there_once(ledger: Ledger, tmp_path: Path) -> None:
    """Before or after a broker call, a statement, a commit: another process finishes, and nothing is doubled."""
    store = tmp_path / "shop.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("CREATE TABLE charges (order_id TEXT)")
    emitted: list[str] = []
    died = Counter[str]()
    committed = 0
    for kind, number in STEPS:
        orders = [f"good-{kind}{number}-{each}" for each in range(2)]
        await ledger.emit(*orders)
        emitted += orders
        code = await asyncio.to_thread(run, ledger, store, "--die-at", kind, str(number))
        assert code in (0, -signal.SIGKILL)
        died[kind] += code != 0
        before = charges(store)
        if code != 0:
            assert await asyncio.to_thread(run, ledger, store) == 0
        assert charges(store) == Counter(emitted), f"{kind} {number}"
        committed += code != 0 and any(before[order] for order in orders)
    assert all(died[kind] for kind in ("broker", "sql", "commit"))
    assert committed >= 2, "some died after the commit and before the acknowledgement"
    assert (await ledger.broker.pending_summary(STREAM, GROUP)).count == 0
