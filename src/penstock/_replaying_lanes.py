"""The processes of a build by several: each loads the app anew (`_replaying_lane`) and ends with the one that began it.

What a process is to do it is told over its standard input, which stays open as long as whoever began it lives. What it
has done it writes to its standard output, a line of JSON at a time.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from penstock.errors import ConfigurationError, ReplayError
from penstock.replays import _lanes
from penstock.replays._playing import Site
from penstock.replays.abc import Replay

__all__ = ["LaneProcesses", "Task", "Told"]

_SEVERAL_WRITERS: Final = frozenset({"postgresql"})
"""A SQLite file has one writer at a time: several would only wait for each other, so there one process plays."""
_WORTH: Final = 1000
"""With fewer events to go for each process, one is as fast."""
_END_SECONDS: Final = 15.0


class Task(msgspec.Struct, frozen=True):
    """What a process is to do."""

    app: str
    """``module:variable``."""
    path: list[str]
    overrides: dict[str, str]
    key: str
    lane: int
    of: int
    ends: dict[str, int]


class Told(msgspec.Struct, frozen=True):
    """What it says."""

    handled: int = 0
    error: str = ""
    is_done: bool = False


class LaneProcesses:
    """Plays a large part of history by the processes that a replay is to have; a `PlaysParts`."""

    def __init__(self, app: Any, overrides: Callable[[], Mapping[str, object]]) -> None:
        self._app, self._overrides = app, overrides

    async def __call__(self, site: Site, replay: Replay, tell: Callable[[int], None]) -> None:
        """Play with as many processes as the replay has, to the end of the store as it is now."""
        of = replay.processes
        if of < 2 or site.copy.database.dialect not in _SEVERAL_WRITERS:
            return
        where = _where(self._app)
        ends = await asyncio.to_thread(_lanes.prepare, site, of, _WORTH * of)
        if ends is None:
            return
        overrides = {name: str(value) for name, value in self._overrides().items()}
        counts = [0] * of

        def told(lane: int, handled: int) -> None:
            counts[lane] = handled
            tell(sum(counts))

        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in range(of):
                    task = Task(where, sys.path, overrides, site.key, lane, of, dict(ends))
                    tasks.create_task(_process(task, told), name=f"lane {lane + 1} of replay {site.key}")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await asyncio.to_thread(_lanes.merge, site, of, ends)


async def _process(task: Task, told: Callable[[int, int], None]) -> None:
    """One process, from its beginning to its end. Raises what it has met."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "penstock._replaying_lane",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    last = Told()
    try:
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        async for line in process.stdout:
            last = msgspec.json.decode(line, type=Told)
            told(task.lane, last.handled)
            if last.error:
                break
    finally:
        # It ends when nobody is left to write to it.
        process.stdin.close()
        await asyncio.shield(_ended(process))
    if last.error:
        raise ReplayError(f"lane {task.lane + 1} of {task.of} of replay {task.key!r}: {last.error}")
    if not last.is_done:
        raise ReplayError(
            f"the process of lane {task.lane + 1} of {task.of} of replay {task.key!r} ended with code "
            f"{process.returncode}; start the replay again, it goes on from there"
        )


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _where(app: Any) -> str:
    """Where a process finds the app: ``module:variable``. Raises `ConfigurationError`."""
    for name, module in [*sys.modules.items()]:
        for variable, value in [*getattr(module, "__dict__", {}).items()]:
            if value is app and (spec := getattr(module, "__spec__", None)) is not None:
                return (
                    f"{spec.name.removesuffix('.__main__') if name != '__main__' else spec.name}:{variable}"
                )
    raise ConfigurationError(
        f"app {app.name!r} is in no variable of a module that can be imported, so no other process can load it; "
        "put it into one, or replay with 1 process"
    )
