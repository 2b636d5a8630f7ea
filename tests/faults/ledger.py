"""Accounting: every event emitted is acknowledged, pending or failed, once; and what its handlers did is on record."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from penstock.position import EntryId
from penstock.streams.abc import FailureRecord
from penstock.streams.publisher import Outgoing, Published, Publisher
from penstock.streams.valkey import ValkeyBroker
from tests.faults.shop import Ordered

STREAM, GROUP = "ordered", "shop"


@dataclass
class Account:
    """Where every entry of the stream stands."""

    emitted: int
    unread: int
    pending: int
    failed: list[FailureRecord]
    handled: Counter[str]
    """How often the handler came to its end, by order id."""

    def states(self) -> dict[str, int]:
        """Records by cause."""
        return dict(Counter(record.cause for record in self.failed))


class Ledger:
    """One namespace of a real server under test."""

    def __init__(self, url: str, namespace: str, broker: ValkeyBroker) -> None:
        self.url = url
        self.namespace = namespace
        self.broker = broker
        self.publisher = Publisher(broker_for=lambda stream: broker, source="tests")

    async def emit(self, *order_ids: str) -> list[Published]:
        """Emit one `Ordered` for each id; the id says what its handler does."""
        return await self.publisher.publish_many([Outgoing(Ordered(order_id=each)) for each in order_ids])

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A worker process on this namespace."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker", self.url, self.namespace, *arguments],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
        )

    async def run(self, *arguments: str, **environment: str) -> int:
        """Run a worker process to its end; its exit code, negative for a signal."""
        process = self.start(*arguments, **environment)
        try:
            return await asyncio.to_thread(process.wait, 60)
        finally:
            process.kill()

    async def account(self) -> Account:
        """Where everything stands now."""
        entries = await self.broker.range(STREAM)
        summary = await self.broker.pending_summary(STREAM, GROUP)
        [group] = [each for each in await self.broker.groups(STREAM) if each.name == GROUP]
        unread = sum(EntryId.parse(entry[0]) > group.last_delivered for entry in entries)
        done = await self.broker.range("done")
        return Account(
            len(entries),
            unread,
            summary.count,
            await self.broker.failures.find(STREAM, count=10_000),
            Counter(entry[1][1].decode() for entry in done),
        )
