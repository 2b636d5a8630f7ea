"""A process that switches and may be killed: ``python -m tests.replays.postgres.switcher URL < lines``.

Each line is given to a process of its own, forked from one that has imported everything: the version that the copy is
of, and after how many statements the process kills itself (-1: never). Its exit code and how many there were
is printed.
"""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from penstock.replays._postgres import switching
from penstock.replays._postgres.switching_pairs import take_steps
from penstock.store import make_backend
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.abc import StoreBackend
from tests.replays.postgres.spending import Thing


class Dying:
    """Counts statements of the process; at the right one it is gone."""

    left = -1
    count = 0


def _mortal(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        Dying.count += 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.left -= 1
        return function(*arguments, **named)

    return called


async def switch(url: str, version: int) -> None:
    """One switch, prepared before."""
    backend: StoreBackend = make_backend("local", url)
    await backend.open()
    try:
        await asyncio.to_thread(_switch, Thing(backend), version)
    finally:
        await backend.close()


def _switch(thing: Thing, version: int) -> None:
    PostgresDatabase.execute = _mortal(PostgresDatabase.execute)  # type: ignore[method-assign]
    setattr(switching, "take_steps", _mortal(take_steps))  # noqa: B010  the module does not offer it
    thing.switch(version)


def serve(url: str) -> None:
    """Fork a process for each line."""
    for line in sys.stdin:
        version, left = map(int, line.split())
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                Dying.left = left
                asyncio.run(switch(url, version))
                os.write(writes, str(Dying.count).encode())
            except BaseException:  # noqa: BLE001  the forked process ends here, whatever it was
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writes)
        _, status = os.waitpid(child, 0)
        said = os.read(reads, 100).decode() or "0"
        os.close(reads)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {said}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
