"""Connections that are lent for a transaction: kept, taken back, replaced."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock.errors import UsageError
from penstock.store._postgres.database import PostgresDatabase
from penstock.store._sqlite._database import SqliteDatabase
from penstock.store.work import Wanted
from penstock.store.work.lending import Lender


def test_a_connection_is_used_again_after_success_and_failure(tmp_path: Path) -> None:
    """What failed was rolled back, and the same connection goes on."""
    lender = Lender(SqliteDatabase("local", tmp_path / "shop.db"))
    seen: list[Any] = []
    with lender.transaction() as work:
        seen.append(work.connection)
        work.connection.execute("CREATE TABLE t (n INTEGER)")  # type: ignore[attr-defined]

    def fail() -> None:
        with lender.transaction() as work:
            raw: Any = work.connection
            seen.append(raw)
            raw.execute("INSERT INTO t VALUES (1)")
            raw.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.OperationalError):
        fail()
    with lender.transaction() as work:
        seen.append(work.connection)
        assert work.connection.execute("SELECT * FROM t").fetchall() == []  # type: ignore[attr-defined]
    assert len(set(map(id, seen))) == 1
    lender.close()
    with pytest.raises(sqlite3.ProgrammingError):
        seen[0].execute("SELECT 1")
    with lender.transaction() as work:
        assert work.connection is not seen[0]
    lender.close()


def test_a_transaction_that_was_ended_is_found_out(tmp_path: Path) -> None:
    """By whatever way a handler ended it."""
    lender = Lender(SqliteDatabase("local", tmp_path / "shop.db"))
    with pytest.raises(UsageError, match="ended the transaction"), lender.transaction() as work:
        work.get(Wanted.RAW).cursor(sqlite3.Cursor).execute("COMMIT")
    lender.close()


async def test_a_connection_that_was_lost_meanwhile_is_replaced(postgres_database: str) -> None:
    """The server ended it while nobody used it: the next transaction does not notice."""
    lender = Lender(PostgresDatabase("local", postgres_database))

    def transact() -> int:
        with lender.transaction() as work:
            [(pid,)] = work.database.execute(work.connection, "SELECT pg_backend_pid()").fetchall()
        return int(pid)

    first = await asyncio.to_thread(transact)
    assert await asyncio.to_thread(transact) == first
    with psycopg.connect(postgres_database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
    assert await asyncio.to_thread(transact) != first
    lender.close()
