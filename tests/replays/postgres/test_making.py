"""A copy has the tables of the present code: columns, sequences, indexes, keys, types."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import (
    CheckConstraint,
    Column,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from penstock.errors import ReplayError
from penstock.projections import Projection, Rows
from penstock.replays.abc import Part
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.shapes import placed, quietly, shape


@pytest.mark.covers("ZDT-2")
def test_a_column_of_the_present_code_is_in_the_copy_only(bench: Bench) -> None:
    """Production keeps the columns that it has."""

    def totals(*more: Column[Any]) -> tuple[Table, Projection]:
        table = Table(
            "totals",
            MetaData(),
            Column("customer", String, primary_key=True),
            Column("orders", Integer),
            *more,
        )
        projection = Projection("totals", tables=[table])

        @projection.on(OrderPlaced)
        def count(order: OrderPlaced, rows: Rows) -> None:
            rows.increment(table, {"customer": order.customer}, orders=1)

        return table, projection

    _, before = totals()
    _, after = totals(Column("cents", Integer, server_default="0", nullable=False))
    bench.live(before, placed())
    copy = bench.made(after)
    bench.play(copy, after, placed(), placed(2))
    assert bench.in_copy(copy, "SELECT customer, orders, cents FROM totals") == [("ann", 2, 0)]
    assert bench.rows("SELECT * FROM totals") == [("ann", 1)]
    assert copy.tables[0].schema == "public"
    assert copy.exists()


@pytest.mark.covers("ZDT-2")
def test_everything_a_definition_says_is_made(bench: Bench) -> None:
    """Serial and identity columns, sequences, unique keys, checks, indexes, comments, types and keys among them."""
    metadata = MetaData()
    mood = Enum("good", "bad", name="mood")
    customers = Table(
        "customers",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("number", Integer, Identity(start=100)),
        Column("rank", Integer, Sequence("ranks", start=7)),
        Column("turn", Integer, server_default=Sequence("turns", metadata=metadata).next_value()),
        Column("name", String(40), nullable=False, index=True),
        Column("mood", mood),
        Column("moods", ARRAY(mood)),
        Column("boss", ForeignKey("customers.id")),
        UniqueConstraint("name", "mood", name="one_name"),
        CheckConstraint("length(name) > 1", name="a_name"),
        comment="who buys",
    )
    orders = Table(
        "orders",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("customer", ForeignKey("customers.id", ondelete="CASCADE", name="of_customer")),
    )
    Index("by_lower_name", sa.func.lower(customers.c.name), postgresql_where=customers.c.boss.is_(None))
    copy = bench.made(quietly(orders, customers))
    metadata.create_all(bench.database.engine())
    for name in ("customers", "orders"):
        assert shape(bench, f"{copy.where}.{name}") == shape(bench, f"public.{name}")
    sequences = "SELECT sequencename, start_value FROM pg_sequences WHERE schemaname = '{}' ORDER BY 1"
    assert bench.rows(sequences.format(copy.where)) == bench.rows(
        sequences.format("public").replace("ORDER", "AND sequencename NOT LIKE 'penstock%' ORDER")
    )
    kinds = bench.rows(
        "SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
        "WHERE t.typname = 'mood' ORDER BY 1"
    )
    assert kinds == [(copy.where,), ("public",)]


@pytest.mark.covers("ZDT-2")
def test_numbers_of_a_copy_are_drawn_in_the_copy(bench: Bench) -> None:
    """By serial columns, identities and sequences; by the ORM and by SQL. Production's numbers go on without holes."""
    table = Table(
        "numbered",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("number", Integer, Identity()),
        Column("rank", Integer, Sequence("ranks")),
        Column("turn", Integer, server_default=sa.text("nextval('turns')")),
    )
    bench.sql("CREATE SEQUENCE turns")
    projection = Projection("numbered", tables=[table])

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session, connection: psycopg.Connection[Any]) -> None:
        session.execute(sa.insert(table))
        connection.execute("INSERT INTO numbered (rank) VALUES (nextval('ranks'))")

    bench.live(projection, placed())
    copy = bench.made(projection)
    bench.play(copy, projection, placed(), placed())
    numbers = [(each,) * 4 for each in (1, 2, 3, 4)]
    assert bench.in_copy(copy, "SELECT * FROM numbered ORDER BY id") == numbers
    bench.live(projection, placed())
    assert bench.rows("SELECT * FROM numbered ORDER BY id") == numbers
    copy.empty()
    bench.play(copy, projection, placed())
    assert bench.in_copy(copy, "SELECT * FROM numbered ORDER BY id") == numbers[:2]


