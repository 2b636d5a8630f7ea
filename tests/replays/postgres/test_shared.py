"""What a live table shares with tables that are not copied: the numbers of a sequence, the values of a type."""

import re
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from penstock.errors import ReplayBusyError, ReplayError
from penstock.projections import Projection
from penstock.replays._postgres import preflight_times, switching
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


_OPTIONS = (
    "SELECT data_type::text, start_value, min_value, max_value, increment_by, cycle, cache_size "
    "FROM pg_sequences WHERE sequencename = 'shared' ORDER BY schemaname"
)


@pytest.mark.covers("ZDT-2", "ZDT-11")
@pytest.mark.parametrize("cache", [1, 10])
def test_numbers_that_connections_have_in_stock_are_not_drawn_again(bench: Bench, cache: int) -> None:
    """With CACHE a connection has drawn numbers that it has not used, which rows of the copy have by now."""
    bench.sql(
        f"CREATE SEQUENCE shared AS integer START 5 MINVALUE -3 MAXVALUE 90000 CACHE {cache} CYCLE",
        "CREATE TABLE totals (customer text, number integer PRIMARY KEY DEFAULT nextval('shared'))",
        "CREATE TABLE others (number integer PRIMARY KEY DEFAULT nextval('shared'))",
    )
    options = bench.rows(_OPTIONS)
    insert = "INSERT INTO totals VALUES ('ann') RETURNING number"
    with psycopg.connect(bench.url, autocommit=True) as stocked:
        assert stocked.execute(insert).fetchone() == (5,)
        copy = bench.made(drawing())
        assert bench.rows(_OPTIONS) == options * 2
        bench.play(copy, drawing(), *(placed() for _ in range(8)))
        for _ in range(4):
            assert refusals(copy.preflight()) == {}
            switched(copy)
            stocked.execute(insert)
            stocked.execute("INSERT INTO others DEFAULT VALUES")
            bench.play(copy, drawing(), placed(), placed())
    assert bench.rows(_OPTIONS) == options * 2
    copy.drop()
    assert bench.rows(_OPTIONS) == options


@pytest.mark.covers("ZDT-10")
def test_who_has_drawn_and_goes_on_is_named_and_given_way_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where connections may have numbers in stock; else nobody is in the way who uses another table."""
    monkeypatch.setattr(preflight_times, "_LONG_SECONDS", 0.0)
    monkeypatch.setattr(switching, "_SECONDS", 0.5)
    copy = sharing(bench)
    with psycopg.connect(bench.url) as other:
        other.execute("INSERT INTO others DEFAULT VALUES")
        pid = f"pid {other.info.backend_pid}"
        assert pid not in found(copy, "warning")
        switched(copy)
        other.rollback()
        bench.sql("ALTER SEQUENCE shared CACHE 10")
        other.execute("INSERT INTO others DEFAULT VALUES")
        assert "shared" in found(copy, "warning")[pid]
        with pytest.raises(ReplayBusyError, match="all the time"):
            switched(copy)
    switched(copy)


@pytest.mark.covers("ZDT-10", "ZDT-11")
def test_a_sequence_of_another_user_is_told_before(bench: Bench) -> None:
    """What connections have in stock can be taken from them by the owner only; without CACHE there is nothing to."""
    bench.sql(
        "DROP ROLE IF EXISTS penstock_tests_drawer",
        "CREATE ROLE penstock_tests_drawer LOGIN",
        "GRANT CREATE, USAGE ON SCHEMA public TO penstock_tests_drawer",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO penstock_tests_drawer",
        "CREATE SEQUENCE shared CACHE 10",
        "GRANT USAGE ON SEQUENCE shared TO penstock_tests_drawer",
        "CREATE TABLE totals (customer text, number integer PRIMARY KEY DEFAULT nextval('shared'))",
        "ALTER TABLE totals OWNER TO penstock_tests_drawer",
    )
    [[name]] = bench.rows("SELECT current_database()")
    bench.sql(f"GRANT CREATE ON DATABASE {name} TO penstock_tests_drawer")
    drawer = Bench(bench.url.replace("//postgres:@", "//penstock_tests_drawer:@"))
    try:
        copy = drawer.made(drawing())
        drawer.play(copy, drawing(), placed())
        assert "SELECT" in refusals(copy.preflight())["sequence public.shared"]
        bench.sql("GRANT SELECT ON SEQUENCE shared TO penstock_tests_drawer")
        assert "CACHE" in refusals(copy.preflight())["sequence public.shared"]
        bench.sql("ALTER SEQUENCE shared CACHE 1")
        assert refusals(copy.preflight()) == {}
        switched(copy)
        drawer.sql("INSERT INTO totals VALUES ('bob')")
        copy.drop()
    finally:
        drawer.close()
        bench.sql("DROP OWNED BY penstock_tests_drawer", "DROP ROLE penstock_tests_drawer")


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
