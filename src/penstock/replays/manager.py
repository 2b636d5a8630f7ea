"""`ReplayManager`: read models built anew beside the live ones, followed, switched with them, and switched back.

What a replay is at any moment is in the database of its read models; a manager keeps nothing. Every method may be
called from any process that has the app, also from one that was started after another was killed in the middle of it.
"""

import asyncio
import builtins
from collections.abc import Sequence

from penstock.errors import ReplayRefusedError
from penstock.projections.abc import ProjectionStatus
from penstock.replays import _looking, _moves, _plays, _switching
from penstock.replays._aside import LooksAside
from penstock.replays._candidates import candidates_of, check_part, narrowed
from penstock.replays._lanes import check_processes
from penstock.replays._making import create, remove
from penstock.replays._managing import Managing, Say, keep_report, kept, silent, target_of, this_process
from penstock.replays._meeting import meet
from penstock.replays._planning import planned
from penstock.replays._playing import OnProgress
from penstock.replays._records import Records
from penstock.replays._switching import Switch
from penstock.replays._workplace import (
    Found,
    chosen,
    copy_here,
    find,
    models_here,
    open_stores,
    site_of,
    stores_of,
)
from penstock.replays.abc import (
    Finding,
    Part,
    Play,
    Replay,
    ReplayProgress,
    Switched,
    Verification,
)
from penstock.replays.copies import copied_tables, copy_of
from penstock.replays.values import ReplayDeed, ReplayPlan
from penstock.replays.verifying import Check, latest, verify

__all__ = ["ReplayManager"]


