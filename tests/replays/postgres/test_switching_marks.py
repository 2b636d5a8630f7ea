"""What is changed on a table after a switch has been written down is carried over too, or the switch begins anew."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.replays._postgres import switching, switching_locks
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import projected, switched

_READER = "penstock_tests_reader"
_TOTALS = (
    "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL, number serial)",
    "CREATE STATISTICS known ON customer, mark FROM totals",
    "CREATE PUBLICATION news FOR TABLE totals",
    "CREATE SEQUENCE shared",
    "INSERT INTO totals VALUES ('ann', 'old')",
)
_GIVEN = """
SELECT 'table', e.privilege_type FROM pg_class c, aclexplode(c.relacl) e
 WHERE c.oid = 'public.totals'::regclass AND e.grantee = '{0}'::regrole
UNION ALL SELECT 'column', a.attname || ' ' || e.privilege_type FROM pg_attribute a, aclexplode(a.attacl) e
 WHERE a.attrelid = 'public.totals'::regclass AND e.grantee = '{0}'::regrole
UNION ALL SELECT 'sequence', e.privilege_type FROM pg_class c, aclexplode(c.relacl) e
 WHERE c.oid = pg_get_serial_sequence('public.totals', 'number')::regclass AND e.grantee = '{0}'::regrole
UNION ALL SELECT 'publication', b.pubname || coalesce(r.prattrs::text, '') || coalesce(pg_get_expr(prqual, prrelid), '')
  FROM pg_publication_rel r JOIN pg_publication b ON b.oid = r.prpubid WHERE r.prrelid = 'public.totals'::regclass
UNION ALL SELECT 'comment', coalesce(obj_description('public.totals'::regclass), '')
UNION ALL SELECT 'column comment', coalesce(col_description('public.totals'::regclass, 2), '')
UNION ALL SELECT 'security', relrowsecurity::text || relreplident::text FROM pg_class
 WHERE oid = 'public.totals'::regclass
ORDER BY 1, 2"""


@pytest.fixture
def shop(bench: Bench) -> Iterator[Bench]:
    """A live table that is published, and somebody who is given nothing yet."""
    bench.sql(f"DROP ROLE IF EXISTS {_READER}", f"CREATE ROLE {_READER}", *_TOTALS)
    yield bench
    bench.sql(f"DROP OWNED BY {_READER}", f"DROP ROLE {_READER}")


@pytest.mark.covers("ZDT-11")
@pytest.mark.parametrize(
    "sql",
    [
        f"GRANT SELECT ON totals TO {_READER}",
        f"GRANT SELECT (mark) ON totals TO {_READER}",
        f"GRANT USAGE ON SEQUENCE totals_number_seq TO {_READER}",
        "CREATE PUBLICATION late FOR TABLE totals",
        "ALTER PUBLICATION news DROP TABLE totals",
        "ALTER PUBLICATION news SET TABLE totals (customer)",
        "ALTER PUBLICATION news SET TABLE totals WHERE (customer <> 'bob')",
        "ALTER PUBLICATION news RENAME TO other",
        "DROP PUBLICATION news",
        "COMMENT ON TABLE totals IS 'late'",
        "COMMENT ON COLUMN totals.mark IS 'late'",
        "ALTER TABLE totals ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE totals REPLICA IDENTITY FULL",
    ],
)
def test_what_is_given_in_the_last_moment_is_found_on_the_new_table(
    shop: Bench, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    """It came between the look and the lock: grants, publications, comments and the rest."""
    copy = shop.made(projected("totals", marks="new"))
    lock_all = switching_locks.lock_all
    given: list[str] = []

    def late(*arguments: Any) -> float:
        if not given:
            given.append(sql)
            shop.sql(sql)
        return lock_all(*arguments)

    monkeypatch.setattr(switching, "lock_all", late)
    before = shop.rows(_GIVEN.format(_READER))
    tries = switched(copy).tries
    after = shop.rows(_GIVEN.format(_READER))
    assert tries == 2
    assert after != before
    monkeypatch.undo()
    switched(copy)
    assert shop.rows(_GIVEN.format(_READER)) == after
    copy.drop()
