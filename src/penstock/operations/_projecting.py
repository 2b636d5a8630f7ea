"""Projections and relays for people: how far they are, what is wrong, and having them run, stop or begin again.

Looking and asking work on the tables beside the read models and load no code of the user's. What is asked for is done
by whoever runs the projection; where nobody does, a reset is done here, and needs the app.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta

from penstock.app import App
from penstock.operations._noting import person
from penstock.operations._projecting_places import Places
from penstock.operations._projecting_values import (
    CaughtUpTo,
    Found,
    ProjectionChange,
    ProjectionDetail,
    ProjectionOutcome,
    ProjectionsFound,
)
from penstock.operations._relays_of_streams import added_up
from penstock.projections._engine._catching_up import reset_now
from penstock.projections.abc import Deed, ProjectionKind, ProjectionStatus
from penstock.projections.control import ProjectionControl

__all__ = ["ProjectionOperations"]

_LOOK_EVERY = 0.1
_TELL_EVERY = 0.5
_FAILURES_SHOWN = 20
_WAIT = timedelta(seconds=10)
_FAILED = frozenset({"failed", "halted"})


class ProjectionOperations:
    """What can be done with the projections and relays of an app. Made by `Operations.projections`.

    A *kind* of ``None`` stands for both. Methods that take names raise `UnknownProjectionError` for one that is neither
    declared nor recorded anywhere, and `StoreUnavailableError`, `StoreRefusedError` as the databases do.

    Where *who* or *why* is said, it is noted beside the read model, in the transaction that does it, for
    `Operations.failed_log`.
    """

    def __init__(self, app: App, *, connect: bool = True) -> None:
        self._app = app
        self._places = Places(app, connect=connect)

    # -- looking ------------------------------------------------------------------------------------------------

    async def overview(self, kind: ProjectionKind | None = None) -> ProjectionsFound:
        """All of them by name, and what kept some store or stream from being looked at.

        A relay out of a partitioned stream is one: its partitions are added up.
        """
        found, problems = await self._places.look(kind)
        return ProjectionsFound(tuple(each.status for each in added_up(found)), tuple(problems))

    async def show(self, name: str, kind: ProjectionKind | None = None) -> ProjectionDetail:
        """One of them, with the first events that it could not handle."""
        parts = await self._places.named([name], kind, streams=True)
        failures = [
            failure
            for found in parts
            for failure in await self._places.control(found).failures(name, limit=_FAILURES_SHOWN)
        ]
        return ProjectionDetail(added_up(parts)[0].status, tuple(failures[:_FAILURES_SHOWN]))

    # -- running and standing -----------------------------------------------------------------------------------

    async def start(
        self,
        names: Sequence[str] = (),
        kind: ProjectionKind | None = None,
        *,
        who: str | None = None,
        why: str | None = None,
    ) -> list[ProjectionChange]:
        """Have these (all, if none are named) run again that were stopped."""
        changes: list[ProjectionChange] = []
        for found in await self._places.named(names, kind):
            if found.status.state not in ("stopped", "stopping"):
                changes.append(_change(found.status, ProjectionOutcome.ALREADY))
                continue
            deed = _deed("start", who, why) if all(each.name != found.name for each in changes) else None
            await self._places.control(found).start(found.name, deed=deed)
            changes.append(_change(found.status, ProjectionOutcome.ASKED, state="idle"))
        return _one_each(changes)

    async def stop(
        self,
        names: Sequence[str] = (),
        kind: ProjectionKind | None = None,
        *,
        wait: timedelta = _WAIT,
        who: str | None = None,
        why: str | None = None,
    ) -> list[ProjectionChange]:
        """Have these (all, if none are named) stand still until they are started again, and *wait* until they do."""
        chosen = await self._places.named(names, kind)
        moving = [found for found in chosen if found.status.state != "stopped"]
        noted: set[str] = set()
        for found in moving:
            deed = _deed("stop", who, why) if found.name not in noted else None
            await self._places.control(found).stop(found.name, deed=deed)
            noted.add(found.name)
        standing = await self._wait(moving, lambda status: status.state == "stopped", wait)
        changes: list[ProjectionChange] = []
        for found in chosen:
            if found.status.state == "stopped":
                changes.append(_change(found.status, ProjectionOutcome.ALREADY))
            elif (now := standing.get(found.place)) is not None:
                changes.append(_change(now, ProjectionOutcome.DONE))
            else:
                changes.append(_change(found.status, ProjectionOutcome.ASKED, state="stopping"))
        return _one_each(changes)

    async def retry(
        self,
        names: Sequence[str] = (),
        kind: ProjectionKind | None = None,
        *,
        who: str | None = None,
        why: str | None = None,
    ) -> list[ProjectionChange]:
        """Have the failed ones of these (of all, if none are named) go on at once, with all their attempts.

        All that failed are answered, and of those that were named also the others.
        """
        changes: list[ProjectionChange] = []
        for found in await self._places.named(names, kind):
            retried = await self._places.control(found).retry(found.name, deed=_deed("retry", who, why))
            if retried or found.status.state in _FAILED:
                changes.append(_change(found.status, ProjectionOutcome.ASKED))
            elif names:
                changes.append(_change(found.status, ProjectionOutcome.ALREADY))
        return _one_each(changes)

    async def reload(self) -> list[ProjectionChange]:
        """Have everyone who runs some drain and begin again with the present code; those that somebody may run.

        ``penstock run`` begins again as a whole. `App.run` in a process of yours has the code that it has: there only
        projections and relays begin again. Whoever starts after this has the present code already.
        """
        changes: list[ProjectionChange] = []
        for found in await self._places.named((), None):
            await self._places.control(found).reload(found.name)
            # On demand there is nobody to be seen between two runs.
            if found.status.holder is not None or found.status.mode == "on_demand":
                changes.append(_change(found.status, ProjectionOutcome.ASKED))
        return _one_each(changes)

    # -- beginning again ----------------------------------------------------------------------------------------

    async def reset(
        self, name: str, *, wait: timedelta = _WAIT, who: str | None = None, why: str | None = None
    ) -> ProjectionChange:
        """Empty the read model of a projection and its derived streams, and have it begin again at the first event.

        A relay begins again, too: stores pass over what they have, streams get everything once more. Whoever runs it
        does that, and it is waited for; where nobody does it is done here, and needs the app's code.
        """
        changes: list[ProjectionChange] = []
        for found in await self._places.named([name], None):
            deed = _deed("reset", who, why) if not changes else None
            if found.status.holder is None:
                await self._here(found, delete=False, read_model=True, emitted=True, deed=deed)
                changes.append(_change(found.status, ProjectionOutcome.DONE, state="idle"))
            else:
                await self._places.control(found).reset(name, emitted=True, deed=deed)
                changes.append(await self._answered(found, wait))
        return _one_each(changes)[0]

    async def delete(
        self,
        name: str,
        *,
        read_model: bool = False,
        emitted: bool = False,
        wait: timedelta = _WAIT,
        who: str | None = None,
        why: str | None = None,
    ) -> ProjectionChange:
        """Forget a projection, and with *read_model* and *emitted* also what it has made; where: as `reset`.

        Only to forget one needs no code, so that one which nobody declares any more can go. A relay that is forgotten
        holds nothing back any more in the store that it read.
        """
        parts = {"read model": read_model, "what it emitted": emitted}
        which = ", ".join(part for part, is_meant in parts.items() if is_meant)
        changes: list[ProjectionChange] = []
        for found in await self._places.named([name], None):
            deed = _deed("delete", who, why, which) if not changes else None
            control = self._places.control(found)
            if found.status.holder is not None:
                await control.delete(name, read_model=read_model, emitted=emitted, deed=deed)
                changes.append(await self._answered(found, wait))
                continue
            if read_model or emitted:
                await self._here(found, delete=True, read_model=read_model, emitted=emitted, deed=deed)
            else:
                await control.forget(name, deed=deed)
            if found.status.kind == "relay":
                await self._places.let_go(found)
            changes.append(_change(found.status, ProjectionOutcome.DONE, state="idle"))
        return _one_each(changes)[0]

    async def _here(
        self, found: Found, *, delete: bool, read_model: bool, emitted: bool, deed: Deed | None
    ) -> None:
        for supervised in await self._places.supervised(found):
            await reset_now(
                supervised.plan,
                supervised.handlers,
                target=await self._places.stores.opened(supervised.plan.target),
                generation=supervised.generation,
                delete=delete,
                read_model=read_model,
                emitted=emitted,
                deed=deed,
            )

    async def _answered(self, found: Found, wait: timedelta) -> ProjectionChange:
        """What became of a request, as far as its runner has answered."""
        until = time.monotonic() + wait.total_seconds()
        while await self._places.is_asked(found):
            if time.monotonic() >= until:
                return _change(found.status, ProjectionOutcome.ASKED)
            await asyncio.sleep(_LOOK_EVERY)
        return _change(found.status, ProjectionOutcome.DONE)

    # -- catching up, here --------------------------------------------------------------------------------------

    async def catch_up(
        self, names: Sequence[str] = (), *, who: str | None = None, why: str | None = None
    ) -> AsyncGenerator[CaughtUpTo, None]:
        """Run these projections of the app (all, if none are named) here, one after the other, to the end of now.

        Raises:
            ProjectionBusyError: Another process runs one.
            ProjectionHaltedError: A handler failed and the policy is to halt.
        """
        deed = _deed("catch-up", who, why)
        for name in names or sorted(self._app.projections):
            if deed is not None and name in self._app.projections:
                target = self._app.projections[name].plan.target
                await self._places.stores.opened(target)
                await ProjectionControl(self._places.stores.database(target)).note(name, deed)
            running = asyncio.create_task(self._app.catch_up(name), name=f"catching up {name}")
            try:
                while not running.done():
                    await asyncio.wait([running], timeout=_TELL_EVERY)
                    if (step := await self._step(name)) is not None:
                        yield step
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            if (step := await self._step(name, is_done=True)) is not None:
                yield step

    async def _step(self, name: str, *, is_done: bool = False) -> CaughtUpTo | None:
        found, _ = await self._places.look(None, streams=False)
        status = next((each.status for each in found if each.name == name), None)
        if status is None:
            return None
        is_stopped = status.state in ("stopped", "stopping") and status.lag_events > 0
        return CaughtUpTo(name, status.position, status.head, is_done, is_stopped)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def _wait(
        self, chosen: Sequence[Found], is_so: Callable[[ProjectionStatus], bool], wait: timedelta
    ) -> dict[tuple[str, str, str], ProjectionStatus]:
        """Those of which it has become true, by their places."""
        until = time.monotonic() + wait.total_seconds()
        reached: dict[tuple[str, str, str], ProjectionStatus] = {}
        while True:
            for found in chosen:
                now = None if found.place in reached else await self._places.state(found)
                if now is not None and is_so(now):
                    reached[found.place] = now
            if len(reached) == len(chosen) or time.monotonic() >= until:
                return reached
            await asyncio.sleep(_LOOK_EVERY)


_LEAST = (ProjectionOutcome.ASKED, ProjectionOutcome.DONE, ProjectionOutcome.ALREADY)


def _one_each(changes: Sequence[ProjectionChange]) -> list[ProjectionChange]:
    """One of each name, of a relay with partitions that which has come least far."""
    least: dict[str, ProjectionChange] = {}
    for each in changes:
        known = least.get(each.name)
        if known is None or _LEAST.index(each.outcome) < _LEAST.index(known.outcome):
            least[each.name] = each
    return list(least.values())


def _deed(what: str, who: str | None, why: str | None, which: str = "") -> Deed | None:
    by = person(who, why)
    return None if by is None else Deed(by.who, what, which, by.why)


def _change(
    status: ProjectionStatus, outcome: ProjectionOutcome, *, state: str | None = None
) -> ProjectionChange:
    return ProjectionChange(status.name, status.kind, outcome, state or status.state, status.holder)
