"""Turns at a file: whoever in this process writes to it, first come first served.

SQLite has no queue for its write lock. Who waits for it looks again after a while, up to a tenth of a second, and so
whoever writes one transaction after another, as a projection that catches up, is always there first. Turns are about
order only: what keeps writers apart is SQLite's lock, within a process as between processes.
"""

import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from typing import Final

__all__ = ["Turn", "Turns", "turns_at"]

_LOOK_SECONDS: Final = 0.05
"""So often those who wait look whether the transaction of the one before has ended without a word."""


class Turn:
    """One writer's place in the order."""

    __slots__ = ("gate", "owner")

    def __init__(self) -> None:
        self.gate: threading.Lock | None = None
        """Locked until it is its turn; ``None`` if it was at once."""
        self.owner: weakref.ref[sqlite3.Connection] | None = None
        """Whose transaction it is; ``None`` as long as that has not begun."""

    def is_over(self) -> bool:
        """Whether its transaction has ended."""
        if self.owner is None:
            return False
        connection = self.owner()
        try:
            return connection is None or not connection.in_transaction
        except sqlite3.ProgrammingError:
            return True  # closed


class Turns:
    """The order at one file; for any threads."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._now: Turn | None = None
        self._waiting: deque[Turn] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, seconds: float) -> Turn | None:
        """Wait until all who came before are done; ``None`` if they were not in time. To be given back."""
        turn = Turn()
        with self._changing:
            if self._now is None:
                self._now = turn
                return turn
            gate = turn.gate = threading.Lock()
            gate.acquire()
            self._waiting.append(turn)
        ends = time.monotonic() + seconds
        try:
            while not gate.acquire(timeout=max(min(_LOOK_SECONDS, ends - time.monotonic()), 0)):
                self._look()
                if time.monotonic() >= ends:
                    return turn if self._is_its_turn_after_all(turn) else None
        except BaseException:
            self.give_back(turn)
            raise
        return turn

    def _look(self) -> None:
        with self._changing:
            if self._now is not None and self._now.is_over():
                self._pass_on()

    def _is_its_turn_after_all(self, turn: Turn) -> bool:
        with self._changing:
            if self._now is not turn:
                self._waiting.remove(turn)
            return self._now is turn

    def give_back(self, turn: Turn) -> None:
        """Let the next one go on. No effect for a turn that is over already."""
        with self._changing:
            if self._now is turn:
                self._pass_on()
            elif turn in self._waiting:
                self._waiting.remove(turn)

    def _pass_on(self) -> None:
        self._now = self._waiting.popleft() if self._waiting else None
        if self._now is not None and self._now.gate is not None:
            self._now.gate.release()

    def forget(self) -> None:
        """Begin anew, in a process that was forked: nobody else is in it."""
        self._changing = threading.Lock()
        self._now = None
        self._waiting = deque()


_by_path: "weakref.WeakValueDictionary[str, Turns]" = weakref.WeakValueDictionary()
_finding = threading.Lock()


def turns_at(path: str) -> Turns:
    """The turns of a file, which are the same for all who name it by this path."""
    with _finding:
        turns = _by_path.get(path)
        if turns is None:
            turns = _by_path[path] = Turns()
        return turns


def _after_fork() -> None:
    global _finding  # noqa: PLW0603  a lock that another thread held at the fork is never given back
    _finding = threading.Lock()
    for turns in list(_by_path.values()):
        turns.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
