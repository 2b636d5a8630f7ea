"""What cannot be appended in is refused, with the remedy, before anything is written."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
from sqlalchemy import Column, Integer, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, declarative_base, sessionmaker

from penstock.errors import MissingMigrationError, StoreUnavailableError, UsageError
from penstock.store._postgres import make_backend as make_postgres
from penstock.store.abc import NO_STREAM, StoreBackend
from penstock.store.within import append_within, load_within
from tests.store.within.doors import Django, database, settled, with_driver
from tests.store.within.test_doors import event, one

MakeStore = Callable[[str], Awaitable[StoreBackend]]


async def nothing_in(backend: StoreBackend) -> None:
    """The store is empty."""
    assert await backend.read_stream("order-1", limit=10) == []


async def test_what_has_no_transaction_is_refused_with_what_to_give(make_store: MakeStore) -> None:
    """An engine, a factory of sessions, a cursor: the message names what to give in their place."""
    backend = await make_store("sqlite")
    engine = create_engine(backend.database.url)
    connection = sqlite3.connect(backend.database.url.removeprefix("sqlite:///"))
    for wrong, remedy in (
        (engine, r"sqlalchemy\.engine\.base\.Engine; .*with engine\.begin\(\)"),
        (sessionmaker(engine), r"sessionmaker; .*Session\.begin\(\)"),
        (connection.cursor(), r"sqlite3\.Cursor; give the connection"),
        ("nobody", r"builtins\.str|Django has no database"),
        (object(), r"builtins\.object; see docs/how-to/append-in-your-transaction\.md"),
    ):
        with pytest.raises(UsageError, match=remedy):
            append_within(backend, wrong, one(event()))
        with pytest.raises(UsageError, match=remedy):
            load_within(backend, wrong, "order-1")
    connection.close()
    engine.dispose()


async def test_a_transaction_in_another_kind_of_database_is_refused(make_store: MakeStore) -> None:
    """A SQLite connection for a store in PostgreSQL, and the other way round; nothing is written to either."""
    sqlite, postgres = await make_store("sqlite"), await make_store("postgresql")
    small = sqlite3.connect(sqlite.database.url.removeprefix("sqlite:///"))
    with pytest.raises(UsageError, match="is in SQLite, and store 'local' is in PostgreSQL"):
        append_within(postgres, small, one(event()))
    assert not small.in_transaction
    small.close()
    with (
        psycopg.connect(postgres.database.url) as large,
        pytest.raises(UsageError, match="is in PostgreSQL, and store 'local' is in SQLite"),
    ):
        append_within(sqlite, large, one(event()))


async def test_a_transaction_in_another_file_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    """The store of one file and a connection to another; the file attached to it is good."""
    backend = await make_store("sqlite")
    path = backend.database.url.removeprefix("sqlite:///")
    other = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(UsageError, match="not in the database of store 'local'"):
        append_within(backend, other, one(event()))
    other.execute("ATTACH ? AS events", (path,))
    append_within(backend, other, one(event()))
    other.commit()
    other.close()
    assert len(await backend.read_stream("order-1", limit=10)) == 1

    link = tmp_path / "link.db"
    link.symlink_to(path)
    through = sqlite3.connect(link)
    append_within(backend, through, one(event()))
    through.commit()
    through.close()
    assert len(await backend.read_stream("order-1", limit=10)) == 2


async def test_a_transaction_in_another_database_of_a_server_is_refused(
    make_store: MakeStore, postgres_url: str
) -> None:
    """The caller's transaction is alive afterwards: it was asked, not tried."""
    backend = await make_store("postgresql")
    with psycopg.connect(postgres_url) as other:
        for _ in range(2):
            with pytest.raises(UsageError, match="not in the database of store 'local'"):
                append_within(backend, other, one(event()))
            assert other.execute("SELECT 1").fetchone() == (1,)


