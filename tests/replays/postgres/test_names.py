"""Tables, columns, schemas and replays of any name have copies."""

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.orm import Session

from penstock.projections import Projection, Rows
from penstock.replays._postgres.copy import PostgresCopy
from penstock.replays._postgres.names import quoted, schema_name, written
from penstock.replays.abc import CopiedTable
from tests.projections.shop import OrderPlaced
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.shapes import placed, shape

LONG = "bestellungen_je_kundin_" + "ä" * 20
"""63 bytes."""


@pytest.mark.covers("ZDT-2")
@pytest.mark.parametrize("schema", [None, 'Größe "1"'])
@pytest.mark.parametrize("name", [LONG, 'Total "per" customer', "übersicht.je.kundin", "select", "x" * 63])
def test_any_name_will_do(bench: Bench, name: str, schema: str | None) -> None:
    """Names of 63 bytes, quoted, in other scripts, with dots, words of SQL; nothing is cut and nothing unquoted."""
    if schema is not None:
        bench.sql('CREATE SCHEMA "Größe ""1"""')
    table = Table(
        name,
        MetaData(schema=schema),
        Column('the "id"', Integer, primary_key=True, key="id"),
        Column("kündin.1", String, unique=True, key="customer"),
    )
    projection = Projection("totals", tables=[table])

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, rows: Rows, session: Session) -> None:
        rows.upsert(table, {"customer": order.customer}, id=1)
        assert session.scalar(sa.select(table.c.customer)) == order.customer

    copy = bench.copy(projection, key="add_extra_field_to_balance_projection " + "ü" * 100)
    assert len(copy.where.encode()) <= 63
    copy.create(bench.candidates(copy, projection))
    bench.play(copy, projection, placed())
    copy.finish()
    assert copy.size().rows == {name: 1}
    assert bench.in_copy(copy, f'SELECT 1 FROM "{name.replace(chr(34), chr(34) * 2)}"') == [(1,)]
    copy.empty()
    assert copy.size().rows == {name: 0}
    copy.drop()
    assert bench.schemas() == []


NAMES = st.text(min_size=1, max_size=63).filter(lambda each: "\0" not in each and _fits(each))


def _fits(name: str) -> bool:
    try:
        return len(name.encode()) <= 63
    except UnicodeEncodeError:
        return False


@pytest.mark.covers("ZDT-2")
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=NAMES, column=NAMES, schema=NAMES, key=st.text())
@example(name="a\\b'c\"d.e f%s", column="\\'\"%(x)s", schema="a.b\\", key="\\")
def test_a_table_of_any_name_is_copied_like_it_is(
    bench: Bench, name: str, column: str, schema: str, key: str
) -> None:
    """By its name and by its definition, in a schema of any name, for a replay of any key; nothing of it is left."""
    assume(not schema.startswith(("pg_", "penstock_")) and schema not in ("public", "information_schema"))
    there = written(schema, name)
    bench.sql(
        f"CREATE SCHEMA {quoted(schema)}",
        f"CREATE TABLE {there} ({quoted(column)} serial PRIMARY KEY)",
        f"INSERT INTO {there} VALUES (DEFAULT)",
    )
    defined = Table(name, MetaData(schema=schema), Column(column, Integer, primary_key=True))
    try:
        for definition in (None, defined):
            table = CopiedTable(name, schema, definition)
            copy = PostgresCopy(key, bench.database, [table], projections=[])
            copy.create([])
            assert copy.exists()
            bench.sql(f"INSERT INTO {written(copy.where, name)} DEFAULT VALUES")
            assert shape(bench, written(copy.where, name)) == shape(bench, there)
            copy.finish()
            assert copy.size().rows == {name: 1}
            copy.empty()
            copy.drop()
        assert bench.rows(f"SELECT * FROM {there}") == [(1,)]
        assert bench.schemas() == []
    finally:
        bench.sql(
            f"DROP SCHEMA {quoted(schema)} CASCADE",
            f"DROP SCHEMA IF EXISTS {quoted(schema_name(key))} CASCADE",
        )


def test_schemas_of_keys_are_told_apart() -> None:
    """Also of keys that have nothing readable, or that differ in what is not."""
    keys = [
        "",
        "ü",
        "Ü",
        "a b",
        "a_b",
        "x" * 200,
        "x" * 201,
        "add_extra_field_to_balance_projection",
        "\ud800",
    ]
    names = [schema_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(len(name.encode()) <= 63 and name.startswith("penstock_replay_") for name in names)
    assert schema_name("Add extra field!").startswith("penstock_replay_add_extra_field_")
