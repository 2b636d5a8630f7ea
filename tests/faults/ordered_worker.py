"""A member of an ordered group for the fault tests: ``python -m tests.faults.ordered_worker URL NAMESPACE WHO MODE``.

It writes what it begins and ends to the stream ``done``, under its name, and waits in the middle of events whose id
begins with ``slow`` until the stream ``go`` has an entry.
"""

import asyncio
import signal
import sys
from typing import Any

from penstock.listeners import Router
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.streams.abc import NewEntry
from penstock.streams.valkey import ValkeyBroker
from tests.faults.shop import Ordered

LIFE = "900ms"


async def main(url: str, namespace: str, who: str, mode: Any) -> None:
    """Work until a signal comes."""
    broker = ValkeyBroker(url, namespace=namespace)
    await broker.open()
    router = Router()
    group = router.group("shop", mode=mode, lease_life=LIFE, drain_timeout="1s")

    async def note(what: str, order: Ordered) -> None:
        await broker.append(NewEntry("done", [b"what", f"{who} {what} {order.order_id}".encode()]))

    @group.on(Ordered)
    async def handle(order: Ordered) -> None:
        await note("begins", order)
        while order.order_id.startswith("slow") and not await broker.length("go"):
            await asyncio.sleep(0.01)
        await note("ends", order)

    worker = OrderedWorker(broker, group)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await broker.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