async def test_a_database_without_our_tables_is_named_with_the_command(postgres_database: str) -> None:
    """Nobody has migrated: the error says what to run, and PostgreSQL's transaction goes on."""
    postgres = make_postgres("local", postgres_database)
    with psycopg.connect(postgres_database) as connection:
        with pytest.raises(MissingMigrationError, match="penstock db migrate --store local"):
            append_within(postgres, connection, one(event()))
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_what_would_be_committed_at_once_is_refused_on_sqlite(make_store: MakeStore) -> None:
    """Connections in autocommit mode without a transaction; with one they are good."""
    backend = await make_store("sqlite")
    path = backend.database.url.removeprefix("sqlite:///")

    plain = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(UsageError, match="BEGIN IMMEDIATE"):
        append_within(backend, plain, one(event()))
    plain.execute("BEGIN IMMEDIATE")
    append_within(backend, plain, one(event()))
    plain.execute("ROLLBACK")
    plain.close()

    async with aiosqlite.connect(path, isolation_level=None) as other:
        with pytest.raises(UsageError, match="BEGIN IMMEDIATE"):
            await settled(append_within(backend, other, one(event())))
        await other.execute("BEGIN IMMEDIATE")
        await settled(append_within(backend, other, one(event())))
        await other.execute("ROLLBACK")

    engine = create_engine(backend.database.url, isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(UsageError, match="AUTOCOMMIT"):
        append_within(backend, session, one(event()))
    engine.dispose()

    asynchronous = create_async_engine(f"sqlite+aiosqlite:///{path}", isolation_level="AUTOCOMMIT")
    async with AsyncSession(asynchronous) as session_:
        with pytest.raises(UsageError, match="AUTOCOMMIT"):
            await settled(append_within(backend, session_, one(event())))
    await asynchronous.dispose()
    await nothing_in(backend)


async def test_what_would_be_committed_at_once_is_refused_on_postgresql(make_store: MakeStore) -> None:
    """psycopg and SQLAlchemy in autocommit mode, and asyncpg, which has no other, outside of a transaction."""
    backend = await make_store("postgresql")
    url = backend.database.url

    with psycopg.connect(url, autocommit=True) as plain:
        with pytest.raises(UsageError, match=r"connection\.transaction\(\)"):
            append_within(backend, plain, one(event()))
        with plain.transaction(force_rollback=True):
            append_within(backend, plain, one(event()))

    untyped: Any = asyncpg
    other = await untyped.connect(url)
    with pytest.raises(UsageError, match=r"connection\.transaction\(\)"):
        await settled(append_within(backend, other, one(event())))
    await other.close()

    for driver in ("psycopg", "asyncpg"):
        engine = create_async_engine(with_driver(url, driver), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(UsageError, match="AUTOCOMMIT"):
                await settled(append_within(backend, connection, one(event())))
        await engine.dispose()
    await nothing_in(backend)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_django_outside_of_atomic_is_refused(make_store: MakeStore, dialect: str) -> None:
    """Django commits each statement by itself there; an alias that it does not know is named."""
    backend = await make_store(dialect)
    door = Django(backend, database(backend.database.url))
    await door.begin()
    await door.in_thread(door.end)

    def refused(within: Any, match: str) -> None:
        with pytest.raises(UsageError, match=match):
            append_within(backend, within, one(event()))

    await door.in_thread(refused, door.within, r"transaction\.atomic\(using=")
    await door.in_thread(refused, door.alias, r"transaction\.atomic\(using=")
    await door.in_thread(refused, "nobody", "Django has no database 'nobody'")
    await door.begin()
    assert await door.in_thread(append_within, backend, door.alias, one(event()))
    await door.close()
    await nothing_in(backend)


async def test_a_session_with_a_database_for_each_model_is_asked_for_one(make_store: MakeStore) -> None:
    """A session that is bound by model gives its connection for one of them."""
    backend = await make_store("sqlite")
    base: Any = declarative_base()
    table = Column("id", Integer, primary_key=True)
    order = type("Order", (base,), {"__tablename__": "orders", "id": table})
    engine = create_engine(backend.database.url)
    with Session(binds={order: engine}) as session:
        with pytest.raises(UsageError, match="bind_arguments"):
            append_within(backend, session, one(event()))
        append_within(backend, session.connection(bind_arguments={"mapper": order}), one(event()))
        session.commit()
    engine.dispose()
    assert len(await backend.read_stream("order-1", limit=10)) == 1


async def test_a_transaction_that_read_too_early_is_told_so(make_store: MakeStore) -> None:
    """On SQLite: another wrote since it began with reading. It appends nothing, says what to do, and can begin anew."""
    backend = await make_store("sqlite")
    path = backend.database.url.removeprefix("sqlite:///")
    late = sqlite3.connect(path, isolation_level=None)
    late.execute("BEGIN")
    late.execute("SELECT * FROM penstock_events").fetchall()
    first = event()
    early = sqlite3.connect(path)
    append_within(backend, early, one(first))
    early.commit()
    early.close()

    with pytest.raises(StoreUnavailableError, match=r"began with reading.*BEGIN IMMEDIATE"):
        append_within(backend, late, one(event(), expected=NO_STREAM))
    late.execute("ROLLBACK")
    late.execute("BEGIN IMMEDIATE")
    append_within(backend, late, one(event(), expected=1))
    late.execute("COMMIT")
    late.close()
    assert [each.stream_version for each in await backend.read_stream("order-1", limit=10)] == [1, 2]


async def test_two_writers_of_sqlite_wait_for_each_other(make_store: MakeStore) -> None:
    """Python's own way to begin: the second writer waits for the lock before it reads, and sees the first's version."""
    backend = await make_store("sqlite")
    path = backend.database.url.removeprefix("sqlite:///")
    first = sqlite3.connect(path, check_same_thread=False)
    append_within(backend, first, one(event()))
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def second() -> Any:
        connection = sqlite3.connect(path, timeout=30)
        loop.call_soon_threadsafe(began.set)
        try:
            return append_within(backend, connection, one(event(), expected=1))
        finally:
            connection.commit()
            connection.close()

    waiting = asyncio.create_task(asyncio.to_thread(second))
    await began.wait()
    first.commit()
    first.close()
    [placed] = await waiting
    assert placed.stream_version == 2

    blocked = sqlite3.connect(path, timeout=0)
    holder = sqlite3.connect(path)
    append_within(backend, holder, one(event()))
    with pytest.raises(StoreUnavailableError, match="locked by another transaction"):
        append_within(backend, blocked, one(event()))
    holder.rollback()
    for each in (holder, blocked):
        each.close()
