"""`ReplayManager`: read models built anew beside the live ones, followed, switched with them, and switched back.

What a replay is at any moment is in the database of its read models; a manager keeps nothing. Every method may be
called from any process that has the app, also from one that was started after another was killed in the middle of it.
"""

import asyncio
from collections.abc import Sequence

from penstock.errors import ReplayMoveError
from penstock.projections import Projection
from penstock.replays import _moves, _plays
from penstock.replays._aside import LooksAside
from penstock.replays._candidates import candidates_of, check_part, narrowed
from penstock.replays._keeping import kept
from penstock.replays._lanes import check_processes
from penstock.replays._looking import holder_of
from penstock.replays._making import create, remove
from penstock.replays._manager_switches import Switches
from penstock.replays._managing import target_of, this_process
from penstock.replays._planning import planned
from penstock.replays._playing import OnProgress
from penstock.replays._records import Records
from penstock.replays._since import placed
from penstock.replays._workplace import chosen, copy_here, models_here, open_stores
from penstock.replays.abc import Part, Replay, ReplayProgress
from penstock.replays.copies import copied_tables, copy_of
from penstock.replays.values import ReplayPlan

__all__ = ["ReplayManager"]


def _check_part(part: Part, wanted: Sequence[Projection]) -> None:
    """Raises `ConfigurationError`."""
    makes_own = any(each.read_model is not None for each in wanted)
    check_part(part, copied_tables(wanted), makes_own=makes_own)


