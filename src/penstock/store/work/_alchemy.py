"""SQLAlchemy over a DB-API connection of ours, inside the transaction that the connection is in.

An engine with one connection that is lent: made once for each connection, so that SQLAlchemy's cache of compiled
statements lives from page to page. A session and a connection are made for each page.
"""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, cast

from sqlalchemy import Column, Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import RootTransaction
from sqlalchemy.orm import Mapper, Session, class_mapper
from sqlalchemy.pool import NullPool, StaticPool

from penstock.store.database import Connection as Raw
from penstock.store.database import Dialect
from penstock.store.work._guarded import Silent, check_sql, refuse
from penstock.store.work.moving import Moved

__all__ = ["Alchemy", "PageConnection", "PageSession", "engine_in", "engine_over"]

_MOST_KEPT: Final = 10_000
"""So many rows stay in a session at most."""


def engine_over(raw: Raw, dialect: Dialect, moved: Moved | None = None) -> Engine:
    """An engine whose only connection is *raw*, which it neither commits nor closes; *moved* says what is elsewhere."""
    lent: Any = Silent(raw)
    options: dict[str, Any] = {
        "creator": lambda: lent,
        "poolclass": StaticPool,
        "pool_reset_on_return": None,
    }
    if dialect == "sqlite":
        engine = create_engine("sqlite://", **options)
    else:
        # Looking for hstore would cost a query; SQLAlchemy reads and writes it without the driver's help as well.
        engine = create_engine("postgresql+psycopg://", use_native_hstore=False, **options)
    if moved is not None:
        _move(engine, moved)
    return engine


def engine_in(connect: Callable[[], Raw], begin: Sequence[str], moved: Moved) -> Engine:
    """An engine for PostgreSQL over connections of its own, whose transactions begin by the statements *begin*."""
    # Nobody disposes of it, so it keeps no connection that is not in use.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=cast("Any", connect),
        use_native_hstore=False,
        poolclass=NullPool,
    )
    _move(engine, moved)

    # Connections are in manual commit mode, so that a transaction begins by this and not before.
    @event.listens_for(engine, "begin")
    def enter(connection: Any) -> None:
        for statement in begin:
            connection.exec_driver_sql(statement)

    return engine


def _move(engine: Engine, moved: Moved) -> None:
    names: Any = engine.dialect.identifier_preparer
    names.schema_for_object = moved.schema_of


class PageConnection(Connection):
    """A connection that cannot end its transaction."""

    moved: Moved | None = None

    def schema_for_object(self, obj: Any) -> str | None:
        """Where a table, sequence or type is."""
        return super().schema_for_object(obj) if self.moved is None else self.moved.schema_of(obj)

    def begin(self) -> RootTransaction:
        """Refused; it has begun."""
        refuse("begin a transaction, it is in one")

    def commit(self) -> NoReturn:
        """Refused."""
        refuse("commit")

    def rollback(self) -> NoReturn:
        """Refused."""
        refuse("roll back")

    def close(self) -> None:
        """Nothing: it is closed with its page."""


