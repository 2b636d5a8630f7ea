"""The one thread that writes: it gathers what waits and commits it together, since a commit waits for the disk.

While one group is on its way to the disk the next one gathers, so that groups are as large as there are writers.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar, cast

from penstock.errors import StoreError
from penstock.store._sqlite._appending import INSERT, read_ledger
from penstock.store._sqlite._database import SqliteConnection, SqliteDatabase
from penstock.store._sqlite._errors import explained
from penstock.store.abc import Append, Appended, Conflict, Statement

__all__ = ["Writer"]

T = TypeVar("T")

_EVENTS_IN_A_GROUP: Final = 5_000
_Change: TypeAlias = Callable[[sqlite3.Connection], Any]


@dataclass(slots=True, eq=False)
class _Waiting:
    """Something that is to be written, and who waits for it."""

    what: Append | _Change
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    outcome: Any = None
    failure: BaseException | None = None


class Writer:
    """Writes for one `SqliteBackend`; used from any number of event loops."""

    def __init__(self, database: SqliteDatabase, ring: Callable[[], None]) -> None:
        self._database = database
        self._ring = ring
        self._waiting: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._turns: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        self._connection: SqliteConnection | None = None
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    async def write(self, what: Append | _Change) -> Any:
        """What becomes of an append, or what a change of something else returns. A change has a transaction alone."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(what, loop, loop.create_future())
        if (turn := self._turns.get(loop)) is not None:
            turn.append(waiting)
        else:
            # What all tasks ask for in one turn of their event loop goes over together: the first one alone would
            # begin a commit that the others have to wait for.
            self._turns[loop] = [waiting]
            loop.call_soon(self._hand_over, loop)
        return await waiting.future

    def hand_over(self) -> None:
        """Give the thread what the running event loop has collected in this turn."""
        self._hand_over(asyncio.get_running_loop())

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        if turn := self._turns.pop(loop, None):
            with self._changing:
                if self._thread is None:
                    name = f"penstock store {self._database.name}"
                    self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                    self._thread.start()
                self._waiting.put(turn)

    def stop(self) -> None:
        """Write what waits, and end the thread. May be called again; the next write begins a new one."""
        with self._changing:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._waiting.put(None)
            thread.join()

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        more = True
        while more:
            group, more = self._gather()
            appends = [each for each in group if isinstance(each.what, Append)]
            if appends:
                self._settle(appends)
            for each in group:
                if not isinstance(each.what, Append):
                    self._settle([each])
            _answer(group)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """What waits now, at least one; and whether there is more to come."""
        group: list[_Waiting] = []
        events = 0
        while events < _EVENTS_IN_A_GROUP:
            try:
                some = self._waiting.get(block=not group)
            except queue.Empty:
                break
            if some is None:
                return group, False
            group += some
            events += sum(len(each.what.events) if isinstance(each.what, Append) else 1 for each in some)
        return group, True

    def _settle(self, group: Sequence[_Waiting]) -> None:
        try:
            self._commit(group)
        except StoreError as failure:
            self._roll_back()
            for each in group:
                each.failure = failure
        except Exception as failure:  # noqa: BLE001  whatever it is, somebody waits for it
            self._roll_back()
            ours = explained(self._database.shown, failure) if isinstance(failure, sqlite3.Error) else None
            if ours is not None:
                ours.__cause__ = failure
            elif len(group) > 1:
                # One of them cannot be written at all: it must not take the others with it.
                for each in group:
                    self._settle([each])
                return
            for each in group:
                each.failure = ours or failure

    def _commit(self, group: Sequence[_Waiting]) -> None:
        if self._connection is None:
            self._connection = self._database.connect()
            self._connection.wait_for_nothing()
        connection = self._connection
        self._database.begin(connection)
        if isinstance(group[0].what, Append):
            appends = [each.what for each in group if isinstance(each.what, Append)]
            outcomes: Sequence[Any] = self._append_all(connection, appends)
        else:
            outcomes = [each.what(connection) for each in group if not isinstance(each.what, Append)]
        connection.commit()
        for each, outcome in zip(group, outcomes, strict=True):
            each.outcome, each.failure = outcome, None
        self._ring()

    def _roll_back(self) -> None:
        """Undo what is open; a connection that cannot even do that is thrown away."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.rollback()
        except sqlite3.Error:
            connection.close()
        else:
            self._connection = connection

    def _append_all(
        self, connection: sqlite3.Connection, appends: Sequence[Append]
    ) -> list[list[Appended] | Conflict]:
        """Decide and insert; each append whole or not at all."""
        # Mostly all is new and as expected: looking for the ids costs more than to find out by a failure that it is
        # not.
        ledger = _answered(connection, read_ledger(appends, ids=False))
        outcomes = [ledger.take(append) for append in appends]
        if not any(isinstance(outcome, Conflict) for outcome in outcomes):
            try:
                connection.executemany(INSERT, ledger.rows)
            except sqlite3.IntegrityError:
                connection.rollback()
                self._database.begin(connection)
            else:
                return outcomes
        ledger = _answered(connection, read_ledger(appends))
        outcomes = [ledger.take(append) for append in appends]
        connection.executemany(INSERT, ledger.rows)
        return outcomes


def _answered(connection: sqlite3.Connection, steps: Generator[Statement, Sequence[Sequence[Any]], T]) -> T:
    """Run what *steps* ask for; what they return."""
    sql, parameters = next(steps)
    while True:
        try:
            sql, parameters = steps.send(connection.execute(sql, cast("Any", parameters)).fetchall())
        except StopIteration as ended:
            return cast("T", ended.value)


def _answer(group: Sequence[_Waiting]) -> None:
    """Tell those who wait, all of an event loop in one call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for each in group:
        by_loop.setdefault(each.loop, []).append(each)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, waiting)
        except RuntimeError:
            continue  # that loop is closed, and nobody waits any more


def _resolve(group: Sequence[_Waiting]) -> None:
    for each in group:
        if each.future.done():
            continue
        if each.failure is not None:
            each.future.set_exception(each.failure)
        else:
            each.future.set_result(each.outcome)
