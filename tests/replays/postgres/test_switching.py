"""A switch on PostgreSQL: what hangs on a live table hangs on the new one afterwards, and on neither by accident."""

from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text

from penstock.errors import ReplayBusyError, ReplayRefusedError
from penstock.replays._postgres import switching_locks
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import (
    found,
    order,
    projected,
    promoted,
    refusals,
    switched,
)

_TOTALS = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, orders integer NOT NULL DEFAULT 0)",
    "CREATE INDEX totals_by_mark ON totals (mark)",
    "INSERT INTO totals (customer, mark) VALUES ('ann', 'old')",
)


_GIVEN = (
    "SELECT relacl::text, relrowsecurity, relreplident, reloptions, relowner, obj_description(oid) FROM pg_class "
    "WHERE oid = 'public.totals'::regclass",
    "SELECT attname, attacl::text, attstattarget, col_description(attrelid, attnum) FROM pg_attribute "
    "WHERE attrelid = 'public.totals'::regclass AND attnum > 0 ORDER BY attnum",
    "SELECT * FROM pg_policies WHERE schemaname = 'public'",
    "SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = 'protect'",
    "SELECT * FROM pg_publication_tables",
    "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'totals' ORDER BY 1",
)
"""What people have given to a table."""


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A database with one live table."""
    bench.sql(*_TOTALS)
    return bench


def marks(bench: Bench, query: str = "SELECT DISTINCT mark FROM totals") -> list[Any]:
    """What a query finds in its first column."""
    return [row[0] for row in bench.rows(query)]


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
        "CREATE ROLE watcher" if not _has_role(shop, "watcher") else "SELECT 1",
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


def _has_role(bench: Bench, name: str) -> bool:
    return bool(bench.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", name))


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
def test_grants_policies_triggers_and_the_rest_go_along(shop: Bench) -> None:
    """Everything that people can give to a table is on the new one, and on the former one again after the way back."""
    if not _has_role(shop, "watcher"):
        shop.sql("CREATE ROLE watcher")
    shop.sql(
        "CREATE TABLE audit (what text)",
        "CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO public.audit VALUES (NEW.mark); RETURN NEW; END$$",
        "CREATE TRIGGER noting AFTER INSERT ON totals FOR EACH ROW EXECUTE FUNCTION noting()",
        "CREATE TRIGGER asleep AFTER DELETE ON totals FOR EACH ROW EXECUTE FUNCTION noting()",
        "ALTER TABLE totals DISABLE TRIGGER asleep",
        "CREATE RULE protect AS ON DELETE TO totals DO INSTEAD NOTHING",
        "GRANT SELECT, INSERT ON totals TO watcher WITH GRANT OPTION",
        "GRANT UPDATE (mark) ON totals TO watcher",
        "ALTER TABLE totals ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY a_few ON totals AS RESTRICTIVE FOR UPDATE TO watcher "
        "USING (mark <> 'x') WITH CHECK (mark <> 'y')",
        "COMMENT ON TABLE totals IS 'sums'",
        "COMMENT ON COLUMN totals.mark IS 'which'",
        "ALTER TABLE totals SET (autovacuum_vacuum_scale_factor = 0.01)",
        "ALTER TABLE totals ALTER COLUMN mark SET STATISTICS 500",
        "ALTER TABLE totals REPLICA IDENTITY FULL",
        "CREATE STATISTICS together ON customer, mark FROM totals",
        "CREATE PUBLICATION a_few FOR TABLE totals (customer, mark) WHERE (mark <> 'z')",
    )
    told = [shop.rows(query) for query in _GIVEN]

    def is_as_before() -> None:
        for query, before in zip(_GIVEN, told, strict=True):
            assert shop.rows(query) == before

    copy = promoted(shop)
    assert marks(shop) == ["new"]
    is_as_before()
    shop.sql("INSERT INTO totals (customer, mark) VALUES ('dan', 'late')")
    assert marks(shop, "SELECT what FROM audit") == ["late"]
    shop.play(copy, projected("totals", marks="old"), order("eve"))
    assert marks(shop, "SELECT what FROM audit") == ["late"], "the former table is fed without its trigger"
    switched(copy)
    is_as_before()
    copy.drop()
    is_as_before()


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


@pytest.mark.covers("ZDT-10")
def test_a_reader_that_does_not_end_is_never_broken_off(shop: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch gives way, says so in the end, and has changed nothing; preflight names the process."""
    from penstock.replays._postgres import switching

    monkeypatch.setattr(switching, "_SECONDS", 1.0)
    copy = shop.made(projected("totals", marks="new"))
    with psycopg.connect(shop.url) as reader:
        reader.execute("SELECT * FROM totals").fetchall()
        with pytest.raises(ReplayBusyError, match="all the time"):
            switched(copy)
        warned = found(copy, "warning")
        assert f"pid {reader.info.backend_pid}" in warned
        assert reader.execute("SELECT mark FROM totals").fetchall() == [("old",)]
    assert switched(copy).tries == 1


