"""A process that archives or restores a stream and is killed, as by ``kill -9``, at the step it was told to."""

import asyncio
import os
import signal
import sys
from typing import Any

from penstock.archive import Archive, Archiver, Restorer
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import Faulty, Step

STREAM = "orders"


def opened(kind: str, where: str) -> Archive:
    """The archive, in a database or in files."""
    return SqlArchive(f"sqlite:///{where}/archive.db") if kind == "sql" else FilesArchive(where)


class Steps:
    """Counts steps of broker and archive alike; dies at one of them."""

    def __init__(self, die_at: int) -> None:
        self.count, self.die_at = 0, die_at

    def broker_step(self, step: Step) -> None:
        """Before and after each call of the broker that changes something."""
        if step.call in ("append_many", "removal.remove"):
            self.take()

    def take(self) -> None:
        """One step."""
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class Watched:
    """An archive whose calls are steps, too."""

    def __init__(self, archive: Archive, steps: Steps) -> None:
        self._archive, self._steps = archive, steps

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._archive, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if name in ("create_many", "delete"):
                self._steps.take()
                answer = await real(*arguments, **named)
                self._steps.take()
                return answer
            return await real(*arguments, **named)

        return call


async def main(what: str, url: str, namespace: str, kind: str, where: str, die_at: str) -> None:
    """Do it to the end, or as far as it comes."""
    steps = Steps(int(die_at))
    real = ValkeyBroker(url, namespace=namespace)
    await real.open()
    broker = Faulty(real, at_step=steps.broker_step)
    archive: Any = Watched(opened(kind, where), steps)
    if what == "archive":
        async for _ in Archiver(archive).run(broker, STREAM):
            pass
    else:
        await Restorer(archive).restore(broker, await archive.find_many(STREAM))
    await real.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
