"""Running one projection: from taking its lease to giving it back, in one thread over one connection.

It is driven from outside (`advance` as far as the store is safe to read), decides what comes next, and keeps nothing
that is not in the database, except what can be read there again: after any trouble it is closed and another begins.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from penstock.errors import (
    IsolationError,
    ProjectionError,
    ProjectionHaltedError,
    StaleRunnerError,
    StoreWentBackError,
)
from penstock.projections._engine import _checkpoints, _failures, _lease, _notes
from penstock.projections._engine._ahead import AheadReader
from penstock.projections._engine._gap import Gap
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._outcomes import CaughtUp, Failed, Interrupted, Outcome, Supervised, Waiting
from penstock.projections._engine._page_size import PageSize
from penstock.projections._engine._paging import EventFailed, PageFailed, Pages
from penstock.projections._engine._policy import (
    Again,
    PutAside,
    RunnerDied,
    is_of_the_database,
    judge,
    said,
)
from penstock.projections._engine._sources import Stretch, next_stretch
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import Checkpoint
from penstock.store.abc import EventFilter, EventReader, Horizon, StoredEvent
from penstock.store.database import Connection, Database

__all__ = ["CaughtUp", "Interrupted", "Outcome", "ProjectionRun", "Supervised", "Waiting"]


@dataclass
class ProjectionRun:
    """A projection that is being run here. Use it in one thread; close it."""

    supervised: Supervised
    database: Database
    open_reader: Callable[[], EventReader]
    terms: LeaseTerms
    is_stopping: Callable[[], bool]
    declared: Collection[str] = ()
    """Names that are known to be in use, and so were not renamed."""
    heeds: bool = False
    """Whether it does not begin when it is to stand still, or to be reset or deleted first."""
    most: int = 0
    """How many events a page may grow to while they are small, should that be more than the plan says."""
    checkpoint: Checkpoint = field(init=False)
    pages: int = 0
    """How many were committed."""
    handled: int = 0
    """How many events were in them."""
    moved: int = 0
    """How many events were handled, of the failures too, or put aside."""
    _connection: Connection | None = field(default=None, init=False)
    _reader: EventReader | None = field(default=None, init=False)
    _parked: set[str] = field(default_factory=set[str], init=False)
    _suspect: int | None = field(default=None, init=False)
    _size: PageSize = field(init=False)
    _careful: int = field(default=0, init=False)
    """So many of the next events are handled alone: one of them may have ended the process."""
    _ahead: AheadReader = field(init=False)
    _gap: Gap = field(init=False)
    _failed: Failed | None = field(default=None, init=False)
    """What failed in a page, until those before it are committed and it is its turn."""
    _behind_first: bool = field(default=True, init=False)
    _has_error: bool = field(default=False, init=False)

    # -- beginning and end --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, take the lease, see to checkpoint and read model.

        Raises `ProjectionBusyError`, `StaleRunnerError`, `NotWanted`, `ProjectionChangedError`,
        `RenamedProjectionError`, `StoreError`.
        """
        self.close(release=False)
        plan, key = self.supervised.plan, self.supervised.key
        database = self.database
        connection = database.connect(application=_lease.application(self.terms, plan.name))
        self._connection = connection
        if self.supervised.is_made:
            self._check_made(connection)
        taken = _lease.take(database, connection, *key, self.terms)
        with transaction(database, connection):
            self.checkpoint = _checkpoints.ensure(
                database, connection, plan, self.supervised.generation, declared=self.declared
            )
            _lease.check_ours(database, connection, key, self.terms, heeds=self.heeds)
        with transaction(database, connection):
            self.supervised.handlers.prepare(connection)
        with transaction(database, connection):
            _notes.describe(database, connection, plan, self.supervised.generation, self._names())
            notes = _notes.read_notes(database, connection, plan, key)
            self._parked = _failures.parked_lanes(database, connection, *key)
            if notes.has_error and notes.suspect is None:
                # What kept a former run from going on is over, since this one got here.
                _notes.clear(database, connection, key)
        self._suspect = notes.suspect
        is_shared = database.dialect == "sqlite" and self.supervised.database is None
        self._gap, self._failed = Gap(is_shared), None
        self._size = PageSize(plan.page_events, self.most)
        self._careful = plan.page_events if taken.deaths > 1 else 0
        self._reader = self.open_reader()
        self._ahead = AheadReader(self._reader)
        self._pages = Pages(
            plan,
            self.supervised.handlers,
            database,
            connection,
            self.supervised.generation,
            self.terms.token,
            self.terms.length_us,
            self.is_stopping,
        )

    def _check_made(self, connection: Connection) -> None:
        """Who comes late to a generation that is gone leaves nothing behind."""
        with transaction(self.database, connection, write=False):
            found = _checkpoints.read(self.database, connection, *self.supervised.key)
        if found is None:
            raise StaleRunnerError(self.supervised.plan.name)

    def close(self, *, release: bool = True) -> None:
        """Give the lease and the connections back. Never raises."""
        connection, reader, self._connection, self._reader = self._connection, self._reader, None, None
        if reader is not None:
            with contextlib.suppress(Exception):
                reader.close()
        if connection is None:
            return
        with contextlib.suppress(Exception):
            if release:
                _lease.release(self.database, connection, [self.supervised.key], self.terms)
        with contextlib.suppress(Exception):
            connection.close()

    @property
    def connection(self) -> Connection:
        """The connection of an open run."""
        if self._connection is None:
            raise ProjectionError(f"projection {self.supervised.plan.name!r} is not open; open it first")
        return self._connection

    def report(self, failure: BaseException, *, after: timedelta) -> None:
        """Log what made this run end, and note it where people look, if that can be reached. Never raises."""
        plan = self.supervised.plan
        _notes.log_failure(plan, failure, outcome=f"it begins again in {after.total_seconds():.1f} s")
        with contextlib.suppress(Exception):
            self.connection.rollback()
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._note(self._connection, failure, after)
                return
        with contextlib.suppress(Exception), contextlib.closing(self.database.connect()) as another:
            self._note(another, failure, after)

    def _note(self, connection: Connection, failure: BaseException, after: timedelta) -> None:
        _notes.note_error(
            self.database,
            connection,
            self.supervised.key,
            failure,
            token=self.terms.token,
            after=after,
        )

    # -- going on -----------------------------------------------------------------------------------------------

    def horizon(self) -> Horizon:
        """How far its store can be read now."""
        assert self._reader is not None
        return self._reader.horizon()

    def advance(self, horizon: Horizon, *, retries: bool = True) -> Outcome:
        """Handle everything up to the horizon, page by page, until done, stopped, or an event fails.

        *retries*: look first for failures that somebody wants to have tried again.

        Raises:
            StoreWentBackError: The checkpoint is above the end of the store.
            StaleRunnerError: Another runs it now.
            Exception: The database failed; close this run and begin another.
        """
        name = self.supervised.plan.name
        if self.checkpoint.position > horizon.last:
            raise StoreWentBackError(name, position=self.checkpoint.position, last=horizon.last)
        if retries:
            self._retry_wanted()
        while not self.is_stopping():
            stretch = next_stretch(
                self.checkpoint,
                self._wanted(),
                through=horizon.position,
                behind_first=self._behind_first,
            )
            if stretch is None:
                return CaughtUp(self.checkpoint.position)
            self._behind_first = not self._behind_first
            waiting = self._page(stretch)
            if waiting is not None:
                return waiting
        return Interrupted()

    def _names(self) -> tuple[str, ...]:
        wanted, names = self.supervised.plan.wanted.names, self.supervised.handlers.names
        return wanted if names is None else tuple(sorted(names.intersection(wanted or names)))

    def _wanted(self) -> EventFilter:
        """What to read: the names that have handlers are pushed down."""
        return replace(self.supervised.plan.wanted, names=self._names())

    def _page(self, stretch: Stretch) -> Waiting | None:
        names = self.supervised.handlers.names
        if names is not None and not stretch.wanted.names:
            # Nothing has a handler.
            self._commit(stretch, [], stretch.through)
            return None
        found = self._ahead.read(stretch, 1 if self._careful else self._size.events)
        events, through = found.events, found.through
        if not events:
            self._commit(stretch, [], through)
            return None
        if events[0].position == self._suspect or self._careful:
            return self._alone(stretch, events[0])
        if self._suspect is not None and stretch.after < self._suspect <= events[-1].position:
            events = [event for event in events if event.position < self._suspect]
            if not events:
                # It is not in the store any more.
                self._suspect, self._has_error = None, True
                return None
            through = self._suspect - 1
        began = time.monotonic()
        try:
            self._commit(stretch, events, through)
        except EventFailed as failed:
            self._raise_trouble(failed.cause)
            # Those before it are run again and committed; then it is its turn.
            self._suspect = failed.event.position
            self._failed = Failed(failed.event.position, failed.cause, is_alone=len(events) == 1)
        except PageFailed as failed:
            self._raise_trouble(failed.cause)
            # What failed before this one may have failed by it.
            self._failed = None
            if len(events) == 1:
                self._suspect = events[0].position
                self._failed = Failed(events[0].position, failed.cause, is_alone=True)
            self._size.failed(events)
        else:
            self._size.committed(events)
            self._gap.after(began)
        return None

    def _commit(self, stretch: Stretch, events: Sequence[StoredEvent], through: int) -> None:
        clears = self._has_error and self._suspect is None
        self.checkpoint = self._pages.run(
            self.checkpoint, stretch, events, through, parked=self._parked, clears=clears
        )
        self._has_error = self._has_error and not clears
        self._count(stretch, events)

    def _raise_trouble(self, failure: Exception) -> None:
        """Raise what is no fault of the event: a database that is away, full or locked, or a lost connection."""
        of_others = (IsolationError, ProjectionHaltedError, StoreWentBackError)
        if is_of_the_database(failure) or isinstance(failure, of_others):
            raise failure
        try:
            self.database.begin(self.connection, write=False)
            self.database.execute(self.connection, "SELECT 1").fetchall()
            self.connection.rollback()
        except Exception:  # noqa: BLE001  whatever it says, the connection is gone
            raise failure from None

    # -- one event, alone ---------------------------------------------------------------------------------------

    def _alone(self, stretch: Stretch, event: StoredEvent) -> Waiting | None:
        plan, key = self.supervised.plan, self.supervised.key
        self._careful = max(self._careful - 1, 0)
        if event.position == self._suspect:
            notes = _notes.read_notes(self.database, self.connection, plan, key)
            if notes.suspect == event.position and (notes.stands or notes.wait):
                return Waiting(None if notes.stands else notes.wait, event=event)
        failed, self._failed = self._failed, None
        if failed is not None and failed.position == event.position:
            # That was its first run. Where their number has no end it is run alone at once: the others may be at fault.
            attempts = self._count_attempt(event)
            if failed.is_alone or plan.on_failure != "halt":
                return self._judged(stretch, event, failed.cause, attempts)
        attempts = self._count_attempt(event)
        if attempts > plan.retry.attempts and plan.on_failure != "halt":
            died = RunnerDied(f"the process ended while it handled this event, {attempts - 1} times")
            return self._judged(stretch, event, died, attempts)
        self._suspect = event.position
        try:
            self.checkpoint = self._pages.run(
                self.checkpoint, stretch, [event], event.position, parked=self._parked, clears=True
            )
        except (EventFailed, PageFailed) as failed:
            self._raise_trouble(failed.cause)
            return self._judged(stretch, event, failed.cause, attempts)
        self._count(stretch, [event])
        self._suspect, self._has_error = None, False
        return None

    def _count_attempt(self, event: StoredEvent) -> int:
        return _notes.count_attempt(
            self.database,
            self.connection,
            self.supervised.plan,
            self.supervised.key,
            event.position,
            token=self.terms.token,
        )

    def _count(self, stretch: Stretch, events: Sequence[StoredEvent]) -> None:
        reached = self.checkpoint.position
        if stretch.group:
            reached = max(
                (self.checkpoint.behind.get(each, reached) for each in stretch.group), default=reached
            )
        self.pages += 1
        handled = sum(event.position <= reached for event in events)
        self.handled += handled
        self.moved += handled

    def _judged(
        self, stretch: Stretch, event: StoredEvent, failure: BaseException, attempts: int
    ) -> Waiting | None:
        plan = self.supervised.plan
        verdict = judge(plan, failure, attempts)
        _notes.log_failure(plan, failure, event=event, attempts=attempts, outcome=said(plan, verdict))
        if isinstance(verdict, PutAside):
            self.checkpoint = self._pages.put_aside(
                self.checkpoint, stretch, event, failure, parking=verdict.parking, attempts=attempts
            )
            if verdict.parking:
                self._parked.add(_failures.lane_of(event))
            self._suspect, self._has_error = None, False
            self.moved += 1
            return None
        wait = verdict.after if isinstance(verdict, Again) else None
        self._suspect, self._has_error = event.position, True
        _notes.note_error(
            self.database,
            self.connection,
            self.supervised.key,
            failure,
            token=self.terms.token,
            event=event,
            after=wait,
            stands=wait is None,
        )
        return Waiting(wait, failure, event)

    # -- what was put aside ---------------------------------------------------------------------------------------

    def _retry_wanted(self) -> None:
        """Try failures again that somebody asked for, each lane in its order; the position has no part in it."""
        key = self.supervised.key
        while not self.is_stopping() and (
            wanted := _failures.next_wanted(self.database, self.connection, key)
        ):
            self._end_read()
            try:
                assert self._reader is not None
                event = _failures.stored(self._reader, wanted)
                self.checkpoint, is_free = self._pages.retry(self.checkpoint, event, wanted)
                self.moved += 1
                if is_free:
                    self._parked.discard(wanted.lane)
            except (EventFailed, PageFailed) as failed:
                self._raise_trouble(failed.cause)
                self._failed_again(
                    wanted, failed.cause, failed.event if isinstance(failed, EventFailed) else None
                )
            except _failures.Vanished as gone:
                self._failed_again(wanted, gone, None)
        self._end_read()

    def _end_read(self) -> None:
        """A read outside a page must not leave a transaction open."""
        self.connection.rollback()

    def _failed_again(
        self, wanted: _failures.Wanted, failure: BaseException, event: StoredEvent | None
    ) -> None:
        _notes.log_failure(
            self.supervised.plan, failure, event=event, outcome="tried again; it stays with the failures"
        )
        with transaction(self.database, self.connection):
            _failures.fail_again(self.database, self.connection, self.supervised.key, wanted, failure)
