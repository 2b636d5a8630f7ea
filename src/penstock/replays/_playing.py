"""Playing history to a copy: from where it stands up to the end of the store, by the engine's own pages.

Nothing is remembered but what is in the copy's checkpoints, so whoever comes after a process that was killed goes on
from the last page that was committed. The leases of the generation say that one plays at a time; who lost them to
another finds his play ended by that one, and says nothing any more.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from penstock.errors import (
    PenstockError,
    ProjectionHaltedError,
    ReplayBusyError,
    ReplayError,
    ReplayMoveError,
    StaleRunnerError,
    TransientError,
)
from penstock.projections._engine import _checkpoints, _requests
from penstock.projections._engine._catching_up import catch_up
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._policy import is_of_the_database
from penstock.projections._engine._run import ProjectionRun
from penstock.replays import _plays
from penstock.replays._candidates import LARGER, supervised_of
from penstock.replays._distance import wanted_by
from penstock.replays._elsewhere_places import Elsewhere, models_of
from penstock.replays._keeping import check_free, kept, leased
from penstock.replays._lanes import forget as forget_lanes
from penstock.replays._plays import Begun
from penstock.replays._records import Records, note
from penstock.replays._telling import Told
from penstock.replays.abc import Candidate, Outcome, ReadModelCopy, Replay, ReplayProgress
from penstock.store.abc import Horizon, StoreBackend
from penstock.store.database import Connection
from penstock.telemetry import LOGGER

__all__ = ["OnProgress", "PlaysParts", "Site", "play"]

OnProgress = Callable[[ReplayProgress], Any]

_TELL_SECONDS: Final = 0.2
_NOTE_SECONDS: Final = 1.0
_WORTH: Final = 0.7
"""The end of the store is looked at anew while less than that part of the former distance has come meanwhile."""
_MOST_COUNTED: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Site:
    """A replay with everything that works on it here."""

    key: str
    records: Records
    copy: ReadModelCopy
    candidates: Sequence[Candidate]
    stores: Mapping[str, StoreBackend]
    """Every store that is read, and the one that has the read models, by name; open."""
    target: StoreBackend


class PlaysParts(Protocol):
    """Plays a large part of history by means of its own, before the engine goes on from there (several processes)."""

    async def __call__(self, site: Site, replay: Replay, tell: Callable[[int], None]) -> None:
        """Play, while the leases are kept; *tell* is told how many events were handled, in all."""
        ...


async def play(
    site: Site,
    *,
    from_zero: bool = False,
    who: str = "",
    why: str = "",
    background: bool = False,
    on_progress: OnProgress | None = None,
    parts: PlaysParts | None = None,
    lease: timedelta = timedelta(seconds=10),
) -> None:
    """Play until the end of the store as it is by then. The replay is ``built`` afterwards.

    Cancelled, it ends between two pages, and the play is recorded as stopped.

    Raises:
        ReplayBusyError: Another process plays it.
        ReplayMoveError: It follows already, or is promoted.
        ReplayError: A handler failed, or left its copy (`IsolationError`); the live read model is as it was.
        StoreUnavailableError: A database went away; what is committed stays, and playing goes on by itself later.
    """
    terms = LeaseTerms(lease, work=site.key)
    playing = _Playing(site, (who, why), terms, background, on_progress, parts)
    await playing.run(from_zero=from_zero)


class _Playing:
    def __init__(
        self,
        site: Site,
        asked: tuple[str, str],
        terms: LeaseTerms,
        background: bool,
        on_progress: OnProgress | None,
        parts: PlaysParts | None,
    ) -> None:
        (self._who, self._why), self._site, self._terms = asked, site, terms
        self._background, self._on_progress, self._parts = background, on_progress, parts
        self._told = Told()
        self._has_told_in_vain = False
        """Whether the caller's function failed, which is logged once."""
        self._number = 0

    async def run(self, *, from_zero: bool) -> None:
        site = self._site
        names = [candidate.plan.name for candidate in site.candidates]
        async with leased(site.key, names, site.copy.database, self._terms) as connection:
            try:
                await kept(asyncio.to_thread(self._begin, connection, from_zero=from_zero))
                await self._play()
                await kept(asyncio.to_thread(site.copy.finish))
                await kept(asyncio.to_thread(self._arrive))
            except asyncio.CancelledError:
                await self._ended("stopped")
                raise
            except Exception as failure:
                raise await self._failed(failure) from failure
        self._tell()

    # -- steps in a thread ----------------------------------------------------------------------------------------

    def _begin(self, connection: Connection, *, from_zero: bool) -> None:
        """Say that it is being built, close what others left open, and open a play: in one transaction.

        Nobody else plays, since the leases are ours: whoever has not said how his play ended has died.
        """
        site, live = self._site, self._site.records.database
        dead = site.records.call(lambda mine: _plays.begun(live, mine, site.key))
        positions = self._positions(connection)
        events = {each.id: self._counted(each.begun.positions, positions) for each in dead}
        # However the last one ended: a copy that it was to empty and did not is emptied now.
        anew = from_zero or site.records.call(lambda mine: _plays.is_to_be_emptied(live, mine, site.key))
        begun = Begun(self._terms.token, positions, anew, self._background)

        number = 0

        def recorded(mine: Connection) -> None:
            nonlocal number
            check_free(live, mine, site.key, "start")
            place = min(positions.values(), default=0)
            for each in dead:
                _plays.end(live, mine, each.id, "died", position=place, events=events[each.id])
            number = _plays.begin(live, mine, site.key, positions, begun, self._who)

        site.records.move(
            site.key,
            "start",
            who=self._who,
            which="from zero" if anew else "",
            why=self._why,
            changes={"error": "", "is_verified": False} if anew else {"error": ""},
            also=recorded,
        )
        self._number = number
        if anew:
            site.copy.empty()
            Elsewhere(live, site.key, models_of(site.candidates)).empty()
            forget_lanes(site.copy)
            positions = self._positions(connection)
            site.records.within(lambda mine: _plays.emptied(live, mine, self._number, positions, begun))
        self._told.positions = positions
        names = [candidate.plan.name for candidate in site.candidates]
        _requests.retry(site.copy.database, connection, names, generation=site.key)
        _requests.try_now(site.copy.database, connection, names, generation=site.key)

    def _positions(self, connection: Connection) -> dict[str, int]:
        site, found = self._site, dict[str, int]()
        database = site.copy.database
        database.begin(connection, write=False)
        try:
            for candidate in site.candidates:
                place = _checkpoints.read(database, connection, candidate.plan.name, site.key)
                found[candidate.plan.name] = 0 if place is None else place.position
        finally:
            connection.rollback()
        return found

    def _counted(self, since: Mapping[str, int], until: Mapping[str, int]) -> int:
        """How many events were handled between these positions."""
        found = 0
        for candidate in self._site.candidates:
            wanted = wanted_by(supervised_of(candidate, self._site.copy))
            after, through = since.get(candidate.plan.name), until[candidate.plan.name]
            if wanted is None or after is None or after >= through:
                continue
            with closing(self._site.stores[candidate.plan.source].reader()) as reader:
                found += reader.count(wanted, after=after, through=through, limit=_MOST_COUNTED)
        return found

    # -- playing --------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        site, told = self._site, self._told
        telling = asyncio.create_task(self._tell_on(), name=f"progress of replay {site.key}")
        counting = asyncio.create_task(asyncio.to_thread(self._count), name=f"size of replay {site.key}")
        try:
            if self._parts is not None:
                replay = (await asyncio.to_thread(site.records.get, site.key)).replay
                await self._parts(site, replay, self._tell_ahead)
            async with asyncio.TaskGroup() as tasks:
                for candidate in site.candidates:
                    tasks.create_task(self._catch_up(candidate), name=f"play {candidate.plan.name}")
        except BaseExceptionGroup as several:
            # The others were stopped because of the first one.
            first = several.exceptions[0]
            raise first from first.__cause__
        finally:
            telling.cancel()
            await asyncio.gather(telling, counting, return_exceptions=True)
            told.positions |= {name: run.checkpoint.position for name, run in told.runs.items()}

    def _tell_ahead(self, handled: int) -> None:
        self._told.ahead = handled

    async def _catch_up(self, candidate: Candidate) -> None:
        site, told, plan = self._site, self._told, candidate.plan
        former: int | None = None

        def begun(run: ProjectionRun) -> None:
            told.runs[plan.name] = run

        def is_far(run: ProjectionRun, horizon: Horizon) -> bool:
            """Whether more than a page has come while the former end was played to, and it is not ever more."""
            nonlocal former
            left = horizon.position - run.checkpoint.position
            is_coming = former is None or left < former * _WORTH
            former, told.head = left, max(told.head, horizon.position)
            return is_coming and left > plan.page_events

        await catch_up(
            plan,
            candidate.handlers,
            source=site.stores[plan.source],
            target=site.target,
            generation=site.key,
            database=site.copy.building,
            terms=self._terms,
            begun=begun,
            is_far=is_far,
            most=plan.page_events * LARGER,
            is_made=True,
        )

    def _count(self) -> None:
        """How much there is to do. It may take a while on a large store, and is known when it is."""
        told, site = self._told, self._site
        heads: dict[str, int] = {}
        for source in {candidate.plan.source for candidate in site.candidates}:
            with closing(site.stores[source].reader()) as reader:
                heads[source] = reader.horizon().position
        told.head = max(heads.values(), default=0)
        ends = {candidate.plan.name: heads[candidate.plan.source] for candidate in site.candidates}
        told.total = self._counted(told.positions, ends)

    async def _tell_on(self) -> None:
        noted = time.monotonic()
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            self._tell()
            if time.monotonic() - noted >= _NOTE_SECONDS:
                with contextlib.suppress(PenstockError):
                    await asyncio.to_thread(self._note)
                noted = time.monotonic()

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        try:
            self._on_progress(self._told.progress(self._site.key))
        except Exception:  # noqa: BLE001  who only looks on stops no play, and what others read of it goes on
            if not self._has_told_in_vain:
                LOGGER.exception(
                    "replay %r: what it tells its progress to failed; it goes on", self._site.key
                )
            self._has_told_in_vain = True

    def _note(self) -> None:
        told, live = self._told, self._site.records.database
        self._site.records.within(
            lambda mine: _plays.move(live, mine, self._number, position=told.position, events=told.handled)
        )

    # -- the end --------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        """Record that it is built, and that the play has finished. `ReplayBusyError` if another has taken over."""
        try:
            self._site.records.move(
                self._site.key, "arrive", also=lambda connection: self._end(connection, "finished")
            )
        except ReplayMoveError as failure:
            raise _taken_over(self._site.key) from failure

    def _end(self, connection: Connection, outcome: Outcome, error: str = "") -> None:
        """Record how it ended, inside a transaction. Raises `ReplayBusyError` if somebody else did that."""
        told, live = self._told, self._site.records.database
        if not _plays.end(
            live,
            connection,
            self._number,
            outcome,
            position=told.position,
            events=told.handled,
            error=error,
        ):
            raise _taken_over(self._site.key)

    async def _ended(self, outcome: Outcome, error: str = "") -> None:
        """Record that it ended before it arrived, as far as that can be and it is still ours. Never raises."""
        if self._number == 0:
            return
        site, live = self._site, self._site.records.database

        def ended(connection: Connection) -> None:
            self._end(connection, outcome, error)
            note(live, connection, site.key, outcome, who=self._who, why=error)

        with contextlib.suppress(Exception):
            await kept(asyncio.to_thread(lambda: site.records.set(site.key, also=ended, error=error)))

    async def _failed(self, failure: Exception) -> Exception:
        """What is raised in place of *failure*, which is recorded as far as the database is there."""
        key = self._site.key
        away = isinstance(failure, TransientError) or is_of_the_database(failure)
        stale = isinstance(failure, StaleRunnerError)
        explained = failure if away else _taken_over(key) if stale else _explained(key, failure)
        # One that stopped for a database that was away goes on by itself; so it is said to have died.
        await self._ended("died" if away or stale else "failed", str(explained))
        if self._number:
            LOGGER.error("replay %r: %s", key, explained)
        return explained


def _taken_over(key: str) -> ReplayBusyError:
    return ReplayBusyError(key, step="go on", reason="another process has taken it over, or removed it")


def _explained(key: str, failure: Exception) -> Exception:
    """A failure in the words of replays. What made a projection halt is in its cause."""
    cause = failure.__cause__
    if isinstance(failure, ProjectionHaltedError) and isinstance(cause, ReplayError):
        return cause
    if isinstance(failure, ReplayError):
        return failure
    place = ""
    if isinstance(failure, ProjectionHaltedError):
        place = f" at position {failure.position} (event {failure.event_id})"
        reason = failure.reason
    else:
        reason = str(failure) or type(failure).__name__
    return ReplayError(
        f"replay {key!r} failed{place}: {reason}; the live read model is as it was; mend it and start the replay again"
    )
