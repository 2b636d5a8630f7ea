"""A worker process for the fault tests: ``python -m tests.faults.worker URL NAMESPACE [options]``.

It works the group until idle, and dies by SIGKILL before the broker call number ``--die-at`` (before and after each
call count as steps, so that every moment of the cycle is visited).
"""

import argparse
import asyncio
import os
import signal
from datetime import timedelta

from penstock.listeners import GroupWorker, Router
from penstock.message import Message
from penstock.retry import Retry
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import Faulty, Step
from tests.faults.shop import Ordered, behave


async def main() -> None:
    """Work until idle, or until the moment to die."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("namespace")
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--consumer", default="ann")
    parser.add_argument("--min-idle", type=int, default=60_000, help="milliseconds")
    parser.add_argument("--reclaim", action="store_true")
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()

    def at_step(step: Step) -> None:
        if step.number == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    plain = ValkeyBroker(options.url, namespace=options.namespace)
    await plain.open()
    broker = Faulty(plain, at_step=at_step)
    router = Router()
    group = router.group(
        "shop",
        retry=Retry(attempts=3, initial="1ms", longest="5ms"),
        retry_visibility="300ms",
        max_deliveries=3,
        min_idle=timedelta(milliseconds=options.min_idle),
        concurrency=options.concurrency,
    )

    @group.on(Ordered)
    async def handle(order: Ordered, message: Message) -> None:
        await behave(plain, order, message.attempt)

    worker = GroupWorker(
        broker,
        group,
        consumer=options.consumer or None,
        until_idle=not options.forever,
        reclaim=timedelta(0) if options.reclaim else None,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await plain.close()


if __name__ == "__main__":
    asyncio.run(main())
