"""How callers have set up their connections does not matter."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock.store import migrating
from penstock.store._postgres import make_backend as make_postgres
from penstock.store.abc import Conflict, StoreBackend
from penstock.store.within import append_within, load_within
from penstock.store.within._placeholders import translated
from penstock.store.work._alchemy import Alchemy, engine_over
from penstock.store.work._guarded import Guarded
from tests.store.within.test_doors import event, one

MakeStore = Callable[[str], Awaitable[StoreBackend]]


def in_a_word(*_: object) -> str:
    """Any row."""
    return "a row"


async def test_factories_of_sqlite3_are_left_alone(make_store: MakeStore) -> None:
    """Rows of another shape and texts as bytes are for the caller's own statements."""
    backend = await make_store("sqlite")
    connection = sqlite3.connect(backend.database.url.removeprefix("sqlite:///"))
    connection.row_factory = in_a_word
    connection.text_factory = bytes
    first = event(text="Łódź")
    append_within(backend, connection, one(first))
    assert append_within(backend, connection, one(event(), expected=0)) == Conflict(
        "order-1", "version", actual=1
    )
    answer: Any = load_within(backend, connection, "order-1")
    assert [each.data for each in answer[0]] == [first.data]
    assert connection.text_factory is bytes
    assert connection.execute("SELECT 1").fetchone() == "a row"
    connection.rollback()
    connection.close()


async def test_factories_of_psycopg_are_left_alone(make_store: MakeStore) -> None:
    """Rows as dicts, and cursors that take the server's own placeholders."""
    backend = await make_store("postgresql")
    kinds: list[Any] = [psycopg.Cursor, psycopg.RawCursor, psycopg.ClientCursor]
    rows: Any = dict_row
    for cursors in kinds:
        with psycopg.connect(backend.database.url, row_factory=rows) as connection:
            connection.cursor_factory = cursors
            append_within(backend, connection, one(event()))
            answer: Any = load_within(backend, connection, "order-1")
            assert answer[1] == 1
            connection.rollback()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_the_transaction_of_a_handler_is_one_too(make_store: MakeStore, dialect: str) -> None:
    """What projections and inboxes lend to handlers: the driver's connection, SQLAlchemy's, and a session."""
    backend = await make_store(dialect)
    database = backend.database
    raw: Any = database.connect()
    engine = engine_over(raw, database.dialect)
    for number in range(3):
        database.begin(raw)
        page = Alchemy(engine, lambda: None)
        lent: Any = (Guarded(raw, lambda: None), page.connection, page.session)[number]
        append_within(backend, lent, one(event(), expected=number))
        page.end()
        raw.commit()
    raw.close()
    engine.dispose()
    assert len(await backend.read_stream("order-1", limit=10)) == 3


async def test_a_store_in_a_schema_of_its_own_is_found_there(postgres_database: str) -> None:
    """The caller's search path need not name the schema of the store."""
    with psycopg.connect(postgres_database) as connection:
        connection.execute('CREATE SCHEMA "Events of shop"')
    backend = make_postgres("local", postgres_database, schema="Events of shop")
    migrating.apply(backend.database)
    with psycopg.connect(postgres_database) as connection:
        append_within(backend, connection, one(event()))
        answer: Any = load_within(backend, connection, "order-1")
    assert answer[1] == 1


async def test_a_restarted_server_is_the_same_one(make_store: MakeStore) -> None:
    """What was known of the store's server from before is found out again, and no transaction refused for it."""
    from penstock.store.within import _within

    backend = await make_store("postgresql")
    with psycopg.connect(backend.database.url) as connection:
        append_within(backend, connection, one(event()))
    known: Any = _within._HOMES._own[backend]
    [(table, database, _)] = known.facts
    _within._HOMES._own[backend] = type(known)(((table, database, "before"),), has_tables=True)
    with psycopg.connect(backend.database.url) as connection:
        append_within(backend, connection, one(event()))
    assert len(await backend.read_stream("order-1", limit=10)) == 2


class Base(DeclarativeBase):
    """Tables of these tests."""


class Order(Base):
    """The caller's own rows."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_what_a_session_holds_back_is_written_first(make_store: MakeStore, dialect: str) -> None:
    """So that its own errors come first; unless it says that nothing is to be flushed."""
    backend = await make_store(dialect)
    engine = create_engine(backend.database.url.replace("postgresql:", "postgresql+psycopg:"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Order(id=1))
        append_within(backend, session, one(event()))
        session.commit()
        session.expunge_all()
        session.add(Order(id=1))
        with pytest.raises(IntegrityError):
            append_within(backend, session, one(event()))
        session.rollback()
        with session.no_autoflush:
            session.add(Order(id=2))
            append_within(backend, session, one(event()))
            assert len(session.new) == 1
        session.commit()
        assert session.get(Order, 2) is not None
    engine.dispose()
    assert [each.stream_version for each in await backend.read_stream("order-1", limit=10)] == [1, 2]


@pytest.mark.covers("STORE-2")
async def test_the_second_of_two_writers_of_a_stream_is_told(make_store: MakeStore) -> None:
    """On PostgreSQL it waits until the first has committed, and then has a conflict and a transaction that lives."""
    backend = await make_store("postgresql")
    with psycopg.connect(backend.database.url) as first, psycopg.connect(backend.database.url) as second:
        append_within(backend, first, one(event(), expected=0))
        waiting = asyncio.create_task(
            asyncio.to_thread(append_within, backend, second, one(event(), expected=0))
        )
        while not first.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", (second.info.backend_pid,)
        ).fetchall():
            await asyncio.sleep(0.01)
        first.commit()
        assert await waiting == Conflict("order-1", "version", actual=1)
        append_within(backend, second, one(event(), expected=1))
    assert [each.stream_version for each in await backend.read_stream("order-1", limit=10)] == [1, 2]


async def test_a_long_stream_is_loaded_whole(make_store: MakeStore) -> None:
    """It is read page by page, to the last one that is not full, or up to a limit."""
    backend = await make_store("sqlite")
    connection = sqlite3.connect(backend.database.url.removeprefix("sqlite:///"))
    append_within(backend, connection, one(*(event() for _ in range(2000))))
    for limit, expected in ((None, 2000), (1500, 1500)):
        answer: Any = load_within(backend, connection, "order-1", limit=limit)
        assert [each.stream_version for each in answer[0]] == list(range(1, expected + 1))
        assert answer[1] == 2000
    connection.rollback()
    connection.close()


@given(st.lists(st.sampled_from(["?", "%", "a = ?", "'it''s ? %'", '"?"', " x "])))
def test_only_placeholders_are_translated(parts: list[str]) -> None:
    """What is quoted stays, percent signs are doubled where they have a meaning, and places are numbered in order."""
    sql = " ".join(parts)
    marks = sum(part in ("?", "a = ?") for part in parts)
    assert translated(sql, "qmark") == sql
    assert translated(sql, "format") % (("?",) * marks) == sql
    numbered = translated(sql, "numeric")
    for number in range(marks, 0, -1):
        numbered = numbered.replace(f"${number}", "?")
    assert numbered == sql
