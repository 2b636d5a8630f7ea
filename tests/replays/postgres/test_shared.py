"""What a live table shares with tables that are not copied: the numbers of a sequence, the values of a type."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from penstock.errors import ReplayError
from penstock.projections import Projection
from penstock.replays._postgres.copy import PostgresCopy
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.shapes import placed, quietly, running
from tests.replays.postgres.switching import found, refusals, switched

NUMBERS = "SELECT number FROM {} ORDER BY number"


def drawing() -> Projection:
    """A table that is known by its name, to which each order adds a row."""
    return running("INSERT INTO totals (customer) VALUES (%(customer)s)", "totals")


def numbers(bench: Bench, table: str) -> list[int]:
    """The numbers that rows of a table have."""
    return [number for [number] in bench.rows(NUMBERS.format(table))]


def drawn_from(bench: Bench) -> dict[str, str]:
    """By table, where its numbers are drawn from."""
    found = bench.rows(
        "SELECT a.attrelid::regclass::text, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d "
        "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attname = 'number'"
    )
    return dict(found)


def sharing(bench: Bench, step: int = 1) -> PostgresCopy:
    """A live table and another draw from one sequence; the copy has drawn more often than both."""
    bench.sql(
        f"CREATE SEQUENCE shared INCREMENT {step}",
        "CREATE TABLE totals (customer text, number integer PRIMARY KEY DEFAULT nextval('shared'))",
        "CREATE TABLE others (number integer PRIMARY KEY DEFAULT nextval('shared'))",
        "INSERT INTO totals VALUES ('ann')",
        "INSERT INTO others DEFAULT VALUES",
    )
    copy = bench.made(drawing())
    bench.play(copy, drawing(), *(placed() for _ in range(6)))
    return copy


@pytest.mark.covers("ZDT-11", "ZDT-13")
@pytest.mark.parametrize("step", [1, -3])
def test_a_sequence_that_others_draw_from_stays_where_it_is(bench: Bench, step: int) -> None:
    """Whatever is live draws from it, the other generation from its own, and no number comes twice in a table."""
    copy = sharing(bench, step)
    there = {"totals": "nextval('shared'::regclass)", "others": "nextval('shared'::regclass)"}
    inside = {f"{copy.where}.totals": f"nextval('{copy.where}.shared'::regclass)"}
    assert refusals(copy.preflight()) == {}
    assert "others" in found(copy, "warning")["sequence public.shared"]
    for _ in range(4):
        switched(copy)
        assert drawn_from(bench) == there | inside
        bench.sql("INSERT INTO others DEFAULT VALUES", "INSERT INTO totals VALUES ('bob')")
        bench.play(copy, drawing(), placed(), placed(), placed())
        assert refusals(copy.preflight()) == {}
    others, live, former = (numbers(bench, each) for each in ("others", "totals", f"{copy.where}.totals"))
    assert (len(others), len(live), len(former)) == (5, 1 + 2 + 6, 6 + 2 + 6)


@pytest.mark.covers("ZDT-13")
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_copy_with_a_sequence_of_others_can_be_removed(bench: Bench, turns: int) -> None:
    """Before a promotion, after it, and after the way back; what is left can be written."""
    copy = sharing(bench)
    for _ in range(turns):
        switched(copy)
    copy.drop()
    assert bench.schemas() == []
    bench.sql("INSERT INTO others DEFAULT VALUES", "INSERT INTO totals VALUES ('bob')")
    assert bench.rows("SELECT count(*) FROM pg_class WHERE relname = 'shared'") == [(1,)]


@pytest.mark.covers("ZDT-10", "ZDT-11")
def test_others_that_draw_from_the_sequence_of_a_live_column_are_named(bench: Bench) -> None:
    """It belongs to the live table, and goes with it: preflight says who would be left with it."""
    bench.sql(
        "CREATE TABLE totals (customer text, number serial PRIMARY KEY)",
        "CREATE TABLE others (number integer DEFAULT nextval('totals_number_seq'))",
    )
    copy = bench.made(drawing())
    [(subject, message)] = refusals(copy.preflight()).items()
    assert "others" in subject
    assert "totals_number_seq" in message
    bench.sql("ALTER TABLE others ALTER number DROP DEFAULT")
    switched(copy)
    copy.drop()


# -- types -----------------------------------------------------------------------------------------------------------


def feeling(*moods: str) -> Projection:
    """A table with a column of an enumeration."""
    columns: Sequence[Any] = (
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("mood", sa.Enum(*moods, name="mood")),
    )
    return quietly(sa.Table("feelings", sa.MetaData(), *columns))


@pytest.mark.covers("ZDT-2", "ZDT-11")
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("CREATE TABLE others (mood mood)", "table others"),
        ("CREATE TABLE others (moods mood[])", "table others"),
        ("CREATE DOMAIN others AS mood", "type others"),
        ("CREATE FUNCTION others(mood) RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function others(mood)"),
    ],
)
def test_a_type_that_changes_and_that_others_use_is_refused_by_name(
    bench: Bench, sql: str, named: str
) -> None:
    """Before anything is played: they would be left with the former one. One that does not change is used by both."""
    bench.live(feeling("good", "bad"))
    bench.sql(sql)
    after = feeling("good", "bad", "so so")
    copy = bench.copy(after)
    with pytest.raises(ReplayError, match=rf"feelings cannot be copied: .*type mood .*{re.escape(named)}"):
        copy.create(bench.candidates(copy, after))
    assert bench.schemas() == []
    same = bench.made(feeling("good", "bad"))
    switched(same)
    same.drop()
    kind, name = sql.split()[1], sql.split()[2].partition("(")[0]
    bench.sql(f"DROP {kind} {name}")
    copy = bench.made(after)
    bench.sql(sql)
    assert [each.replace("public.", "") for each in refusals(copy.preflight())] == [named]
    bench.sql(f"DROP {kind} {name}")
    switched(copy)
    copy.drop()
    assert bench.rows("SELECT enum_range(NULL::mood)::text") == [('{good,bad,"so so"}',)]
