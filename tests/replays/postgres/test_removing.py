"""What a copy made is taken away, all of it and nothing else; what is live stays, whatever happened in between."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, event
from sqlalchemy.orm import Session

from penstock.errors import ReplayError, StoreUnavailableError
from penstock.projections import Projection
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays._postgres.names import schema_name
from penstock.replays.abc import Held
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench

METADATA = MetaData()
ORDERS = Table(
    "orders",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("customer", String),
    Column("rank", Integer, sa.Sequence("ranks")),
)
LINES = Table(
    "lines", METADATA, Column("id", Integer, primary_key=True), Column("of", ForeignKey("orders.id"))
)
ORDER = OrderPlaced(order_id="o-1", customer="ann", total_cents=5)


def ordering() -> Projection:
    """Two tables with serial columns, a sequence, and a key between them."""
    projection = Projection("orders", tables=[ORDERS, LINES])

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session) -> None:
        made = session.execute(sa.insert(ORDERS).values(customer=order.customer).returning(ORDERS.c.id))
        session.execute(sa.insert(LINES).values(of=made.scalar_one()))

    return projection


class Meeting:
    """Both at one position, as far as a switch wants to know."""

    def __init__(self, connection: Any) -> None:
        self.live = self.copied = connection
        self.positions = {"orders": 0}


def switched(bench: Bench, copy: PostgresCopy) -> None:
    """Exchange live and copy."""

    @contextmanager
    def meet() -> Iterator[Held]:
        with closing(bench.database.connect()) as connection:
            bench.database.begin(connection)
            yield Meeting(connection)
            connection.commit()

    copy.switch(meet, lambda _: None)


def waiting(bench: Bench, count: int) -> bool:
    """Whether so many wait for a lock."""
    return bench.rows("SELECT count(*) >= %s FROM pg_locks WHERE NOT granted", count) == [(True,)]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.005)


OBJECTS = """
SELECT 'relation', n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
UNION ALL SELECT 'type', n.nspname || '.' || t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'
UNION ALL SELECT 'routine', oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'checkpoint', projection || ' ' || generation FROM penstock_checkpoints
UNION ALL SELECT 'row', projection || ' ' || generation FROM penstock_projections
ORDER BY 1, 2"""


@pytest.mark.covers("ZDT-13")
def test_nothing_is_left_and_nothing_else_goes(bench: Bench) -> None:
    """To remove again is harmless, and so is to remove what was never made."""
    bench.live(ordering(), ORDER)
    before = bench.rows(OBJECTS)
    copy = bench.made(ordering())
    bench.play(copy, ordering(), ORDER, ORDER)
    copy.finish()
    bench.sql("INSERT INTO penstock_projections (projection, generation) VALUES ('orders', 'rebuild')")
    assert bench.rows(OBJECTS) != before
    copy.drop()
    assert bench.rows(OBJECTS) == before
    copy.drop()
    bench.copy(ordering(), key="never").drop()
    assert bench.rows(OBJECTS) == before
    bench.live(ordering(), ORDER)
    assert bench.rows("SELECT * FROM orders ORDER BY id") == [(1, "ann", 1), (2, "ann", 2)]


@pytest.mark.covers("ZDT-13")
def test_after_a_promotion_the_former_tables_go_and_those_that_are_live_stay(bench: Bench) -> None:
    """With their sequences: rows can be added as before."""
    bench.live(ordering(), ORDER)
    before = bench.rows(OBJECTS)
    copy = bench.made(ordering())
    bench.play(copy, ordering(), ORDER, ORDER)
    switched(bench, copy)
    assert bench.rows("SELECT count(*) FROM lines JOIN orders ON orders.id = lines.of") == [(2,)]
    assert bench.in_copy(copy, "SELECT count(*) FROM orders") == [(1,)]
    copy.drop()
    assert bench.rows(OBJECTS) == [("checkpoint", "orders "), *before]
    bench.live(ordering(), ORDER)
    assert bench.rows("SELECT * FROM orders ORDER BY id") == [(n, "ann", n) for n in (1, 2, 3)]


@pytest.mark.covers("ZDT-13", "ZDT-12")
def test_to_and_fro_each_side_keeps_its_rows_and_numbers(bench: Bench) -> None:
    """However often; the checkpoints go along, and whoever had one finds it moved."""
    bench.live(ordering(), ORDER)
    copy = bench.made(ordering())
    bench.sql(
        "INSERT INTO penstock_checkpoints (projection, generation, kind, source, version, position, sources) "
        "SELECT projection, '', kind, source, version, 9, sources FROM penstock_checkpoints"
    )
    bench.play(copy, ordering(), ORDER, ORDER)
    labels = "SELECT generation, position FROM penstock_checkpoints ORDER BY position"
    for turn in range(6):
        switched(bench, copy)
        is_new = turn % 2 == 0
        assert bench.rows("SELECT count(*) FROM orders") == [(2 if is_new else 1,)]
        assert bench.rows(labels) == ([("", 0), ("rebuild", 9)] if is_new else [("rebuild", 0), ("", 9)])
    assert bench.rows("SELECT max(epoch) FROM penstock_checkpoints") == [(6,)]
    bench.live(ordering(), ORDER)
    bench.play(copy, ordering(), ORDER)
    assert bench.rows("SELECT id, rank FROM orders ORDER BY 1") == [(1, 1), (2, 2)]
    assert bench.in_copy(copy, "SELECT id, rank FROM orders ORDER BY 1") == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.covers("ZDT-13", "ZDT-11")
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW best AS SELECT * FROM {}.orders",
        "CREATE TABLE more (id integer REFERENCES {}.orders)",
        "CREATE FUNCTION newest({}.orders) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_what_hangs_on_a_copy_from_outside_is_named_and_stays(bench: Bench, sql: str) -> None:
    """It is never dropped along; when it is gone, the copy goes."""
    copy = bench.made(ordering())
    bench.sql(sql.format(copy.where))
    before = bench.rows(OBJECTS)
    with pytest.raises(ReplayError, match=r"best|more|newest"):
        copy.drop()
    assert bench.rows(OBJECTS) == before
    kind, name = sql.split()[1:3]
    bench.sql(f"DROP {kind} {name.partition('(')[0]}")
    copy.drop()
    assert bench.schemas() == []


@pytest.mark.covers("ZDT-13")
def test_a_schema_that_we_have_not_made_is_left_alone(bench: Bench) -> None:
    """Whatever its name: neither used nor removed."""
    schema = schema_name("rebuild")
    bench.sql(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.orders (n integer)")
    copy = bench.copy(ordering())
    for act in (copy.exists, copy.drop, lambda: copy.create(bench.candidates(copy, ordering()))):
        with pytest.raises(ReplayError, match=schema):
            act()
    assert bench.rows(f"SELECT * FROM {schema}.orders") == []


@pytest.mark.covers("ZDT-13", "ZDT-4")
def test_a_connection_that_is_lost_while_a_copy_is_made_leaves_nothing(bench: Bench) -> None:
    """It is made again as if nothing had been."""
    table = Table("orders", MetaData(), Column("id", Integer, primary_key=True))
    is_first = True

    @event.listens_for(table, "after_create")
    def lose(_: Any, connection: sa.Connection, **__: Any) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            [pid] = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
            bench.rows("SELECT pg_terminate_backend(%s)", pid)

    projection = Projection("orders", tables=[table])
    projection.on(OrderPlaced)(_nothing)
    before = bench.rows(OBJECTS)
    copy = bench.copy(projection)
    with pytest.raises((ReplayError, StoreUnavailableError)):
        copy.create(bench.candidates(copy, projection))
    assert bench.rows(OBJECTS) == before
    copy.create(bench.candidates(copy, projection))
    assert copy.exists()
    copy.drop()
    assert bench.rows(OBJECTS) == before


def _nothing(order: OrderPlaced) -> None:
    pass


@pytest.mark.covers("ZDT-13")
def test_a_copy_that_is_being_read_is_removed_when_the_reader_is_done(bench: Bench) -> None:
    """Nobody is broken off, and others can read meanwhile."""
    copy = bench.made(ordering())
    removing = threading.Thread(target=copy.drop)
    with psycopg.connect(bench.url) as reader:
        reader.execute(f"SELECT * FROM {copy.where}.orders".encode())
        removing.start()
        until(lambda: waiting(bench, 1))
        assert bench.in_copy(copy, "SELECT count(*) FROM orders") == [(0,)]
        assert removing.is_alive()
    removing.join(30)
    assert bench.schemas() == []


@pytest.mark.covers("ZDT-2")
def test_keys_to_outside_tables_never_hold_up_writers_for_long(bench: Bench) -> None:
    """While one writer stays in the way, the lock is asked for in short spells, between which others write."""
    bench.sql("CREATE TABLE regions (id integer PRIMARY KEY)")
    metadata = MetaData()
    Table("regions", metadata, Column("id", Integer, primary_key=True))
    table = Table("towns", metadata, Column("region", ForeignKey("regions.id"), primary_key=True))
    projection = Projection("towns", tables=[table])
    projection.on(OrderPlaced)(_nothing)
    copy = bench.made(projection)
    finishing = threading.Thread(target=copy.finish)
    with psycopg.connect(bench.url) as writer:
        writer.execute("INSERT INTO regions VALUES (1)")
        finishing.start()
        until(lambda: waiting(bench, 1))
        with psycopg.connect(bench.url, autocommit=True) as another:
            another.execute("SET lock_timeout = '5s'")
            another.execute("INSERT INTO regions VALUES (2)")
        assert finishing.is_alive()
    finishing.join(30)
    keys = bench.rows(
        "SELECT conname::text, convalidated FROM pg_constraint "
        f"WHERE contype = 'f' AND connamespace = '{copy.where}'::regnamespace"
    )
    assert keys == [("towns_region_fkey", True)]
