"""Events that projections and relays could not handle, in the same form as failed messages of consumer groups.

Their records are rows beside the read model. Whoever runs the projection tries them again when asked; where nobody
does, the app does it here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from penstock.app import App
from penstock.errors import PenstockError, ProjectionBusyError, ProjectionHaltedError
from penstock.operations._failures import FailedWhich
from penstock.operations._noting import Person, words_of
from penstock.operations._projecting_places import Places
from penstock.operations._values import (
    EntryView,
    FailedDetail,
    FailedMessage,
    PlanPart,
    RetryOutcome,
    RetryPlan,
    RetryResult,
)
from penstock.operations._views import view_of, view_of_message
from penstock.position import EntryId
from penstock.projections.abc import LIVE, Deed, ProjectionFailure
from penstock.projections.control import ProjectionControl
from penstock.relays._stream_source import entry_id_at
from penstock.relays.abc import stream_in
from penstock.store.abc import EventFilter

__all__ = ["KeptFailure", "ProjectionFailures"]

_MOST = 10_000
_WAIT_SECONDS = 10.0
_LOOK_EVERY = 0.1
_WHOLE_MESSAGE = "*"


@dataclass(frozen=True, slots=True)
class KeptFailure:
    """A record with its place."""

    store: str
    generation: str
    failure: ProjectionFailure
    source: str = ""
    """What the projection reads; a relay may read a stream."""

    @property
    def entry_id(self) -> EntryId:
        """By what it is named: the entry's id in a stream, the position in a store."""
        position = self.failure.position
        return EntryId(position) if stream_in(self.source) is None else entry_id_at(position)

    @property
    def place(self) -> tuple[str, str, str]:
        """Which projection's it is, and where."""
        return self.store, self.generation, self.failure.projection

    @property
    def shown(self) -> FailedMessage:
        """As operations answer with it."""
        failure = self.failure
        return FailedMessage(
            pool=self.store,
            stream=failure.stream,
            group=failure.projection,
            entry_id=self.entry_id,
            listener=_WHOLE_MESSAGE,
            state=failure.state,
            cause="waiting" if failure.state == "waiting" else "error",
            error_type=failure.error_class,
            error=failure.message,
            attempts=failure.attempts,
            first_failed=failure.first_at,
            last_failed=failure.last_at,
            due=None,
            parked_key=None if failure.state == "failed" else failure.key or "",
            projection=failure.projection,
            position=failure.position if stream_in(self.source) is None else None,
        )


