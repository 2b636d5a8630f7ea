"""What readers get whose connections have prepared statements on a table that changes."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from tests.replays.postgres.bench import Bench
from tests.replays.postgres.switching import found, order, projected, switched


@pytest.mark.covers("ZDT-10", "ZDT-11")
def test_who_has_prepared_a_statement_for_all_columns_fails_until_it_is_prepared_anew(bench: Bench) -> None:
    """Preflight says so. Who names columns, and who has not prepared, notices nothing."""
    bench.sql(
        "CREATE TABLE totals (customer text PRIMARY KEY, mark text NOT NULL)",
        "INSERT INTO totals VALUES ('ann', 'old')",
    )
    columns = (Column("customer", Text, primary_key=True), Column("mark", Text), Column("cents", Integer))
    projection = projected(Table("totals", MetaData(), *columns), marks="new")
    copy = bench.made(projection)
    bench.play(copy, projection, order("ann"))
    said = found(copy, "warning")["table public.totals"]
    assert "`SELECT *`" in said
    assert "cached plan must not change result type" in said
    with (
        psycopg.connect(bench.url, autocommit=True) as prepared,
        psycopg.connect(bench.url, autocommit=True) as plain,
    ):

        def read(connection: Any, what: str, *, prepare: bool) -> list[Any]:
            return list(connection.execute(f"SELECT {what} FROM totals", prepare=prepare))

        for _ in range(2):
            assert read(prepared, "*", prepare=True) == [("ann", "old")]
            assert read(prepared, "mark, customer", prepare=True) == [("old", "ann")]
            assert read(plain, "*", prepare=False) == [("ann", "old")]
        switched(copy)
        assert read(prepared, "mark, customer", prepare=True) == [("new", "ann")]
        assert read(plain, "*", prepare=False) == [("ann", "new", None)]
        for _ in range(2):
            with pytest.raises(
                psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"
            ):
                read(prepared, "*", prepare=True)
        prepared.execute("DEALLOCATE ALL")
        assert read(prepared, "*", prepare=True) == [("ann", "new", None)]