@pytest.mark.covers("ZDT-10")
def test_preflight_says_what_readers_would_notice(shop: Bench) -> None:
    """Types and order of columns, indexes that only the live table has, and the time that it takes."""
    copy = shop.made(projected("totals", marks="new"))
    shop.sql(
        f'ALTER TABLE "{copy.where}".totals ALTER orders TYPE bigint, ADD more text',
        "CREATE INDEX totals_by_orders ON totals (orders)",
    )
    messages = [each.message for each in copy.preflight() if each.severity == "warning"]
    assert any(
        "prepare_threshold=None" in each and "orders (integer, then bigint)" in each for each in messages
    )
    assert any("SELECT *" in each for each in messages)
    assert any("totals_by_orders" in each for each in messages)
    assert "tables are locked for about" in found(copy, "note")["lock"]


@pytest.mark.covers("ZDT-10")
def test_missing_rights_are_told_before(shop: Bench) -> None:
    """A user that does not own a view of another cannot replace it."""
    if not _has_role(shop, "projector"):
        shop.sql("CREATE ROLE projector LOGIN")
    database = shop.rows("SELECT current_database()")[0][0]
    shop.sql(
        f"GRANT CREATE ON DATABASE {database} TO projector",
        "GRANT CREATE, USAGE ON SCHEMA public TO projector",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO projector",
        "ALTER TABLE totals OWNER TO projector",
        "CREATE VIEW theirs AS SELECT mark FROM totals",
    )
    theirs = Bench(shop.url.replace("//postgres:@", "//projector:@"))
    try:
        copy = theirs.made(projected("totals", marks="new"))
        assert set(refusals(copy.preflight())) == {"table or view theirs"}
        shop.sql("DROP VIEW theirs")
        assert refusals(copy.preflight()) == {}
        switched(copy)
        assert theirs.rows("SELECT count(*) FROM totals") == [(0,)]
        copy.drop()
    finally:
        theirs.close()


@pytest.mark.covers("ZDT-11")
def test_what_is_given_while_locks_are_waited_for_is_not_lost(
    shop: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written down before is looked at again under the locks; if it has changed, the switch begins anew."""
    from penstock.replays._postgres import switching

    lock_all = switching_locks.lock_all
    given: list[str] = []

    def late(*arguments: Any) -> float:
        if not given:
            given.append("GRANT SELECT ON totals TO PUBLIC")
            shop.sql(*given)
        return lock_all(*arguments)

    monkeypatch.setattr(switching, "lock_all", late)
    copy = shop.made(projected("totals", marks="new"))
    assert switched(copy).tries == 2
    assert shop.rows(
        "SELECT relacl::text LIKE '%=r/%' FROM pg_class WHERE oid = 'public.totals'::regclass"
    ) == [(True,)]


@pytest.mark.covers("ZDT-10")
def test_locks_are_waited_for_less_long_than_the_server_looks_for_deadlocks(shop: Bench) -> None:
    """Under half of it, and never longer than a tenth of a second."""
    with closing(shop.database.connect()) as connection:
        assert switching_locks.wait_ms(shop.database, connection) == 100
        shop.database.execute(connection, "SET deadlock_timeout = '60ms'")
        assert switching_locks.wait_ms(shop.database, connection) == 29


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
