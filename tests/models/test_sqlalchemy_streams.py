"""Changes of SQLAlchemy's models go to streams, after the commit that makes them."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from penstock.models.sqlalchemy import Change, emit_changes
from tests.models.alchemyshop import Base, Customer


class Streams:
    """Stands for an app: keeps what it is given to emit."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []
        self.fail = False

    @property
    def sync(self) -> "SyncStreams":
        """Without asyncio."""
        return SyncStreams(self)

    async def emit_many(self, events: Iterable[object]) -> None:
        """Keep them."""
        if self.fail:
            raise ConnectionError("gone")
        self.emitted += events


class SyncStreams:
    """The same without asyncio."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def emit_many(self, events: Iterable[object]) -> None:
        """Keep them."""
        if self._streams.fail:
            raise ConnectionError("gone")
        self._streams.emitted += events


def names(streams: Streams) -> list[str]:
    """Who was told of."""
    return [each.after["name"] for each in streams.emitted]


@pytest.fixture
def streaming(tmp_path: Path) -> Iterator[tuple[Engine, Streams]]:
    """An engine without a store whose changes go to streams."""
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    Base.metadata.create_all(engine)
    streams = Streams()
    emit_changes(engine, streams)
    yield engine, streams
    engine.dispose()


@pytest.mark.covers("EMIT-6")
def test_changes_can_go_to_streams_after_the_commit(streaming: tuple[Engine, Streams]) -> None:
    """Not before it, not after a rollback, and without what a savepoint took with it."""
    engine, streams = streaming
    with Session(engine) as session:
        session.add(Customer(name="Ann"))
        session.flush()
        assert streams.emitted == []
        with session.begin_nested():
            session.add(Customer(name="Bob"))
            with session.begin_nested() as inner:
                session.add(Customer(name="Lost"))
                session.flush()
                inner.rollback()
        with session.begin_nested() as outer:
            with session.begin_nested():
                session.add(Customer(name="Lost too"))
            outer.rollback()
        assert streams.emitted == []
        session.commit()
        assert names(streams) == ["Ann", "Bob"]
        session.add(Customer(name="Gone"))
        session.flush()
        session.rollback()
        session.add(Customer(name="Closed"))
        session.flush()
        session.close()
        assert not any(session.info.values())
        session.add(Customer(name="Cid"))
        session.commit()
    assert names(streams) == ["Ann", "Bob", "Cid"]
    assert isinstance(streams.emitted[0], Change)


def test_a_stream_that_fails_does_not_fail_the_commit(
    streaming: tuple[Engine, Streams], caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed is committed; the log says how many events are lost, and of what kind."""
    engine, streams = streaming
    streams.fail = True
    with Session(engine) as session, caplog.at_level(logging.ERROR, "penstock.models"):
        session.add(Customer(name="Ann"))
        session.commit()
    assert "1 change events are committed and could not be emitted (CustomerCreated)" in caplog.text


async def test_an_asynchronous_commit_has_emitted_when_it_returns(tmp_path: Path) -> None:
    """What is awaited for the commit includes the stream."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/plain.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    streams = Streams()
    emit_changes(engine, streams)
    async with AsyncSession(engine) as session:
        session.add(Customer(name="Ann"))
        await session.commit()
        assert names(streams) == ["Ann"]
    await engine.dispose()
