"""A switch on PostgreSQL gives way to whoever uses the tables, and says so in the end."""

from contextlib import closing
from typing import Any

import psycopg
import pytest

from penstock.errors import ReplayBusyError
from penstock.replays._postgres import switching, switching_locks
from tests.fixtures_postgres import PostgresServer
from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import (
    TOTALS,
    found,
    marks,
    order,
    projected,
    switched,
)


@pytest.fixture
def shop(bench: Bench) -> Bench:
    """A database with one live table."""
    bench.sql(*TOTALS)
    return bench


@pytest.mark.covers("ZDT-10")
def test_a_reader_that_does_not_end_is_never_broken_off(shop: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch gives way, says so in the end, and has changed nothing; preflight names the process."""
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


@pytest.mark.covers("ZDT-11")
def test_what_is_given_while_locks_are_waited_for_is_not_lost(
    shop: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written down before is looked at again under the locks; if it has changed, the switch begins anew."""
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


@pytest.mark.covers("ZDT-10")
def test_short_limits_of_the_user_are_not_those_of_the_switch(shop: Bench) -> None:
    """A statement_timeout that is meant for queries breaks off neither the switch nor what comes before and after."""
    [[name]] = shop.rows("SELECT current_database()")
    shop.sql(
        "CREATE FUNCTION slowly(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$BEGIN PERFORM pg_sleep(1.5); RETURN $1; END$$",
        "CREATE INDEX slow ON totals (slowly(mark))",
    )
    copy = shop.made(projected("totals", marks="new"))
    shop.play(copy, projected("totals", marks="new"), order("ann"))
    shop.sql(f"ALTER DATABASE {name} SET statement_timeout = '1s'")
    switched(copy)
    assert marks(shop) == ["new"]


@pytest.mark.covers("ZDT-10")
def test_a_switch_is_done_even_if_nothing_can_be_looked_at_afterwards(
    shop: Bench, each_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It was committed; that the rows of foreign keys are not looked at yet is logged, and made up for later."""
    [[name]] = shop.rows("SELECT current_database()")
    shop.sql("CREATE TABLE letters (customer text REFERENCES totals)", "INSERT INTO letters VALUES ('ann')")
    copy = shop.made(projected("totals", marks="new"))
    shop.play(copy, projected("totals", marks="new"), order("ann"))

    def admit(word: str) -> None:
        with psycopg.connect(each_postgres.url(), autocommit=True) as user:
            user.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {word}".encode())

    try:
        assert switched(copy, lambda _: admit("false")).tables == ("totals",)
    finally:
        admit("true")
    assert "is switched" in caplog.text
    valid = "SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid = 'letters'::regclass"
    assert marks(shop) == ["new"]
    assert marks(shop, valid) == [False]
    copy.prepare_switch(lambda _: None)
    assert marks(shop, valid) == [True]