class PageSession(Session):
    """A session that cannot end its transaction. Closing it has no effect: it is closed with its page.

    A session of SQLAlchemy forgets a row as soon as nobody refers to it, which is when a handler returns: the next
    event's would read it again, and so have everything written first. This one keeps rows, as long as nothing but
    itself can have changed them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._kept: deque[object] = deque(maxlen=_MOST_KEPT)
        self._is_flushing = False

    def keep(self, instance: object) -> None:
        """Keep a row, if it is one by itself; what is loaded along with a row may change without it."""
        cls: Any = type(instance)
        if _is_plain(cls):
            self._kept.append(instance)

    def forget(self) -> None:
        """Keep nothing any longer: whoever asks for a row reads it, unless it is in use or has changes."""
        self._kept.clear()

    def about_to_run(self, context: Any) -> None:
        """Something is about to run on the connection; what is none of ours may change rows that are kept."""
        if self._kept and not self._is_flushing and not _only_reads(context):
            self.forget()

    def flush(self, objects: Any = None) -> None:
        """Write what is held back."""
        outermost, self._is_flushing = not self._is_flushing, True
        try:
            super().flush(objects)
        finally:
            if outermost:
                self._is_flushing = False

    def delete(self, instance: object) -> None:
        """Delete a row, and with it whatever the database deletes along."""
        self.forget()
        super().delete(instance)

    def begin(self, nested: bool = False) -> Any:
        """A savepoint with *nested*; else refused, a transaction has begun."""
        if not nested:
            refuse("begin a transaction, it is in one")
        return super().begin(nested)

    def commit(self) -> NoReturn:
        """Refused."""
        refuse("commit")

    def rollback(self) -> NoReturn:
        """Refused."""
        refuse("roll back")

    def close(self) -> None:
        """Nothing: it is closed with its page."""


def _kept_by_session(session: Session, instance: object) -> None:
    if isinstance(session, PageSession):
        session.keep(instance)


for _moment in ("loaded_as_persistent", "pending_to_persistent"):
    event.listen(PageSession, _moment, _kept_by_session)


@functools.lru_cache(maxsize=1024)
def _is_plain(cls: type) -> bool:
    """Whether a mapped class is columns and nothing else."""
    mapper: Mapper[Any] = class_mapper(cls)
    columns = (column for each in mapper.column_attrs for column in each.columns)
    return not list(mapper.relationships) and all(isinstance(column, Column) for column in columns)


def _only_reads(context: Any) -> bool:
    """Whether a statement is one that SQLAlchemy has made and that reads."""
    return (
        context is not None
        and context.compiled is not None
        and not context.is_text
        and not (context.isinsert or context.isupdate or context.isdelete or context.isddl)
    )


class Alchemy:
    """What SQLAlchemy has to do with one page."""

    def __init__(self, engine: Engine, before: Callable[[], None], moved: Moved | None = None) -> None:
        self.engine = engine
        self._before = before
        self._moved = moved
        self._connection: PageConnection | None = None
        self._session: PageSession | None = None

    @property
    def connection(self) -> PageConnection:
        """The connection of the page."""
        if self._connection is None:
            made = PageConnection(self.engine)
            made.moved = self._moved
            Connection.begin(made)
            event.listen(made, "before_cursor_execute", self._about_to_run)
            self._connection = made
        return self._connection

    @property
    def session(self) -> PageSession:
        """The session of the page."""
        if self._session is None:
            self._session = PageSession(bind=self.connection, expire_on_commit=False)
        return self._session

    @property
    def has_changes(self) -> bool:
        """Whether the session holds something back."""
        session = self._session
        return session is not None and bool(session.new or session.dirty or session.deleted)

    def flush(self) -> None:
        """Write what the session holds back."""
        if self._session is not None:
            self._session.flush()

    def expire(self, cls: type | None, table: Any, key: tuple[Any, ...] | None) -> None:
        """Let the session read a row anew that is about to change underneath.

        With *cls* and its primary *key* that row; else every one of *table*.
        """
        session = self._session
        if session is None or not len(session.identity_map):
            return
        if cls is not None and key is not None:
            from sqlalchemy.orm.util import identity_key

            found: Any = session.identity_map.get(cast("Any", identity_key(cls, key)))
            if found is not None:
                session.expire(found)
            return
        for each in list(session.identity_map.values()):
            if inspect(each).mapper.local_table is table:
                session.expire(each)

    def expire_all(self) -> None:
        """Let the session read every row anew."""
        if self._session is not None:
            self._session.expire_all()

    def forget(self) -> None:
        """Have the session keep no rows: they may be changed by others."""
        if self._session is not None:
            self._session.forget()

    def end(self) -> None:
        """Let go of session and connection. What they held back is not written."""
        session, self._session = self._session, None
        connection, self._connection = self._connection, None
        if session is not None:
            session.forget()
            Session.close(session)
        if connection is not None:
            Connection.close(connection)

    def _about_to_run(self, *told: Any) -> None:
        check_sql(told[2])
        self._before()
        if self._session is not None:
            self._session.about_to_run(told[4])
