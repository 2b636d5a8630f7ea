"""The part of `ReplayManager` that looks: what replays there are, how they stand, and what was done to them."""

import asyncio
import builtins

from penstock.projections.abc import ProjectionStatus
from penstock.replays import _looking, _plays
from penstock.replays._managing import Managing
from penstock.replays._records import Records
from penstock.replays._workplace import Found, find, stores_of
from penstock.replays.abc import Play, Replay, ReplayProgress, Verification
from penstock.replays.values import ReplayDeed
from penstock.replays.verifying import latest

__all__ = ["Looks"]


class Looks(Managing):
    """The part of `ReplayManager` that changes nothing."""

    async def get(self, key: str) -> Replay | None:
        """A replay; ``None`` if there is none. Its error is that of the last play, or what its feeder stands at."""
        there = await find(self._workplace, key)
        return None if there is None else await self._replay(there)

    async def list(self) -> builtins.list[Replay]:
        """All replays, by key."""
        everything: list[Found] = []
        for name in stores_of(self._workplace):
            backend = await self._workplace.store(name).open()
            records = await asyncio.to_thread(Records(backend.database).all)
            everything += [Found(backend, record) for record in records]
        return [await self._replay(each) for each in sorted(everything, key=lambda each: each.key)]

    async def progress(self, key: str) -> ReplayProgress:
        """How far it is at this moment, whoever works on it."""
        there = await self._found(key)
        standing = await self._standing(there)
        last = await asyncio.to_thread(_looking.last_play, there.records, key)
        return _looking.progress_of(there.record.replay, standing, last)

    async def lag(self, key: str) -> int:
        """How many events its projections have still to take; of those that none of them handles none count."""
        return sum(each.lag_events for each in await self.statuses(key))

    async def statuses(self, key: str) -> builtins.list[ProjectionStatus]:
        """How each of its projections stands in the copy."""
        return await self._standing(await self._found(key))

    async def plays(self, key: str) -> builtins.list[Play]:
        """Every stretch of history that was played to it, latest first."""
        records = (await self._found(key)).records
        return await asyncio.to_thread(
            records.call, lambda connection: _plays.latest(records.database, connection, key)
        )

    async def log(self, key: str) -> builtins.list[ReplayDeed]:
        """Who did what to it, latest first; also of one that was removed."""
        deeds: list[ReplayDeed] = []
        for name in stores_of(self._workplace):
            backend = await self._workplace.store(name).open()
            deeds += await asyncio.to_thread(Records(backend.database).log, key)
        return sorted(deeds, key=lambda deed: deed.at, reverse=True)

    async def reports(self, key: str) -> builtins.list[Verification]:
        """What comparisons found, latest first."""
        records = (await self._found(key)).records
        return await asyncio.to_thread(
            records.call, lambda connection: latest(records.database, connection, key)
        )
