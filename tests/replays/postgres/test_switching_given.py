"""What people have given to a live table is given to the new one, and what they have taken is taken from both."""

import pytest

from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import (
    TOTALS,
    has_role,
    marks,
    order,
    projected,
    promoted,
    switched,
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
    bench.sql(*TOTALS)
    return bench


@pytest.mark.covers("ZDT-11")
def test_grants_policies_triggers_and_the_rest_go_along(shop: Bench) -> None:
    """Everything that people can give to a table is on the new one, and on the former one again after the way back."""
    if not has_role(shop, "watcher"):
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


_HELD = """
SELECT e.grantee::regrole::text, e.privilege_type, 'table' FROM pg_class c, aclexplode(c.relacl) e
 WHERE c.oid = 'public.totals'::regclass AND e.grantee::regrole::text IN ('watcher', 'helper')
UNION ALL SELECT e.grantee::regrole::text, e.privilege_type, a.attname FROM pg_attribute a, aclexplode(a.attacl) e
 WHERE a.attrelid = 'public.totals'::regclass
ORDER BY 1, 2, 3"""


@pytest.mark.covers("ZDT-11", "ZDT-12")
def test_what_was_taken_away_does_not_come_back_with_a_rollback(shop: Bench) -> None:
    """Rights on columns too, and those that somebody has handed on."""
    for name in ("watcher", "helper"):
        if not has_role(shop, name):
            shop.sql(f"CREATE ROLE {name}")
    shop.sql(
        "GRANT SELECT (customer, mark), UPDATE (mark) ON totals TO watcher",
        "GRANT INSERT ON totals TO watcher WITH GRANT OPTION",
        "SET ROLE watcher; GRANT INSERT ON totals TO helper",
    )
    before = shop.rows(_HELD)
    assert len(before) == 5
    copy = promoted(shop)
    assert shop.rows(_HELD) == before
    shop.sql(
        "REVOKE SELECT (customer), UPDATE (mark) ON totals FROM watcher",
        "REVOKE INSERT ON totals FROM watcher, helper",
        "GRANT DELETE ON totals TO helper",
    )
    left = shop.rows(_HELD)
    assert left == [("helper", "DELETE", "table"), ("watcher", "SELECT", "mark")]
    for _ in range(2):
        switched(copy)
        assert shop.rows(_HELD) == left
    copy.drop()


@pytest.mark.covers("ZDT-11", "ZDT-12")
def test_a_right_on_a_column_that_was_taken_away_does_not_come_back(shop: Bench) -> None:
    """Though nothing else has changed; rights on a column that only one generation has stay with it."""
    if not has_role(shop, "watcher"):
        shop.sql("CREATE ROLE watcher")
    shop.sql("GRANT SELECT (customer, mark) ON totals TO watcher")
    copy = promoted(shop)
    shop.sql(
        "REVOKE SELECT (customer) ON totals FROM watcher",
        "ALTER TABLE totals ADD more text",
        "GRANT SELECT (more) ON totals TO watcher",
    )
    left = [("watcher", "SELECT", "mark")]
    for also in ([], [("watcher", "SELECT", "more")]):
        switched(copy)
        assert shop.rows(_HELD) == left + also
    copy.drop()
