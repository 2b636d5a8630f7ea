"""One transaction of ours, and what handlers may use of it."""

from typing import TYPE_CHECKING, Any

from penstock.errors import MissingExtraError, UsageError
from penstock.store.database import Connection, Database
from penstock.store.work._guarded import Guarded, is_in_transaction
from penstock.store.work._tables import RowTable, row_table
from penstock.store.work._wanted import Wanted
from penstock.store.work.moving import moved_on
from penstock.store.work.rows import Rows

if TYPE_CHECKING:
    from penstock.store.work._alchemy import Alchemy

__all__ = ["Work", "Workshop"]


_MOST_ENGINES = 32
"""As many connections are in use at one time, by one projection or one store's listeners."""


class Workshop:
    """Makes a `Work` for each transaction, and keeps what is dear to make. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._engines: dict[int, tuple[Connection, Any]] = {}
        self._tables: dict[Any, RowTable] = {}

    def begin(self, connection: Connection) -> "Work":
        """What may be used of the transaction that *connection* is in."""
        return Work(self, connection)

    def table(self, table: Any) -> RowTable:
        """What there is to know of a table. Raises `UsageError`."""
        found = self._tables.get(table)
        if found is None:
            found = self._tables[table] = row_table(table, self.database.dialect)
        return found

    def engine(self, connection: Connection) -> Any:
        """An SQLAlchemy engine over *connection*, made once for each. Raises `MissingExtraError`."""
        found = self._engines.get(id(connection))
        # An id is given out again when its owner is gone, so the owner is kept with it.
        if found is not None and found[0] is connection:
            return found[1]
        try:
            from penstock.store.work._alchemy import engine_over
        except ImportError as failure:
            raise MissingExtraError("a handler with a session of SQLAlchemy", "sql") from failure
        while len(self._engines) >= _MOST_ENGINES:
            self._engines.pop(next(iter(self._engines)), None)
        engine = engine_over(connection, self.database.dialect, moved_on(connection))
        self._engines[id(connection)] = connection, engine
        return engine


class Work:
    """What may be used of one transaction. Used by one thread; the transaction is begun and ended by others.

    Whatever is written by one means is there for the others: held-back changes of a session and of `Rows` are written
    in the order in which they were made.
    """

    def __init__(self, shop: Workshop, connection: Connection) -> None:
        self.connection = connection
        self.database = shop.database
        self._shop = shop
        self._alchemy: Alchemy | None = None
        self._rows: Rows | None = None
        self._guarded: Guarded | None = None
        self._is_stale = False

    def get(self, wanted: Wanted) -> Any:
        """The part that a handler asks for; made once. Raises `MissingExtraError`."""
        match wanted:
            case Wanted.SESSION:
                return self.alchemy.session
            case Wanted.ALCHEMY:
                return self.alchemy.connection
            case Wanted.RAW:
                if self._guarded is None:
                    self._guarded = Guarded(self.connection, self.settle)
                return self._guarded
            case Wanted.ROWS:
                return self.rows

    @property
    def alchemy(self) -> "Alchemy":
        """SQLAlchemy over the connection."""
        if self._alchemy is None:
            engine = self._shop.engine(self.connection)
            from penstock.store.work._alchemy import Alchemy

            self._alchemy = Alchemy(engine, self._write_rows, moved_on(self.connection))
        return self._alchemy

    @property
    def rows(self) -> Rows:
        """Rows of read models, in batches."""
        if self._rows is None:
            self._rows = Rows(self._table, self._run, self._copy, self._before_change)
        return self._rows

    def ready(self, wanted: Wanted) -> None:
        """See to it that a handler which is given *wanted* now sees all that others wrote in this transaction."""
        match wanted:
            case Wanted.SESSION:
                if self._is_stale:
                    self._is_stale = False
                    self.alchemy.expire_all()
            case Wanted.RAW | Wanted.ALCHEMY:
                self.settle()
                self._is_stale = True
            case Wanted.ROWS:
                pass

    def settle(self) -> None:
        """Write what is held back."""
        if self._alchemy is not None:
            if self._alchemy.has_changes:
                self._alchemy.flush()
            self._alchemy.forget()
        self._write_rows()

    def check(self) -> None:
        """Raises `UsageError` if a handler has ended the transaction by ways of its own."""
        if not is_in_transaction(self.connection, self.database.dialect):
            raise UsageError(
                "a handler has ended the transaction of its page, so what it wrote may be kept without the position; "
                "leave COMMIT and ROLLBACK out"
            )

    def end(self) -> None:
        """Let go of everything; what is still held back is not written."""
        alchemy, self._alchemy = self._alchemy, None
        self._rows = self._guarded = None
        if alchemy is not None:
            alchemy.end()

    def _write_rows(self) -> None:
        if self._rows is not None and self._rows.are_pending:
            self._rows.flush()

    def _table(self, table: Any) -> RowTable:
        found, moved = self._shop.table(table), moved_on(self.connection)
        return found if moved is None else moved.row_table(found)

    def _run(self, sql: str, parameters: list[object]) -> Any:
        return self.database.execute(self.connection, sql, parameters)

    def _copy(self, sql: str, text: str) -> None:
        from penstock.store._postgres.copying import copy_rows

        copy_rows(self.database, self.connection, sql, text)

    def _before_change(self, table: RowTable, names: tuple[str, ...], key: tuple[Any, ...]) -> None:
        alchemy = self._alchemy
        if alchemy is None:
            return
        if alchemy.has_changes:
            alchemy.flush()
        alchemy.forget()
        if table.table is not None:
            by_primary = table.cls is not None and set(names) == set(table.primary)
            place = tuple(key[names.index(name)] for name in table.primary) if by_primary else None
            alchemy.expire(table.cls, table.table, place)