class ProjectionFailures:
    """The records of an app's stores, as far as they can be reached."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._places = Places(app)

    async def matching(self, which: FailedWhich) -> tuple[list[KeptFailure], tuple[str, ...]]:
        """Those that match, oldest last failure first, and which stores could not be asked."""
        if which.group is not None or which.listener is not None or which.pool is not None:
            return [], ()
        found: list[KeptFailure] = []
        stores, problems = await self.reachable()
        for store in stores:
            rows = await self._places.rows(
                store,
                "SELECT DISTINCT f.generation, f.projection, c.source FROM penstock_projection_failures f "
                "LEFT JOIN penstock_checkpoints c ON c.projection = f.projection AND c.generation = f.generation",
            )
            sources = {(generation, name): source or "" for generation, name, source in rows}
            for generation in dict.fromkeys(generation for generation, _, _ in rows):
                failures = await self.control(store, generation).failures(which.projection, limit=_MOST)
                kept = [
                    KeptFailure(store, generation, each, sources.get((generation, each.projection), ""))
                    for each in failures
                ]
                found += [each for each in kept if _is_meant(which, each)]
        return sorted(
            found, key=lambda each: (each.failure.last_at, each.place, each.failure.position)
        ), problems

    async def details(self, which: FailedWhich, *, limit: int) -> list[FailedDetail]:
        """Up to *limit* of them with traceback and the event."""
        found: list[FailedDetail] = []
        matching, _ = await self.matching(which)
        for kept in matching[:limit]:
            message = await self._message(kept)
            found.append(FailedDetail(kept.shown, kept.failure.traceback, message))
        return found

    async def _message(self, kept: KeptFailure) -> EntryView | None:
        """The event, as far as it is still where it was read."""
        source, position = kept.source, kept.failure.position
        if stream_in(source) is None and source not in self._app.store_names:
            return None
        try:
            if (stream := stream_in(source)) is None:
                backend = await self._places.stores.opened(source)
                page = await backend.read(EventFilter(), after=position - 1, through=position, limit=1)
                return next((view_of_message(source, event) for event in page.events), None)
            broker = await self._app.broker_for(stream)
            entries = await broker.range(stream, kept.entry_id, kept.entry_id, count=1)
            return next((view_of(kept.store, stream, entry, self._app.layouts) for entry in entries), None)
        except PenstockError:
            return None  # the record is shown even so

    async def plan(self, which: FailedWhich) -> RetryPlan:
        """What matches, counted by projection."""
        found, problems = await self.matching(which)
        return RetryPlan(
            tuple(
                PlanPart(store, "*", name, _WHOLE_MESSAGE, len(kept), projection=name)
                for (store, _, name), kept in _by_place(found)
            ),
            problems,
        )

    async def flush(self, which: FailedWhich, *, by: Person | None = None) -> int:
        """Forget what matches; how many there were."""
        count, deed = 0, _deed(by, "flush", which)
        found, _ = await self.matching(which)
        for (store, generation, name), kept in _by_place(found):
            ids = [each.failure.id for each in kept]
            count += await self.control(store, generation).discard(name, ids, deed=deed)
        return count

    async def retry(
        self, which: FailedWhich, *, by: Person | None = None
    ) -> AsyncGenerator[RetryResult, None]:
        """Have what matches tried again, by whoever runs it, else here; what became of each."""
        found, _ = await self.matching(which)
        for (store, generation, name), kept in _by_place(found):
            control = self.control(store, generation)
            ids = [each.failure.id for each in kept]
            await control.retry_failures(name, ids, deed=_deed(by, "retry", which))
            is_run = any(each.name == name and each.holder is not None for each in await control.statuses({}))
            if not is_run and generation == LIVE:
                await self._run_here(name)
            waiting = await self._until_tried(store, generation, name)
            left = {each.id: each for each in await control.failures(name, limit=_MOST)}
            for each in kept:
                yield _result(each, left.get(each.failure.id), is_waiting=each.failure.id in waiting)

    async def _run_here(self, name: str) -> None:
        if name in self._app.projections or name in self._app.relay_names:
            try:
                await self._app.catch_up(name)
            except (ProjectionHaltedError, ProjectionBusyError):
                return  # what was asked for is still there, or another process has it now

    async def _until_tried(self, store: str, generation: str, name: str) -> set[str]:
        """The ids of those that nobody has tried for a while."""
        until = time.monotonic() + _WAIT_SECONDS
        while True:
            rows = await self._places.rows(
                store,
                "SELECT id FROM penstock_projection_failures "
                "WHERE projection = ? AND generation = ? AND wanted = 1",
                (name, generation),
            )
            if not rows or time.monotonic() >= until:
                return {id_ for [id_] in rows}
            await asyncio.sleep(_LOOK_EVERY)

    async def reachable(self) -> tuple[list[str], tuple[str, ...]]:
        """The stores that can be asked, and what is wrong with the others."""
        found: list[str] = []
        problems: list[str] = []
        for place in self._places.stores.all():
            if place.exists:
                try:
                    await self._places.stores.opened(place.name)
                except PenstockError as failure:
                    problems.append(f"store {place.name!r}: {failure}")
                    continue
                found.append(place.name)
        return found, tuple(problems)

    def control(self, store: str, generation: str = LIVE) -> ProjectionControl:
        """What tells the projections of a store what to do."""
        return ProjectionControl(self._places.stores.database(store), generation=generation)


def _deed(by: Person | None, what: str, which: FailedWhich) -> Deed | None:
    return None if by is None else Deed(by.who, what, words_of(which), by.why)


def _is_meant(which: FailedWhich, kept: KeptFailure) -> bool:
    failure = kept.failure
    state = "parked" if failure.state == "waiting" else failure.state
    told = f"{failure.error_class}: {failure.message}".lower()
    return (
        which.entry_id in (None, kept.entry_id)
        and which.stream in (None, failure.stream)
        and which.state in (None, state)
        and (which.error is None or which.error.lower() in told)
        and (which.since is None or failure.last_at >= which.since)
        and (which.until is None or failure.last_at <= which.until)
    )


def _by_place(
    found: Sequence[KeptFailure],
) -> Iterator[tuple[tuple[str, str, str], list[KeptFailure]]]:
    ordered = sorted(found, key=lambda each: (each.place, each.failure.position))
    for place, kept in groupby(ordered, key=lambda each: each.place):
        yield place, list(kept)


def _result(kept: KeptFailure, left: ProjectionFailure | None, *, is_waiting: bool) -> RetryResult:
    if left is None:
        return RetryResult(kept.shown, RetryOutcome.SUCCEEDED)
    if is_waiting:
        return RetryResult(kept.shown, RetryOutcome.BUSY)
    return RetryResult(kept.shown, RetryOutcome.FAILED, left.message or "waits behind another of its key")
