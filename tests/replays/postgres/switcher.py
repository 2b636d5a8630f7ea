"""A process that switches and may be killed: ``python -m tests.replays.postgres.switcher URL < lines``.

Each line is given to a process of its own, forked from one that has imported everything: the version that the copy is
of, and after how many statements the process kills itself (-1: never). Its exit code and how many there were
is printed.
"""

import asyncio
import sys
from functools import partial

from penstock.replays._postgres import switching
from penstock.replays._postgres.switching_pairs import take_steps
from penstock.store import make_backend
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.abc import StoreBackend
from tests.forking import Deadly, serve_counted
from tests.replays.postgres.spending import Thing


async def switch(url: str, version: int, deadly: Deadly) -> None:
    """One switch, prepared before."""
    backend: StoreBackend = make_backend("local", url)
    await backend.open()
    try:
        await asyncio.to_thread(_switch, Thing(backend), version, deadly)
    finally:
        await backend.close()


def _switch(thing: Thing, version: int, deadly: Deadly) -> None:
    PostgresDatabase.execute = deadly.stepping(PostgresDatabase.execute)  # type: ignore[method-assign]
    setattr(switching, "take_steps", deadly.stepping(take_steps))  # noqa: B010  the module does not offer it
    thing.switch(version)


def run(url: str, words: list[str]) -> int:
    """What a line says; how many statements there were."""
    version, left = map(int, words)
    deadly = Deadly(left)
    asyncio.run(switch(url, version, deadly))
    return deadly.taken


if __name__ == "__main__":
    serve_counted(partial(run, sys.argv[1]))
