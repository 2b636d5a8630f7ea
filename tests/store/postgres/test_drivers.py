"""The one statement of an append over drivers that know nothing of ours."""

from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from penstock.store._postgres.appending import append_steps
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.placeholders import translated
from penstock.store._postgres.urls import alchemy_url
from penstock.store.abc import Append, Appended, AppendSteps, Conflict, NewEvent
from tests.store.postgres.callers import new

_APPENDS: tuple[tuple[NewEvent, ...], ...] = (
    (new("order-1", "one", key="k"),),
    tuple(new(f"order-{number % 3}", f"many {number}") for number in range(20)),
    (new("order-1", "one", key="k"),),
)


def _statement(steps: AppendSteps) -> tuple[str, tuple[object, ...]]:
    return next(steps)


def _answered(steps: AppendSteps, rows: Any) -> int:
    """How many events were new."""
    with pytest.raises(StopIteration) as end:
        steps.send(rows)
    outcome: list[Appended] | Conflict = end.value.value
    assert not isinstance(outcome, Conflict)
    return sum(place.is_new for place in outcome)


@pytest.mark.covers("STORE-1", "STORE-3")
async def test_asyncpg_appends_by_the_same_statement(store: PostgresBackend) -> None:
    """Its parameters are typed by the statement alone."""
    driver: Any = asyncpg  # it has no types
    connection: Any = await driver.connect(store.database.url.replace("postgres:@", "postgres@"))
    try:
        added: list[int] = []
        for events in _APPENDS:
            steps = append_steps(Append(events))
            sql, parameters = _statement(steps)
            async with connection.transaction():
                rows: list[Any] = await connection.fetch(translated(sql, "numbered"), *parameters)
            added.append(_answered(steps, [tuple(row) for row in rows]))
    finally:
        await connection.close()
    assert added == [1, 20, 0]


async def test_sqlalchemy_appends_by_the_same_statement(store: PostgresBackend) -> None:
    """As text for its driver."""
    engine = sa.create_engine(alchemy_url(store.database.url))
    added: list[int] = []
    with engine.begin() as connection:
        for events in _APPENDS:
            steps = append_steps(Append(events))
            sql, parameters = _statement(steps)
            rows = connection.exec_driver_sql(translated(sql, "format"), parameters).fetchall()
            added.append(_answered(steps, [tuple(row) for row in rows]))
    engine.dispose()
    assert added == [1, 20, 0]
