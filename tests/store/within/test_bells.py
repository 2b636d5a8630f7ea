"""Readers are woken by the caller's commit where its library tells of one, and never by anything else."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import Append, StoreBackend
from penstock.store.within import append_within
from tests.store.within.doors import Django, database, settled
from tests.store.within.test_doors import event, one

MakeStore = Callable[[str], Awaitable[StoreBackend]]


class Bell(SqliteBackend):
    """A store that counts how often it was rung, and knows what could be seen then."""

    rung: int = 0
    seen: int = 0

    def ring(self) -> None:
        """Count."""
        self.rung += 1
        connection = sqlite3.connect(self.database.path)
        [(self.seen,)] = connection.execute("SELECT count(*) FROM penstock_events")
        connection.close()


@pytest.fixture
async def bell(tmp_path: Path) -> Any:
    """A store with a bell."""
    backend = Bell("local", f"sqlite:///{tmp_path}/shop.db")
    await backend.open()
    yield backend
    await backend.close()


@pytest.mark.covers("STORE-7")
async def test_a_session_rings_after_its_commit(bell: Bell) -> None:
    """Once for a transaction, however much was appended, with all of it to be seen; not for a savepoint's release."""
    engine = create_engine(bell.database.url)
    with Session(engine) as session:
        append_within(bell, session, one(event()))
        with session.begin_nested():
            append_within(bell, session, one(event()))
        assert bell.rung == 0
        session.commit()
        assert (bell.rung, bell.seen) == (1, 2)
        session.execute(text("SELECT 1"))
        session.commit()
        assert bell.rung == 1
    engine.dispose()


@pytest.mark.covers("STORE-7")
async def test_a_session_that_rolled_back_or_was_closed_rings_nothing(bell: Bell) -> None:
    """Nor does its next commit ring for what is gone."""
    engine = create_engine(bell.database.url)
    session = Session(engine)
    append_within(bell, session, one(event()))
    session.rollback()
    session.execute(text("SELECT 1"))
    session.commit()
    append_within(bell, session, one(event()))
    session.close()
    session.execute(text("SELECT 1"))
    session.commit()
    session.close()
    engine.dispose()
    assert bell.rung == 0


@pytest.mark.covers("STORE-7")
async def test_an_asynchronous_session_rings_after_its_commit(bell: Bell) -> None:
    """As the synchronous one."""
    engine = create_async_engine(bell.database.url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with AsyncSession(engine) as session, session.begin():
        await settled(append_within(bell, session, one(event())))
        assert bell.rung == 0
    await engine.dispose()
    assert (bell.rung, bell.seen) == (1, 1)


@pytest.mark.covers("STORE-7")
async def test_a_connection_of_sqlalchemy_rings_when_it_is_given_back_or_begins_anew(bell: Bell) -> None:
    """A connection tells before it commits, which would be too early: nothing would be there to be seen."""
    engine = create_engine(bell.database.url)
    with engine.begin() as connection:
        append_within(bell, connection, one(event()))
    assert (bell.rung, bell.seen) == (1, 1)
    with engine.connect() as connection:
        append_within(bell, connection, one(event()))
        connection.commit()
        connection.execute(text("SELECT 1"))
        assert (bell.rung, bell.seen) == (2, 2)
        connection.commit()
        append_within(bell, connection, one(event()))
        connection.rollback()
    with engine.connect() as connection:
        append_within(bell, connection, one(event()))
    engine.dispose()
    assert bell.rung == 2


@pytest.mark.covers("STORE-7")
async def test_django_rings_after_its_commit(bell: Bell) -> None:
    """By its own hook: what a savepoint took with it rings nothing."""
    door = Django(bell, database(bell.database.url))
    await door.begin()
    await door.append(one(event()))
    assert bell.rung == 0
    await door.commit()
    assert (bell.rung, bell.seen) == (1, 1)
    await door.append(one(event()))
    await door.rollback()

    def savepoint() -> None:
        from django.db import transaction

        with suppress(KeyError), transaction.atomic(using=door.alias):
            append_within(bell, door.within, one(event()))
            raise KeyError

    await door.in_thread(savepoint)
    await door.commit()
    await door.close()
    assert bell.rung == 1


async def test_nothing_new_rings_nothing(bell: Bell) -> None:
    """A conflict, an event that was there already, an append of nothing."""
    engine = create_engine(bell.database.url)
    once = event()
    with Session(engine) as session:
        append_within(bell, session, one(once))
        session.commit()
        for quiet in (one(once), one(event(), expected=7), Append(())):
            append_within(bell, session, quiet)
            session.commit()
    engine.dispose()
    assert bell.rung == 1


@pytest.mark.covers("STORE-7")
async def test_a_commit_that_nobody_tells_of_is_found(make_store: MakeStore) -> None:
    """sqlite3 has no hook: whoever watches finds the event by looking."""
    backend = await make_store("sqlite")
    watch = backend.watch()
    waiting = asyncio.create_task(watch.wait())
    connection = sqlite3.connect(backend.database.url.removeprefix("sqlite:///"))
    append_within(backend, connection, one(event()))
    connection.commit()
    connection.close()
    await asyncio.wait_for(waiting, 30)
    assert len(await backend.read_stream("order-1", limit=10)) == 1
    await watch.close()
