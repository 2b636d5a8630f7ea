"""The copy of read models on PostgreSQL: a schema, into which the transactions of a generation look first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from penstock.errors import ReplayError
from penstock.projections._engine import _checkpoints
from penstock.projections._engine._sql import rows, transaction
from penstock.projections.abc import Handlers
from penstock.replays._connecting import connected
from penstock.replays._guarding import GuardedHandlers
from penstock.replays._postgres import preflight, switching
from penstock.replays._postgres.database import GenerationDatabase
from penstock.replays._postgres.isolation import PostgresFence
from penstock.replays._postgres.layout import Later, Layout, placed, read_layout
from penstock.replays._postgres.making import make_checkpoints, make_copy, reset_checkpoints
from penstock.replays._postgres.names import quoted, schema_name, written
from penstock.replays._postgres.patience import patiently
from penstock.replays._postgres.removing import cut_outside_keys, outside_keys, remove_schema
from penstock.replays._postgres.sizes import read_size
from penstock.replays.abc import (
    Candidate,
    Comparing,
    CopiedTable,
    CopySize,
    Finding,
    Held,
    Part,
    Switched,
)
from penstock.store.database import Connection, Database
from penstock.store.work import Moved

__all__ = ["PostgresCopy"]

_NOT_KEPT: Final = "23503"
"""The SQLSTATE of a foreign key that is not kept (appendix A of PostgreSQL's manual)."""
_ONE_AT_A_TIME: Final = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(?, 0))"
_SEQUENCES: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind = 'S'"""
_TABLES: Final = """\
SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ? AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.oid"""


class PostgresCopy:
    """A `ReadModelCopy` in a schema of its own.

    Args:
        key: The replay's, and the generation's name.
        live: The database of the live tables.
        tables: What is copied; those without a definition are like production's.
        projections: The names whose checkpoints it has.
        part: What of history it is to have.
        makes_own: Whether there may be more tables, which read models make themselves.
    """

    def __init__(
        self,
        key: str,
        live: Database,
        tables: Sequence[CopiedTable],
        *,
        projections: Sequence[str],
        part: Part | None = None,
        makes_own: bool = False,
    ) -> None:
        self.key = key
        self.where = schema_name(key)
        self.tables: tuple[CopiedTable, ...] = tuple(tables)
        self.live_database = live
        self.database: Database = GenerationDatabase(live, self.where, self._moved)
        self.building: Database = GenerationDatabase(live, self.where, self._moved, lasting=False)
        self.projections = tuple(projections)
        self.part = part or Part()
        self.makes_own = makes_own
        self._declared = tuple(tables)
        self._layout: Layout | None = None

    # -- making and filling ---------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether its schema is there."""
        with self._connected() as connection:
            return self._read(connection) is not None

    def create(self, candidates: Sequence[Candidate]) -> None:
        """Make it, in one transaction that locks nothing of production but for reading.

        Foreign keys to tables that are not copied come with `finish`: until then a row of history may refer to what is
        gone by now. Raises `ReplayError` naming the table that cannot be copied.
        """
        live = self.live_database
        with self._connected() as connection, transaction(live, connection):
            live.execute(connection, _ONE_AT_A_TIME, (self.where,))
            layout = self._read(connection)
            if layout is None:
                self._layout = None
                layout = make_copy(live, connection, self.where, self.key, self._declared, candidates)
            make_checkpoints(live, connection, self.where, self.key, candidates, self.part)
        self._known(layout)

    def guard(self, handlers: Handlers) -> Handlers:
        """Handlers each page of which is held against the locks of its transaction before it commits."""
        if isinstance(handlers, GuardedHandlers):
            return handlers
        return GuardedHandlers(handlers, PostgresFence(self.live_database, self.where, self._places))

    def empty(self) -> None:
        """Take out every row, begin sequences anew, and put the checkpoints back; outside keys go until `finish`.

        Raises `ReplayBusyError` if others use its tables all the time.
        """
        live, step = self.live_database, "be emptied"
        with self._connected() as connection:
            cut_outside_keys(live, connection, self.where, key=self.key, step=step)
            patiently(live, connection, lambda: self._empty(connection), key=self.key, step=step)

    def _empty(self, connection: Connection) -> None:
        live = self.live_database
        for name in sorted(self.projections):
            if (found := _checkpoints.read(live, connection, name, self.key)) is not None:
                _checkpoints.hold(live, connection, found)
        if tables := [written(self.where, name) for name in self._names(connection, _TABLES)]:
            live.execute(connection, f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
        for name in self._names(connection, _SEQUENCES):
            live.execute(connection, f"ALTER SEQUENCE {written(self.where, name)} RESTART")
        reset_checkpoints(live, connection, self.key, self.projections, self.part)

    def finish(self) -> None:
        """Make the foreign keys to tables outside, and let the server count what is there. Repeatable.

        The tables outside are locked against writing for the moment in which a key is made, not while it is looked at.
        Raises `ReplayError` for a key that the copy's rows do not keep, `ReplayBusyError` if a lock was never had.
        """
        live = self.live_database
        with self._connected() as connection:
            live.execute(connection, "SET statement_timeout = 0")
            layout = self._read(connection)
            if layout is None:
                return
            there = set(outside_keys(live, connection, self.where))
            for key in layout.later:
                if (key.table, key.name) not in there:
                    self._make_key(connection, key)
                self._validate(connection, key)
            for name in self._names(connection, _TABLES):
                live.execute(connection, f"ANALYZE {written(self.where, name)}")

    def _make_key(self, connection: Connection, key: Later) -> None:
        sql = f"ALTER TABLE {written(self.where, key.table)} ADD {key.definition} NOT VALID"
        patiently(
            self.live_database,
            connection,
            lambda: self.live_database.execute(connection, sql),
            key=self.key,
            step="be finished",
        )

    def _validate(self, connection: Connection, key: Later) -> None:
        table = written(self.where, key.table)
        try:
            self.live_database.execute(
                connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(key.name)}"
            )
        except Exception as failure:
            if getattr(failure, "sqlstate", None) != _NOT_KEPT:
                raise
            said = " ".join(str(failure).split())
            raise ReplayError(
                f"the copy of replay {self.key!r} has rows in table {key.table} that break its foreign key "
                f"{key.name}: {said}; see to it that the handlers write what that table has, and start from zero"
            ) from failure

    def size(self) -> CopySize:
        """Rows by table, counted where that is quick and else estimated, and bytes with indexes."""
        with self._connected() as connection:
            return read_size(self.live_database, connection, self.where)

    # -- comparing and switching ----------------------------------------------------------------------------------

    @contextmanager
    def comparing(self, held: Held) -> Iterator[Comparing]:
        """A look at both generations as they are while *held*; the look outlives the hold.

        Raises `ReplayBusyError` if what is seen is not at the held positions.
        """
        from penstock.replays.verifying._postgres import check_positions, comparing_schemas

        with comparing_schemas(self.live_database, self.where) as comparing:
            check_positions(comparing, self.key, held.positions)
            yield comparing

    def preflight(self) -> list[Finding]:
        """What stands in the way of a switch, or should be known before it."""
        return preflight.preflight(self)

    def prepare_switch(self, say: Callable[[str], None]) -> None:
        """What can be done before the switch, beside readers and writers."""
        switching.prepare_switch(self, say)

    def switch(
        self, meet: Callable[[], AbstractContextManager[Held]], record: Callable[[Held], None]
    ) -> Switched:
        """Exchange live and copy in one transaction. Raises `ReplayBusyError`."""
        return switching.switch(self, meet, record)

    # -- taking away ------------------------------------------------------------------------------------------------

    def alone(self) -> AbstractContextManager[None]:
        """Nothing is kept: leases are renewed beside an open page, so they tell who is there, and `drop` gives way."""
        return nullcontext()

    def drop(self) -> None:
        """Remove schema and checkpoints, piece by piece; harmless where there is nothing.

        Raises `ReplayError` if something outside of it hangs on it, naming that; nothing was removed then but foreign
        keys to tables outside. `ReplayBusyError` if others use its tables all the time.
        """
        live, step = self.live_database, "be removed"
        with self._connected() as connection:
            if self._read(connection) is not None:
                cut_outside_keys(live, connection, self.where, key=self.key, step=step)
            patiently(live, connection, lambda: self._drop(connection), key=self.key, step=step)

    def _drop(self, connection: Connection) -> None:
        live = self.live_database
        # First: whoever feeds it holds one of these.
        for name in sorted(self.projections):
            _checkpoints.remove(live, connection, name, self.key)
        if self._read(connection) is not None:
            remove_schema(live, connection, self.where, self.key)
        self._layout = None

    # -- what is known of it ----------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with connected(self.live_database) as connection:
            yield connection

    def _names(self, connection: Connection, sql: str) -> list[str]:
        return [row[0] for row in rows(self.live_database, connection, sql, (self.where,))]

    def _read(self, connection: Connection) -> Layout | None:
        layout = read_layout(self.live_database, connection, self.where, self.key)
        if layout is not None and layout.is_made:
            self._known(layout)
        return layout

    def _moved(self, connection: Connection) -> Moved:
        """What sessions find in the copy."""
        layout = self._read(connection)
        names = frozenset[tuple[str | None, str]]() if layout is None else frozenset(layout.moved)
        return Moved(self.where, names)

    def _places(self, connection: Connection) -> frozenset[tuple[str, str]]:
        """Schema and name of the live tables that it stands for."""
        layout = self._layout or self._read(connection)
        if layout is None:
            found = placed(self.live_database, connection, self._declared)
            return frozenset((each.schema, each.name) for each in found)
        # While it is made, production's tables are read to make others like them.
        return layout.places

    def _known(self, layout: Layout) -> None:
        """Tables as they were made, with the definitions that the code has for them."""
        self._layout = layout
        definitions = {each.name: each.definition for each in self._declared}
        self.tables = tuple(
            CopiedTable(each.name, each.schema, definitions.get(each.name)) for each in layout.tables
        )
