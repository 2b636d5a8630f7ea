"""What runs beside the live projections of a process: the copies that it is to feed, and plays that died.

A supervisor asks every so often (`FindsGenerations`). Nothing of what happens here can fail a live projection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from penstock.errors import PenstockError, ReplayBusyError
from penstock.projections._engine._generations import Ask, Beside
from penstock.projections._engine._run import Supervised
from penstock.replays import _plays
from penstock.replays._candidates import narrowed
from penstock.replays._records import Record, read_all
from penstock.replays._workplace import Found, Workplace, copy_here
from penstock.replays.abc import ReadModelCopy
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["Generations", "Resumes"]

_RESUME_SECONDS: Final = 2.0
"""So long a play that could not be taken up is left alone."""


class Resumes(Protocol):
    """Goes on with plays that died."""

    async def resume(self, key: str) -> bool:
        """Whether there was one to go on with."""
        ...


class Generations:
    """The generations that a process with these live projections is to run; a `FindsGenerations`.

    Args:
        workplace: Where the projections are declared.
        supervised: The live ones that are run here.
        resumes: Goes on with plays that died; ``None`` where nobody is there to wait for the end of one.
    """

    def __init__(
        self, workplace: Workplace, supervised: Sequence[Supervised], *, resumes: Resumes | None
    ) -> None:
        self._workplace, self._resumes = workplace, resumes
        self._live = {each.plan.name: each for each in supervised if each.plan.kind == "projection"}
        self._known: dict[tuple[str, str], tuple[object, Supervised]] = {}
        self._plays: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}

    async def look(self, ask: Mapping[str, Ask]) -> Beside:
        """Those that are fed, whose version is the declared one; and which versions there are."""
        supervised: list[Supervised] = []
        awaited: set[tuple[str, int]] = set()
        for target in sorted({each.plan.target for each in self._live.values()}):
            records, dead = await ask[target](_read)
            for record in records:
                mine = self._mine(record, target)
                awaited |= {(name, record.generation_versions[name]) for name in mine}
                if record.is_fed:
                    supervised += await self._fed(record, mine, target)
                elif record.replay.key in dead and len(mine) == len(record.replay.projections):
                    self._resume(record.replay.key)
        keys = {each.key for each in supervised}
        self._known = {key: known for key, known in self._known.items() if key in keys}
        return Beside(supervised, frozenset(awaited))

    async def close(self) -> None:
        """End the plays that were gone on with; others go on with them."""
        plays, self._plays = self._plays, {}
        for each in plays.values():
            each.cancel()
        await asyncio.gather(*plays.values(), return_exceptions=True)

    def _mine(self, record: Record, target: str) -> list[str]:
        """The projections of a replay that are run here, in the version that its copy is of."""
        return [
            name
            for name, version in record.generation_versions.items()
            if name in self._live
            and self._live[name].plan.version == version
            and self._live[name].plan.target == target
        ]

    async def _fed(self, record: Record, names: Sequence[str], target: str) -> list[Supervised]:
        found: list[Supervised] = []
        # A switch changes what the copy is, and so does one back.
        facts = (record.replay.place, record.replay.state == "promoted", record.replay.created_at)
        copy: ReadModelCopy | None = None
        for name in names:
            known = self._known.get((name, record.replay.key))
            if known is not None and known[0] == facts:
                found.append(known[1])
                continue
            if copy is None:
                copy = copy_here(self._workplace, Found(self._workplace.store(target).backend, record))
                if not await asyncio.to_thread(copy.exists):
                    return []
            live = self._live[name]
            made = Supervised(
                narrowed(live.plan, record.replay.part),
                copy.guard(live.handlers),
                record.replay.key,
                copy.database,
                is_made=True,
            )
            self._known[made.key] = facts, made
            found.append(made)
        return found

    def _resume(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        if self._resumes is None or key in self._plays or loop.time() < self._not_before.get(key, 0.0):
            return
        self._plays[key] = asyncio.create_task(self._resumed(self._resumes.resume, key), name=f"replay {key}")

    async def _resumed(self, resume: Callable[[str], Awaitable[bool]], key: str) -> None:
        try:
            await resume(key)
        except ReplayBusyError:
            pass
        except PenstockError as failure:
            LOGGER.warning("replay %r does not go on: %s", key, failure)
        except Exception as failure:  # noqa: BLE001  what is live goes on
            LOGGER.warning("replay %r does not go on: %s", key, failure, exc_info=failure)
        finally:
            self._not_before[key] = asyncio.get_running_loop().time() + _RESUME_SECONDS
            self._plays.pop(key, None)


def _read(database: Database, connection: Connection) -> Any:
    """The records of a database, and the keys of those whose last play died."""
    records = read_all(database, connection)
    dead = {
        record.replay.key
        for record in records
        if record.replay.state == "building"
        and _plays.is_to_be_resumed(database, connection, record.replay.key)
    }
    return records, dead
