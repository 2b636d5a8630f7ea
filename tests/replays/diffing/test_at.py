"""Read models as they were: at a position, at a time, of one key, kept, compared with now; and nothing live changes."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, select
from sqlalchemy.orm import Session

from penstock import App
from penstock.errors import ReplayError, UsageError
from penstock.projections import ReadModel, Rows
from penstock.projections.elsewhere import ElsewhereReadModel
from penstock.store.work import Work
from tests.replays.core.shop import Paid
from tests.replays.diffing.payments import content_of, declare, pay, total_table


@pytest.mark.covers("LEAD-14")
async def test_a_read_model_is_as_it_was_after_any_event(app: App) -> None:
    """At every position it has what the events up to there make of it, and the live one with its checkpoint stays."""
    await pay(app, 14)
    await app.catch_up("totals")
    live = content_of(app)
    for position in (0, 1, 8, 14):
        async with app.replays.at("totals", position=position) as then:
            assert then.position == position
            assert {row["customer"]: row["cents"] for row in then.query("SELECT * FROM totals")} == {
                f"c{rest}": sum(n for n in range(1, position + 1) if n % 7 == rest)
                for rest in range(7)
                if any(n % 7 == rest for n in range(1, position + 1))
            }
    assert content_of(app) == live
    with pytest.raises(UsageError, match="ends at position 14"):
        async with app.replays.at("totals", position=15):
            pass
    with pytest.raises(UsageError, match="say one of them"):
        async with app.replays.at("totals"):
            pass


@pytest.mark.covers("LEAD-14")
async def test_a_time_is_that_of_recording(app: App) -> None:
    """What the store had taken by a moment is there, to the microsecond, and nothing later."""
    for number in range(1, 9):
        await app.store().append(Paid(customer="ann", cents=number))
    events = [event async for event in app.store().read()]
    for event in events:
        async with app.replays.at("totals", time=event.recorded_at) as then:
            seen = [each for each in events if each.recorded_at <= event.recorded_at]
            assert then.position == seen[-1].position
            assert then.query("SELECT cents FROM totals") == [{"cents": sum(range(1, seen[-1].position + 1))}]
    async with app.replays.at("totals", time=events[0].recorded_at - timedelta(microseconds=1)) as before:
        assert before.position == 0
        assert before.query("SELECT * FROM totals") == []
    async with app.replays.at("totals", time=datetime.now(UTC) + timedelta(days=1)) as after:
        assert after.position == 8
    with pytest.raises(UsageError, match="has no zone"):
        async with app.replays.at("totals", time=datetime(2026, 5, 3)):  # noqa: DTZ001  that is what is refused
            pass


@pytest.mark.covers("LEAD-14")
async def test_a_late_commit_counts_by_its_time(app: App) -> None:
    """An event that was recorded before others of lower positions is there, and those are not (several writers)."""
    await pay(app, 6, customers=1)
    database = app.store().database
    with closing(database.connect()) as connection:
        for position, second in ((1, 10), (2, 11), (3, 20), (4, 12), (5, 30), (6, 100)):
            database.execute(
                connection,
                "UPDATE penstock_events SET recorded_at = ? WHERE position = ?",
                (second * 1_000_000, position),
            )
    async with app.replays.at("totals", time=datetime.fromtimestamp(15, UTC)) as then:
        assert then.query("SELECT cents FROM totals") == [{"cents": 1 + 2 + 4}]
        now = await then.difference()
    assert now.tables[0].rows[0].columns == {"cents": (7, 21)}


@pytest.mark.covers("LEAD-14")
async def test_one_key_alone_can_be_looked_at(app: App) -> None:
    """With a key the copy is made of its events only: its row is as in the whole, and others are not there."""
    await pay(app, 70)
    async with app.replays.at("totals", position=35, key="c2") as then:
        assert then.events == 5
        assert then.query("SELECT * FROM totals") == [{"customer": "c2", "cents": 2 + 9 + 16 + 23 + 30}]
        difference = await then.difference()
    [table] = difference.tables
    [row] = table.rows
    assert row.key == {"customer": "c2"}
    assert row.columns == {"cents": (80, sum(n for n in range(1, 71) if n % 7 == 2))}


@pytest.mark.covers("LEAD-14")
async def test_the_difference_to_now_is_by_key_and_column(app: App) -> None:
    """What came since is told: rows that changed, and rows that were not there."""
    await pay(app, 4)
    await app.store().append(Paid(customer="c1", cents=100))
    await app.store().append(Paid(customer="new", cents=1))
    async with app.replays.at("totals", position=4) as then:
        found = await then.difference()
        assert (found.before.shown, found.after.shown, found.through) == ("position 4", "now", 6)
        assert (found.before.events, found.after.events) == (4, 6)
        assert [(row.kind, row.key["customer"], dict(row.columns)) for row in found.tables[0].rows] == [
            ("changed", "c1", {"cents": (1, 101)}),
            ("surplus", "new", {}),
        ]
        # Then is still then.
        assert then.query("SELECT sum(cents) AS cents FROM totals") == [{"cents": 10}]


@pytest.mark.covers("LEAD-14")
async def test_a_copy_can_only_be_read(app: App, tmp_path: Path) -> None:
    """A query takes one statement that reads: no changes, no other files, no second statement."""
    await pay(app, 3)
    async with app.replays.at("totals", position=3) as then:
        for refused in (
            "DELETE FROM totals",
            "CREATE TABLE more (a)",
            f"ATTACH DATABASE '{tmp_path / 'other.db'}' AS other",
            "SELECT 1; SELECT 2",
            "SELECT * FROM nowhere",
        ):
            with pytest.raises(UsageError, match="is not answered"):
                then.query(refused)
        assert then.query("SELECT customer FROM totals WHERE cents = ?", [2]) == [{"customer": "c2"}]
        with pytest.raises(sqlite3.Error):
            then.connection.execute("DELETE FROM totals")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.covers("LEAD-14")
async def test_a_copy_can_be_kept_and_goes_away_otherwise(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept one is a file of its own; whatever else was made is gone after the block. No file is written over."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    await pay(app, 7)
    kept = tmp_path / "then.db"
    async with app.replays.at("totals", position=4, keep=kept) as then:
        await then.difference()
        assert list(made.iterdir())
    assert not list(made.iterdir())
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM totals").fetchone() == (4,)
    with pytest.raises(UsageError, match="no such folder"):
        async with app.replays.at("totals", position=4, keep=tmp_path / "nowhere" / "then.db"):
            pass
    with pytest.raises(UsageError, match="is there already"):
        async with app.replays.at("totals", position=4, keep=kept):
            pass


@pytest.mark.covers("LEAD-14")
async def test_every_kind_of_read_model_can_be_looked_at(app: App) -> None:
    """Tables that are only named, read models that make themselves, folds, sessions; other live tables can be read."""
    database = app.store().database
    with closing(database.connect()) as connection:
        database.execute(connection, "CREATE TABLE plain (customer TEXT PRIMARY KEY, cents INTEGER)")
        database.execute(connection, "CREATE TABLE names (customer TEXT, name TEXT)")
        database.execute(connection, "INSERT INTO names VALUES ('c1', 'Ann')")
    named = app.projection("named", tables=["plain"])

    @named.on(Paid)
    def note(paid: Paid, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT name FROM names WHERE customer = ?", (paid.customer,)).fetchone()
        connection.execute(
            "INSERT INTO plain VALUES (?, ?) ON CONFLICT DO NOTHING",
            (row[0] if row else paid.customer, paid.cents),
        )

    class Own(ReadModel):
        def is_initialised(self) -> bool:
            sql = "SELECT 1 FROM sqlite_master WHERE name = 'own'"
            return self.connection.execute(sql).fetchone() is not None

        def init(self) -> None:
            self.connection.execute("CREATE TABLE own (cents INTEGER)")

        def add(self, cents: int) -> None:
            self.connection.execute("INSERT INTO own VALUES (?)", (cents,))

    own = app.projection("own", read_model=Own)

    @own.on(Paid)
    def keep(paid: Paid, model: Own) -> None:
        model.add(paid.cents)

    fold = app.projection("fold", state=0)

    @fold.on(Paid)
    def add(state: int, paid: Paid) -> int:
        return state + paid.cents

    reported = Table("reported", MetaData(schema="reports"), Column("customer", Text, primary_key=True))
    far = app.projection("far", tables=[reported])

    @far.on(Paid)
    def report(paid: Paid, session: Session, rows: Rows) -> None:
        if session.scalar(select(reported.c.customer).where(reported.c.customer == paid.customer)) is None:
            rows.upsert(reported, {"customer": paid.customer})

    await pay(app, 9, customers=3)
    await app.catch_up("own")
    async with app.replays.at(["named", "own", "fold", "far"], position=4) as then:
        assert set(then.tables) == {"plain", "own", "state_of_fold", "reported"}
        assert then.query("SELECT customer FROM plain ORDER BY cents") == [
            {"customer": "Ann"},
            {"customer": "c2"},
            {"customer": "c0"},
        ]
        assert then.query("SELECT sum(cents) AS cents FROM own") == [{"cents": 10}]
        assert then.query("SELECT * FROM state_of_fold") == [{"key": "", "value": "10"}]
        assert then.query("SELECT count(*) AS many FROM reported") == [{"many": 3}]
        assert then.table("plain", most=1).count == 3


@pytest.mark.covers("LEAD-14")
async def test_a_read_model_that_lives_elsewhere_is_refused_untouched(app: App) -> None:
    """One in another server has no throw-away copy: it is said so, and nothing of it is even asked."""
    made: list[object] = []

    class Remote(ElsewhereReadModel):
        def __init__(self, work: Work) -> None:
            super().__init__(work)
            made.append(self)

        def promote(self) -> None:
            """Lead readers."""

        def remove(self) -> None:
            """Remove it."""

    remote = app.projection("remote", read_model=Remote)

    @remote.on(Paid)
    def add(paid: Paid, model: Remote) -> None:
        made.append(model)

    await pay(app, 3)
    with pytest.raises(ReplayError, match="'remote' lives elsewhere"):
        async with app.replays.at("remote", position=3):
            pass
    assert made == []


@pytest.mark.covers("LEAD-14")
def test_synchronous_code_looks_back_as_well(tmp_path: Path) -> None:
    """`app.sync.replays` has the same, with a plain ``with``."""
    app = App("shop", streams="memory://", store=f"sqlite:///{tmp_path / 'shop.db'}")
    declare(app, "totals", total_table("totals", Column("seen", Integer)))
    with app.sync as shop:
        shop.store().append([Paid(customer="ann", cents=number) for number in (1, 2, 3)])
        with shop.replays.at("totals", position=2) as then:
            assert then.query("SELECT customer, cents FROM totals") == [{"customer": "ann", "cents": 3}]
            assert then.difference().differing == 1
        assert shop.replays.diff("totals", ".", ".").is_equal
