"""A copy in SQLite does what production does: names that are two there are two, triggers run as they do there."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from penstock.projections._engine import _checkpoints
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays._sqlite._statements import parts_of_index
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, CopiedTable
from penstock.store._sqlite import SqliteBackend
from tests.replays.sqlite.spending import Thing, both, direct, raw_of
from tests.replays.sqlite.test_switch import add
from tests.replays.sqlite.test_tables import Making
from tests.replays.things import KEY, PATIENCE, nothing


def copy_of(store: SqliteBackend, names: Sequence[str]) -> SqliteCopy:
    """A copy of tables as they are in production."""
    copy = SqliteCopy(KEY, store.database, [CopiedTable(each) for each in names], projections=["spending"])
    plan = ProjectionPlan("spending")
    copy.create([Candidate(plan, Making(store.database))])
    with closing(store.database.connect()) as connection, transaction(store.database, connection):
        _checkpoints.ensure(store.database, connection, plan, LIVE)
    return copy


def switch(store: SqliteBackend, copy: SqliteCopy) -> None:
    """Exchange it with what is live."""
    candidates = [Candidate(ProjectionPlan("spending"), copy.guard(Making(store.database)))]
    copy.prepare_switch(nothing)
    copy.switch(
        lambda: meet(candidates, copy, lambda name: store.reader(), patience=PATIENCE), lambda held: None
    )


@pytest.mark.covers("ZDT-2", "ZDT-10")
async def test_only_the_case_of_plain_letters_does_not_count(store: SqliteBackend) -> None:
    """Tables whose names are one in other languages' rules are two in SQLite, and so they are here."""
    names = ("Straße", "STRASSE", "größe", "GRÖSSE", "Plain")
    with direct(store.database.path) as user:
        for name in names:
            user.execute(f'CREATE TABLE "{name}" (k INTEGER PRIMARY KEY, "Maße" TEXT, "MASSE" TEXT)')
            user.execute(f'CREATE INDEX "by {name}" ON "{name}" ("Maße")')
        copy = copy_of(store, [*names[:4], "PLAIN"])
        with raw_of(copy.database) as connection:
            for name in names:
                connection.execute(f'INSERT INTO main."{name}" VALUES (1, ?, ?)', (name, "copy"))
        assert not [each for each in copy.preflight() if each.severity != "note"]
        switch(store, copy)
        for name in names:
            assert user.execute(f'SELECT * FROM "{name}"').fetchall() == [(1, name, "copy")]
            assert user.execute(f"SELECT count(*) FROM pragma_index_list('{name}')").fetchone() == (1,)
        switch(store, copy)
        assert [user.execute(f'SELECT count(*) FROM "{name}"').fetchone() for name in names] == [(0,)] * 5
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.covers("ZDT-2", "ZDT-10", "ZDT-12")
async def test_a_trigger_that_changes_its_own_table_does_it_once(store: SqliteBackend) -> None:
    """As SQLite has it by default; also while changes are noted, and in the former one after a switch."""
    await add(store, 20)
    thing = Thing(store)
    thing.run_live()
    with direct(store.database.path) as user:
        user.execute(
            "CREATE TRIGGER stamped AFTER UPDATE ON totals BEGIN "
            "UPDATE totals SET v = new.v WHERE customer = new.customer; END"
        )
        thing.create()
        thing.feed(through=10)
        thing.copy.prepare_switch(nothing)
        thing.feed()
        for version in (2, 1):
            thing.switch(version)
            await add(store, 5)
            thing.run_live(version)
            thing.feed(3 - version)
        totals, entries = both(user)
        assert sum(row[1] for row in totals) == len(entries) == 30
        found: Any = user.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
        assert found == (1,)


@pytest.mark.parametrize(
    ("sql", "parts", "where"),
    [
        ('CREATE UNIQUE INDEX "a, ON" ON "x (y" ("b""c" DESC) WHERE "b" > 1', ['"b""c"'], '"b" > 1'),
        (
            "CREATE UNIQUE INDEX a ON t (lower(b, 'x)'), c COLLATE NOCASE asc, (d + (1)) -- no\n)",
            ["lower(b, 'x)')", "c COLLATE NOCASE", "(d + (1))"],
            "",
        ),
        ("CREATE INDEX a ON t(b)/**/where b IN (1,2)", ["b"], "b IN (1,2)"),
    ],
)
def test_what_an_index_is_of_is_read_from_its_statement(sql: str, parts: list[str], where: str) -> None:
    """Whatever is in its names, texts and comments."""
    assert parts_of_index(sql) == (parts, where)
