"""Partial replays on PostgreSQL: rows change places, tables and all other rows stay."""

from typing import Any

import pytest

from penstock.errors import ReplayRefusedError
from penstock.replays.abc import Part
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import found, nothing, order, projected, refusals, switched

_TABLES = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, twice text GENERATED ALWAYS AS (mark || mark) "
    "STORED)",
    "CREATE TABLE lines (id bigserial PRIMARY KEY, customer text NOT NULL REFERENCES totals, text text NOT NULL)",
    "INSERT INTO totals (customer, mark) VALUES ('ann', 'old'), ('bob', 'old'), ('eve', 'old')",
    "INSERT INTO lines (customer, text) VALUES ('ann', 'a'), ('bob', 'b'), ('ann', 'c')",
)
_PART = Part(keys=("ann", "dan", "eve"), rows={"totals": "customer", "lines": "customer"})


def everything(bench: Bench) -> list[Any]:
    """All live rows, without the numbers that are drawn."""
    return [
        *bench.rows("SELECT customer, mark, twice FROM totals ORDER BY 1"),
        *bench.rows("SELECT customer, text FROM lines ORDER BY 1, 2"),
    ]


@pytest.mark.covers("ZDT-15", "ZDT-10", "ZDT-12")
def test_only_the_rows_of_the_part_change(bench: Bench) -> None:
    """Rows of others keep their numbers; what is new comes, what is no more goes; and the way back restores it all."""
    bench.sql(
        *_TABLES,
        "CREATE TABLE letters (customer text REFERENCES totals)",
        "INSERT INTO letters VALUES ('ann')",
    )
    before, bobs = everything(bench), bench.rows("SELECT * FROM lines WHERE customer = 'bob'")
    tables = bench.rows("SELECT oid FROM pg_class WHERE relname IN ('totals', 'lines') ORDER BY oid")
    projection = projected("totals", "lines", marks="new")
    copy = bench.made(projection, part=_PART)
    bench.play(copy, projection, order("ann"), order("dan"))
    bench.sql(f"INSERT INTO {copy.where}.lines (customer, text) VALUES ('ann', 'x'), ('dan', 'y')")
    assert refusals(copy.preflight()) == {}
    switched(copy)
    assert everything(bench) == [
        ("ann", "new", "newnew"),
        ("bob", "old", "oldold"),
        ("dan", "new", "newnew"),
        ("ann", "x"),
        ("bob", "b"),
        ("dan", "y"),
    ]
    assert bench.rows("SELECT * FROM lines WHERE customer = 'bob'") == bobs
    assert (
        bench.rows(
            "SELECT oid FROM pg_class WHERE relname IN ('totals', 'lines') AND relnamespace = 'public'::regnamespace "
            "ORDER BY oid"
        )
        == tables
    )
    assert bench.in_copy(copy, "SELECT customer, mark FROM totals ORDER BY 1") == [
        ("ann", "old"),
        ("eve", "old"),
    ]
    bench.play(copy, projected("totals", "lines", marks="old"), order("dan"))
    switched(copy)
    assert everything(bench) == sorted([*before[:3], ("dan", "old", "oldold")]) + before[3:]
    copy.drop()
    assert bench.rows("SELECT * FROM lines WHERE customer = 'bob'") == bobs


@pytest.mark.covers("ZDT-15", "ZDT-10")
def test_a_part_that_does_not_fit_is_refused(bench: Bench) -> None:
    """Without a column for a table, with other columns, or from the middle of history: named, and nothing changes."""
    bench.sql(*_TABLES)
    projection = projected("totals", "lines", marks="new")
    copy = bench.made(projection, part=Part(keys=("ann",), rows={"totals": "customer"}, after=5))
    assert set(refusals(copy.preflight())) == {"table public.lines", "part"}
    copy.drop()
    copy = bench.made(projection, part=_PART)
    bench.sql(f"ALTER TABLE {copy.where}.totals ADD more text")
    assert "more" in refusals(copy.preflight())["table public.totals"]
    before = everything(bench)
    with pytest.raises(ReplayRefusedError, match="more"):
        switched(copy)
    assert everything(bench) == before
    assert found(copy, "note")["lock"].startswith("no reader")
    copy.prepare_switch(nothing)


@pytest.mark.covers("ZDT-15")
def test_a_key_that_is_longer_than_its_column_has_no_rows(bench: Bench) -> None:
    """Cut to the column's length it would be the key of somebody else."""
    bench.sql(
        "CREATE TABLE totals (customer varchar(3) PRIMARY KEY, mark text NOT NULL)",
        "INSERT INTO totals VALUES ('ann', 'old'), ('bob', 'old')",
    )
    projection = projected("totals", marks="new")
    copy = bench.made(projection, part=Part(keys=("annabel", "bob"), rows={"totals": "customer"}))
    bench.play(copy, projection, order("bob"))
    switched(copy)
    assert bench.rows("SELECT customer, mark FROM totals ORDER BY 1") == [("ann", "old"), ("bob", "new")]


@pytest.mark.covers("ZDT-15", "ZDT-12")
@pytest.mark.parametrize("number", ["serial UNIQUE", "integer GENERATED ALWAYS AS IDENTITY UNIQUE"])
@pytest.mark.parametrize("step", [1, -1])
def test_numbers_beside_the_key_stay_or_are_drawn_anew(bench: Bench, number: str, step: int) -> None:
    """The copy's numbers may belong to other rows: a row that is there keeps its own, one that comes gets the next."""
    bench.sql(
        f"CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, number {number})",
        f"ALTER SEQUENCE totals_number_seq INCREMENT {step} MINVALUE -1000 MAXVALUE 1000",
        "INSERT INTO totals (customer, mark) VALUES ('bob', 'old'), ('eve', 'old'), ('ann', 'old')",
    )
    where = "SELECT number FROM totals WHERE customer = '{}'"
    others = "SELECT * FROM totals WHERE customer IN ('bob', 'eve')"
    before, anns = bench.rows(others), bench.rows(where.format("ann"))
    projection = projected("totals", marks="new")
    copy = bench.made(projection, part=Part(keys=("ann", "dan"), rows={"totals": "customer"}))
    bench.play(copy, projection, order("ann"), order("dan"))
    for mark in ("new", "old", "new"):
        assert refusals(copy.preflight()) == {}
        switched(copy)
        assert bench.rows(others) == before
        assert bench.rows("SELECT mark FROM totals WHERE customer = 'ann'") == [(mark,)]
        assert bench.rows(where.format("ann")) == anns
        assert len(bench.rows(where.format("dan"))) == (mark == "new")
        bench.play(copy, projected("totals", marks="late"), order(f"late {mark}"))
        bench.sql(f"DELETE FROM {copy.where}.totals WHERE mark = 'late'")
