"""Moves what is due, a little at a time, until nothing is: ``python -m tests.faults.mover URL NAMESPACE``."""

import asyncio
import sys

from penstock.streams.valkey import ValkeyBroker


async def main(url: str, namespace: str) -> None:
    """Move two entries a stream at a time."""
    broker = ValkeyBroker(url, namespace=namespace)
    await broker.open()
    while (await broker.schedule.move_due(count=2)).entry_ids:
        pass
    await broker.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
