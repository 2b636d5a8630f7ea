"""A worker process: one group of the app under one consumer name, until it is told to stop.

``penstock run --only delays`` does nearly the same. This one also ends when the demo is gone, even if that was killed:
its standard input is a pipe that the demo holds open.
"""

import asyncio
import signal
import sys

from penstock.demo.listeners import app
from penstock.operations import Work

__all__ = ["main", "work"]


async def work(group: str, consumer: str) -> None:
    """Work the group until SIGTERM, or until the standard input ends; what was begun is finished."""
    async with app:
        worker = Work(app, only=[group], consumer=consumer)
        await worker.prepare()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        # Nobody writes to it: when there is something to read, it is the end.
        loop.add_reader(sys.stdin.fileno(), worker.stop)
        await worker.run()


def main() -> None:
    """``python -m penstock.demo.worker GROUP CONSUMER``."""
    asyncio.run(work(*sys.argv[1:]))


if __name__ == "__main__":
    main()
