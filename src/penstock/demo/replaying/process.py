"""The processes of this demo: one runs the board in one version of its code, one reads.

Their standard input is a pipe that the demo holds open, so that they end when it is gone, even if it was killed.
"""

import asyncio
import signal
import sys

from penstock.demo.replaying.board import app
from penstock.demo.replaying.reading import read_on
from penstock.operations import Work

__all__ = ["READER", "main"]

READER = "reader"
"""The name of the process that reads."""


async def _project() -> None:
    async with app:
        worker = Work(app)
        await worker.prepare()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        loop.add_reader(sys.stdin.fileno(), worker.stop)
        await worker.run()


async def _read() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)
    async with app:
        await read_on(stop)


def main() -> None:
    """``python -m penstock.demo.replaying.process board|reader NAME``."""
    asyncio.run(_read() if sys.argv[1] == READER else _project())


if __name__ == "__main__":
    main()
