"""The part of `ReplayManager` that compares a copy with what is live, and exchanges the two."""

import asyncio
import builtins
from collections.abc import Sequence

from penstock.errors import (
    ProjectionBusyError,
    ProjectionHaltedError,
    ReplayRefusedError,
    StaleRunnerError,
)
from penstock.projections._engine._catching_up import catch_up
from penstock.replays import _looking, _moves, _switching
from penstock.replays._keeping import kept
from penstock.replays._manager_looks import Looks
from penstock.replays._managing import Say, keep_report, silent, this_process
from penstock.replays._meeting import meet
from penstock.replays._playing import Site
from penstock.replays._switching import Switch
from penstock.replays._workplace import site_of
from penstock.replays.abc import Finding, Switched, Verification
from penstock.replays.verifying import Check, verify

__all__ = ["Switches"]


class Switches(Looks):
    """The part of `ReplayManager` that holds both generations at one position."""

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
        last = await asyncio.to_thread(_looking.last_play, there.records, key)
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
        since = 0 if last is None else last.id
        by = who or this_process()
        await asyncio.to_thread(keep_report, there.records, there.record, since, report, by)
        return report

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

        *force*: also if it lags, was not verified without differences, or what is live stands before an event that the
        copy has handled; *reason* is recorded then. *say* is told what is being done.

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
        override = _switching.overridden(findings, reason)
        if override and await self.lag(key) > _switching.FAR:
            if record.replay.state == "built":
                await self._play(there, who=who, why=reason)
                record = (await self._found(key)).record
            else:
                await self._catch_up(site)
        switch = await self._switch(site, who=who, reason=reason, override=override, force=force)
        return await kept(asyncio.to_thread(switch.promote, record, say or silent))

    async def rollback(
        self,
        key: str,
        *,
        reason: str = "",
        force: bool = False,
        who: str = "",
        say: Say | None = None,
    ) -> Switched:
        """Make the former read model live again, by the same switch; nothing is lost while it was fed.

        *force*: also if it lags, which it is caught up from first, or if what is live stands before an event; *reason*
        is recorded then.

        Raises as `promote`.
        """
        _switching.check_reason(key, reason, force=force, doing="rolling back")
        there = await self._found(key)
        _moves.after(key, "roll back", there.record.replay.state)
        _switching.check_way_back(there.record)
        findings = await self._findings(there)
        if reasons := _switching.reasons_against(findings, force=force):
            raise ReplayRefusedError(key, step="be rolled back", reasons=reasons)
        site = await self._site_of_any_version(there)
        override = _switching.overridden(findings, reason)
        if override and await self.lag(key) > _switching.FAR:
            await self._catch_up(site)
        switch = await self._switch(site, who=who, reason=reason, override=override, force=force)
        return await kept(asyncio.to_thread(switch.roll_back, there.record, say or silent))

    async def _switch(self, site: Site, *, who: str, reason: str, override: str, force: bool) -> Switch:
        """The exchange of what is live and the copy, which leads either way."""
        return Switch(
            site.records,
            site.copy,
            site.candidates,
            await self._declared_live(site),
            lambda store: site.stores[store].reader(),
            who or this_process(),
            reason,
            override,
            is_forced=force,
        )

    async def _catch_up(self, site: Site) -> None:
        """Bring the copy near by the code that is here. One that somebody runs comes near by itself."""
        declared = self._workplace.projections
        for candidate in site.candidates:
            plan = candidate.plan
            if plan.name not in declared or declared[plan.name].version != plan.version:
                continue
            try:
                await catch_up(
                    plan,
                    candidate.handlers,
                    source=site.stores[plan.source],
                    target=site.target,
                    generation=site.key,
                    database=site.copy.database,
                    is_made=True,
                )
            except (ProjectionBusyError, StaleRunnerError):
                continue
            except ProjectionHaltedError as failure:
                raise ReplayRefusedError(site.key, step="be switched", reasons=[str(failure)]) from failure
