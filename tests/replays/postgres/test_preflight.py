"""What stands in the way of a switch on PostgreSQL is told before, by name, and goes when it is seen to."""

import pytest

from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import found, order, projected, refusals, switched

_TOTALS = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, code integer UNIQUE)",
    "INSERT INTO totals (customer, mark, code) VALUES ('ann', 'old', 1)",
)


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A database with one live table."""
    bench.sql(*_TOTALS)
    return bench


@pytest.mark.covers("ZDT-10", "ZDT-11")
def test_a_name_that_is_taken_where_the_copy_goes_is_refused(shop: Bench) -> None:
    """An index of the copy has the name of another table's."""
    copy = shop.made(projected("totals", marks="new"))
    assert refusals(copy.preflight()) == {}
    shop.sql(
        f"CREATE INDEX by_mark ON {copy.where}.totals (mark)",
        "CREATE TABLE other (mark text)",
        "CREATE INDEX by_mark ON other (mark)",
    )
    assert "by_mark in schema public" in refusals(copy.preflight())["name by_mark"]
    shop.sql("ALTER INDEX by_mark RENAME TO other_by_mark")
    assert refusals(copy.preflight()) == {}
    switched(copy)


@pytest.mark.covers("ZDT-11")
def test_a_foreign_key_needs_a_unique_key_in_the_copy(shop: Bench) -> None:
    """It refers to a column by which the copy's rows are not unique."""
    shop.sql("CREATE TABLE letters (code integer CONSTRAINT by_code REFERENCES totals (code))")
    copy = shop.made(projected("totals", marks="new"))
    shop.sql(f"ALTER TABLE {copy.where}.totals DROP CONSTRAINT totals_code_key")
    assert set(refusals(copy.preflight())) == {"foreign key by_code of public.letters"}
    shop.sql(f"ALTER TABLE {copy.where}.totals ADD CONSTRAINT totals_code_key UNIQUE (code)")
    assert refusals(copy.preflight()) == {}
    switched(copy)
    assert shop.rows(
        "SELECT confrelid = 'public.totals'::regclass FROM pg_constraint WHERE conname = 'by_code'"
    ) == [(True,)]


@pytest.mark.covers("ZDT-11")
def test_a_foreign_key_of_a_partitioned_table_is_carried_where_the_server_can(shop: Bench) -> None:
    """From PostgreSQL 18 on it can be made without looking at all rows; before, it is refused by name."""
    shop.sql(
        "CREATE TABLE letters (customer text, CONSTRAINT whose FOREIGN KEY (customer) REFERENCES totals) "
        "PARTITION BY LIST (customer)",
        "CREATE TABLE letters_ann PARTITION OF letters FOR VALUES IN ('ann')",
        "INSERT INTO letters VALUES ('ann')",
    )
    projection = projected("totals", marks="new")
    copy = shop.made(projection)
    shop.play(copy, projection, order("ann"))
    [[version]] = shop.rows("SELECT current_setting('server_version_num')::int")
    if version < 180_000:
        assert set(refusals(copy.preflight())) == {"foreign key whose of public.letters"}
        return
    assert refusals(copy.preflight()) == {}
    switched(copy)
    keys = shop.rows(
        "SELECT conrelid::regclass::text, confrelid = 'public.totals'::regclass, convalidated FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid = 'public.totals'::regclass ORDER BY 1"
    )
    assert keys == [("letters", True, True), ("letters_ann", True, True)]
    copy.drop()


@pytest.mark.covers("ZDT-10")
def test_a_prepared_transaction_is_named(shop: Bench) -> None:
    """Nobody ends it but a person."""
    copy = shop.made(projected("totals", marks="new"))
    shop.sql("BEGIN", "UPDATE totals SET mark = 'old'", "PREPARE TRANSACTION 'forgotten'")
    try:
        assert set(refusals(copy.preflight())) == {"prepared transaction forgotten"}
    finally:
        shop.sql("ROLLBACK PREPARED 'forgotten'")
    assert refusals(copy.preflight()) == {}


@pytest.mark.covers("ZDT-10", "ZDT-11")
def test_nothing_is_left_of_a_preflight(shop: Bench) -> None:
    """Views are rehearsed and taken back; it may be asked for again and again."""
    shop.sql(
        "CREATE VIEW spending AS SELECT mark, count(*) AS customers FROM totals GROUP BY mark",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM totals",
        "CREATE MATERIALIZED VIEW beyond AS SELECT * FROM spending",
    )
    copy = shop.made(projected("totals", marks="new"))
    before = shop.rows("SELECT oid, relname FROM pg_class ORDER BY oid")
    notes = found(copy, "note")
    assert notes["view public.spending"] == "it is carried over"
    assert "materialized view public.kept" in notes
    assert any(name.endswith("beyond") for name in found(copy, "warning"))
    assert refusals(copy.preflight()) == {}
    assert shop.rows("SELECT oid, relname FROM pg_class ORDER BY oid") == before


@pytest.mark.covers("ZDT-10", "ZDT-12")
def test_a_table_that_only_the_former_version_has_is_told(shop: Bench) -> None:
    """It would stay where it is, so the former version could not be fed: who goes on does so knowingly."""
    shop.sql("CREATE TABLE by_month (month text)")
    copy = shop.made(projected("totals", marks="new"))
    shop.sql(
        "INSERT INTO penstock_checkpoints (projection, kind, source, version, tables) "
        """VALUES ('totals', 'projection', 'local', 1, '["totals", "by_month", "never_made"]')"""
    )
    [finding] = [each for each in copy.preflight() if each.severity == "refusal"]
    assert finding.subject == "table by_month"
    assert finding.can_be_forced
