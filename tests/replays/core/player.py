"""A process that builds a replay, and may be killed: ``python -m tests.replays.core.player < lines``.

Each line is given to a process of its own, forked from one that has imported everything: a number of milliseconds after
which it is killed from outside (0: never), a number of moments after which it kills itself (-1: never), the URL of a
database, and a step: ``start``, ``create``, ``feed`` and so on. How it ended is printed.
"""

import asyncio
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from penstock.errors import PenstockError
from penstock.projections._engine import _checkpoints
from penstock.replays._records import Records
from tests.replays.core.shop import make_app

KEY = "k"


class Dying:
    """Counts moments of the process; at the right one it is gone."""

    left = -1

    @classmethod
    def step(cls) -> None:
        """One moment; maybe the last."""
        if cls.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        cls.left -= 1


def make_mortal(database: Any) -> None:
    """Have a moment before and after each beginning of a transaction of the live database, and in each page."""
    for owner, name in (
        (database, "begin"),
        (_checkpoints, "hold"),
        (_checkpoints, "move"),
        (Records, "within"),
    ):
        setattr(owner, name, _mortal(getattr(owner, name)))


def _mortal(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        Dying.step()
        outcome = function(*arguments, **named)
        Dying.step()
        return outcome

    return called


async def step(url: str, what: str) -> None:
    """Take one step."""
    app = make_app(url, version=2, page=7, counts=True)
    async with app:
        if Dying.left >= 0:
            make_mortal(app.store().database)
        if what == "create":
            await app.replays.create(KEY, ["totals", "counts"])
        elif what == "remove":
            await app.replays.remove(KEY)
        elif what == "follow":
            await app.replays.follow(KEY)
        elif what == "verify":
            await app.replays.verify(KEY)
        elif what == "feed":
            await app.catch_up()
        elif what == "unfollow":
            await app.replays.unfollow(KEY)
        elif what == "promote":
            await app.replays.promote(KEY, force=True, reason="a test")
        elif what == "rollback":
            await app.replays.rollback(KEY)
        else:
            await app.replays.start(KEY, from_zero=what == "start-from-zero")


def serve() -> None:
    """Fork a process for each line."""
    for line in sys.stdin:
        first, moments, url, what = line.split()
        child = os.fork()
        if child == 0:
            try:
                Dying.left = int(moments)
                asyncio.run(step(url, what))
            except PenstockError:
                os._exit(1)
            except BaseException:  # noqa: BLE001  the forked process ends here, whatever it was
                traceback.print_exc()
                os._exit(2)
            os._exit(0)
        ends = time.monotonic() + int(first) / 1000
        while True:
            ended, status = os.waitpid(child, os.WNOHANG if int(first) else 0)
            if ended:
                break
            if time.monotonic() >= ends:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.0005)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
