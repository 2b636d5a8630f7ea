"""Connections that take one statement at a time and answer with rows, for an event loop and for threads.

They work with libpq's own calls, below psycopg's cursors: for a statement of one row these cost more than the server
does. Statements are prepared once for each connection. Each is a transaction with a snapshot of its own: autocommit.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.types.string import ByteaBinaryLoader

from penstock.store._postgres.errors import explained_connecting
from penstock.store._postgres.placeholders import translated
from penstock.store.literals import text_array

if TYPE_CHECKING:
    from penstock.store._postgres.database import PostgresDatabase

__all__ = ["BlockingLine", "Line", "Parameter", "Row"]

Parameter: TypeAlias = str | int | Sequence[str] | None
"""What a statement takes; texts in a sequence are an array."""
Row: TypeAlias = tuple[Any, ...]

_BINARY: Final = 1
_NOT_PREPARED: Final = frozenset({"26000", "42P05"})
"""No such statement, or it is there already: a pooler gives each transaction to another session."""


def _written(value: Parameter) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return b"%d" % value
    return text_array(value).encode()


def _numbered(sql: str) -> bytes:
    return translated(sql, "numbered").encode()


class _Prepared:
    """The statements that one connection has, and how its results are read."""

    is_possible = True
    """False behind a pooler that does not know prepared statements; each is sent in full then."""

    def __init__(self, connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
        # A JSON value comes as it is; whoever wants it decoded does that.
        connection.adapters.register_loader("json", ByteaBinaryLoader)
        self._connection = connection
        self._names: dict[str, bytes] = {}
        self._readings: dict[bytes, Any] = {}
        """By statement: how its columns are read is found out once."""

    def known(self, sql: str) -> bytes | None:
        """The name of a statement that was prepared."""
        return self._names.get(sql)

    def next_name(self) -> bytes:
        return b"penstock_%d" % len(self._names)

    def note(self, sql: str, name: bytes) -> None:
        self._names[sql] = name

    def rows(self, result: Any, name: bytes = b"") -> list[Row]:
        """The rows of a result; *name*: of the prepared statement, whose columns are always the same."""
        if result.status == pq.ExecStatus.TUPLES_OK:
            if not result.ntuples:
                return []
            reading = self._readings.get(name)
            if reading is None:
                reading = Transformer(self._connection)
                reading.set_pgresult(result)
                if name:
                    self._readings[name] = reading
            else:
                reading.set_pgresult(result, set_loaders=False)
            rows = reading.load_rows(0, result.ntuples, tuple)
            reading.set_pgresult(None, set_loaders=False)  # a page of results is not kept for the next one
            return rows
        if result.status == pq.ExecStatus.COMMAND_OK:
            return [(result.command_tuples or 0,)]
        failure = error_from_result(result)
        if failure.sqlstate is None:
            # It is libpq that speaks, for a server that does not any more.
            raise psycopg.OperationalError(str(failure))
        raise failure


class BlockingLine:
    """A connection for the thread that makes it."""

    def __init__(self, database: "PostgresDatabase", *, application: str = "") -> None:
        self.connection = database.connect(application=application)
        self._prepared = _Prepared(self.connection)

    def query(self, sql: str, *parameters: Parameter) -> list[Row]:
        """Run a statement with ``?`` for its parameters. Raises psycopg's errors."""
        server, prepared = self.connection.pgconn, self._prepared
        # libpq takes nulls as well, whatever psycopg's hint for prepared statements says.
        values: Any = [_written(each) for each in parameters]
        if prepared.is_possible:
            try:
                if (name := prepared.known(sql)) is None:
                    name = prepared.next_name()
                    prepared.rows(server.prepare(name, _numbered(sql)))
                    prepared.note(sql, name)
                return prepared.rows(server.exec_prepared(name, values, result_format=_BINARY), name)
            except psycopg.Error as failure:
                if failure.sqlstate not in _NOT_PREPARED:
                    raise
            prepared.is_possible = False
        return prepared.rows(server.exec_params(_numbered(sql), values, result_format=_BINARY))

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


class Line:
    """A connection for one event loop. Statements of several tasks wait for each other."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection
        self._prepared = _Prepared(connection)
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[None] | None = None
        self._socket = connection.pgconn.socket
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def connect(
        cls, database: "PostgresDatabase", *, application: str = "", url: str | None = None
    ) -> "Line":
        """Connect. Raises `StoreUnavailableError`, `StoreRefusedError`."""
        try:
            connection = await psycopg.AsyncConnection[Any].connect(
                autocommit=True, **database.parameters(application, url)
            )
        except psycopg.OperationalError as failure:
            raise explained_connecting(database.shown, str(failure)) from failure
        return cls(connection)

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._connection.closed or self._connection.pgconn.status != pq.ConnStatus.OK

    @property
    def is_busy(self) -> bool:
        """Whether a statement is under way or waits."""
        return self._turn.locked()

    async def query(self, sql: str, *parameters: Parameter) -> list[Row]:
        """Run a statement with ``?`` for its parameters. Raises psycopg's errors.

        Cancelled while the server works, the connection is closed: what the server still says is for nobody.
        """
        async with self._turn:
            try:
                return await self._query(sql, [_written(each) for each in parameters])
            except asyncio.CancelledError:
                await self.close()
                raise
            except psycopg.Error:
                if self._connection.pgconn.status != pq.ConnStatus.OK:
                    await self.close()
                raise

    async def _query(self, sql: str, values: list[bytes | None]) -> list[Row]:
        server, prepared = self._connection.pgconn, self._prepared
        if prepared.is_possible:
            try:
                if (name := prepared.known(sql)) is None:
                    name = prepared.next_name()
                    server.send_prepare(name, _numbered(sql))
                    prepared.rows(await self._result())
                    prepared.note(sql, name)
                server.send_query_prepared(name, values, result_format=_BINARY)
                return prepared.rows(await self._result(), name)
            except psycopg.Error as failure:
                if failure.sqlstate not in _NOT_PREPARED:
                    raise
            prepared.is_possible = False
        server.send_query_params(_numbered(sql), values, result_format=_BINARY)
        return prepared.rows(await self._result())

    async def _result(self) -> Any:
        """Send what is not sent yet, and wait for the last result of the statement."""
        server = self._connection.pgconn
        try:
            while server.flush():
                await self._writable()
            last = None
            while True:
                if server.is_busy():
                    self._answer = self._loop.create_future()
                    await self._answer
                    server.consume_input()
                    continue
                result = server.get_result()
                if result is None:
                    break
                last = result
        finally:
            self._answer = None
        if last is None:
            raise psycopg.OperationalError("the connection was closed")
        return last

    def _readable(self) -> None:
        if self._answer is not None:
            if not self._answer.done():
                self._answer.set_result(None)
            return
        # Nobody asked: a notice, or the end of the connection, which would otherwise wake us for ever.
        server = self._connection.pgconn
        try:
            server.consume_input()
        except psycopg.OperationalError:
            self._loop.remove_reader(self._socket)
            self._socket = -1

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._socket, self._ready, ready)
        self._answer = ready  # the server may have to be read from before it takes more
        try:
            await ready
            self._connection.pgconn.consume_input()
        finally:
            self._answer = None
            self._loop.remove_writer(self._socket)

    @staticmethod
    def _ready(ready: "asyncio.Future[None]") -> None:
        if not ready.done():
            ready.set_result(None)

    def abandon(self) -> None:
        """Disconnect where the loop is closed already."""
        self._connection.pgconn.finish()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._socket = -1
        await self._connection.close()
