"""A database that does something at a chosen step: each statement, commit and connection is one, before and after."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

from penstock.store.database import Connection, Cursor, Database, Dialect

__all__ = ["SteppedConnection", "SteppedDatabase"]


class SteppedConnection:
    """A connection whose commits are steps."""

    def __init__(self, real: Connection, step: Callable[["SteppedConnection"], None]) -> None:
        self.real = real
        self._step = step

    def commit(self) -> None:
        """Commit, with a step before and one after."""
        self._step(self)
        self.real.commit()
        self._step(self)

    def rollback(self) -> None:
        """Roll back."""
        self.real.rollback()

    def close(self) -> None:
        """Disconnect."""
        self.real.close()


class SteppedDatabase:
    """Calls *at_step* with the number of each step and its connection."""

    def __init__(self, real: Database, at_step: Callable[[int, SteppedConnection | None], None]) -> None:
        self._real = real
        self._at_step = at_step
        self._numbers = itertools.count()
        self.name, self.url, self.shown = real.name, real.url, real.shown
        self.dialect: Dialect = real.dialect
        self.steps = 0

    def _step(self, connection: SteppedConnection | None) -> None:
        self.steps += 1
        self._at_step(next(self._numbers), connection)

    def connect(self, *, application: str = "") -> SteppedConnection:
        """A new connection."""
        self._step(None)
        return SteppedConnection(self._real.connect(application=application), self._step)

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction."""
        ours = cast("SteppedConnection", connection)
        self._step(ours)
        self._real.begin(ours.real, write=write)

    def execute(self, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """One statement."""
        ours = cast("SteppedConnection", connection)
        self._step(ours)
        return self._real.execute(ours.real, sql, parameters)

    def engine(self) -> Any:
        """Nobody asks for it here."""
        return self._real.engine()
