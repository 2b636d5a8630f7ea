"""A database with read models and copies of them, and pages of events played to either."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from penstock.listeners import Dependencies
from penstock.projections import Projection
from penstock.projections.abc import LIVE, Handlers
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays.abc import Candidate, Part
from penstock.replays.copies import copied_tables
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.abc import StoredEvent
from penstock.store.database import Connection, Database
from tests.projections.shop import Target, stored

__all__ = ["Bench"]


class Bench:
    """Projections over one database, handled without an engine: in one thread, page by page."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = PostgresDatabase("local", url)
        self.target: Any = Target(self.database)
        self.dependencies = Dependencies()

    def close(self) -> None:
        """Let go of pools."""
        self.database.dispose()

    def compiled(self, projection: Projection) -> Handlers:
        """The handlers of a projection."""
        return projection.compile(self.dependencies, target=self.target)

    def copy(self, *projections: Projection, key: str = "rebuild", part: Part | None = None) -> PostgresCopy:
        """The copy of their read models, made or not."""
        return PostgresCopy(
            key,
            self.database,
            copied_tables(projections),
            projections=[each.name for each in projections],
            part=part,
            makes_own=any(each.read_model is not None for each in projections),
        )

    def candidates(self, copy: PostgresCopy, *projections: Projection) -> list[Candidate]:
        """What writes the copy."""
        return [Candidate(each.plan, copy.guard(self.compiled(each))) for each in projections]

    def made(self, *projections: Projection, key: str = "rebuild", part: Part | None = None) -> PostgresCopy:
        """A copy that was created."""
        copy = self.copy(*projections, key=key, part=part)
        copy.create(self.candidates(copy, *projections))
        return copy

    def live(self, projection: Projection, *events: object) -> None:
        """Have the live read model handle events in one page."""
        self._page(self.database, self.compiled(projection), events, LIVE, prepare=True)

    def play(self, copy: PostgresCopy, projection: Projection, *events: object) -> None:
        """Have the copy handle events in one page."""
        self._page(copy.database, copy.guard(self.compiled(projection)), events, copy.key)

    def _page(
        self,
        database: Database,
        handlers: Handlers,
        events: Sequence[object],
        generation: str,
        *,
        prepare: bool = False,
    ) -> None:
        with closing(database.connect()) as connection:
            if prepare:
                database.begin(connection)
                handlers.prepare(connection)
                connection.commit()
            database.begin(connection)
            page = handlers.begin(connection, state=None, generation=generation)
            try:
                for each in events:
                    page.handle(each if isinstance(each, StoredEvent) else stored(each))
                page.finish()
            except BaseException:
                connection.rollback()
                page.discard()
                raise
            connection.commit()
            page.committed()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the live database that is rolled back."""
        with closing(self.database.connect()) as connection:
            self.database.begin(connection)
            yield connection
            connection.rollback()

    def sql(self, *statements: str) -> None:
        """Run statements, each by itself, as a person would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for each in statements:
                connection.execute(each.encode())

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(sql.encode(), parameters or None).fetchall()

    def in_copy(self, copy: PostgresCopy, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds in the copy."""
        with closing(copy.database.connect()) as connection:
            copy.database.begin(connection, write=False)
            return [tuple(row) for row in copy.database.execute(connection, sql).fetchall()]

    def schemas(self) -> list[str]:
        """The schemas of copies."""
        found = self.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'penstock%' ORDER BY 1")
        return [row[0] for row in found]
