"""Rows that batch by themselves, beside a model of plain dicts."""

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from penstock.errors import StoreRefusedError, UsageError
from penstock.projections import Projection, Rows
from penstock.store._postgres.database import PostgresDatabase
from penstock.store.database import Database
from penstock.store.work import Wanted
from penstock.store.work.lending import Lender
from tests.projections.shop import Base, CustomerTotal, Desk, OrderLine, OrderPlaced, stored

Totals: TypeAlias = dict[str, list[int]]

CUSTOMERS = st.sampled_from(["ann", "bob", "carl"])
AMOUNTS = st.integers(min_value=-1000, max_value=1000)
WORDS = st.sampled_from(["orders", "total_cents"])
PLACES = {"orders": 0, "total_cents": 1}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), CUSTOMERS, st.dictionaries(WORDS, AMOUNTS)),
        st.tuples(st.just("increment"), CUSTOMERS, st.dictionaries(WORDS, AMOUNTS)),
        st.tuples(st.just("delete"), CUSTOMERS, st.just({})),
        st.tuples(st.just("insert"), CUSTOMERS, st.fixed_dictionaries(dict.fromkeys(PLACES, AMOUNTS))),
        st.tuples(st.just("look"), CUSTOMERS, st.just({})),
        st.tuples(st.just("by session"), CUSTOMERS, st.dictionaries(WORDS, AMOUNTS)),
        st.tuples(st.just("by session, later"), CUSTOMERS, st.dictionaries(WORDS, AMOUNTS)),
        st.tuples(st.just("page"), CUSTOMERS, st.just({})),
    ),
    max_size=25,
)


@pytest.fixture
def lender(database: Database) -> Iterator[Lender]:
    """Transactions in a database with the tables of the shop."""
    lender = Lender(database)
    with lender.transaction() as work:
        Base.metadata.create_all(work.alchemy.connection)
    yield lender
    lender.close()


def kept(lender: Lender) -> Totals:
    """What is in the table."""
    with lender.transaction() as work:
        rows = work.database.execute(
            work.connection, "SELECT customer, orders, cents FROM customer_totals"
        ).fetchall()
    return {customer: [orders, cents] for customer, orders, cents in rows}


def follow(model: Totals, step: str, customer: str, values: dict[str, int]) -> None:
    """What a step makes of the model."""
    if step in ("upsert", "insert", "by session", "by session, later"):
        row = model.setdefault(customer, [0, 0])
        for name, value in values.items():
            row[PLACES[name]] = value
    elif step == "increment":
        row = model.setdefault(customer, [0, 0])
        for name, value in values.items():
            row[PLACES[name]] += value
    elif step == "delete":
        model.pop(customer, None)


def by_session(session: Session, customer: str, values: dict[str, int], *, flush: bool) -> None:
    """Set columns of a row by a session, which holds it back unless it is told to flush."""
    row = session.get(CustomerTotal, customer)
    if row is None:
        row = CustomerTotal(customer=customer, orders=0, total_cents=0)
        session.add(row)
    for name, value in values.items():
        setattr(row, name, value)
    if flush:
        session.flush()


@pytest.mark.covers("PROJ-20")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_rows_and_a_session_do_what_plain_dicts_do(lender: Lender, steps: list[Any]) -> None:
    """However often a row is touched, by whatever means, wherever a page ends: every step is as if it were alone."""
    with lender.transaction() as work:
        work.database.execute(work.connection, "DELETE FROM customer_totals")
    model: Totals = {}
    begun = lender.transaction()
    work = begun.__enter__()
    for step, customer, values in steps:
        key = {"customer": customer}
        rows: Rows = work.rows
        session: Any = work.get(Wanted.SESSION) if "session" in step or step == "look" else None
        if step == "page":
            begun.__exit__(None, None, None)
            assert kept(lender) == model
            begun = lender.transaction()
            work = begun.__enter__()
        elif step == "upsert":
            rows.upsert(CustomerTotal, key, **values)
        elif step == "increment":
            rows.increment(CustomerTotal, key, **values)
        elif step == "delete":
            rows.delete(CustomerTotal, key)
        elif step == "insert":
            rows.delete(CustomerTotal, key)
            rows.insert(CustomerTotal, customer=customer, **values)
        elif step == "look":
            found = session.scalars(select(CustomerTotal).where(CustomerTotal.customer == customer)).first()
            assert (None if found is None else [found.orders, found.total_cents]) == model.get(customer)
        else:
            by_session(session, customer, values, flush=step == "by session")
        follow(model, step, customer, values)
    begun.__exit__(None, None, None)
    assert kept(lender) == model