class ReplayManager(Managing, LooksAside):
    """The replays of an app: ``app.replays``.

    Everything may raise `StoreUnavailableError`, `StoreRefusedError`, and for a key that is unknown
    `UnknownReplayError`. *who* is noted in the log; left out, it is the process.
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
        check_part(part)
        stores = await open_stores(self._workplace, wanted)
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
        check_part(part)
        check_processes(wanted, processes)
        for each in wanted:
            narrowed(each.plan, part)
        stores = await open_stores(self._workplace, wanted)
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
        await kept(asyncio.to_thread(create, records, replay, copy, candidates))
        return await self._replay(await self._found(key))

    async def start(
        self,
        key: str,
        *,
        from_zero: bool = False,
        on_progress: OnProgress | None = None,
        who: str = "",
    ) -> ReplayProgress:
        """Play history to the copy, from where it stands to the end of the store; it may be started again and again.

        *from_zero*: empty the copy first. *on_progress* is called a few times a second. Cancelled, it stops after a
        page. Killed, it goes on when it is started again, or by itself where the app runs (`App.run`).

        Raises:
            ReplayMoveError: It follows already, or is promoted.
            ReplayBusyError: Another process plays it.
            ReplayError: A handler failed, or left its copy (`IsolationError`); the live read model is as it was.
        """
        there = await self._found(key)
        await self._play(there, from_zero=from_zero, on_progress=on_progress, who=who)
        return await self.progress(key)

    async def resume(self, key: str) -> bool:
        """Go on with a play whose process was killed; whether there was one to go on with. For who runs the app."""
        there = await self._found(key)
        records = there.records
        if there.record.replay.state != "building" or not await asyncio.to_thread(
            records.call,
            lambda connection: _plays.is_to_be_resumed(records.database, connection, key),
        ):
            return False
        await self._play(there, background=True)
        return True

    # -- looking --------------------------------------------------------------------------------------------------

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

    # -- following ------------------------------------------------------------------------------------------------

    async def follow(
        self, key: str, *, on_progress: OnProgress | None = None, who: str = ""
    ) -> ReplayProgress:
        """Have whoever runs the projections feed the copy as well, by a runner and a checkpoint of its own.

        One that is behind is caught up first. Of a promoted one it is the former live read model that is fed again.

        Raises as `start`.
        """
        there = await self._found(key)
        if there.record.replay.state in ("created", "building", "built"):
            handled = 0

            def noted(progress: ReplayProgress) -> None:
                nonlocal handled
                handled = progress.handled
                if on_progress is not None:
                    on_progress(progress)

            if there.record.replay.state != "built" or await self.lag(key):
                await self._play(there, on_progress=noted, who=who)
            which = f"after {handled:,} events" if handled else ""
        else:
            which = ""
        await self._move(there, "follow", who=who, which=which, changes={"is_fed": True})
        return await self.progress(key)

    async def unfollow(self, key: str, *, who: str = "") -> ReplayProgress:
        """Have nobody feed the copy any more; it stays as it is. Raises `ReplayMoveError` if it is not fed."""
        there = await self._found(key)
        await self._move(there, "unfollow", who=who, changes={"is_fed": False})
        return await self.progress(key)

    # -- comparing ------------------------------------------------------------------------------------------------

    async def verify(
        self,
        key: str,
        *,
        checks: Sequence[Check] = (),
        samples: Sequence[str] = (),
        rows: int = 20,
        on_progress: Say | None = None,
        who: str = "",
    ) -> Verification:
        """Compare the copy with what is live, at one position; the report is kept, and a promotion asks for it.

        Both stand still for a moment, while the comparison begins. *checks* are SQL that must find no rows in the copy,
        or functions of both sides; *samples* are queries that must answer the same. At most *rows* differing rows of
        each table are shown. *on_progress* is told what is being done.

        Raises:
            ReplayMoveError: It is not built.
            ReplayBusyError: They could not be held at one position; nothing was changed.
        """
        there = await self._found(key)
        _moves.after(key, "verify", there.record.replay.state)
        site = await site_of(self._workplace, there)
        meeting = meet(
            site.candidates,
            site.copy,
            lambda store: site.stores[store].reader(),
            patience=_switching.PATIENCE,
            declared_live=await self._declared_live(site),
        )
        part = there.record.replay.part
        report = await kept(
            asyncio.to_thread(
                verify,
                site.copy,
                meeting,
                part=part,
                keys=[stream.partition("-")[2] for stream in part.streams],
                checks=checks,
                samples=samples,
                rows=rows,
                say=on_progress or silent,
            )
        )
        await asyncio.to_thread(keep_report, there.records, there.record, report, who or this_process())
        return report

    async def reports(self, key: str) -> builtins.list[Verification]:
        """What comparisons found, latest first."""
        records = (await self._found(key)).records
        return await asyncio.to_thread(
            records.call, lambda connection: latest(records.database, connection, key)
        )

    # -- switching ------------------------------------------------------------------------------------------------

    async def preflight(self, key: str) -> builtins.list[Finding]:
        """What stands in the way of a promotion (of the way back, if it is promoted), or is worth knowing before."""
        there = await self._found(key)
        step: _moves.Step = "roll back" if there.record.replay.state == "promoted" else "promote"
        _moves.after(key, step, there.record.replay.state)
        return await self._findings(there)

    async def promote(
        self,
        key: str,
        *,
        reason: str = "",
        force: bool = False,
        who: str = "",
        say: Say | None = None,
    ) -> Switched:
        """Make the copy live, all its tables at once; the former live one then is what the replay keeps and feeds.

        *force*: also if it lags, or was not verified without differences; *reason* is recorded then. *say* is told
        what is being done.

        Raises:
            ReplayMoveError: It is not built, or is promoted already.
            ReplayRefusedError: Something stands in the way; `preflight` lists it.
            ReplayBusyError: Locks were not had in time; nothing was changed.
        """
        _switching.check_reason(key, reason, force=force)
        there = await self._found(key)
        record = there.record
        _moves.after(key, "promote", record.replay.state)
        site = await site_of(self._workplace, there)
        findings = await self._findings(there)
        if reasons := _switching.reasons_against(findings, force=force):
            raise ReplayRefusedError(key, step="be promoted", reasons=reasons)
        override = "; ".join(f"{each.subject}: {each.message}" for each in _switching.overridden(findings))
        if override and record.replay.state == "built" and await self.lag(key) > _switching.FAR:
            await self._play(there, who=who)
            record = (await self._found(key)).record
        switch = Switch(
            there.records,
            site.copy,
            site.candidates,
            await self._declared_live(site),
            lambda store: site.stores[store].reader(),
            who or this_process(),
            reason,
            f"{reason} ({override})" if override else "",
        )
        return await kept(asyncio.to_thread(switch.promote, record, say or silent))

    async def rollback(
        self, key: str, *, who: str = "", reason: str = "", say: Say | None = None
    ) -> Switched:
        """Make the former read model live again, by the same switch; nothing is lost while it was fed.

        Raises as `promote`.
        """
        there = await self._found(key)
        _moves.after(key, "roll back", there.record.replay.state)
        _switching.check_way_back(there.record)
        findings = await self._findings(there)
        if reasons := _switching.reasons_against(findings, force=False):
            raise ReplayRefusedError(key, step="be rolled back", reasons=reasons)
        site = await self._site_of_any_version(there)
        switch = Switch(
            there.records,
            site.copy,
            site.candidates,
            await self._declared_live(site),
            lambda store: site.stores[store].reader(),
            who or this_process(),
            reason,
        )
        return await kept(asyncio.to_thread(switch.roll_back, there.record, say or silent))

    async def remove(self, key: str, *, who: str = "") -> None:
        """Remove the copy and its record; what is live stays. The log stays as well.

        Raises `ReplayBusyError` while somebody plays it, or feeds it and does not let go.
        """
        there = await self._found(key)
        copy = copy_here(self._workplace, there)
        elsewhere = models_here(self._workplace, there.record)
        await kept(
            asyncio.to_thread(remove, there.records, there.record, copy, who or this_process(), elsewhere)
        )

    # -- the steps under the names that others have for them ------------------------------------------------------

    create_replay = create
    start_replay = start
    get_replay = get
    get_replay_lag = lag
    start_projecting_to_replay = follow
    put_replay_live = promote
    remove_replay = remove
