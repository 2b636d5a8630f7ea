"""Blocking reads for a thread, over a connection of its own that is made again when it was lost."""

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.errors import speaking_of
from penstock.store._postgres.horizon import CEILING, FLOORS, ceiling_of, horizon_of
from penstock.store._postgres.line import BlockingLine
from penstock.store._postgres.reading import check_limit, count_query, page_of, page_query
from penstock.store.abc import EventFilter, EventPage, Horizon

__all__ = ["PostgresReader"]


class PostgresReader:
    """An `EventReader`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._held: BlockingLine | None = BlockingLine(database)
        self._reached = 0

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
        with self._line() as line:
            return page_of(query, line.query(query.sql, *query.parameters))

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
        if self._held is not None:
            self._held.close()
            self._held = None

    @contextmanager
    def _line(self) -> Iterator[BlockingLine]:
        if self._held is None:
            self._held = BlockingLine(self._database)
        try:
            with speaking_of(self._database.shown, store=self._database.name):
                yield self._held
        finally:
            if self._held.connection.broken:
                self.close()
