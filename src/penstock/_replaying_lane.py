"""One of the processes of a build by several: it plays its lane, and ends when nobody is left to hear of it."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from penstock._building import load_object
from penstock._replaying_lanes import Task, Told
from penstock.errors import IsolationError, PenstockError
from penstock.projections._engine._run import ProjectionRun
from penstock.replays import _lanes
from penstock.replays._workplace import found, site_of
from penstock.store.lane import Lane

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["main"]

_TELL_SECONDS: Final = 0.2


def main() -> None:
    """``python -m penstock._replaying_lane``: play the lane that the standard input names."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    sys.path[:] = task.path
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        try:
            app: App = load_object(task.app, f"the app of replay {task.key!r}")
            asyncio.run(_played(app, task))
        except BaseExceptionGroup as failures:
            _say(_failure(failures.exceptions[0]))
        except PenstockError as failure:
            _say(_failure(failure))


def _failure(failure: BaseException) -> Told:
    cause = failure.__cause__
    isolation = next((each for each in (failure, cause) if isinstance(each, IsolationError)), None)
    return Told(error=str(isolation or failure) or type(failure).__name__)


async def _played(app: "App", task: Task) -> None:
    overrides = dict(task.overrides)
    file = overrides.pop("config", None)
    app.configure(file=None if file is None else Path(file), **overrides)
    runs: list[ProjectionRun] = []

    def told(*, is_done: bool = False) -> Told:
        return Told(sum(run.handled for run in runs), is_done=is_done)

    async def tell_on() -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            _say(told())

    mine = asyncio.current_task()
    assert mine is not None
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), mine.cancel)
    async with app:
        site = await site_of(app, await found(app, task.key))
        telling = asyncio.create_task(tell_on())
        try:
            await _lanes.play_lane(site, Lane(task.lane, task.of), task.ends, runs.append)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    _say(told(is_done=True))


def _say(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
