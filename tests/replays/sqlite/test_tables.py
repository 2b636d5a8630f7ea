"""What becomes of tables, and of all that hangs on them, when a copy is made, exchanged and removed in SQLite."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from penstock.errors import ReplayBusyError, ReplayError
from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE, Page, ProjectionPlan
from penstock.replays._sqlite._shapes import read_shape
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, CopiedTable
from penstock.store._sqlite import SqliteBackend
from penstock.store.database import Connection
from penstock.store.work import Workshop
from tests.replays.sqlite.spending import Spending, Thing, both, direct, raw_of
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY, nothing


class Making:
    """Handlers that make SQLAlchemy tables, and handle nothing."""

    names = frozenset[str]()
    projection = "spending"

    def __init__(self, database: Any, *tables: sa.Table) -> None:
        self._shop, self._tables = Workshop(database), tables

    def begin(self, connection: Connection, *, state: bytes | None, generation: str = LIVE) -> Page:
        """Never asked."""
        raise AssertionError(generation)

    def reset(self, connection: Connection, *, delete: bool = False, emitted: bool = False) -> None:
        """Never asked."""
        raise AssertionError(delete)

    def prepare(self, connection: Connection) -> None:
        """Make what is missing."""
        work = self._shop.begin(connection)
        for table in self._tables:
            table.create(work.alchemy.connection, checkfirst=True)
        work.end()


def schema_of(user: Any, *, without: str = "penstock_") -> dict[str, tuple[str, str]]:
    """By name, of what kind it is and on which table."""
    rows = user.execute("SELECT name, type, tbl_name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: (kind, table) for name, kind, table in rows if not name.startswith((without, "sqlite_"))}


@pytest.mark.covers("ZDT-2")
async def test_a_copy_has_the_tables_of_the_code_as_it_is_now(store: SqliteBackend) -> None:
    """New columns, indexes, keys among the copied tables and to outside ones: in the copy, and not in production."""
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)")
        user.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
        user.execute("INSERT INTO orders VALUES (1, 2)")
    metadata = sa.MetaData()
    sa.Table("customers", metadata, sa.Column("id", sa.Integer, primary_key=True))
    orders = sa.Table(
        "orders",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("total", sa.Numeric(10, 2), nullable=False),
        sa.Column("grade", sa.String(20), index=True),
        sa.Column("customer", sa.ForeignKey("customers.id")),
        sqlite_autoincrement=True,
    )
    lines = sa.Table(
        "lines",
        metadata,
        sa.Column("order_id", sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.UniqueConstraint("number", "order_id", name="by_number"),
    )
    copied = [CopiedTable(table.name, definition=table) for table in (orders, lines)]
    copy = SqliteCopy(KEY, store.database, copied, projections=["spending"])
    handlers = copy.guard(Making(store.database, orders, lines))
    copy.create([Candidate(ProjectionPlan("spending", version=2), handlers)])
    copy.create([Candidate(ProjectionPlan("spending", version=2), handlers)])
    with raw_of(copy.database) as connection:
        shapes = {name: read_shape(connection.execute, "main", name) for name in ("orders", "lines")}
        keys = connection.execute("PRAGMA main.foreign_key_list(lines)").fetchall()
        assert [(row[2], row[3], row[4]) for row in keys] == [("orders", "order_id", "id")]
    assert shapes["orders"] is not None
    assert shapes["orders"].columns == ("id", "total", "grade", "customer")
    assert shapes["orders"].counts
    assert list(shapes["orders"].indexes) == ["ix_orders_grade"]
    assert copy.size().rows == {"orders": 0, "lines": 0}
    with direct(store.database.path) as user:
        assert set(schema_of(user)) == {"orders", "customers"}
        assert user.execute("SELECT * FROM orders").fetchall() == [(1, 2)]


@pytest.mark.covers("ZDT-2")
async def test_a_table_known_by_name_is_copied_as_it_is_in_production(store: SqliteBackend) -> None:
    """With its indexes and with those triggers that stay within the copy; names may be whatever SQLite takes."""
    name = 'Größe "der" Läufe; REFERENCES x'
    quoted = '"' + name.replace('"', '""') + '"'
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE journal (text TEXT)")
        user.execute(
            f'CREATE TABLE {quoted} ("a b" TEXT, "rowid" INTEGER, twice AS ("rowid" * 2), PRIMARY KEY ("a b"))'
        )
        user.execute(f'CREATE UNIQUE INDEX "der Index, ON" ON {quoted} ("rowid") WHERE "rowid" > 1')
        user.execute(
            f'CREATE TRIGGER inside AFTER INSERT ON {quoted} BEGIN UPDATE {quoted} SET "rowid" = 7; END'
        )
        user.execute(
            f"CREATE TRIGGER outside AFTER INSERT ON {quoted} BEGIN INSERT INTO journal VALUES ('x'); END"
        )
    copy = SqliteCopy(KEY, store.database, [CopiedTable(name)], projections=["spending"])
    copy.create([Candidate(ProjectionPlan("spending"), Making(store.database))])
    with raw_of(copy.database) as connection:
        connection.execute(f'INSERT INTO {quoted} ("a b") VALUES (?)', ("x",))
        assert connection.execute(f"SELECT * FROM main.{quoted}").fetchall() == [("x", 7, 14)]
        assert set(schema_of(connection)) == {name, "der Index, ON", "inside"}
    copy.prepare_switch(nothing)
    with direct(store.database.path) as user:
        [[shadow]] = user.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'penstock_shadow%'"
        ).fetchall()
        escaped = shadow.replace('"', '""')
        assert user.execute(f'SELECT * FROM "{escaped}"').fetchall() == [("x", 7, 14)]


@pytest.mark.covers("ZDT-2")
async def test_what_cannot_be_copied_is_refused_by_name(store: SqliteBackend) -> None:
    """And nothing is left of the attempt."""
    with direct(store.database.path) as user:
        user.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
    for table, message in (
        (CopiedTable("found"), "'found' is a virtual one"),
        (CopiedTable("missing"), "'missing' is named among the tables and is not there"),
        (CopiedTable("totals", "elsewhere"), "attached database 'elsewhere'"),
    ):
        copy = SqliteCopy(KEY, store.database, [table], projections=["spending"])
        with pytest.raises(ReplayError, match=message):
            copy.create([Candidate(ProjectionPlan("spending"), Making(store.database))])
        assert not copy.exists()
        assert not list(store.database.path.parent.glob("*.replay*"))


def hang_things_on(user: Any) -> None:
    """A view, an outside table with a foreign key, and a trigger that writes another table."""
    user.execute("CREATE VIEW spending AS SELECT customer, orders, v FROM totals WHERE orders > 0")
    user.execute("CREATE TABLE invoices (customer TEXT REFERENCES totals (customer) ON DELETE CASCADE)")
    user.execute("INSERT INTO invoices VALUES ('c1'), ('c2')")
    user.execute("CREATE TABLE journal (customer TEXT)")
    user.execute(
        "CREATE TRIGGER noted AFTER INSERT ON totals BEGIN INSERT INTO journal VALUES (new.customer); END"
    )


@pytest.mark.covers("ZDT-11", "ZDT-13")
async def test_what_hangs_on_the_tables_survives_promotion_and_removal(store: SqliteBackend) -> None:
    """A view shows the new data, a foreign key points to the new table, indexes keep their names, after removal too."""
    await add(store, 60)
    thing = Thing(store)
    thing.run_live()
    with direct(store.database.path) as user:
        hang_things_on(user)
        before = schema_of(user)
        thing.create()
        thing.feed()
        assert not [each for each in thing.copy.preflight() if each.severity == "refusal"]
        assert {each.subject for each in thing.copy.preflight() if each.severity == "warning"} == {
            "trigger noted"
        }
        for version in (2, 1, 2):
            thing.switch(version)
            thing.run_live(version)
            thing.feed(3 - version)
            assert schema_of(user) == before
            assert {row[0] for row in user.execute("SELECT v FROM spending").fetchall()} == {version}
            [key] = user.execute("PRAGMA foreign_key_list(invoices)").fetchall()
            assert key[2:5] == ("totals", "customer", "customer")
            assert user.execute("PRAGMA foreign_key_check").fetchall() == []
            assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with pytest.raises(Exception, match="FOREIGN KEY constraint failed"):
            user.execute("INSERT INTO invoices VALUES ('nobody')")
        plan = user.execute("EXPLAIN QUERY PLAN SELECT v FROM totals WHERE orders = 3").fetchall()
        assert "totals_by_orders" in plan[0][3]
        noted = user.execute("SELECT count(*) FROM journal").fetchone()[0]
        # What refers to rows of shadow tables is in nobody's way.
        user.execute("DELETE FROM entries WHERE customer = 'c1'")
        user.execute("DELETE FROM totals WHERE customer = 'c1'")
        assert user.execute("SELECT * FROM invoices").fetchall() == [("c2",)]
        user.execute("INSERT INTO totals VALUES ('c9', 1, 2, 'new')")
        assert user.execute("SELECT count(*) FROM journal").fetchone()[0] == noted + 1
        rows = both(user)
        thing.copy.drop()
        thing.copy.drop()
        assert schema_of(user) == before
        assert both(user) == rows
        assert {row[0] for row in user.execute("SELECT v FROM spending").fetchall()} == {2}
        left = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'penstock_shadow%'"
        assert user.execute(left).fetchone() == (0,)
        assert user.execute("SELECT DISTINCT generation FROM penstock_checkpoints").fetchall() == [("",)]
        assert user.execute("SELECT * FROM penstock_replay_files").fetchall() == []
    assert not list(store.database.path.parent.glob("*.replay*"))


@pytest.mark.covers("ZDT-11")
async def test_row_ids_go_on_where_they_were(store: SqliteBackend) -> None:
    """An id that the copy or the former one gave out is never given out again, deleted or not."""
    await add(store, 10)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    with raw_of(thing.copy.database) as connection:
        connection.execute("INSERT INTO entries (id, customer, position, v) VALUES (500, 'c1', 77, 2)")
        connection.execute("DELETE FROM entries WHERE id = 500")
    thing.switch(2)
    await add(store, 1)
    thing.run_live(2)
    with direct(store.database.path) as user:
        assert user.execute("SELECT max(id) FROM entries").fetchone() == (501,)
    thing.feed(1)
    with raw_of(thing.copy.database) as connection:
        assert connection.execute("SELECT max(id) FROM main.entries").fetchone() == (11,)


@pytest.mark.covers("ZDT-11")
async def test_a_switch_that_would_break_something_is_refused_by_name(store: SqliteBackend) -> None:
    """A view of a column that is gone, a trigger on it, a row elsewhere that would refer to nothing."""
    await add(store, 20)
    thing = Thing(store)
    thing.run_live()
    with direct(store.database.path) as user:
        user.execute("ALTER TABLE totals ADD COLUMN nickname TEXT")
        user.execute("CREATE VIEW nicknames AS SELECT nickname FROM totals")
        user.execute(
            "CREATE TRIGGER named AFTER UPDATE ON totals BEGIN DELETE FROM entries WHERE v = new.nickname; END"
        )
        user.execute("INSERT INTO totals VALUES ('lost', 1, 1, NULL)")
        user.execute("CREATE TABLE invoices (customer TEXT REFERENCES totals (customer))")
        user.execute("INSERT INTO invoices VALUES ('lost'), ('c1')")
    thing.create()
    thing.feed()
    found = {each.subject: each for each in thing.copy.preflight() if each.severity == "refusal"}
    assert "no such column: nickname" in found["view nicknames"].message
    assert not found["view nicknames"].can_be_forced
    assert "1 rows refer to rows of totals" in found["table invoices"].message
    assert found["table invoices"].can_be_forced
    assert "nickname" in found["table totals"].message
    warned = {each.subject for each in thing.copy.preflight() if each.severity == "warning"}
    assert {"table totals", "trigger named"} <= warned


@pytest.mark.covers("ZDT-13")
async def test_a_copy_that_others_have_open_is_not_removed_from_under_them(
    store: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so and is as it was, so that what was begun goes on; a later call removes it."""
    monkeypatch.setattr("penstock.replays._sqlite._removing._PATIENCE_SECONDS", 0.1)
    await add(store, 5)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    with raw_of(thing.copy.database) as connection:
        with pytest.raises(ReplayBusyError, match=r"has its file .* open"):
            thing.copy.drop()
        assert thing.copy.exists()
        thing.copy.database.begin(connection)
        connection.rollback()
    thing.copy.drop()
    assert not list(store.database.path.parent.glob("*.replay*"))
    thing.create()
    thing.feed()
    assert thing.copy.size().rows == {"totals": 5, "entries": 5}


