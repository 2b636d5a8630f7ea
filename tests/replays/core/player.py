"""A process that builds a replay, and may be killed: ``python -m tests.replays.core.player < lines``.

Each line is given to a process of its own, forked from one that has imported everything: a number of milliseconds after
which it is killed from outside (0: never), a number of moments after which it kills itself (-1: never), the URL of a
database, and a step: ``start``, ``create``, ``feed`` and so on. How it ended is printed.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from penstock.projections._engine import _checkpoints
from penstock.replays._records import Records
from tests.forking import Deadly, serve
from tests.replays.core.shop import make_app

KEY = "k"


def make_mortal(database: Any, deadly: Deadly) -> None:
    """Have a moment before and after each beginning of a transaction of the live database, and in each page."""
    for owner, name in (
        (database, "begin"),
        (_checkpoints, "hold"),
        (_checkpoints, "move"),
        (Records, "within"),
    ):
        setattr(owner, name, _mortal(getattr(owner, name), deadly))


def _mortal(function: Callable[..., Any], deadly: Deadly) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        deadly.step()
        outcome = function(*arguments, **named)
        deadly.step()
        return outcome

    return called


async def step(url: str, what: str, moments: int) -> None:
    """Take one step."""
    app = make_app(url, version=2, page=7, counts=True)
    async with app:
        if moments >= 0:
            make_mortal(app.store().database, Deadly(moments))
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


def run(words: list[str]) -> None:
    """What a line says after its first number."""
    moments, url, what = words
    asyncio.run(step(url, what, int(moments)))


if __name__ == "__main__":
    serve(run)
