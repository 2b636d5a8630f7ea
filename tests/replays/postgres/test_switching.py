"""A switch on PostgreSQL: what hangs on a live table hangs on the new one afterwards, and on neither by accident."""

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text

from penstock.errors import ReplayRefusedError
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import (
    TOTALS,
    found,
    has_role,
    marks,
    order,
    projected,
    promoted,
    refusals,
    switched,
)


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A database with one live table."""
    bench.sql(*TOTALS)
    return bench


@pytest.mark.covers("ZDT-10", "ZDT-12")
def test_all_tables_change_places_and_back(shop: Bench) -> None:
    """The live name has the new rows, the copy has the former ones; the same switch leads back."""
    copy = shop.made(projected("totals", marks="new"))
    shop.play(copy, projected("totals", marks="new"), order("ann"), order("bob"))
    done = switched(copy)
    assert done.tables == ("totals",)
    assert done.tries == 1
    assert shop.rows("SELECT customer, mark FROM totals ORDER BY 1") == [("ann", "new"), ("bob", "new")]
    assert shop.in_copy(copy, "SELECT customer, mark FROM totals") == [("ann", "old")]
    shop.play(copy, projected("totals", marks="old"), order("eve"))
    switched(copy)
    assert shop.rows("SELECT customer, mark FROM totals ORDER BY 1") == [("ann", "old"), ("eve", "old")]
    assert shop.in_copy(copy, "SELECT count(*) FROM totals") == [(2,)]
    copy.drop()
    assert marks(shop) == ["old"]
    assert shop.schemas() == []


@pytest.mark.covers("ZDT-11", "ZDT-13")
def test_a_view_shows_the_new_rows_and_outlives_the_removal(shop: Bench) -> None:
    """A view, a view on that view with a grant, an owner and options, and one that joins another table."""
    shop.sql(
        "CREATE ROLE watcher" if not has_role(shop, "watcher") else "SELECT 1",
        "CREATE TABLE people (customer text PRIMARY KEY, name text)",
        "INSERT INTO people VALUES ('ann', 'Ann')",
        "CREATE VIEW spending WITH (security_barrier=true) AS SELECT * FROM totals",
        "CREATE VIEW named AS SELECT p.name, s.mark FROM people p JOIN spending s USING (customer)",
        'CREATE VIEW "joined ""so""" AS SELECT p.name, t.mark AS "the mark" FROM people p JOIN totals t '
        "USING (customer)",
        "GRANT SELECT ON spending TO watcher",
        "COMMENT ON VIEW spending IS 'what is spent'",
    )
    before = shop.rows(
        "SELECT oid, relacl::text, relowner, reloptions FROM pg_class WHERE relname = 'spending'"
    )
    copy = promoted(shop)
    assert marks(shop, "SELECT mark FROM spending") == ["new"]
    assert marks(shop, "SELECT mark FROM named") == ["new"]
    assert marks(shop, 'SELECT "the mark" FROM "joined ""so"""') == ["new"]
    assert (
        shop.rows("SELECT oid, relacl::text, relowner, reloptions FROM pg_class WHERE relname = 'spending'")
        == before
    )
    assert shop.rows("SELECT obj_description('spending'::regclass)") == [("what is spent",)]
    copy.drop()
    assert marks(shop, "SELECT mark FROM spending") == ["new"]
    assert marks(shop, "SELECT mark FROM named") == ["new"]


