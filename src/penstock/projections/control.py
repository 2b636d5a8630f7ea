"""Looking at projections and telling them what to do, from any process: everything goes through their tables.

Whoever runs a projection looks at its row every so often and between two pages; nobody has to be reached for it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from penstock.projections._engine import _failures, _log, _requests, _status
from penstock.projections._engine._log import LoggedDeed
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, Deed, ProjectionFailure, ProjectionPlan, ProjectionStatus
from penstock.store.abc import EventReader
from penstock.store.database import Connection, Database

__all__ = ["ProjectionControl"]

T = TypeVar("T")


class ProjectionControl:
    """The projections and relays whose checkpoints are in one database. Each call connects, in a thread of its own.

    A *deed* is noted in the transaction that does it, for `log`.
    Everything may raise `StoreUnavailableError` and `StoreRefusedError`.
    """

    def __init__(self, database: Database, *, generation: str = LIVE) -> None:
        self.database = database
        self.generation = generation

    async def statuses(
        self,
        readers: Mapping[str, Callable[[], EventReader]],
        *,
        plans: Sequence[ProjectionPlan] = (),
        declared: Collection[str] | None = None,
        awaited: Collection[tuple[str, int]] = (),
    ) -> list[ProjectionStatus]:
        """All of them, by name; with *plans* also those that are declared and never ran.

        *readers* make a reader of each store by its name (`StoreBackend.reader`), for the lag. *declared* are the names
        that are declared, if the plans are not at hand; checkpoints of other names are told as such. *awaited* are
        projections with versions that are in replays: a live one of another version waits for the declared one.
        """
        return await self._call(
            _status.statuses,
            readers,
            plans=plans,
            declared=declared,
            generation=self.generation,
            awaited=awaited,
        )

    async def stop(self, *names: str, deed: Deed | None = None) -> None:
        """Have these stand still, whoever runs them, until `start`."""
        await self._call(_requests.want, names, "stop", generation=self.generation, deed=deed)

    async def start(self, *names: str, deed: Deed | None = None) -> None:
        """Have these run again, wherever they are declared and supervised."""
        await self._call(_requests.want, names, "run", generation=self.generation, deed=deed)

    async def reset(self, name: str, *, emitted: bool = False, deed: Deed | None = None) -> None:
        """Have its runner empty the read model and begin again at 0; *emitted*: and delete the derived streams."""
        await self._call(
            _requests.request, name, "reset", emitted=emitted, generation=self.generation, deed=deed
        )

    async def delete(
        self, name: str, *, read_model: bool = True, emitted: bool = False, deed: Deed | None = None
    ) -> None:
        """Have its runner remove the checkpoint and the read model; it then stays stopped until `start`."""
        await self._call(
            _requests.request,
            name,
            "delete",
            read_model=read_model,
            emitted=emitted,
            generation=self.generation,
            deed=deed,
        )

    async def forget(self, name: str, *, deed: Deed | None = None) -> None:
        """Remove what is recorded of one that nobody declares any more; its read model stays.

        Raises `UnknownProjectionError`, `ProjectionBusyError`.
        """
        await self._call(_requests.forget, name, generation=self.generation, deed=deed)

    async def reload(self, *names: str) -> list[str]:
        """Have these (all, without names) drain and begin again; which ones that are."""
        return await self._call(_requests.reload, names, generation=self.generation)

    async def retry(self, *names: str, deed: Deed | None = None) -> list[str]:
        """Have those of these (of all, without names) that failed or halted go on at once; which ones these are."""
        return await self._call(_requests.retry, names, generation=self.generation, deed=deed)

    async def failures(
        self, name: str | None = None, *, after: int = 0, limit: int = 1000
    ) -> list[ProjectionFailure]:
        """Events that were put aside, by projection and position, those above position *after*."""
        return await self._call(
            _failures.listed, name=name, generation=self.generation, after=after, limit=limit
        )

    async def retry_failures(
        self, name: str, ids: Sequence[str] | None = None, *, deed: Deed | None = None
    ) -> int:
        """Have its runner try these failures (all of them) again, those of one key in order; how many."""
        return await self._call(_requests.retry_failures, name, ids, generation=self.generation, deed=deed)

    async def discard(self, name: str, ids: Sequence[str], *, deed: Deed | None = None) -> int:
        """Remove failures without handling them; how many there were."""
        return await self._call(_requests.discard, name, ids, generation=self.generation, deed=deed)

    async def note(self, name: str, deed: Deed) -> None:
        """Note what is done to it by other means."""

        def noted(database: Database, connection: Connection) -> None:
            with transaction(database, connection):
                _log.note(database, connection, [name], self.generation, deed)

        await self._call(noted)

    async def log(self, name: str | None = None, *, limit: int = 100) -> list[LoggedDeed]:
        """What people did to one (to all), latest first; of each the last thousand deeds are kept."""
        return await self._call(_log.latest, name, count=limit)

    async def _call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        def connected() -> T:
            with closing(self._connect()) as connection:
                return function(self.database, connection, *arguments, **named)

        return await asyncio.to_thread(connected)

    def _connect(self) -> Connection:
        return self.database.connect(application="penstock projections")
