"""kill -9 around histories, delayed and recurring events: indexes agree, each event and each run comes once."""

import asyncio
import random
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from penstock import App
from penstock.message import Message
from penstock.position import BEGINNING
from penstock.streams.abc import NewEntry
from penstock.streams.valkey import ValkeyBroker
from tests.faults.emitter import ENTITIES
from tests.faults.ledger import Ledger

PATIENCE = 60


async def started(module: str, ledger: Ledger) -> asyncio.subprocess.Process:
    """A process of ours, at work."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.faults.{module}", ledger.url, ledger.namespace
    )


async def killed(process: asyncio.subprocess.Process) -> None:
    """It is dead."""
    if process.returncode is None:
        process.kill()
    await process.wait()


async def until_longer(broker: ValkeyBroker, stream: str, length: int) -> None:
    """Wait for a stream to have grown."""
    async with asyncio.timeout(PATIENCE):
        while await broker.length(stream) < length:
            await asyncio.sleep(0.001)


@pytest.mark.covers("HIST-1")
@pytest.mark.timeout(300)
async def test_entries_and_index_agree_whenever_an_emitter_dies(ledger: Ledger) -> None:
    """Every entry is in the history of its entity and nothing else is, in the order of the stream."""
    chance = random.Random(7)
    for _ in range(6):
        length = await ledger.broker.length("moved")
        emitters = [await started("emitter", ledger) for _ in range(2)]
        await until_longer(ledger.broker, "moved", length + chance.randrange(1, 400))
        await asyncio.gather(*map(killed, emitters))

    async with App("reader", streams=ledger.url, namespace=ledger.namespace) as app:
        reader = await app.reader("moved", start=BEGINNING, count=1000)
        emitted: dict[str | None, list[str]] = {}
        while page := await reader.read():
            for message in page:
                emitted.setdefault(message.key, []).append(message.id)
        assert len(emitted) == ENTITIES
        for key, ids in emitted.items():
            told: list[Message] = [message async for message in app.history("moved", key).events()]
            assert [message.id for message in told] == ids


@pytest.mark.covers("DELAY-1")
@pytest.mark.timeout(300)
async def test_each_delayed_event_comes_once_whichever_mover_dies_when(ledger: Ledger) -> None:
    """Three move at the same time and are killed again and again; in the end each event is in its stream, once."""
    due = datetime(2026, 1, 1, tzinfo=UTC)
    names = [f"e-{number:04}" for number in range(1500)]
    for page in range(0, len(names), 100):
        await asyncio.gather(
            *(
                ledger.broker.schedule.schedule(NewEntry("later", [b"n", name.encode()]), name, due=due)
                for name in names[page : page + 100]
            )
        )
    chance = random.Random(11)
    deaths = 0
    while await ledger.broker.schedule.delayed("later", count=1):
        movers = [await started("mover", ledger) for _ in range(3)]
        if deaths < 8:
            await until_longer(
                ledger.broker,
                "later",
                min(len(names), await ledger.broker.length("later") + chance.randrange(1, 120)),
            )
            deaths += sum(mover.returncode is None for mover in movers)
            await asyncio.gather(*map(killed, movers))
        else:
            await asyncio.gather(*(mover.wait() for mover in movers))

    assert deaths >= 8, "they were killed at work"
    added = [entry[1][1].decode() for entry in await ledger.broker.range("later")]
    assert added == names


@pytest.mark.covers("RECUR-1", "RECUR-2")
@pytest.mark.timeout(300)
async def test_a_recurring_event_comes_once_a_run_whoever_dies(ledger: Ledger) -> None:
    """Three processes run it, one after the other is killed and replaced: no second is missing, none is there twice."""
    tickers = [await started("ticker", ledger) for _ in range(3)]
    for number in range(4):
        await until_longer(ledger.broker, "ticked", 2 * number + 1)
        await killed(tickers.pop(0))
        tickers.append(await started("ticker", ledger))
    await until_longer(ledger.broker, "ticked", 9)
    await asyncio.gather(*map(killed, tickers))

    async with App("reader", streams=ledger.url, namespace=ledger.namespace) as app:
        reader = await app.reader("ticked", start=BEGINNING, count=1000)
        times = [message.time for message in await reader.read()]
    assert times == [times[0] + number * timedelta(seconds=1) for number in range(len(times))]
    assert max(Counter(times).values()) == 1