@pytest.mark.covers("ZDT-11", "ZDT-13")
def test_a_foreign_key_of_another_table_points_to_the_new_table(shop: Bench) -> None:
    """It is kept after the switch, is valid, has its comment and actions, and outlives the removal."""
    shop.sql(
        "CREATE TABLE letters (id serial PRIMARY KEY, customer text CONSTRAINT to_totals REFERENCES totals "
        "ON DELETE CASCADE DEFERRABLE)",
        "COMMENT ON CONSTRAINT to_totals ON letters IS 'whose'",
        "INSERT INTO letters (customer) VALUES ('ann')",
    )
    key = (
        "SELECT confrelid = 'totals'::regclass, convalidated, condeferrable, confdeltype::text, "
        "obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'to_totals'"
    )
    copy = promoted(shop, customers=("ann", "bob"))
    assert shop.rows(key) == [(True, True, True, "c", "whose")]
    shop.sql("INSERT INTO letters (customer) VALUES ('bob')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        shop.sql("INSERT INTO letters (customer) VALUES ('nobody')")
    copy.drop()
    assert shop.rows(key) == [(True, True, True, "c", "whose")]
    assert shop.rows("SELECT count(*) FROM letters") == [(2,)]


@pytest.mark.covers("ZDT-11")
def test_rows_that_would_break_a_foreign_key_are_told_before(shop: Bench) -> None:
    """Forced, the key is kept for new rows only, which preflight goes on saying until it is whole."""
    shop.sql(
        "CREATE TABLE letters (customer text CONSTRAINT to_totals REFERENCES totals)",
        "INSERT INTO letters VALUES ('ann')",
    )
    copy = shop.made(projected("totals", marks="new"))
    [finding] = [each for each in copy.preflight() if each.severity == "refusal"]
    assert finding.subject == "foreign key to_totals of public.letters"
    assert finding.can_be_forced
    switched(copy)
    assert shop.rows("SELECT convalidated FROM pg_constraint WHERE conname = 'to_totals'") == [(False,)]
    assert "foreign key to_totals of public.letters" in found(copy, "warning")
    shop.sql("INSERT INTO totals (customer, mark) VALUES ('ann', 'new')")
    copy.prepare_switch(lambda _: None)
    assert shop.rows("SELECT convalidated FROM pg_constraint WHERE conname = 'to_totals'") == [(True,)]
    assert "foreign key to_totals of public.letters" not in found(copy, "warning")


@pytest.mark.covers("ZDT-11")
def test_a_materialised_view_is_full_of_new_rows_at_once(shop: Bench) -> None:
    """It is never empty and never mixed: its counterpart, with index and grants, changes places as tables do."""
    shop.sql(
        "CREATE MATERIALIZED VIEW by_mark AS SELECT mark, count(*) AS customers FROM totals GROUP BY mark",
        "CREATE UNIQUE INDEX by_mark_key ON by_mark (mark)",
        "CREATE VIEW top AS SELECT mark FROM by_mark",
        "GRANT SELECT ON by_mark TO PUBLIC",
        "COMMENT ON MATERIALIZED VIEW by_mark IS 'counted'",
    )
    copy = promoted(shop, customers=("ann", "bob"))
    assert shop.rows("SELECT mark, customers FROM by_mark") == [("new", 2)]
    assert marks(shop, "SELECT mark FROM top") == ["new"]
    assert shop.rows(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'by_mark'"
    ) == [("by_mark_key",)]
    assert shop.rows(
        "SELECT relacl::text LIKE '%%=r/%%', obj_description(oid) FROM pg_class "
        "WHERE oid = 'public.by_mark'::regclass"
    ) == [(True, "counted")]
    shop.sql("REFRESH MATERIALIZED VIEW CONCURRENTLY by_mark")
    switched(copy)
    assert shop.rows("SELECT mark, customers FROM by_mark") == [("old", 1)]
    copy.drop()
    assert marks(shop, "SELECT mark FROM top") == ["old"]


@pytest.mark.covers("ZDT-11")
def test_functions_rules_and_policies_elsewhere_read_the_new_table(shop: Bench) -> None:
    """A function with an SQL body is bound to the table as a view is."""
    shop.sql(
        "CREATE FUNCTION first_mark() RETURNS text STABLE BEGIN ATOMIC "
        "SELECT mark FROM totals ORDER BY customer LIMIT 1; END",
        "CREATE TABLE other (customer text, mark text)",
        "CREATE RULE looking AS ON INSERT TO other DO INSTEAD UPDATE totals SET orders = orders + 1",
        "CREATE POLICY only_known ON other USING (customer IN (SELECT customer FROM totals))",
    )
    copy = promoted(shop)
    assert marks(shop, "SELECT first_mark()") == ["new"]
    shop.sql("INSERT INTO other VALUES ('ann')")
    assert shop.rows("SELECT mark, orders FROM totals") == [("new", 1)]
    copy.drop()
    assert marks(shop, "SELECT first_mark()") == ["new"]
    assert shop.rows("SELECT count(*) FROM pg_policy") == [(1,)]


@pytest.mark.covers("ZDT-2", "ZDT-10", "ZDT-11")
def test_names_of_any_kind_are_exchanged(bench: Bench) -> None:
    """63 bytes, quotes, blanks, unicode: in tables, columns, indexes, views and keys."""
    name = 'größe "aller" Bestellungen, ' + "ä" * 16
    assert len(name.encode()) <= 63
    table, index, view = (sql.Identifier(each) for each in (name, name[::-1], f"sicht {name}"[:40]))
    with psycopg.connect(bench.url, autocommit=True) as connection:
        for text in (
            "CREATE TABLE {t} (customer text PRIMARY KEY, mark text NOT NULL, id serial)",
            "CREATE INDEX {i} ON {t} (mark)",
            "CREATE VIEW {v} AS SELECT * FROM {t}",
            'CREATE TABLE "Aussen" (customer text, CONSTRAINT {i} FOREIGN KEY (customer) REFERENCES {t})',
            "INSERT INTO {t} (customer, mark) VALUES ('ann', 'old')",
            "INSERT INTO \"Aussen\" VALUES ('ann')",
        ):
            connection.execute(sql.SQL(text).format(t=table, i=index, v=view))
    copy = promoted(bench, name)
    with psycopg.connect(bench.url) as connection:
        for each in (table, view):
            rows = connection.execute(sql.SQL("SELECT mark, id FROM {}").format(each)).fetchall()
            assert rows == [("new", 1)]
    switched(copy)
    switched(copy)
    copy.drop()
    with psycopg.connect(bench.url) as connection:
        rows = connection.execute(sql.SQL("SELECT mark FROM {}").format(view)).fetchall()
        assert rows == [("new",)]


@pytest.mark.covers("ZDT-11")
def test_what_cannot_be_carried_is_refused_by_name(shop: Bench) -> None:
    """And a switch that is tried nevertheless changes nothing."""
    shop.sql(
        "CREATE FUNCTION all_of_them() RETURNS SETOF totals LANGUAGE sql AS 'SELECT * FROM totals'",
    )
    copy = shop.made(projected("totals", marks="new"))
    shop.sql(
        "CREATE VIEW counted AS SELECT customer, orders FROM totals",
        "ALTER TABLE totals REPLICA IDENTITY FULL",
    )
    shop.sql(f'ALTER TABLE "{copy.where}".totals ALTER orders TYPE bigint')
    found = refusals(copy.preflight())
    assert set(found) == {"function public.all_of_them()", "view public.counted"}
    assert "orders" in found["view public.counted"]
    with pytest.raises(ReplayRefusedError, match=r"view public\.counted"):
        switched(copy)
    assert marks(shop) == ["old"]
    assert shop.in_copy(copy, "SELECT count(*) FROM totals") == [(0,)]


@pytest.mark.covers("ZDT-13")
def test_tables_that_only_one_generation_has_come_and_go(shop: Bench) -> None:
    """A table that is new in the code is there after the switch, and away again after the way back."""
    copy = shop.made(projected(*_tables_of_two(), marks="new"))
    assert "table public.extra" in found(copy, "note")
    switched(copy)
    assert shop.rows("SELECT count(*) FROM extra") == [(0,)]
    assert "table public.extra" in found(copy, "warning")
    switched(copy)
    assert shop.rows("SELECT to_regclass('public.extra')") == [(None,)]
    copy.drop()
    assert marks(shop) == ["old"]


def _tables_of_two() -> tuple[Table, Table]:
    metadata = MetaData()
    totals = Table(
        "totals",
        metadata,
        Column("customer", Text, primary_key=True),
        Column("mark", Text, nullable=False),
        Column("orders", Integer, nullable=False, server_default="0"),
    )
    return totals, Table(
        "extra", metadata, Column("customer", Text, ForeignKey(totals.c.customer), primary_key=True)
    )