@pytest.mark.covers("ZDT-2")
def test_a_type_with_other_values_is_the_copys_own_and_the_same_one_is_shared(bench: Bench) -> None:
    """So that columns of one type can be compared with tables that are not copied."""

    def table(*moods: str) -> tuple[Table, Projection]:
        made = Table(
            "moods",
            MetaData(),
            Column("customer", String, primary_key=True),
            Column("mood", Enum(*moods, name="mood")),
            Column("size", Enum("s", "l", name="size")),
        )
        projection = Projection("moods", tables=[made])

        @projection.on(OrderPlaced)
        def add(order: OrderPlaced, rows: Rows, session: Session) -> None:
            rows.upsert(made, {"customer": order.customer}, mood=moods[-1], size="s")
            session.execute(sa.insert(made).values(customer="bob", mood=moods[-1], size="l"))
            found = session.execute(
                sa.text("SELECT count(*) FROM moods JOIN shirts USING (size)")
            ).scalar_one()
            assert found == 1

        return made, projection

    _, before = table("good", "bad")
    _, after = table("good", "bad", "new")
    bench.sql(
        "CREATE TYPE size AS ENUM ('s', 'l')",
        "CREATE TABLE shirts (size size)",
        "INSERT INTO shirts VALUES ('s')",
    )
    bench.live(before, placed())
    copy = bench.made(after)
    bench.play(copy, after, placed())
    assert bench.in_copy(copy, "SELECT customer, mood::text FROM moods ORDER BY 1") == [
        ("ann", "new"),
        ("bob", "new"),
    ]
    types = bench.rows(
        "SELECT t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
        f"WHERE n.nspname = '{copy.where}' AND typtype = 'e'"
    )
    assert types == [("mood",)]
    copy.drop()
    assert bench.rows("SELECT mood::text, size::text FROM moods ORDER BY 1, 2") == [
        ("bad", "l"),
        ("bad", "s"),
    ]


@pytest.mark.covers("ZDT-2")
def test_foreign_keys_go_to_the_copy_and_to_the_tables_outside(bench: Bench) -> None:
    """Among copied tables from the start, also in a circle; to others when history has been played."""
    metadata = MetaData()
    bench.sql("CREATE TABLE regions (id integer PRIMARY KEY)", "INSERT INTO regions VALUES (1)")
    Table("regions", metadata, Column("id", Integer, primary_key=True))
    hens = Table(
        "hens",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("egg", ForeignKey("eggs.id", name="from_egg", deferrable=True, initially="DEFERRED")),
        Column("region", ForeignKey("regions.id")),
    )
    eggs = Table(
        "eggs",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("hen", ForeignKey("hens.id", name="from_hen", deferrable=True, initially="DEFERRED")),
    )
    copy = bench.made(quietly(hens, eggs))
    bench.sql(
        f"INSERT INTO {copy.where}.hens VALUES (7, NULL, 1)",
        f"INSERT INTO {copy.where}.eggs VALUES (8, 7)",
    )
    keys = (
        "SELECT conname::text, confrelid::regclass::text, convalidated FROM pg_constraint "
        f"WHERE contype = 'f' AND connamespace = '{copy.where}'::regnamespace ORDER BY 1"
    )
    inside = [("from_egg", f"{copy.where}.eggs", True), ("from_hen", f"{copy.where}.hens", True)]
    assert bench.rows(keys) == inside
    copy.finish()
    copy.finish()
    whole = [*inside, ("hens_region_fkey", "regions", True)]
    assert bench.rows(keys) == whole
    metadata.create_all(bench.database.engine())
    live = (
        "SELECT conname::text FROM pg_constraint "
        "WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1"
    )
    assert bench.rows(live) == [(name,) for name, *_ in whole]
    copy.empty()
    assert bench.rows(keys) == inside
    copy.drop()
    assert bench.rows("SELECT count(*) FROM regions") == [(1,)]


