"""Replays for people: what they are about, how they stand, what comes next, and each step with what it would do.

Looking works on the tables beside the read models and loads no code of the user's; what code would know besides, which
events have a handler, is recorded with the copy.
"""

from collections.abc import Sequence

from penstock.app import App
from penstock.errors import PenstockError, ReplayExistsError, UnknownReplayError
from penstock.operations._noting import person
from penstock.operations._replaying_places import ReplayPlaces
from penstock.operations._replaying_values import (
    ReplayDetail,
    ReplayIntent,
    ReplaysFound,
    ReplayStep,
    ReplaySummary,
    steps_from,
)
from penstock.replays import _moves
from penstock.replays._managing import Say
from penstock.replays._playing import OnProgress
from penstock.replays._switching import reasons_against
from penstock.replays.abc import Finding, Part, Replay, ReplayProgress, Switched, Verification
from penstock.replays.manager import ReplayManager
from penstock.replays.values import ReplayPlan
from penstock.replays.verifying import Check

__all__ = ["ReplayOperations"]

_PLAYS_SHOWN = 10
_LOG_SHOWN = 20


class ReplayOperations:
    """What can be done with the replays of an app. Made by `Operations.replays`.

    Methods that take a key raise `UnknownReplayError` for one that is nowhere, and `StoreUnavailableError`,
    `StoreRefusedError` as the databases do. *who* is noted in the log of the replay.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._places = ReplayPlaces(app)

    # -- looking ------------------------------------------------------------------------------------------------

    async def overview(self) -> ReplaysFound:
        """All of them by key, and what kept some store from being looked at."""
        names, problems = await self._places.reachable()
        items: list[ReplaySummary] = []
        for name in names:
            manager = self._places.manager_in(name)
            try:
                for replay in await manager.list():
                    items.append(ReplaySummary(replay, await manager.progress(replay.key)))
            except PenstockError as failure:
                problems.append(f"store {name!r}: {failure}")
        return ReplaysFound(tuple(sorted(items, key=lambda each: each.replay.key)), tuple(problems))

    async def show(self, key: str) -> ReplayDetail:
        """Everything about one of them."""
        manager, replay = await self._found(key)
        progress = await manager.progress(replay.key)
        reports = await manager.reports(key)
        findings = await self._findings(manager, replay)
        return ReplayDetail(
            replay=replay,
            progress=progress,
            projections=tuple(await manager.statuses(key)) if replay.place else (),
            live_versions=await self._places.live_versions(replay),
            plays=tuple((await manager.plays(key))[:_PLAYS_SHOWN]),
            verification=reports[0] if reports else None,
            findings=tuple(findings),
            log=tuple((await manager.log(key))[:_LOG_SHOWN]),
            next_steps=steps_from(replay, progress, findings),
        )

    async def progress(self, key: str) -> ReplayProgress:
        """How far one of them is."""
        manager, replay = await self._found(key)
        return await manager.progress(replay.key)

    # -- beginning ----------------------------------------------------------------------------------------------

    async def plan(
        self, projections: Sequence[str], key: str = "", *, part: Part | None = None
    ) -> ReplayPlan:
        """What a replay of these would be about. Raises as `ReplayManager.plan`."""
        if key:
            await self._check_new(key)
        return await self._app.replays.plan(projections, key, part=part)

    async def create(
        self,
        key: str,
        projections: Sequence[str],
        *,
        part: Part | None = None,
        processes: int = 1,
        who: str | None = None,
        why: str | None = None,
    ) -> Replay:
        """Make an empty copy of their read models. Raises as `ReplayManager.create`."""
        await self._check_new(key)
        return await self._app.replays.create(
            key, projections, part=part, processes=processes, who=_name(who), reason=_reason(who, why)
        )

    async def start(
        self,
        key: str,
        *,
        from_zero: bool = False,
        on_progress: OnProgress | None = None,
        who: str | None = None,
        why: str | None = None,
    ) -> ReplayProgress:
        """Play history to it here, to the end of the store. Raises as `ReplayManager.start`."""
        manager = await self._at_work(key)
        return await manager.start(
            key, from_zero=from_zero, on_progress=on_progress, who=_name(who), reason=_reason(who, why)
        )

    # -- following ----------------------------------------------------------------------------------------------

    async def follow(
        self,
        key: str,
        *,
        on_progress: OnProgress | None = None,
        who: str | None = None,
        why: str | None = None,
    ) -> ReplayProgress:
        """Have it fed, caught up first. Raises as `ReplayManager.follow`."""
        manager = await self._at_work(key)
        return await manager.follow(key, on_progress=on_progress, who=_name(who), reason=_reason(who, why))

    async def unfollow(self, key: str, *, who: str | None = None, why: str | None = None) -> ReplayProgress:
        """Have nobody feed it any more. Raises as `ReplayManager.unfollow`."""
        manager, _ = await self._found(key)
        return await manager.unfollow(key, who=_name(who), reason=_reason(who, why))

    async def verify(
        self,
        key: str,
        *,
        checks: Sequence[Check] = (),
        samples: Sequence[str] = (),
        rows: int = 20,
        on_progress: Say | None = None,
        who: str | None = None,
    ) -> Verification:
        """Compare it with what is live. Raises as `ReplayManager.verify`."""
        manager = await self._at_work(key)
        return await manager.verify(
            key, checks=checks, samples=samples, rows=rows, on_progress=on_progress, who=_name(who)
        )

    # -- switching ----------------------------------------------------------------------------------------------

    async def intent(
        self, key: str, step: ReplayStep, *, from_zero: bool = False, force: bool = False
    ) -> ReplayIntent:
        """What a step would do, and why it would be refused; nothing is changed.

        Raises:
            ReplayMoveError: It does not come next.
        """
        manager, replay = await self._found(key)
        if step != "follow":
            _moves.after(key, step, replay.state)
        elif replay.state not in ("created", "building"):
            _moves.after(key, "follow", replay.state)
        findings: list[Finding] = []
        reasons: list[str] = []
        if step in ("promote", "roll back"):
            findings = await manager.preflight(key)
            reasons = reasons_against(findings, force=force)
        if step == "roll back":
            reasons += _without_way_back(replay)
        says = _says(step, replay, await manager.progress(replay.key), from_zero=from_zero)
        return ReplayIntent(step, replay, tuple(says), tuple(findings), tuple(reasons))

    async def promote(
        self,
        key: str,
        *,
        force: bool = False,
        say: Say | None = None,
        who: str | None = None,
        why: str | None = None,
    ) -> Switched:
        """Make it live. *force* needs *why*. Raises as `ReplayManager.promote`."""
        manager = await self._at_work(key)
        return await manager.promote(key, force=force, say=say, who=_name(who), reason=_reason(who, why))

    async def rollback(
        self,
        key: str,
        *,
        force: bool = False,
        say: Say | None = None,
        who: str | None = None,
        why: str | None = None,
    ) -> Switched:
        """Make the former read model live again. *force* needs *why*. Raises as `ReplayManager.rollback`."""
        manager = await self._at_work(key)
        return await manager.rollback(key, force=force, say=say, who=_name(who), reason=_reason(who, why))

    async def remove(self, key: str, *, who: str | None = None, why: str | None = None) -> Replay:
        """Drop what is not live of it, and its record; as it was before. Raises as `ReplayManager.remove`."""
        manager, replay = await self._found(key)
        await manager.remove(key, who=_name(who), reason=_reason(who, why))
        return replay

    # -- finding ------------------------------------------------------------------------------------------------

    async def _found(self, key: str) -> tuple[ReplayManager, Replay]:
        names, problems = await self._places.reachable()
        for name in names:
            manager = self._places.manager_in(name)
            if (replay := await manager.get(key)) is not None:
                return manager, replay
        if problems:
            self._places.raise_what_is_away()
        raise UnknownReplayError(key, await self._places.nearest(key, names))

    async def _at_work(self, key: str) -> ReplayManager:
        _, replay = await self._found(key)
        return self._places.manager_of(replay)

    async def _check_new(self, key: str) -> None:
        """Raises `ReplayExistsError`, also where the replay is in a store that no projection writes to any more."""
        names, _ = await self._places.reachable()
        for name in names:
            if await self._places.manager_in(name).get(key) is not None:
                raise ReplayExistsError(key)

    async def _findings(self, manager: ReplayManager, replay: Replay) -> list[Finding]:
        if replay.state not in ("built", "following", "promoted"):
            return []
        return await manager.preflight(replay.key)


def _name(who: str | None) -> str:
    by = person(who, None)
    return by.who if by is not None else ""


def _reason(who: str | None, why: str | None) -> str:
    by = person(who, why)
    return by.why if by is not None else ""


def _without_way_back(replay: Replay) -> list[str]:
    return [
        f"projection {name!r} was never live before it"
        for name in replay.projections
        if name not in replay.former_versions
    ]


def _says(step: ReplayStep, replay: Replay, progress: ReplayProgress, *, from_zero: bool) -> list[str]:
    tables = ", ".join(replay.tables)
    match step:
        case "start" if from_zero:
            return ["the copy is emptied", "all of history is played to it again"]
        case "start" | "follow" if replay.state != "promoted":
            played = (
                f"{progress.lag_events:,} events are played to it, from position {progress.position:,} on"
            )
            fed = "whoever runs its projections feeds it from then on"
            return [played] if step == "start" else [*([played] if progress.lag_events else []), fed]
        case "follow":
            return ["whoever runs its version of the projections feeds the former read model again"]
        case "unfollow":
            return ["nobody feeds it any more"]
        case "verify":
            return [f"its tables are compared with what is live, at one position: {tables}"]
        case "promote":
            return [
                f"all its tables become live at once: {tables}",
                "what is live now is kept and fed, so that you can roll back",
            ]
        case "roll back":
            return [f"what was live before the promotion is live again: {tables}"]
        case "remove" if replay.state == "promoted":
            return [f"the former read model goes ({tables}), and with it the way back", "what is live stays"]
        case _:
            return [f"the copy goes ({tables})", "what is live stays"]
