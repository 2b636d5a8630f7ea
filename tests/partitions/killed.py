"""A process that repartitions and kills itself at a step: ``python -m tests.partitions.killed URL NAMESPACE STEP``."""

import asyncio
import os
import signal
import sys
from datetime import timedelta

from penstock.streams.repartitioning import Repartitioning
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import Faulty, Step
from tests.partitions.shop import ORDERS

__all__: list[str] = []


async def main(url: str, namespace: str, number: int) -> None:
    """Change the stream to five partitions, until the step of that number; say how many there were."""

    def die(step: Step) -> None:
        if step.number == number:
            os.kill(os.getpid(), signal.SIGKILL)

    broker = Faulty(ValkeyBroker(url, namespace=namespace), at_step=die)
    await broker.open()
    await Repartitioning(broker, ORDERS).to(5, timeout=timedelta(seconds=20))
    sys.stdout.write(f"{len(broker.steps)}\n")
    await broker.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
