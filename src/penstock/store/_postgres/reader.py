"""Blocking reads for a thread, over a connection of its own that is made again when it was lost.

After a full page the next one is asked for at once, in a thread beside: while a page is handled here the server reads.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.errors import speaking_of
from penstock.store._postgres.horizon import CEILING, FLOORS, ceiling_of, horizon_of
from penstock.store._postgres.line import BlockingLine, Row
from penstock.store._postgres.reading import Query, check_limit, count_query, page_of, page_query
from penstock.store.abc import EventFilter, EventPage, Horizon

__all__ = ["PostgresReader"]

_WORTH: Final = 200
"""So many events a page has that is worth a thread."""


class PostgresReader:
    """An `EventReader`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._held: BlockingLine | None = BlockingLine(database)
        self._reached = 0
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Query, Future[list[Row]]] | None = None

    def horizon(self) -> Horizon:
        """How far it is safe to read now."""
        with self._line() as line:
            [ceiling] = line.query(CEILING)
            last = ceiling_of(ceiling, self._database.shown)
            horizon = horizon_of(last, line.query(FLOORS), reached=self._reached)
        self._reached = horizon.position
        return horizon

    def read(self, wanted: EventFilter, *, after: int, through: int, limit: int) -> EventPage:
        """Up to *limit* events."""
        check_limit(limit)
        if through <= after:
            return EventPage((), after)
        query = page_query(wanted, after=after, through=through, limit=limit)
        page = page_of(query, self._rows(query))
        if limit <= len(page.events) and limit >= _WORTH:
            self._ask(page_query(wanted, after=page.through, through=through, limit=limit))
        return page

    def _rows(self, query: Query) -> list[Row]:
        if self._ahead is not None and self._ahead[0] == query:
            (_, answer), self._ahead = self._ahead, None
            with self._speaking():
                return answer.result()
        with self._line() as line:
            return line.query(query.sql, *query.parameters)

    def _ask(self, query: Query) -> None:
        """Have a page read meanwhile."""
        line = self._held
        if line is None or query.after >= query.through:
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "penstock reads ahead")
        self._ahead = query, self._thread.submit(line.query, query.sql, *query.parameters)

    def count(self, wanted: EventFilter, *, after: int, through: int, limit: int = 1_000_000) -> int:
        """How many there are, at most *limit*."""
        found = 0
        while after < through and found < limit:
            query = count_query(wanted, after=after, through=through, limit=limit - found)
            with self._line() as line:
                [(more,)] = line.query(query.sql, *query.parameters)
            found += more
            after = query.through
        return found

    def close(self) -> None:
        """Disconnect."""
        self._settle()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def _settle(self) -> None:
        """Nothing is under way any more on the connection."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[1].exception()

    @contextmanager
    def _line(self) -> Iterator[BlockingLine]:
        self._settle()
        if self._held is not None and self._held.connection.broken:
            self.close()  # it was lost while nobody waited for its answer
        if self._held is None:
            self._held = BlockingLine(self._database)
        with self._speaking():
            yield self._held

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            with speaking_of(self._database.shown, store=self._database.name):
                yield
        finally:
            if self._held is not None and self._held.connection.broken:
                self.close()
