"""Where the listeners keep their figures: a SQLite file in which every event counts once.

Delivery is at least once: an event may come again, when a worker dies after it counted the event and before it
acknowledged it. So the event's id is written in the same transaction as what it changes; an id that is there already
changes nothing.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock import Message
from penstock.demo.figures import Airport, Carrier, Figures

__all__ = ["Book"]

_TABLES = """
CREATE TABLE IF NOT EXISTS counted (who TEXT, event_id TEXT, PRIMARY KEY (who, event_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS repeats (who TEXT PRIMARY KEY, events INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS carriers (
    code TEXT PRIMARY KEY,
    departed INTEGER NOT NULL DEFAULT 0,
    departure_delay INTEGER NOT NULL DEFAULT 0,
    arrived INTEGER NOT NULL DEFAULT 0,
    arrival_delay INTEGER NOT NULL DEFAULT 0,
    diverted INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS airports (
    code TEXT PRIMARY KEY,
    departed INTEGER NOT NULL DEFAULT 0,
    arrived INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    latest TEXT NOT NULL DEFAULT ''
);
"""


class Book:
    """The figures, shared by all workers of the host. For a ``with`` block; used by one thread at a time."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
        self._one_at_a_time = threading.Lock()
        # Killing a process loses nothing that it committed; only a power cut could, and the demo is over then.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def count(
        self, who: str, messages: Sequence[Message], change: str, values: Iterable[Sequence[object]]
    ) -> None:
        """Carry *change* out once for each message that *who* has not counted yet, with the values that go with it.

        All in one transaction: when anything fails, nothing was counted.
        """
        with self._one_at_a_time, self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            repeated = 0
            for message, row in zip(messages, values, strict=True):
                new = transaction.execute("INSERT OR IGNORE INTO counted VALUES (?, ?)", (who, message.id))
                if new.rowcount:
                    transaction.execute(change, row)
                else:
                    repeated += 1
            if repeated:
                transaction.execute(
                    "INSERT INTO repeats VALUES (?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events",
                    (who, repeated),
                )

    def counted(self, who: str) -> int:
        """How many different events *who* has counted."""
        return self._number("SELECT count(*) FROM counted WHERE who = ?", who)

    def repeats(self, who: str) -> int:
        """How many events came to *who* again after they had been counted."""
        return self._number("SELECT coalesce(sum(events), 0) FROM repeats WHERE who = ?", who)

    def figures(self) -> Figures:
        """What was folded so far."""
        carriers = self._connection.execute("SELECT * FROM carriers ORDER BY code")
        airports = self._connection.execute("SELECT * FROM airports ORDER BY code")
        return Figures(
            {code: Carrier(*numbers) for code, *numbers in carriers},
            {code: Airport(*numbers) for code, *numbers in airports},
        )

    def _number(self, query: str, who: str) -> int:
        [number] = self._connection.execute(query, (who,)).fetchone()
        return int(number)
