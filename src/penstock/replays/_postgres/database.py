"""The database of a copy: the live one, with every transaction inside the schema of the copy.

``SET LOCAL`` ends with the transaction, so a connection is of the copy only while it is in one, also through a pooler.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from penstock.replays._postgres.names import literal, quoted
from penstock.store._engines import WithEngine
from penstock.store._postgres.errors import speaking_of
from penstock.store.database import Connection, Cursor, Database, Dialect
from penstock.store.work import Moved, engine_in, move

__all__ = ["GenerationDatabase", "entering"]

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


def entering(schema: str) -> str:
    """The statement after which names are looked up in *schema* first, until the transaction ends."""
    return (
        "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', "
        f"{literal(quoted(schema))}, nullif(pg_catalog.current_setting('search_path'), '')), true)"
    )


class GenerationDatabase(WithEngine):
    """A `Database` whose transactions read and write the copy in *schema* where there is one, and *live* elsewhere.

    *moved* tells what sessions find there; it is asked for each new connection. A transaction that is not *lasting* is
    not waited for to be on disk: if the server's machine fails, the last ones are gone, none in part.
    """

    dialect: Dialect = "postgresql"

    def __init__(
        self, live: Database, schema: str, moved: Callable[[Connection], Moved], *, lasting: bool = True
    ) -> None:
        super().__init__()
        self.live = live
        self.schema = schema
        self.name = live.name
        self.url = live.url
        self.shown = f"{live.shown} (schema {schema})"
        self._moved = moved
        self._enter = entering(schema)
        if not lasting:
            self._enter += ", pg_catalog.set_config('synchronous_commit', 'off', true)"

    def connect(self, *, application: str = "") -> Connection:
        """A new connection. Close it. Raises `StoreUnavailableError`, `StoreRefusedError`, `ReplayError`."""
        connection = self.live.connect(application=application)
        try:
            move(connection, self._moved(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, connection: Connection, *, write: bool = True) -> None:
        """Begin a transaction in the copy."""
        ours: Any = connection
        with speaking_of(self.shown):
            # Both in one round trip, which a prepared statement could not be.
            ours.execute(f"{_BEGIN}; {self._enter}", prepare=False)

    def execute(self, connection: Connection, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """Run one statement; outside a transaction it is one of the live database."""
        return self.live.execute(connection, sql, parameters)

    def _make_engine(self) -> Any:
        with contextlib.closing(self.connect()) as connection:
            moved = self._moved(connection)
        return engine_in(self.connect, (_BEGIN, self._enter), moved)
