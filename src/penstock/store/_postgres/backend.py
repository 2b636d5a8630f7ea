"""The event store in PostgreSQL: its connections in one event loop, and what is done over them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import psycopg

from penstock.errors import StoreRefusedError, StoreUnavailableError, UsageError
from penstock.store import migrating
from penstock.store._postgres import appending, streams
from penstock.store._postgres.alone import statement_alone
from penstock.store._postgres.checks import (
    SEQUENCE,
    SERVER,
    SequenceFacts,
    ServerFacts,
    problems_of_sequence,
    problems_of_server,
    said,
)
from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.errors import SERIALIZATION_FAILURES
from penstock.store._postgres.group import Group, Outcome
from penstock.store._postgres.horizon import CEILING, FLOORS, ceiling_of, horizon_of
from penstock.store._postgres.line import Parameter, Row
from penstock.store._postgres.lines import Lines
from penstock.store._postgres.reader import PostgresReader
from penstock.store._postgres.reading import FIND, check_limit, events_of, page_of, page_query, stream_query
from penstock.store._postgres.watching import Bell, Lookout
from penstock.store.abc import (
    Append,
    Appended,
    AppendSteps,
    Conflict,
    EventFilter,
    EventPage,
    EventReader,
    Horizon,
    StoredEvent,
    StoreWatch,
    StreamInfo,
    StreamMetadata,
)
from penstock.store.database import Dialect

__all__ = ["PostgresBackend"]

_NOTIFY: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(?, '')::text"
"""A notification is lost with the server; waiting for the disk would put it between appends."""
_ALL: Final = 2**63 - 1
_TRIES: Final = 10


class PostgresBackend:
    """A `StoreBackend` in PostgreSQL 15 or newer, for the event loop that opens it.

    Args:
        name: The name of the store in settings.
        url: ``postgresql://USER:PASSWORD@HOST:5432/DATABASE``, with libpq's own parameters after a ``?``.
        application: How the server shows our connections.
        listen_url: Where to listen for appends, if *url* goes through a pooler that shares sessions.
        poll: How long to wait at most between two looks for what nobody rang for.
        schema: Where our tables are, in place of the first schema of the search path.
    """

    dialect: Dialect = "postgresql"

    def __init__(
        self,
        name: str,
        url: str,
        *,
        application: str = "penstock",
        listen_url: str | None = None,
        poll: timedelta = timedelta(seconds=1),
        schema: str | None = None,
    ) -> None:
        self.name = name
        self.database = PostgresDatabase(name, url, application=application, schema=schema)
        self._listen_url = listen_url
        self._poll = poll
        self._writing = Lines(self.database, most=1)
        self._reading = Lines(self.database)
        self._group = Group(self._send)
        self._opening = asyncio.Lock()
        self._reached = 0
        self._written = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: Bell | None = None
        self._lookout: Lookout | None = None

    async def open(self) -> None:
        """Connect, and look whether everything is as it has to be."""
        async with self._opening:
            if self._loop is not None:
                return
            try:
                await self._open()
            except BaseException:
                await self._reading.close()
                raise
            self._loop = asyncio.get_running_loop()

    async def _open(self) -> None:
        [row] = await self._reading.query(SERVER)
        server = ServerFacts(*row)
        self._refuse(problems_of_server(server))
        await asyncio.to_thread(migrating.check, self.database)
        [row] = await self._reading.query(SEQUENCE)
        sequence = SequenceFacts(*row)
        self._refuse(problems_of_sequence(sequence, server.role))
        channel = f"penstock_{sequence.store_number}"
        self._lookout = Lookout(
            self.database, channel, listen_url=self._listen_url, look=self._looked, longest=self._poll
        )
        self._bell = Bell(self._lookout.wake, lambda: self._reading.query(_NOTIFY, channel))

    def _refuse(self, problems: Sequence[str]) -> None:
        if problems:
            raise StoreRefusedError(said(self.database.shown, problems))

    async def close(self) -> None:
        """Send what waits, and disconnect."""
        await self._group.close()
        self._loop = None
        if self._bell is not None:
            await self._bell.close()
        if self._lookout is not None:
            await self._lookout.close()
        self._bell = self._lookout = None
        await self._writing.close()
        await self._reading.close()
        self.database.dispose()

    def abandon(self) -> None:
        """Let go of everything where the loop is closed already."""
        self._writing.abandon()
        self._reading.abandon()
        if self._lookout is not None:
            self._lookout.abandon()
        self._group = Group(self._send)
        self._opening = asyncio.Lock()
        self._loop = self._bell = self._lookout = None

    async def append(self, append: Append) -> list[Appended] | Conflict:
        """Add events, together with what other tasks append at this moment."""
        if not append.events:
            return []
        await self.open()
        outcome = await self._group.append(append)
        if self._bell is not None and not isinstance(outcome, Conflict):
            self._bell.ring()  # we are in its loop, which `ring` would have to be woken for
        return outcome

    async def _send(self, appends: Sequence[Append]) -> Sequence[Outcome | Exception]:
        """Append what needs no more than a plain statement, and then what was not added by that."""
        added = await self._sent_alone(appends)
        others = [append for append in appends if append.events[0].id not in added]
        if not others:
            return [added[append.events[0].id] for append in appends]
        if not added:
            return await self._send_together(others)
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = await self._send_together(others)
        except Exception as failure:  # noqa: BLE001  those that were added are not to hear of it
            outcomes = [failure] * len(others)
        rest = iter(outcomes)
        return [added.get(append.events[0].id) or next(rest) for append in appends]

    async def _sent_alone(self, appends: Sequence[Append]) -> dict[str, list[Appended]]:
        """Append by a plain statement what can be; where it is, by event id."""
        try:
            if (statement := statement_alone(appends, self._written)) is None:
                return {}
            rows = await self._written_by(*statement)
        except (psycopg.Error, UsageError):
            return {}  # of one of them; nothing was added, and the functions find out of which
        if rows:
            self._written = rows[-1][1]
        streams = {append.events[0].id: append.events[0].stream for append in appends}
        return {
            event_id: [Appended(event_id, streams[event_id], position, version)]
            for event_id, position, version in rows
        }

    async def _send_together(self, appends: Sequence[Append]) -> Sequence[Outcome | Exception]:
        """Append in one transaction, or each in its own where one of them cannot be: that is not the others' fault."""
        try:
            [row] = await self._written_by(*appending.statement(appends))
            return appending.unpacked(appends, row)
        except (psycopg.Error, UsageError) as failure:
            if len(appends) == 1:
                return [failure]
        return [outcome for append in appends for outcome in await self._send_together([append])]

    async def _written_by(self, sql: str, parameters: Sequence[Parameter]) -> list[Row]:
        """Run a statement that appends. What was refused for another's sake is sent again: ids make that harmless."""
        for left in reversed(range(_TRIES)):
            try:
                return await self._writing.query(sql, *parameters)
            except StoreUnavailableError as failure:
                cause = failure.__cause__
                if (
                    not left
                    or not isinstance(cause, psycopg.Error)
                    or cause.sqlstate not in SERIALIZATION_FAILURES
                ):
                    raise
        raise AssertionError  # the last try returns or raises

    async def read(
        self,
        wanted: EventFilter,
        *,
        after: int = 0,
        through: int | None = None,
        limit: int,
        backwards: bool = False,
    ) -> EventPage:
        """Events by position."""
        check_limit(limit)
        await self.open()
        if through is None:
            through = (await self.horizon()).position
        if through <= after:
            return EventPage((), after)
        query = page_query(wanted, after=after, through=through, limit=limit, backwards=backwards)
        return page_of(query, await self._reading.query(query.sql, *query.parameters))

    async def read_stream(
        self, stream: str, *, after: int = 0, through: int | None = None, limit: int, backwards: bool = False
    ) -> Sequence[StoredEvent]:
        """Events of one stream by version."""
        await self.open()
        sql, parameters = stream_query(stream, after=after, through=through, limit=limit, backwards=backwards)
        return events_of(await self._reading.query(sql, *parameters))

    async def find(self, event_ids: Sequence[str]) -> list[Appended]:
        """Where the events of these ids are, in the order of the ids."""
        await self.open()
        rows = await self._reading.query(FIND, list(event_ids))
        found = {
            event_id: Appended(event_id, stream, position, version, is_new=False)
            for event_id, stream, position, version in rows
        }
        return [found[each] for each in dict.fromkeys(event_ids) if each in found]

    async def horizon(self) -> Horizon:
        """How far it is safe to read now."""
        await self.open()
        reached = self._reached
        [ceiling] = await self._reading.query(CEILING)
        last = ceiling_of(ceiling, self.database.shown)
        horizon = horizon_of(last, await self._reading.query(FLOORS), reached=reached)
        # Another task may have come further meanwhile; behind what was reached before it asked, the store was put back.
        self._reached = max(self._reached, horizon.position) if reached <= last else horizon.position
        return horizon

    async def _looked(self) -> int:
        return (await self.horizon()).position

    async def stream(self, name: str) -> StreamInfo | None:
        """One stream."""
        await self.open()
        [row] = await self._reading.query(streams.STREAM, name)
        return streams.info_of(row)

    async def streams(
        self, *, category: str | None = None, after: str = "", limit: int = 1000, with_rules: bool = False
    ) -> list[StreamInfo]:
        """Streams by name."""
        await self.open()
        rows = await self._reading.query(streams.STREAMS, after, category, limit, int(with_rules))
        return [info for row in rows if (info := streams.info_of(row)) is not None]

    async def set_metadata(self, stream: str, metadata: StreamMetadata) -> None:
        """Say something about a stream."""
        await self.open()
        await self._reading.query(streams.SAY, *streams.said_values(stream, metadata))

    async def delete(
        self, stream: str, *, through: int | None = None, for_good: bool = False, limit: int = 10_000
    ) -> int:
        """Remove events of a stream, the oldest first."""
        if for_good and through is not None:
            raise UsageError("a stream that is deleted for good goes as a whole; leave `through` out")
        await self.open()
        if for_good:
            await self._reading.query(streams.CLOSE, stream)
        upto = _ALL if through is None else through
        [(gone,)] = await self._reading.query(streams.DELETE, stream, upto, limit)
        return int(gone)

    def reader(self) -> EventReader:
        """Blocking reads for the thread that calls."""
        return PostgresReader(self.database)

    def steps(self, append: Append) -> AppendSteps:
        """The statement of an append in a caller's own transaction."""
        return appending.append_steps(append, self.database.prefix)

    def ring(self) -> None:
        """Ring for whoever watches. From any thread."""
        loop, bell = self._loop, self._bell
        if loop is not None and bell is not None and not loop.is_closed():
            loop.call_soon_threadsafe(bell.ring)

    def watch(self) -> StoreWatch:
        """Be told of what is appended. Raises `UsageError` before `open`."""
        if self._lookout is None:
            raise UsageError(f"store {self.name!r} is not open; open it before it is watched")
        return self._lookout.watch()
