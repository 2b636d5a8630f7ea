"""What is told before a switch on PostgreSQL, to those who read the tables and to the user who is to do it."""

import pytest

from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import TOTALS, found, has_role, projected, refusals, switched


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A database with one live table."""
    bench.sql(*TOTALS)
    return bench


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
    if not has_role(shop, "projector"):
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
def test_policies_of_the_copy_alone_are_told(shop: Bench) -> None:
    """A policy that is changed or dropped between promotion and rollback is still there in the former generation."""
    shop.sql(
        "ALTER TABLE totals ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY changed ON totals USING (true)",
        "CREATE POLICY dropped ON totals USING (true)",
        "CREATE POLICY kept ON totals USING (mark <> 'x')",
    )
    copy = shop.made(projected("totals", marks="new"))
    switched(copy)
    assert not [each for each in found(copy, "warning") if each.startswith("polic")]
    shop.sql(
        "ALTER POLICY changed ON totals USING (false)",
        "DROP POLICY dropped ON totals",
        "ALTER TABLE totals DISABLE ROW LEVEL SECURITY",
    )
    told = {each: why for each, why in found(copy, "warning").items() if each.startswith("polic")}
    assert set(told) == {"policy changed of totals", "policy dropped of totals", "policies of totals"}
    assert "something else" in told["policy changed of totals"]
    assert "only the copy has it" in told["policy dropped of totals"]
    assert "row level security" in told["policies of totals"]


@pytest.mark.covers("ZDT-10")
def test_who_is_broken_off_soon_is_waited_before_for_less_long_and_told(shop: Bench) -> None:
    """Limits that are set for a user or for the database; what is too short for a switch at all is a warning."""
    [[name]] = shop.rows("SELECT current_database()")
    if not has_role(shop, "hasty"):
        shop.sql("CREATE ROLE hasty")
    copy = shop.made(projected("totals", marks="new"))

    def waiting() -> str:
        return found(copy, "note")["lock"].partition("waited for, for ")[2].partition(" at a time")[0]

    try:
        assert waiting() == "100 ms"
        shop.sql(
            f"ALTER DATABASE {name} SET lock_timeout = '0.15s'",
            "ALTER ROLE hasty SET statement_timeout = 120",
        )
        assert waiting() == "58 ms"
        assert "statement_timeout" not in found(copy, "warning")
        shop.sql(f"ALTER ROLE hasty IN DATABASE {name} SET lock_timeout = '4ms'")
        assert waiting() == "1 ms"
        assert "4 ms for user hasty" in found(copy, "warning")["lock_timeout"]
        switched(copy)
    finally:
        shop.sql("DROP ROLE hasty")
