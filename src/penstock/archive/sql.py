"""An archive in a table of SQLite or PostgreSQL, by SQLAlchemy Core.

All statements run in threads. A message is found by a digest of its stream and event id, so that names of any length
and with any character are the same to every database.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from penstock.archive.abc import ArchivedMessage, ArchivePlace, Created, all_messages
from penstock.errors import ArchiveError, ArchiveUnavailableError, ConfigurationError, MissingExtraError
from penstock.position import EntryId

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
    from sqlalchemy.dialects import postgresql, sqlite
except ImportError as missing:
    raise MissingExtraError("an archive in a database", "sql") from missing

from penstock.archive._database import THREADS, explained, make_engine, make_folder, parse_url
from penstock.archive._table import identity_of, message_of, row_of, safe, sortable, table, unsafe

__all__ = ["SqlArchive"]

T = TypeVar("T")

_ROUNDS: Final = 10
_IN_A_STATEMENT: Final = 500
_COLUMNS: Final = table.c


class SqlArchive:
    """An `Archive` in a database.

    Args:
        database: A URL (``sqlite:///archive.db``, ``postgresql://user:password@host/name``), or an engine of yours,
            which is never closed from here. SQLite runs in WAL mode with ``synchronous=FULL``.

    Raises:
        ConfigurationError: The URL is none, or of another kind of database.
        MissingExtraError: The driver of the database is not installed.
    """

    def __init__(self, database: str | sa.Engine) -> None:
        self._given = database if isinstance(database, sa.Engine) else None
        self._url = None if isinstance(database, sa.Engine) else parse_url(database)
        self._engine: sa.Engine | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        shown = self._url or (self._given.url if self._given is not None else None)
        return f"<SqlArchive in {shown.render_as_string() if shown is not None else 'nothing'}>"

    # -- life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and make the table if it is missing."""
        if self._engine is not None:
            return
        self._engine = self._given if self._url is None else make_engine(self._url)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="penstock-archive")
        try:
            await self.migrate()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect."""
        engine, self._engine = self._engine, None
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown)
        if engine is not None and engine is not self._given:
            await asyncio.to_thread(engine.dispose)

    async def migrate(self) -> None:
        """Make the table unless it is there."""
        await self._in_thread(self._migrate)

    def _migrate(self) -> None:
        make_folder(self._url)
        with self._transaction() as connection:
            if sa.inspect(connection).has_table(table.name):
                return
        try:
            with self._transaction() as connection:
                table.create(connection, checkfirst=True)
        except ArchiveError as failure:
            # Another process may have made it at the same moment, which is as good.
            with self._transaction() as connection:
                if sa.inspect(connection).has_table(table.name):
                    return
            raise ConfigurationError(
                f"the table {table.name!r} cannot be made: {failure}; "
                "give the role the right to create it, or have its owner make it: SqlArchive(url).migrate()"
            ) from failure

    # -- keeping ------------------------------------------------------------------------------------------------

    async def create(self, message: ArchivedMessage) -> Created:
        """Keep one message."""
        return (await self.create_many([message]))[0]

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages in one transaction; what became of each."""
        return await self._in_thread(self._create_many, messages) if messages else []

    def _create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        rows = [row_of(message) for message in messages]
        found: dict[int, Created] = {}
        with self._changing, self._transaction() as connection:
            if connection.dialect.name == "postgresql":
                # What is answered as kept is on disk, whatever the role or the database is set to.
                connection.execute(sa.text("SET LOCAL synchronous_commit TO on"))
            waiting = list(range(len(rows)))
            for _ in range(_ROUNDS):
                waiting = self._settle(connection, rows, waiting, found)
                if not waiting:
                    return [found[number] for number in range(len(rows))]
        raise ArchiveUnavailableError(
            f"{len(waiting)} messages were removed each time they were to be kept; try again"
        )

    def _settle(
        self,
        connection: sa.Connection,
        rows: Sequence[dict[str, Any]],
        waiting: Sequence[int],
        found: dict[int, Created],
    ) -> list[int]:
        """Insert what is not there, compare what is; those that vanished in between."""
        inserted = self._insert(connection, [rows[number] for number in waiting])
        others: list[int] = []
        for number in waiting:
            if rows[number]["identity"] in inserted:
                inserted.discard(rows[number]["identity"])
                found[number] = Created.NEW
            else:
                others.append(number)
        there: dict[bytes, tuple[bytes, str]] = {}
        for part in _parts([rows[number]["identity"] for number in others]):
            query = sa.select(_COLUMNS.identity, _COLUMNS.digest, _COLUMNS.entry_id)
            for each in connection.execute(query.where(_COLUMNS.identity.in_(part))):
                there[bytes(each.identity)] = bytes(each.digest), each.entry_id
        left: list[int] = []
        for number in others:
            row = rows[number]
            if row["identity"] not in there:
                left.append(number)
                continue
            digest, entry_id = there[row["identity"]]
            if digest != row["digest"]:
                found[number] = Created.OTHER
            elif entry_id >= row["entry_id"] or self._replace(connection, row):
                there[row["identity"]] = digest, max(entry_id, row["entry_id"])
                found[number] = Created.THERE
            else:
                left.append(number)
        return left

    def _insert(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> set[bytes]:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table).on_conflict_do_nothing(index_elements=["identity"])
        inserted: set[bytes] = set()
        for part in _parts(rows):
            answer = connection.execute(statement.returning(_COLUMNS.identity), part)
            inserted |= {bytes(row.identity) for row in answer}
        return inserted

    def _replace(self, connection: sa.Connection, row: Mapping[str, Any]) -> bool:
        """Put a later copy in the place of the one there; False when that is gone or not earlier any more."""
        values = {name: value for name, value in row.items() if name != "identity"}
        statement = (
            sa.update(table)
            .where(_COLUMNS.identity == row["identity"], _COLUMNS.entry_id < row["entry_id"])
            .values(values)
        )
        return connection.execute(statement).rowcount == 1

    async def delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
        """Remove the copies at these places; how many there were."""
        return await self._in_thread(self._delete, stream, places)

    def _delete(self, stream: str, places: Sequence[ArchivePlace]) -> int:
        removed = 0
        with self._changing, self._transaction() as connection:
            for part in _parts(places):
                at = [(identity_of(stream, place.event_id), sortable(place.entry_id)) for place in part]
                which = sa.tuple_(_COLUMNS.identity, _COLUMNS.entry_id).in_(at)
                removed += connection.execute(sa.delete(table).where(which)).rowcount
        return removed

    # -- finding ------------------------------------------------------------------------------------------------

    async def find(self, stream: str, id: str | EntryId) -> ArchivedMessage | None:  # noqa: A002
        """One message by event id or entry id."""
        if isinstance(id, str):
            named = await self._in_thread(self._read, [_COLUMNS.identity == identity_of(stream, id)], 1)
            return named[0] if named else None
        for column in (_COLUMNS.entry_id, _COLUMNS.first_id):
            where = [_COLUMNS.stream == safe(stream), column == sortable(id)]
            for found in await self._in_thread(self._read, where, 1):
                return found
        return None

    async def find_many(
        self, stream: str, *, after: ArchivePlace | None = None, count: int = 100
    ) -> list[ArchivedMessage]:
        """Up to *count* messages of a stream by place, from behind *after*."""
        where: list[Any] = [_COLUMNS.stream == safe(stream)]
        if after is not None:
            behind = sa.tuple_(sortable(after.entry_id), safe(after.event_id))
            where.append(sa.tuple_(_COLUMNS.entry_id, _COLUMNS.event_id) > behind)
        return await self._in_thread(self._read, where, count)

    def _read(self, where: Sequence[Any], count: int) -> list[ArchivedMessage]:
        query = table.select().where(*where).order_by(_COLUMNS.entry_id, _COLUMNS.event_id).limit(count)
        with self._transaction() as connection:
            return [message_of(row) for row in connection.execute(query)]

    def all(self) -> AsyncIterator[ArchivedMessage]:
        """Every message, by stream and place."""
        return all_messages(self)

    async def counts(self) -> Mapping[str, int]:
        """How many messages each stream has."""
        return await self._in_thread(self._counts)

    def _counts(self) -> dict[str, int]:
        query = sa.select(_COLUMNS.stream, sa.func.count()).group_by(_COLUMNS.stream)
        with self._transaction() as connection:
            found = {unsafe(stream): count for stream, count in connection.execute(query)}
        return dict(sorted(found.items()))

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        if self._executor is None:
            await self.open()
        assert self._executor is not None
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        assert self._engine is not None
        try:
            with self._engine.begin() as connection:
                yield connection
        except exc.DBAPIError as failure:
            raise explained(self._engine, failure) from failure
        except sqlite3.Error as failure:
            raise ArchiveUnavailableError(f"the archive cannot be opened: {failure}") from failure
        except exc.SQLAlchemyError as failure:
            raise ArchiveError(f"the archive's database refuses: {failure}") from failure


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[first : first + _IN_A_STATEMENT] for first in range(0, len(items), _IN_A_STATEMENT))