@pytest.mark.covers("ZDT-2")
def test_a_key_that_the_copys_rows_do_not_keep_is_named(bench: Bench) -> None:
    """It is no fault of production, and nothing of it stays."""
    metadata = MetaData()
    bench.sql("CREATE TABLE regions (id integer PRIMARY KEY)")
    Table("regions", metadata, Column("id", Integer, primary_key=True))
    hens = Table("hens", metadata, Column("region", ForeignKey("regions.id"), primary_key=True))
    copy = bench.made(quietly(hens))
    bench.sql(f"INSERT INTO {copy.where}.hens VALUES (5)")
    with pytest.raises(ReplayError, match="hens_region_fkey"):
        copy.finish()
    copy.drop()
    assert bench.schemas() == []


@pytest.mark.covers("ZDT-2")
def test_two_tables_of_one_name_are_refused_by_name(bench: Bench) -> None:
    """In two schemas; nothing is made."""
    one = Table("totals", MetaData(schema="a"), Column("id", Integer, primary_key=True))
    other = Table("totals", MetaData(schema="b"), Column("id", Integer, primary_key=True))
    projection = quietly(one, other)
    copy = bench.copy(projection)
    with pytest.raises(ReplayError, match=r"a\.totals and b\.totals"):
        copy.create(bench.candidates(copy, projection))
    assert bench.schemas() == []
    assert not copy.exists()


@pytest.mark.covers("ZDT-2")
def test_a_definition_that_cannot_be_made_is_named(bench: Bench) -> None:
    """With what the server says; nothing is made, not even a checkpoint."""
    table = Table("totals", MetaData(), Column("id", Integer, server_default=sa.text("no_such_function()")))
    projection = quietly(table)
    copy = bench.copy(projection)
    with pytest.raises(ReplayError, match=r"totals cannot be copied.*no_such_function"):
        copy.create(bench.candidates(copy, projection))
    assert bench.schemas() == []
    assert bench.rows("SELECT count(*) FROM penstock_checkpoints") == [(0,)]


@pytest.mark.covers("ZDT-2")
def test_checkpoints_are_made_with_the_tables_and_put_back_with_the_rows(bench: Bench) -> None:
    """At the position that the replay begins after; to create again changes nothing."""
    projection = quietly(Table("totals", MetaData(), Column("id", Integer, primary_key=True)))
    copy = bench.made(projection, part=Part(after=40))
    places = "SELECT projection, generation, position, epoch, schema_name FROM penstock_checkpoints"
    [first] = bench.rows(places)
    assert first == ("totals", "rebuild", 40, 1, copy.where)
    bench.sql(
        "UPDATE penstock_checkpoints SET position = 90, epoch = 7, state = 'x'",
        f"INSERT INTO {copy.where}.totals VALUES (1)",
    )
    copy.create(bench.candidates(copy, projection))
    assert bench.rows(places) == [("totals", "rebuild", 90, 7, copy.where)]
    assert bench.in_copy(copy, "SELECT * FROM totals") == [(1,)]
    copy.empty()
    assert bench.rows(places) == [("totals", "rebuild", 40, 8, copy.where)]
    assert bench.rows("SELECT state FROM penstock_checkpoints") == [(None,)]
    assert bench.in_copy(copy, "SELECT * FROM totals") == []


@pytest.mark.covers("ZDT-1")
def test_of_several_that_make_a_copy_at_once_one_does(bench: Bench) -> None:
    """The others find it made."""
    projection = quietly(Table("totals", MetaData(), Column("id", Integer, primary_key=True)))
    copies = [bench.copy(projection) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(copy.create, bench.candidates(copy, projection)) for copy in copies]
        assert [each.result(60) for each in made] == [None] * 6
    assert bench.rows("SELECT projection, generation FROM penstock_checkpoints") == [("totals", "rebuild")]
