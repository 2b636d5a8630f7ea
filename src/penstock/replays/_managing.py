"""What the methods of `ReplayManager` have in common: how a replay is found, played, looked at."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from penstock.errors import ConfigurationError, ReplayExistsError
from penstock.projections import Projection
from penstock.projections._engine import _requests
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import ProjectionPlan, ProjectionStatus
from penstock.replays import _looking, _plays
from penstock.replays._candidates import narrowed
from penstock.replays._connecting import connected
from penstock.replays._distance import wanted_by
from penstock.replays._elsewhere import candidate_elsewhere
from penstock.replays._elsewhere_places import not_compared
from penstock.replays._keeping import check_free, kept
from penstock.replays._making import ensure_made
from penstock.replays._moves import Step
from penstock.replays._order import out_of_order
from penstock.replays._playing import OnProgress, PlaysParts, Site, play
from penstock.replays._records import Record, Records, change, note
from penstock.replays._switching import standing_findings
from penstock.replays._workplace import (
    Found,
    Workplace,
    copy_here,
    declared_here,
    find,
    found,
    models_here,
    open_stores,
    site_of,
)
from penstock.replays.abc import Candidate, Finding, Part, Replay, Verification
from penstock.replays.verifying import keep
from penstock.store.database import Connection

__all__ = ["Managing", "Say", "silent", "target_of", "this_process"]

Say = Callable[[str], Any]
"""Told what is being done, in words."""

_LONGEST_KEY: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Managing:
    """The lower half of a manager."""

    def __init__(self, workplace: Workplace, parts: PlaysParts | None = None) -> None:
        self._workplace, self._parts = workplace, parts

    async def _found(self, key: str) -> Found:
        return await found(self._workplace, key)

    async def _check_key(self, key: str) -> None:
        """Raises `ConfigurationError` for what cannot be a key, `ReplayExistsError` for one that is taken."""
        if (
            not isinstance(key, str)
            or not key
            or key != key.strip()
            or any(ord(character) < 32 for character in key)
            or len(key.encode("utf-8", "surrogatepass")) > _LONGEST_KEY
        ):
            raise ConfigurationError(
                f"{key!r} cannot be the key of a replay; use up to {_LONGEST_KEY} bytes of visible characters without "
                "blanks around them"
            )
        if await find(self._workplace, key) is not None:
            raise ReplayExistsError(key)

    async def _replay(self, there: Found) -> Replay:
        copy = copy_here(self._workplace, there)
        return await asyncio.to_thread(_looking.with_error, copy, there.record)

    async def _standing(self, there: Found) -> list[ProjectionStatus]:
        """How each of its projections stands in the copy."""
        record, declared = there.record, declared_here(self._workplace, there.record)
        supervised = (
            await self._workplace.supervised_projections([each.name for each in declared]) if declared else []
        )
        plans = [_as_read(each, record.replay.part) for each in supervised]
        sources = {plan.source for plan in plans} | {record.replay.store}
        readers: dict[str, Any] = {}
        for name in sorted(sources):
            readers[name] = (await self._workplace.store(name).open()).reader
        copy = copy_here(self._workplace, there)
        return await asyncio.to_thread(_looking.standing, copy, record, readers, plans)

    async def _findings(self, there: Found) -> list[Finding]:
        standing = await self._standing(there)
        copy = copy_here(self._workplace, there)
        elsewhere = not_compared(models_here(self._workplace, there.record))
        live = await asyncio.to_thread(_looking.standing_live, copy, there.record)
        of_copy = await asyncio.to_thread(copy.preflight)
        others = await asyncio.to_thread(there.records.all)
        order = out_of_order(there.record.replay, others, {each.name: each.version for each in live})
        return [*standing_findings(there.record, standing, live), *order, *elsewhere, *of_copy]

    async def _move(
        self,
        there: Found,
        step: Step,
        *,
        who: str = "",
        which: str = "",
        why: str = "",
        changes: Mapping[str, object] | None = None,
    ) -> None:
        await asyncio.to_thread(
            lambda: there.records.move(
                there.key,
                step,
                who=who or this_process(),
                which=which,
                why=why,
                changes=changes,
                also=lambda mine: check_free(there.records.database, mine, there.key, step),
            )
        )

    async def _play(
        self,
        there: Found,
        *,
        from_zero: bool = False,
        background: bool = False,
        on_progress: OnProgress | None = None,
        who: str = "",
        why: str = "",
    ) -> None:
        site = await site_of(self._workplace, there)
        await kept(asyncio.to_thread(ensure_made, there.records, there.record, site))
        await play(
            site,
            from_zero=from_zero,
            who=who or this_process(),
            why=why,
            background=background,
            on_progress=on_progress,
            parts=self._parts if there.record.replay.processes > 1 else None,
        )

    async def _try_again(self, there: Found) -> None:
        """Have those that stand before an event in the copy go on at once."""
        record, copy = there.record, copy_here(self._workplace, there)

        def tried() -> None:
            if not copy.exists():
                return
            with connected(copy.database) as connection:
                _requests.retry(copy.database, connection, record.replay.projections, generation=there.key)

        await kept(asyncio.to_thread(tried))

    async def _declared_live(self, site: Site) -> Mapping[str, Supervised]:
        """What runs the live generations here, as far as versions fit."""
        known = self._workplace.projections
        names = [each.plan.name for each in site.candidates if each.plan.name in known]
        found = await self._workplace.supervised_projections(names) if names else []
        return {each.plan.name: each for each in found}

    async def _site_of_any_version(self, there: Found) -> Site:
        """A replay with all that works on it here; projections of other versions are waited for, and not run."""
        record, known = there.record, self._workplace.projections
        declared = declared_here(self._workplace, record)
        if len(declared) == len(record.replay.projections):
            return await site_of(self._workplace, there)
        copy = copy_here(self._workplace, there)
        supervised = (
            await self._workplace.supervised_projections([each.name for each in declared]) if declared else []
        )
        candidates = [
            Candidate(narrowed(each.plan, record.replay.part), copy.guard(each.handlers))
            for each in supervised
        ]
        names = {each.plan.name for each in supervised}

        def elsewhere() -> list[Candidate]:
            with connected(copy.database) as connection:
                return [
                    candidate_elsewhere(
                        copy.database, connection, there.key, name, target=record.replay.store
                    )
                    for name in record.replay.projections
                    if name not in names
                ]

        candidates += await asyncio.to_thread(elsewhere)
        stores = await open_stores(self._workplace, [each for each in known.values() if each.name in names])
        for source in {each.plan.source for each in candidates} - stores.keys():
            stores[source] = await self._workplace.store(source).open()
        return Site(there.key, there.records, copy, candidates, stores, there.backend)


def keep_report(records: Records, record: Record, since: int, report: Verification, who: str) -> None:
    """Keep a report, and what it says of the replay, together. *record* is of before, *since* its last play then.

    A copy that was emptied or switched meanwhile is not the one that was compared: then it says nothing of the replay.
    """
    database, key = records.database, report.replay
    found = sum(table.differing for table in report.tables)
    which = "no differences" if report.is_green else f"{found:,} rows and {len(report.failed_checks)} checks"
    at = (report.at - _EPOCH) // timedelta(microseconds=1)
    facts = {"verified_at": at, "verified_position": report.position, "is_verified": report.is_green}

    def done(connection: Connection, current: Record | None) -> bool:
        if current is None:
            return True
        is_same = (current.replay.state, current.generation_versions) == (
            record.replay.state,
            record.generation_versions,
        ) and not _plays.went_back(database, connection, key, since=since, to_before=report.position)
        if is_same and not change(database, connection, current, **facts):
            return False
        keep(database, connection, report)
        note(database, connection, key, "verify", who=who, which=which)
        return True

    records.changed(key, "verify", done)


def _as_read(supervised: Supervised, part: Part) -> ProjectionPlan:
    """A plan with the event names that have handlers, as they are pushed down."""
    plan = narrowed(supervised.plan, part)
    return replace(plan, wanted=wanted_by(replace(supervised, plan=plan)) or plan.wanted)


def target_of(projections: Sequence[Projection]) -> str:
    """The store that all of them write to. Raises `ConfigurationError`."""
    targets = sorted({each.into for each in projections})
    if len(targets) > 1:
        said = ", ".join(f"{each.name!r} into {each.into!r}" for each in projections)
        raise ConfigurationError(
            f"the projections of one replay are switched in one transaction, so they write to one store: {said}; "
            "create a replay for each store"
        )
    return targets[0]


def this_process() -> str:
    """Host and process, where nobody says who it is."""
    return f"{socket.gethostname()}:{os.getpid()}"


def silent(_: str) -> None:
    """Nobody is told."""
