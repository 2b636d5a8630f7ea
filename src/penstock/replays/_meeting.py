"""Both generations at one position: how a copy and the live read model are brought to stand still together.

The copy's checkpoints are locked first, on its own connection, so that whoever feeds it cannot run ahead; then the live
ones, and the copy takes what is left between them and commits. From there on both are held by the transaction of the
one who asked. The copy's part is committed before that, because others have to see it: a comparison reads in a
transaction of its own, and the isolation of a page is looked at in the transaction that wrote it.

Nobody else ever waits for both: a runner locks the one checkpoint that it moves. Two that meet over the same copy might
wait for each other, so every wait for a lock is short, and whoever does not get one lets go of everything.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from penstock.errors import ReplayBusyError, ReplayRefusedError, StoreUnavailableError
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._sql import commit, lock_of, one
from penstock.projections.abc import LIVE, Checkpoint
from penstock.replays._connecting import APPLICATION
from penstock.replays._distance import Distance, HandlerFailed, approach, events_between
from penstock.replays._elsewhere import OnlyElsewhere, Others
from penstock.replays._short_locks import begin, is_lock_timeout, wait_briefly
from penstock.replays.abc import Candidate, Held, ReadModelCopy
from penstock.store.abc import EventReader
from penstock.store.database import Connection, Database

__all__ = ["Meeting", "meet"]

_STAND_SECONDS: Final = 0.5
"""How long a copy that is ahead is held for the live one to come."""
_LOOK_SECONDS: Final = 0.003
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
_STEP: Final = "meet the live one"


@dataclass(frozen=True, slots=True)
class Meeting:
    """Live and copy as they are held; a `Held`."""

    positions: Mapping[str, int]
    live: Connection
    copied: Connection


def meet(
    candidates: Sequence[Candidate],
    copy: ReadModelCopy,
    reader_for: Callable[[str], EventReader],
    *,
    patience: timedelta,
    most_events: int = 5000,
    declared_live: Mapping[str, Supervised] | None = None,
    ahead_is_fine: bool = False,
) -> AbstractContextManager[Held]:
    """Hold the live generation and the copy at one position until the block ends.

    What the block does on `Held.live` and `Held.copied` is committed at its end, or rolled back if it raises. The copy
    is brought forward for it, by pages while it is far behind and inside the held transactions when no more than
    *most_events* are left. A copy that is ahead waits for the live one, which is brought forward as well where
    *declared_live* has what runs it here. A projection that was never live is held alone.

    Blocking, in one thread. *reader_for* opens a reader of the store of that name, which is closed here. With
    *ahead_is_fine* a live one that does not come is no hindrance: `Held.positions` then says where the copy stands.

    Raises:
        ReplayBusyError: It did not come to that in *patience*; everything is as it was.
        ReplayRefusedError: The two read different stores, a checkpoint is missing, or an event cannot be handled.
        IsolationError: A handler left its copy.
        StoreUnavailableError, StoreRefusedError: A database went away.
    """
    attempts = _Attempts(candidates, copy, reader_for, most_events, declared_live or {}, ahead_is_fine)
    return _met(attempts, patience)


@contextlib.contextmanager
def _met(attempts: "_Attempts", patience: timedelta) -> Iterator[Held]:
    with contextlib.closing(attempts):
        meeting = attempts.reach(patience)
        try:
            yield meeting
            commit(attempts.theirs, meeting.live)
            if meeting.copied is not meeting.live:
                commit(attempts.ours, meeting.copied)
        except BaseException:
            attempts.let_go()
            raise


@dataclass(frozen=True, slots=True)
class _NotYet:
    """Why it was not had this time, and who has to come nearer, in pages, to where."""

    reason: str
    nearer: tuple[tuple[Supervised, int], ...] = ()


class _Attempts:
    """The tries of one meeting, over one connection for each side."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        copy: ReadModelCopy,
        reader_for: Callable[[str], EventReader],
        most_events: int,
        declared_live: Mapping[str, Supervised],
        ahead_is_fine: bool,
    ) -> None:
        plans = sorted(candidates, key=lambda each: each.plan.name)
        self._copies = {
            each.plan.name: Supervised(each.plan, each.handlers, copy.key, is_made=True) for each in plans
        }
        self._copy, self._reader_for, self._most_events = copy, reader_for, most_events
        self._declared_live = dict(declared_live)
        self._may_be_ahead = set(self._copies) if ahead_is_fine else set[str]()
        self._others = Others(copy.database)
        self.theirs, self.ours = copy.live_database, copy.database
        self._live: Connection | None = None
        self._copied: Connection | None = None
        self._readers: dict[str, EventReader] = {}

    def reach(self, patience: timedelta) -> Meeting:
        """Try until they stand together."""
        ends = time.monotonic() + patience.total_seconds()
        pause = _SHORTEST_PAUSE
        while True:
            outcome = self._tried()
            if isinstance(outcome, Meeting):
                return outcome
            self.let_go()
            left = ends - time.monotonic()
            if left <= 0:
                raise ReplayBusyError(self._copy.key, step=_STEP, reason=outcome.reason)
            if not self._come_nearer(outcome, left):
                time.sleep(min(pause * random.uniform(0.5, 1.5), left))
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _tried(self) -> Meeting | _NotYet:
        try:
            return self._try()
        except StoreUnavailableError as failure:
            if is_lock_timeout(failure):
                return _NotYet("others hold its checkpoints")
            raise
        except HandlerFailed as failed:
            # By the policy of its projection it may be put aside, which is for pages that commit by themselves.
            return _NotYet(str(failed), ((failed.supervised, failed.through),))

    def _come_nearer(self, outcome: _NotYet, left: float) -> bool:
        """Whether anything was done."""
        moved = False
        for each, through in outcome.nearer:
            try:
                if isinstance(each.handlers, OnlyElsewhere):
                    self._others.look(self._connections()[1], each.plan.name, each.handlers)
                else:
                    moved |= self._approached(each, through, left)
            except StoreUnavailableError as failure:
                if not is_lock_timeout(failure):
                    raise
        return moved

    def _approached(self, each: Supervised, through: int, left: float) -> bool:
        is_live = each.generation == LIVE
        try:
            return approach(
                each,
                self.theirs if is_live else self.ours,
                partial(self._reader_for, each.plan.source),
                through=through,
                seconds=left,
            )
        except HandlerFailed as failed:
            if not (is_live and each.plan.name in self._may_be_ahead):
                raise self._refused(str(failed)) from failed.cause
            self._declared_live.pop(each.plan.name, None)
            return False

    # -- one try ------------------------------------------------------------------------------------------------

    def _try(self) -> Meeting | _NotYet:
        live, copied = self._connections()
        begin(self.ours, copied)
        copies = {name: self._held_copy(copied, name) for name in self._copies}
        lives = self._wait_for_live(live, copies)
        if isinstance(lives, _NotYet):
            return lives
        if far := self._far(copies, lives):
            return far
        begin(self.theirs, live)
        goals: dict[str, int] = {}
        for name, each in copies.items():
            lives[name] = self._read(self.theirs, live, name, LIVE, lock=True)
            goal = self._goal(each, lives[name])
            if goal is None:
                return self._ahead(name, each, lives[name])
            goals[name] = goal
        if far := self._far(copies, lives):
            return far
        self._take(self.ours, copied, self._copies, copies, goals)
        held = self._hold_again(live, copied)
        for name, goal in goals.items():
            if self._held_copy(held, name).position != goal:
                return _NotYet(f"the copy of projection {name!r} was moved by another")
        if self.theirs.dialect == "postgresql":
            # How long the block waits for locks is its own business.
            self.theirs.execute(live, "SET LOCAL lock_timeout TO DEFAULT")
        return Meeting(goals, live, held)

    def _hold_again(self, live: Connection, copied: Connection) -> Connection:
        """What the copy committed is seen by all; who was about to move it finds another epoch and goes away."""
        if self.theirs.dialect == "postgresql":
            return live
        begin(self.ours, copied)
        return copied

    def _wait_for_live(
        self, live: Connection, copies: Mapping[str, Checkpoint]
    ) -> dict[str, Checkpoint | None] | _NotYet:
        """The live ones, when none is behind its copy, which stands still meanwhile."""
        ends = time.monotonic() + _STAND_SECONDS
        while True:
            lives = {name: self._read(self.theirs, live, name, LIVE) for name in copies}
            late = [name for name in copies if self._is_late(copies[name], lives[name])]
            if not late:
                return lives
            if time.monotonic() >= ends:
                break
            time.sleep(_LOOK_SECONDS)
        for name in late:
            place = lives[name]
            declared = self._declared_live.get(name)
            if place is None or declared is None or declared.plan.version != place.version:
                if name in self._may_be_ahead:
                    continue
                return self._ahead(name, copies[name], place)
            through = max(place.position, copies[name].position)
            if self._events(declared, place, through) > self._most_events:
                return _NotYet(f"the live projection {name!r} is far behind", ((declared, through),))
            begin(self.theirs, live)
            held = self._read(self.theirs, live, name, LIVE, lock=True)
            if held is None:
                return self._ahead(name, copies[name], held)
            through = max(held.position, copies[name].position)
            self._take(self.theirs, live, {name: declared}, {name: held}, {name: through})
        return {name: self._read(self.theirs, live, name, LIVE) for name in copies}

    def _is_late(self, copied: Checkpoint, live: Checkpoint | None) -> bool:
        return live is not None and (live.position < copied.position or bool(live.behind))

    def _goal(self, copied: Checkpoint, live: Checkpoint | None) -> int | None:
        """Where the two are to stand."""
        if live is None:
            return copied.position
        if self._is_late(copied, live):
            return copied.position if copied.name in self._may_be_ahead else None
        return live.position

    def _ahead(self, name: str, copied: Checkpoint, live: Checkpoint | None) -> _NotYet:
        if live is not None and live.behind:
            sources = ", ".join(sorted(live.behind))
            return _NotYet(f"the live projection {name!r} still catches up with {sources}")
        place = 0 if live is None else live.position
        return _NotYet(
            f"the live projection {name!r} stands at position {place}, before its copy at {copied.position}, "
            "and does not come; see that it is run"
        )

    def _far(
        self, copies: Mapping[str, Checkpoint], lives: Mapping[str, Checkpoint | None]
    ) -> _NotYet | None:
        """What is said when more is left than is taken while others wait, or than can be taken here."""
        left, nearer, reason = self._most_events, list[tuple[Supervised, int]](), ""
        for name, live in lives.items():
            if live is None:
                continue
            # Also where it stands there: sources that were added later may be behind.
            copied = self._copies[name]
            found = self._events(copied, copies[name], live.position, limit=left)
            left -= found
            if found:
                nearer.append((copied, live.position))
                if isinstance(copied.handlers, OnlyElsewhere):
                    reason = copied.handlers.reason
        if left < 0 and not reason:
            reason = "the copy is far behind the live one"
        return _NotYet(reason, tuple(nearer)) if reason else None

    def _events(
        self, supervised: Supervised, place: Checkpoint, through: int, *, limit: int | None = None
    ) -> int:
        most = max(self._most_events if limit is None else limit, 0) + 1
        reader = self._reader(supervised.plan.source)
        return events_between(supervised, place, reader, through=through, limit=most)

    def _take(
        self,
        database: Database,
        connection: Connection,
        supervised: Mapping[str, Supervised],
        places: Mapping[str, Checkpoint],
        goals: Mapping[str, int],
    ) -> None:
        distance = Distance(database, connection)
        try:
            for name, goal in goals.items():
                each = supervised[name]
                distance.take(each, places[name], self._reader(each.plan.source), through=goal)
            distance.commit()
        except BaseException:
            distance.undo()
            raise

    # -- checkpoints and connections ------------------------------------------------------------------------------

    def _held_copy(self, connection: Connection, name: str) -> Checkpoint:
        on_live = connection is self._live
        found = self._read(self.theirs if on_live else self.ours, connection, name, self._copy.key, lock=True)
        if found is None:
            raise self._refused(f"its copy has no checkpoint of projection {name!r}; start it from zero")
        return found

    def _read(
        self, database: Database, connection: Connection, name: str, generation: str, *, lock: bool = False
    ) -> Checkpoint | None:
        row = one(
            database,
            connection,
            "SELECT source FROM penstock_checkpoints WHERE projection = ? AND generation = ?"
            f"{lock_of(database) if lock else ''}",
            (name, generation),
        )
        if row is None:
            return None
        source = self._copies[name].plan.source
        if row[0] != source:
            which = "the live one" if generation == LIVE else "its copy"
            raise self._refused(
                f"projection {name!r} reads the store {source!r}, and {which} was made from {row[0]!r}: "
                "their positions have nothing to do with each other"
            )
        return _checkpoints.read(database, connection, name, generation)

    def _refused(self, reason: str) -> ReplayRefusedError:
        return ReplayRefusedError(self._copy.key, step=_STEP, reasons=[reason])

    def _reader(self, store: str) -> EventReader:
        if store not in self._readers:
            self._readers[store] = self._reader_for(store)
        return self._readers[store]

    def _connections(self) -> tuple[Connection, Connection]:
        if self._live is None:
            self._live = self.theirs.connect(application=APPLICATION)
            wait_briefly(self.theirs, self._live)
        if self._copied is None:
            self._copied = self.ours.connect(application=APPLICATION)
            wait_briefly(self.ours, self._copied)
        return self._live, self._copied

    def let_go(self) -> None:
        """Undo what is open. Never raises."""
        for connection in (self._live, self._copied):
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.rollback()

    def close(self) -> None:
        """Give everything back. Never raises."""
        self.let_go()
        for each in (self._live, self._copied, *self._readers.values()):
            if each is not None:
                with contextlib.suppress(Exception):
                    each.close()
        self._live = self._copied = None
        self._readers.clear()
