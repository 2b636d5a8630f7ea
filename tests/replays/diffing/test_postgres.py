"""Read models of PostgreSQL in throw-away copies: in SQLite where their definitions allow, else in schemas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Enum, Identity, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from penstock import App
from penstock.errors import ConfigurationError, ReplayError, UsageError
from penstock.projections import Rows
from penstock.store import make_backend
from penstock.store.migrating import apply
from tests.replays.core.shop import Paid
from tests.replays.diffing.payments import declare, pay, total_table


@pytest.fixture
async def shop(each_postgres_database: str) -> AsyncIterator[App]:
    """The shop in PostgreSQL of each version."""
    await asyncio.to_thread(apply, make_backend("local", each_postgres_database).database)
    app = App("shop", streams="memory://", store=each_postgres_database)
    declare(app, "totals", total_table("totals"))
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(app)


def url_of(app: App) -> str:
    """Where its store is."""
    return app.store().database.url


def schemas_and_rows(app: App) -> Any:
    """The schemas of the database, and how many rows its tables have."""
    with psycopg.connect(url_of(app)) as connection:
        connection.execute("ANALYZE")
        schemas = connection.execute("SELECT nspname FROM pg_namespace ORDER BY 1").fetchall()
        rows = connection.execute(
            "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "ORDER BY 1"
        ).fetchall()
        sequences = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
    return schemas, rows, sequences


@pytest.mark.covers("LEAD-3", "LEAD-14")
async def test_plain_definitions_are_built_in_sqlite(shop: App) -> None:
    """A read model of PostgreSQL that SQLAlchemy defines is compared and looked at without writing to the server."""
    declare(shop, "twice", total_table("totals"), lambda paid: 2 * paid.cents)
    await pay(shop, 21)
    before = schemas_and_rows(shop)
    found = await shop.replays.diff("totals", ".", "projection:twice")
    assert found.differing == 7
    async with shop.replays.at("totals", position=found.through, key="c1") as then:
        assert then.query("SELECT * FROM totals") == [{"customer": "c1", "cents": 1 + 8 + 15}]
    assert schemas_and_rows(shop) == before


@pytest.mark.covers("LEAD-3", "LEAD-14")
async def test_what_needs_postgresql_is_named_and_built_there(shop: App) -> None:
    """Types and drivers that SQLite has not are named with the remedy; built in schemas, the rest goes as ever.

    Serial columns, types of their own and tables that are only named are the schema's own, and nothing is left of it.
    """
    with psycopg.connect(url_of(shop)) as connection:
        connection.execute("CREATE TABLE notes (id serial PRIMARY KEY, customer text, cents int)")
        connection.execute("INSERT INTO notes (customer, cents) VALUES ('live', 1)")
    metadata = MetaData(schema="reports")
    tagged = Table(
        "tagged",
        metadata,
        Column("id", Integer, Identity(), primary_key=True),
        Column("customer", Text),
        Column("size", Enum("small", "large", name="size_of", metadata=metadata)),
        Column("tags", ARRAY(Text)),
    )
    for name, tag in (("needs", "a"), ("other", "b")):
        projection = shop.projection(name, tables=[tagged, "notes"])

        @projection.on(Paid)
        def note(paid: Paid, connection: psycopg.Connection[Any], tag: str = tag) -> None:
            connection.execute(
                "INSERT INTO notes (customer, cents) VALUES (%s, %s)", (paid.customer, paid.cents)
            )

        @projection.on(Paid)
        def add(paid: Paid, rows: Rows, tag: str = tag) -> None:
            rows.upsert(
                tagged,
                {"id": paid.cents},
                customer=paid.customer,
                size="small",
                tags=[tag if paid.cents == 2 else "-"],
            )

    asks = shop.projection("asks", tables=[total_table("totals")])

    @asks.on(Paid)
    def ask(paid: Paid, connection: psycopg.Connection[Any]) -> None:
        pass

    await pay(shop, 3)
    before = schemas_and_rows(shop)
    with pytest.raises(ReplayError, match=r"tagged\.tags is of type ARRAY.*--in postgresql://"):
        await shop.replays.diff("needs", ".", ".")
    with pytest.raises(ConfigurationError, match=r"psycopg\.Connection.*--in postgresql://"):
        await shop.replays.diff("asks", ".", ".")
    with pytest.raises(UsageError, match="URL of PostgreSQL"):
        await shop.replays.diff("needs", ".", ".", build_in="mysql://there")

    found = await shop.replays.diff("needs", ".", "projection:other", build_in=url_of(shop))
    assert sorted(found.after.tables) == ["notes", "tagged"]
    assert {table.table: table.differing for table in found.tables} == {"notes": 0, "tagged": 1}
    [row] = next(table for table in found.tables if table.table == "tagged").rows
    assert (row.key, row.columns) == ({"id": 2}, {"tags": (["a"], ["b"])})

    async with shop.replays.at("needs", position=2, build_in=url_of(shop)) as then:
        assert then.query("SELECT id, customer FROM notes ORDER BY id") == [
            {"id": 1, "customer": "c1"},
            {"id": 2, "customer": "c2"},
        ]
        assert then.query("SELECT tags FROM tagged WHERE id = %s", [1]) == [{"tags": ["-"]}]
        assert then.table("notes", most=1).rows == ((1, "c1", 1),)
        for refused in ("DELETE FROM notes", "SELECT 1; SELECT 2", "SELECT * FROM penstock_nothing"):
            with pytest.raises(UsageError, match="is not answered"):
                then.query(refused)
        then.query("SET default_transaction_read_only = off")
        with pytest.raises(UsageError, match="is not answered"):
            then.query("DELETE FROM notes")
        assert (await then.difference()).differing == 2
    assert schemas_and_rows(shop) == before
