"""One page: some events, one transaction, and the checkpoint moved by its last statement.

The first statement locks the checkpoint and looks whether it is as it was left. Nothing that handlers do outlives a
failure of any of them: the page is rolled back and run again in part.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from penstock.projections._engine import _checkpoints, _failures, _notes
from penstock.projections._engine._sources import Stretch, advanced
from penstock.projections._engine._sql import NOW, commit
from penstock.projections.abc import Checkpoint, Handlers, Page, ProjectionPlan
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["EventFailed", "PageFailed", "Pages"]


class EventFailed(Exception):  # noqa: N818  says where, inside the engine; never seen by users
    """The handler of this event raised; the page was rolled back."""

    def __init__(self, event: StoredEvent, cause: Exception) -> None:
        super().__init__(str(cause))
        self.event, self.cause = event, cause


class PageFailed(Exception):  # noqa: N818  as above
    """The page could not be finished, and it is not known for which of its events; it was rolled back."""

    def __init__(self, events: Sequence[StoredEvent], cause: Exception) -> None:
        super().__init__(str(cause))
        self.events, self.cause = events, cause


@dataclass
class Pages:
    """Runs pages over one connection."""

    plan: ProjectionPlan
    handlers: Handlers
    database: Database
    connection: Connection
    generation: str
    token: str
    lease_us: int
    is_stopping: Callable[[], bool]
    _renewed: float = field(default_factory=time.monotonic, init=False)

    @property
    def key(self) -> tuple[str, str]:
        """Name and generation."""
        return self.plan.name, self.generation

    def run(
        self,
        checkpoint: Checkpoint,
        stretch: Stretch,
        events: Sequence[StoredEvent],
        through: int,
        *,
        parked: set[str] | None = None,
        clears: bool = False,
    ) -> Checkpoint:
        """Handle *events*, which are all there is in the stretch up to *through*, or as many as fit into the time.

        Those of *parked* lanes are put with the others that wait. *clears*: with the commit nothing is wrong any more.

        Raises:
            EventFailed, PageFailed: A handler raised; everything was rolled back.
            StaleRunnerError: Another has moved the checkpoint; everything was rolled back.
        """
        page: Page | None = None
        aside: list[StoredEvent] = []
        try:
            if not self.plan.outside:
                self._begin(checkpoint)
            state, reached = checkpoint.state, through
            if events:
                page = self._page(checkpoint)
                reached = self._handle(page, stretch, events, through, parked, aside)
                state = self._finish(page, events, state)
            if self.plan.outside:
                self._begin(checkpoint)
            for event in aside:
                _failures.put_aside(
                    self.database, self.connection, self.key, event, None, parking=True, attempts=0
                )
            if clears:
                _notes.clear(self.database, self.connection, self.key)
            moved = self._move(checkpoint, replace(advanced(checkpoint, stretch, reached), state=state))
            commit(self.database, self.connection)
        except BaseException:
            self._undo(page)
            raise
        self._committed(page)
        return moved

    def _handle(
        self,
        page: Page,
        stretch: Stretch,
        events: Sequence[StoredEvent],
        through: int,
        parked: set[str] | None,
        aside: list[StoredEvent],
    ) -> int:
        """How far the page came: all of it, or to the event during which its time was over or a stop was asked for."""
        ends = time.monotonic() + self.plan.page_time.total_seconds()
        last = events[-1]
        for event in events:
            if stretch.seen and stretch.has_been_handled(event):
                continue
            if parked and self._has_to_wait(event, parked):
                aside.append(event)
                continue
            try:
                page.handle(event)
            except Exception as failure:
                raise EventFailed(event, failure) from failure
            if (time.monotonic() >= ends or self.is_stopping()) and event is not last:
                return event.position
        return through

    def _has_to_wait(self, event: StoredEvent, parked: set[str]) -> bool:
        """Whether its lane is parked; people may have freed it meanwhile."""
        lane = _failures.lane_of(event)
        if lane not in parked:
            return False
        if not _failures.is_parked(self.database, self.connection, self.key, lane):
            parked.discard(lane)
            return False
        return True

    def _finish(self, page: Page, events: Sequence[StoredEvent], state: bytes | None) -> bytes | None:
        try:
            after = page.finish()
        except Exception as failure:
            raise PageFailed(events, failure) from failure
        return state if after is None else after

    def put_aside(
        self,
        checkpoint: Checkpoint,
        stretch: Stretch,
        event: StoredEvent,
        failure: BaseException,
        *,
        parking: bool,
        attempts: int,
    ) -> Checkpoint:
        """Write an event to the failures and go past it, in one transaction."""
        try:
            self._begin(checkpoint)
            _failures.put_aside(
                self.database,
                self.connection,
                self.key,
                event,
                failure,
                parking=parking,
                attempts=attempts,
            )
            _notes.clear(self.database, self.connection, self.key)
            moved = self._move(checkpoint, advanced(checkpoint, stretch, event.position))
            commit(self.database, self.connection)
        except BaseException:
            self._undo(None)
            raise
        return moved

    def retry(
        self, checkpoint: Checkpoint, event: StoredEvent, wanted: _failures.Wanted
    ) -> tuple[Checkpoint, bool]:
        """Handle an event of the failures again and remove it from there; whether its lane is free now.

        The position stays where it is. Raises as `run`.
        """
        page: Page | None = None
        try:
            if not self.plan.outside:
                self._begin(checkpoint)
            page = self._page(checkpoint)
            try:
                page.handle(event)
            except Exception as failure:
                raise EventFailed(event, failure) from failure
            state = self._finish(page, [event], checkpoint.state)
            if self.plan.outside:
                self._begin(checkpoint)
            is_free = _failures.settle(self.database, self.connection, self.key, wanted)
            moved = self._move(checkpoint, replace(checkpoint, state=state))
            commit(self.database, self.connection)
        except BaseException:
            self._undo(page)
            raise
        self._committed(page)
        return moved, is_free

    # -- the frame ----------------------------------------------------------------------------------------------

    def _page(self, checkpoint: Checkpoint) -> Page:
        """What handles events. Outside of a transaction, too, it begins where the checkpoint is, or not at all."""
        if self.plan.outside:
            self._begin(checkpoint, write=False)
        page = self.handlers.begin(self.connection, state=checkpoint.state, generation=self.generation)
        if self.plan.outside:
            self.connection.rollback()
        return page

    def _begin(self, checkpoint: Checkpoint, *, write: bool = True) -> None:
        self.database.begin(self.connection, write=write)
        _checkpoints.hold(self.database, self.connection, checkpoint)

    def _move(self, before: Checkpoint, after: Checkpoint) -> Checkpoint:
        now = time.monotonic()
        if self.database.dialect == "sqlite" and now - self._renewed > self.lease_us / 4_000_000:
            # Nobody else can write while this transaction is open, the one who renews included.
            self._renewed = now
            self.database.execute(
                self.connection,
                f"UPDATE penstock_projections SET lease_until = {NOW['sqlite']} + ? "
                "WHERE projection = ? AND generation = ? AND token = ?",
                (self.lease_us, *self.key, self.token),
            )
        return _checkpoints.move(self.database, self.connection, before, after)

    def _undo(self, page: Page | None) -> None:
        with contextlib.suppress(Exception):
            self.connection.rollback()
        if page is not None:
            _quietly(page.discard, self.plan.name)

    def _committed(self, page: Page | None) -> None:
        if page is not None:
            _quietly(page.committed, self.plan.name)


def _quietly(tell: Callable[[], None], name: str) -> None:
    """What a page does after its transaction can change nothing about it any more."""
    try:
        tell()
    except Exception:  # noqa: BLE001  logged with its trace
        LOGGER.exception("projection %r: cleaning up after a page failed", name)