@pytest.mark.covers("PROJ-20")
def test_a_page_is_one_statement_for_a_table(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand events that add to a hundred rows are one statement."""
    projection = Projection("totals", tables=[CustomerTotal])

    @projection.on(OrderPlaced)
    def add(order: OrderPlaced, rows: Rows) -> None:
        rows.increment(CustomerTotal, {"customer": order.customer}, orders=1, total_cents=order.total_cents)

    handlers = desk.compile(projection)
    ran: list[str] = []
    execute = desk.database.execute

    def noted(connection: Any, sql: str, *args: Any) -> Any:
        ran.append(sql)
        return execute(connection, sql, *args)

    monkeypatch.setattr(desk.database, "execute", noted)
    desk.page(
        handlers,
        [stored(OrderPlaced(order_id="1", customer=f"c{n % 100}", total_cents=n)) for n in range(1000)],
    )
    assert len([sql for sql in ran if "customer_totals" in sql]) == 1
    [(number, orders, cents)] = desk.rows("SELECT count(*), sum(orders), sum(cents) FROM customer_totals")
    assert (number, orders, cents) == (100, 1000, 499_500)


def test_keys_of_several_columns_names_and_null(lender: Lender) -> None:
    """A key may be of several columns; empty counts as 0; a table may be given by its name; parts of a row stay."""
    with lender.transaction() as work:
        rows = work.rows
        for number in (1, 2, 3):
            rows.upsert(OrderLine, {"order_id": "1", "number": number})
        rows.increment("order_lines", {"number": 1, "order_id": "1"}, quantity=5)
        rows.delete(OrderLine, {"order_id": "1", "number": 3})
    with lender.transaction() as work:
        work.rows.increment(OrderLine, {"order_id": "1", "number": 2}, quantity=7)
        work.rows.increment(OrderLine, {"order_id": "1", "number": 1}, quantity=1)
        work.rows.upsert(OrderLine, {"order_id": "2", "number": 1}, quantity=None)
    with lender.transaction() as work:
        found = work.database.execute(
            work.connection, "SELECT order_id, number, quantity FROM order_lines ORDER BY 1, 2"
        ).fetchall()
    assert [tuple(row) for row in found] == [("1", 1, 6), ("1", 2, 7), ("2", 1, None)]


def test_many_rows_keep_their_values_whatever_their_types(lender: Lender) -> None:
    """Rows by the hundred are written as single ones are: numbers, texts, empty values, and what the column refuses."""
    number = 1.25
    with lender.transaction() as work:
        work.database.execute(
            work.connection,
            "CREATE TABLE things"
            " (id text PRIMARY KEY, amount numeric(12, 2), word varchar(5), seen date, open boolean)",
        )
        for each in range(100):
            place = {"id": f"thing 'n' {{{each}}}"}
            work.rows.upsert("things", place, amount=number, word=None if each % 2 else 'a,b\\"', open=True)
            work.rows.increment("things", {"id": f"more {each}"}, amount=each if each % 2 else each * 0.5)
            work.rows.upsert("things", {"id": f"day {each}"}, seen="2026-02-03", open=each % 2 == 0)
    with lender.transaction() as work:
        ask = partial(work.database.execute, work.connection)
        assert ask("SELECT count(*), count(seen), count(word) FROM things").fetchone() == (300, 100, 50)
        assert {str(row[0]) for row in ask("SELECT word FROM things WHERE word IS NOT NULL").fetchall()} == {
            'a,b\\"'
        }
        [(total,)] = ask("SELECT sum(amount) FROM things WHERE id LIKE 'more %'").fetchall()
        assert float(total) == sum(each if each % 2 else each * 0.5 for each in range(100))


AWKWARD = [
    *("", "\\N", "\\.", "NULL", "tab\there", "line\nhere\r\n", "back\\slash\\"),
    *('quo"te', "it's", "{a,b}", "ключ", "😀"),
]


@pytest.mark.covers("PROJ-20", "ZDT-17")
@pytest.mark.parametrize("count", [10, 400])
def test_rows_that_are_only_added_keep_their_values(lender: Lender, count: int) -> None:
    """Whatever is in them, alone and by the hundred; columns that are not named have their defaults."""
    with lender.transaction() as work:
        work.database.execute(
            work.connection,
            "CREATE TABLE notes (id integer PRIMARY KEY, word text, amount numeric(20, 2), rate double precision, "
            "open boolean, big bigint, kind text DEFAULT 'plain', seen date)",
        )
        for number in range(count):
            work.rows.insert(
                "notes",
                id=number,
                word=None if number % 13 == 12 else AWKWARD[number % 13],
                amount=number / 4 if work.database.dialect == "sqlite" else Decimal(number) / 4,
                rate=number * 0.1,
                open=number % 2 == 0,
                big=-(2**62) + number,
            )
        work.rows.insert("notes", kind="last", id=count)
        for number in range(count):
            work.rows.insert("notes", id=-1 - number, seen=date(2026, 2, 3), word="day")
    with lender.transaction() as work:
        found = work.database.execute(
            work.connection,
            "SELECT id, word, amount, rate, open, big, kind FROM notes WHERE seen IS NULL ORDER BY id",
        ).fetchall()
        [(days,)] = work.database.execute(
            work.connection, "SELECT count(*) FROM notes WHERE word = 'day' AND seen = '2026-02-03'"
        ).fetchall()
    *rows, last = [tuple(row) for row in found]
    assert days == count
    assert last == (count, None, None, None, None, None, "last")
    for number, (id_, word, amount, rate, is_open, big, kind) in enumerate(rows):
        assert (id_, float(amount), rate, bool(is_open)) == (
            number,
            number / 4,
            number * 0.1,
            number % 2 == 0,
        )
        assert (word, big, kind) == (
            None if number % 13 == 12 else AWKWARD[number % 13],
            -(2**62) + number,
            "plain",
        )


def test_rows_are_added_and_changed_in_the_order_in_which_that_was_said(lender: Lender) -> None:
    """What is added can be changed and deleted later in the page, and added again."""
    with lender.transaction() as work:
        rows = work.rows
        for number in range(100):
            rows.insert(OrderLine, order_id="1", number=number, quantity=1)
        rows.increment(OrderLine, {"order_id": "1", "number": 7}, quantity=5)
        rows.delete(OrderLine, {"order_id": "1", "number": 8})
        rows.insert(OrderLine, order_id="1", number=8, quantity=9)
        rows.delete(OrderLine, {"order_id": "1", "number": 9})
    with lender.transaction() as work:
        found = work.database.execute(
            work.connection, "SELECT number, quantity FROM order_lines WHERE number < 10 ORDER BY 1"
        ).fetchall()
    assert [tuple(row) for row in found] == [*((n, 1) for n in range(7)), (7, 6), (8, 9)]


def _add(lender: Lender, numbers: Iterable[int]) -> None:
    with lender.transaction() as work:
        for number in numbers:
            work.rows.insert(CustomerTotal, customer=f"c{number}")


def _note_as(lender: Lender, role: str, words: Iterable[str]) -> None:
    with lender.transaction() as work:
        work.database.execute(work.connection, f"SET LOCAL ROLE {role}")
        for word in words:
            work.rows.insert("notes", word=word)


@pytest.mark.parametrize("count", [1, 100])
def test_a_row_that_is_there_already_cannot_be_added(lender: Lender, count: int) -> None:
    """The database says so when the page is written, and nothing of the page is kept."""
    _add(lender, [0])
    refusals: Any = (sqlite3.IntegrityError, psycopg.errors.UniqueViolation)
    with pytest.raises(refusals):
        _add(lender, reversed(range(count)))
    assert kept(lender) == {"c0": [0, 0]}


def test_policies_of_rows_are_kept_by_many_as_by_one(postgres_database: str) -> None:
    """``COPY`` does not go by them, so into such a table rows go one by one."""
    lender = Lender(PostgresDatabase("local", postgres_database))
    role = f"writer_{uuid4().hex[:12]}"
    with lender.transaction() as work:
        for sql in (
            "CREATE TABLE notes (word text)",
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY short ON notes USING (true) WITH CHECK (length(word) < 5)",
            f"CREATE ROLE {role}",
            f"GRANT ALL ON notes TO {role}",
        ):
            work.database.execute(work.connection, sql)
    try:
        _note_as(lender, role, ["ok"] * 100)
        with pytest.raises(StoreRefusedError, match="row-level security"):
            _note_as(lender, role, ["ok"] * 99 + ["too long"])
        with lender.transaction() as work:
            [(count,)] = work.database.execute(work.connection, "SELECT count(*) FROM notes").fetchall()
            work.database.execute(work.connection, f"DROP OWNED BY {role}")
            work.database.execute(work.connection, f"DROP ROLE {role}")
        assert count == 100
    finally:
        lender.close()


def test_more_rows_than_a_statement_can_hold(lender: Lender) -> None:
    """What is too much for one statement goes into several."""
    with lender.transaction() as work:
        for number in range(25_000):
            work.rows.upsert(OrderLine, {"order_id": "1", "number": number}, quantity=1)
        for number in range(24_990):
            work.rows.delete(OrderLine, {"order_id": "1", "number": number})
        for number in range(20_000):
            work.rows.upsert(OrderLine, {"order_id": "2", "number": number}, quantity=1)
    with lender.transaction() as work:
        found = work.database.execute(
            work.connection, "SELECT order_id, count(*) FROM order_lines GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [tuple(row) for row in found] == [("1", 10), ("2", 20_000)]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda rows: rows.upsert(CustomerTotal, {}), "needs a key"),
        (lambda rows: rows.upsert(CustomerTotal, {"name": "ann"}), "has no column 'name'"),
        (lambda rows: rows.increment(CustomerTotal, {"customer": "ann"}, sum=1), "it has customer, orders"),
        (lambda rows: rows.upsert(CustomerTotal, {"orders": 1}), "may find several rows"),
        (lambda rows: rows.upsert(OrderLine, {"order_id": "1"}), "number, order_id"),
        (lambda rows: rows.upsert(CustomerTotal, {"customer": None}), "an empty value"),
        (lambda rows: rows.upsert(CustomerTotal, {"customer": []}), "texts, numbers, ids"),
        (lambda rows: rows.upsert(CustomerTotal, {"customer": "ann"}, customer="bob"), "leave one out"),
        (lambda rows: rows.upsert(Path, {"customer": "ann"}), "give an SQLAlchemy model"),
        (lambda rows: rows.insert(CustomerTotal), "at least one column"),
        (lambda rows: rows.insert(CustomerTotal, name="ann"), "has no column 'name'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_said(lender: Lender, act: Any, message: str) -> None:
    """A key that is none, columns that are not there: the mistake shows at the event that made it."""
    with pytest.raises(UsageError, match=message), lender.transaction() as work:
        act(work.rows)
