"""Collecting a great deal, on a real server: nobody else waits for it."""

import time
from datetime import timedelta

import pytest
import redis.asyncio

from penstock.position import EntryId
from penstock.streams.abc import NewEntry
from penstock.streams.collector import Retention, collect
from tests.faults.ledger import Ledger

STREAM = "collected"
FIELDS = [b"id", b"x" * 36, b"name", b"order.placed", b"meta", b"m" * 120, b"data", b"d" * 200]


@pytest.mark.covers("GC-5")
@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_a_great_deal_is_collected_while_others_write(
    ledger: Ledger, server_url: str, *, torture: bool
) -> None:
    """However much is removed at once, no step holds the server for long, and appends go through meanwhile.

    Fifty thousand entries, a million in the long form. What the server itself measures: no command takes 50 ms.
    """
    count = 1_000_000 if torture else 50_000
    broker = ledger.broker
    for _ in range(count // 10_000):
        await broker.append_many([NewEntry(STREAM, FIELDS)] * 10_000)
    last = (await broker.info(STREAM)).last
    assert last is not None
    await broker.save_cursor(STREAM, "audit", bytes(last))
    client = redis.asyncio.Redis.from_url(server_url)
    await client.config_set("slowlog-log-slower-than", 50_000)
    await client.slowlog_reset()

    removed, waits, done = 0, list[float](), False
    while not done:
        step = await collect(broker, STREAM, Retention(handled=True), budget=timedelta(0))
        removed, done = removed + step.removed, not step.more
        began = time.perf_counter()
        await broker.append(NewEntry(STREAM, FIELDS))
        waits.append(time.perf_counter() - began)

    slow = [entry for entry in await client.slowlog_get() if b"EVALSHA" in entry["command"]]
    await client.aclose()
    assert removed == count
    assert await broker.length(STREAM) == len(waits)
    first = (await broker.info(STREAM)).first
    assert first is not None
    assert first > EntryId.parse(bytes(last))
    assert slow == []
    assert sorted(waits)[len(waits) * 99 // 100 - 1] < 0.1
