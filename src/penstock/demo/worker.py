"""A worker process: one group of the flights' app under one consumer name, or the whole ledger, until told to stop.

``penstock run --only delays`` does nearly the same. This one also ends when the demo is gone, even if that was killed:
its standard input is a pipe that the demo holds open.
"""

import asyncio
import signal
import sys

from penstock import App
from penstock.operations import Work

__all__ = ["LEDGER", "main", "work"]

LEDGER = "ledger"
"""What stands in place of a group for the process that projects and relays."""


def _work_of(group: str, consumer: str) -> tuple[App, Work]:
    if group == LEDGER:
        from penstock.demo.ledger import app as ledger

        return ledger, Work(ledger)
    from penstock.demo.listeners import app as flights

    return flights, Work(flights, only=[group], consumer=consumer)


async def work(group: str, consumer: str) -> None:
    """Work until SIGTERM, or until the standard input ends; what was begun is finished."""
    app, worker = _work_of(group, consumer)
    async with app:
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