class ReplayManager(Switches, LooksAside):
    """The replays of an app: ``app.replays``.

    Everything may raise `StoreUnavailableError`, `StoreRefusedError`, and for a key that is unknown
    `UnknownReplayError`. *who* and *reason* are noted in the log; without *who* it is the process.
    """

    # -- beginning ------------------------------------------------------------------------------------------------

    async def plan(
        self, projections: Sequence[object] | str, key: str = "", *, part: Part | None = None
    ) -> ReplayPlan:
        """What a replay of these would be about: events, time, disk, and what is worth knowing before.

        *projections* are names, ``module:Class`` of handlers, or projections. Nothing is made. With *key*, one that
        cannot be taken is refused.

        Raises:
            UnknownProjectionError: There is none of that name.
            ConfigurationError: They cannot be one replay.
            ReplayExistsError: There is one of that key.
        """
        wanted, part = chosen(projections, self._workplace.projections), part or Part()
        if key:
            await self._check_key(key)
        target = target_of(wanted)
        _check_part(part, wanted)
        stores = await open_stores(self._workplace, wanted)
        part = await asyncio.to_thread(placed, part, wanted, stores)
        supervised = await self._workplace.supervised_projections([each.name for each in wanted])
        readers = {name: backend.reader for name, backend in stores.items()}
        records = Records(stores[target].database)
        return await asyncio.to_thread(planned, records, supervised, copied_tables(wanted), readers, part)

    async def create(
        self,
        key: str,
        projections: Sequence[object] | str,
        *,
        part: Part | None = None,
        processes: int = 1,
        who: str = "",
        reason: str = "",
    ) -> Replay:
        """Make an empty copy of the read models of these projections, by the code's present definitions.

        Raises:
            UnknownProjectionError: There is none of that name.
            ConfigurationError: The key cannot be one, or the projections write to different stores.
            ReplayExistsError: There is one of that key.
            ReplayError: A table cannot be copied. Whatever is raised, nothing is left of the new one.
        """
        wanted, part = chosen(projections, self._workplace.projections), part or Part()
        await self._check_key(key)
        target = target_of(wanted)
        _check_part(part, wanted)
        check_processes(wanted, processes)
        for each in wanted:
            narrowed(each.plan, part)
        stores = await open_stores(self._workplace, wanted)
        part = await asyncio.to_thread(placed, part, wanted, stores)
        live = stores[target].database
        copy = copy_of(key, wanted, live=live, part=part)
        supervised = await self._workplace.supervised_projections([each.name for each in wanted])
        candidates = candidates_of(supervised, copy, part)
        records = Records(live)
        replay = Replay(
            key=key,
            state="created",
            store=target,
            projections=tuple(each.name for each in wanted),
            versions={each.name: each.version for each in wanted},
            part=part,
            processes=processes,
            created_by=who or this_process(),
        )
        await kept(asyncio.to_thread(create, records, replay, copy, candidates, why=reason))
        return await self._replay(await self._found(key))

    async def start(
        self,
        key: str,
        *,
        from_zero: bool = False,
        on_progress: OnProgress | None = None,
        who: str = "",
        reason: str = "",
    ) -> ReplayProgress:
        """Play history to the copy, from where it stands to the end of the store; it may be started again and again.

        *from_zero*: empty the copy first. *on_progress* is called a few times a second; an error in it is logged once,
        and stops nothing. Cancelled, it stops after a page. Killed, it goes on when it is started again, or by itself
        where the app runs (`App.run`).

        Raises:
            ReplayMoveError: It follows already, or is promoted.
            ReplayBusyError: Another process plays it.
            ReplayError: A handler failed, or left its copy (`IsolationError`); the live read model is as it was.
        """
        there = await self._found(key)
        _moves.after(key, "start", there.record.replay.state)
        await self._play(there, from_zero=from_zero, on_progress=on_progress, who=who, why=reason)
        return await self.progress(key)

    async def resume(self, key: str) -> bool:
        """Go on with a play whose process was killed; whether there was one to go on with. For who runs the app.

        One that killed process after process where it stood is left alone.
        """
        there = await self._found(key)
        records = there.records
        if there.record.replay.state != "building" or not await asyncio.to_thread(
            records.call,
            lambda connection: _plays.is_to_be_resumed(records.database, connection, key),
        ):
            return False
        if await asyncio.to_thread(holder_of, copy_here(self._workplace, there)) is not None:
            return False
        await self._play(there, background=True)
        return True

    # -- following ------------------------------------------------------------------------------------------------

    async def follow(
        self, key: str, *, on_progress: OnProgress | None = None, who: str = "", reason: str = ""
    ) -> ReplayProgress:
        """Have whoever runs the projections feed the copy as well, by a runner and a checkpoint of its own.

        One that is behind is caught up first. Of a promoted one it is the former live read model that is fed again.
        One that is fed already and stands before an event goes on with it at once, with all its attempts.

        Raises as `start`.
        """
        there = await self._found(key)
        replay = there.record.replay
        if replay.state == "promoted" and not replay.former_versions:
            remedy = "nothing was live before it, so there is nothing to be fed"
            raise ReplayMoveError(key, step="follow", state=replay.state, remedy=remedy)
        if replay.state in ("created", "building", "built"):
            handled = 0

            def noted(progress: ReplayProgress) -> None:
                nonlocal handled
                handled = progress.handled
                if on_progress is not None:
                    on_progress(progress)

            if replay.state != "built" or await self.lag(key):
                await self._play(there, on_progress=noted, who=who, why=reason)
            which = f"after {handled:,} events" if handled else ""
        else:
            which = ""
        await self._move(there, "follow", who=who, which=which, why=reason, changes={"is_fed": True})
        await self._try_again(there)
        return await self.progress(key)

    async def unfollow(self, key: str, *, who: str = "", reason: str = "") -> ReplayProgress:
        """Have nobody feed the copy any more; it stays as it is. Raises `ReplayMoveError` if it is not fed."""
        there = await self._found(key)
        await self._move(there, "unfollow", who=who, why=reason, changes={"is_fed": False})
        return await self.progress(key)

    async def remove(self, key: str, *, who: str = "", reason: str = "") -> None:
        """Remove the copy and its record; what is live stays. The log stays as well.

        Raises `ReplayBusyError` while somebody plays it, or feeds it and does not let go.
        """
        there = await self._found(key)
        copy = copy_here(self._workplace, there)
        elsewhere = models_here(self._workplace, there.record)
        by = who or this_process()
        await kept(asyncio.to_thread(remove, there.records, key, copy, by, elsewhere, why=reason))

    # -- the steps under the names that others have for them ------------------------------------------------------

    create_replay = create
    start_replay = start
    get_replay = Switches.get
    get_replay_lag = Switches.lag
    start_projecting_to_replay = follow
    put_replay_live = Switches.promote
    remove_replay = remove