@pytest.mark.covers("ZDT-4")
async def test_a_start_from_zero_begins_with_nothing(store: SqliteBackend) -> None:
    """No row, no given id, no shadow that would follow something else; then it is built like the first time."""
    await add(store, 30)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    thing.copy.finish()
    thing.copy.prepare_switch(nothing)
    first = thing.place(KEY)
    thing.copy.empty()
    assert thing.copy.size().rows == {"totals": 0, "entries": 0}
    assert (thing.place(KEY).position, thing.place(KEY).epoch) == (0, first.epoch + 1)
    thing.feed()
    thing.switch(2)
    with direct(store.database.path) as user:
        totals, entries = both(user)
        assert [row[1] for row in entries] == list(range(1, 31))
        assert {row[2] for row in totals} == {2}
        assert user.execute("SELECT max(id) FROM entries").fetchone() == (30,)


async def test_a_copy_whose_file_was_deleted_is_told(store: SqliteBackend) -> None:
    """Its content is nowhere else, so nothing is made up in its place."""
    thing = Thing(store)
    thing.run_live()
    thing.create()
    for path in Path(store.database.path.parent).glob("*.replay*"):
        path.unlink()
    assert not thing.copy.exists()
    with pytest.raises(ReplayError, match="is not in its file"):
        thing.copy.database.connect()
    thing.copy.create([Candidate(thing.plan(2), thing.copy.guard(Spending(2)))])
    assert thing.copy.exists()


@pytest.mark.covers("ZDT-12")
async def test_the_former_one_is_made_again_from_the_live_file(store: SqliteBackend) -> None:
    """Directly after a promotion its file may even be lost: what it was is in shadow."""
    await add(store, 40)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    thing.switch(2)
    for path in Path(store.database.path.parent).glob("*.replay*"):
        path.unlink()
    assert thing.copy.exists()
    with raw_of(thing.copy.database) as connection, transaction(thing.copy.database, connection):
        assert {row[0] for row in connection.execute("SELECT v FROM main.totals").fetchall()} == {1}
    assert thing.place(KEY).version == 1
