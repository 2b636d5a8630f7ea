"""Two versions in one app: what is told of their difference, and what is left alone meanwhile."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from penstock import App
from penstock.errors import IsolationError, ReplayError, UnknownProjectionError, UsageError
from penstock.operations import Operations
from penstock.projections import Derived, Generation, Rows
from penstock.store import StoredEvent
from tests.replays.core.shop import Noted, Opened, Paid
from tests.replays.diffing.payments import content_of, declare, pay, total_table


@pytest.mark.covers("LEAD-3")
async def test_what_differs_is_named_and_counted(app: App) -> None:
    """Rows that were changed, are missing or came up are each named by key and column; the rest is not mentioned."""

    def other(paid: Paid) -> int:
        return paid.cents + (paid.customer == "c3")

    second = declare(app, "totals_2", total_table("totals_of_2"), other)
    assert second.name == "totals_2"
    await pay(app, 70)
    found = await app.replays.diff("totals", ".", "projection:totals_2")
    assert not found.is_equal
    assert found.differing == 1
    [table] = found.tables
    assert table.table == "totals"
    [row] = table.rows
    before = sum(number for number in range(1, 71) if number % 7 == 3)
    assert (row.kind, row.key, row.columns) == (
        "changed",
        {"customer": "c3"},
        {"cents": (before, before + 10)},
    )
    assert (found.before.shown, found.after.shown) == ("this app", "projection:totals_2")
    assert found.through == 70


@pytest.mark.covers("LEAD-3")
async def test_columns_and_tables_of_one_side_are_told_apart_from_rows(app: App) -> None:
    """A new column is no difference of rows: what both have is the same, and its shape is not."""
    declare(app, "wider", total_table("totals", Column("seen", Integer)))
    declare(app, "typed", total_table("totals", cents=Text))
    await pay(app, 20)
    wider = await app.replays.diff("totals", ".", "projection:wider")
    assert wider.has_equal_rows
    assert not wider.has_equal_shape
    assert not wider.is_equal
    assert wider.tables[0].only_copy == ("seen",)
    typed = await app.replays.diff("totals", "projection:typed", ".")
    assert typed.other_types == ("totals.cents: text, then bigint",)
    assert not typed.is_equal


@pytest.mark.covers("LEAD-3")
async def test_a_sample_is_of_whole_entities_and_the_same_for_both(app: App) -> None:
    """A sample has all events of some keys and none of the others, so that rows are as in the whole."""
    await pay(app, 400, customers=40)
    sums = {f"c{rest}": sum(n for n in range(1, 401) if n % 40 == rest) for rest in range(40)}
    async with app.replays.at("totals", position=400) as everything:
        whole = {row["customer"]: row["cents"] for row in everything.query("SELECT * FROM totals")}
    assert whole == sums
    declare(app, "twice", total_table("totals"), lambda paid: 2 * paid.cents)
    found = await app.replays.diff("totals", ".", "projection:twice", sample=0.3, rows=100)
    [table] = found.tables
    assert 0 < table.live_rows < 40
    assert found.before.events == 10 * table.live_rows
    assert {row.key["customer"]: row.columns["cents"] for row in table.rows} == {
        row.key["customer"]: (sums[row.key["customer"]], 2 * sums[row.key["customer"]]) for row in table.rows
    }
    again = await app.replays.diff("totals", ".", "projection:twice", sample=0.3, rows=100)
    assert again.tables == found.tables


@pytest.mark.covers("LEAD-3")
async def test_events_may_be_those_of_keys_or_up_to_a_position(app: App) -> None:
    """Both sides see the chosen events and no others."""
    await pay(app, 70)
    keys = await app.replays.diff("totals", ".", ".", keys=["c1", "c2"])
    assert (keys.before.events, keys.tables[0].live_rows) == (20, 2)
    part = await app.replays.diff("totals", ".", ".", through=35)
    assert (part.through, part.before.events, part.after.events) == (35, 35, 35)
    assert part.is_equal


@pytest.mark.covers("LEAD-3")
async def test_an_exported_file_does_for_a_store(app: App, tmp_path: Path) -> None:
    """Events of a file stand where they stood in the store, so a handler sees what it would have seen there."""
    seen: list[tuple[int, int, str, str]] = []
    table = total_table("totals")
    noting = app.projection("noting", tables=[table])

    @noting.on(Paid)
    def note(paid: Paid, event: StoredEvent, rows: Rows) -> None:
        seen.append((event.position, event.stream_version, event.id, event.recorded_at.isoformat()))
        rows.increment(table, {"customer": paid.customer}, cents=paid.cents)

    await app.store().append([Opened(shop="north")])
    await pay(app, 20)
    file = tmp_path / "events.jsonl"
    with file.open("wb") as lines:
        async for page in Operations(app, connect=False).stores.export("local", after=3):
            lines.writelines(page.lines)
    found = await app.replays.diff("noting", ".", "projection:totals", events=file)
    assert found.is_equal
    assert found.through == 21
    from_file = list(seen)
    seen.clear()
    async with app.replays.at("noting", position=21):
        pass
    assert from_file == seen[2:]
    with pytest.raises(UsageError, match="one of them"):
        await app.replays.diff("noting", ".", ".", events=file, store="local")
    file.write_text(json.dumps({"stream": "x"}) + "\n")
    with pytest.raises(UsageError, match="line 1"):
        await app.replays.diff("noting", ".", ".", events=file)


@pytest.mark.covers("LEAD-3", "ZDT-14")
async def test_nothing_live_is_touched_and_nothing_is_emitted(app: App) -> None:
    """Neither the store nor the live tables change, checkpoints stay, and what handlers derive is derived by nobody."""
    derives = app.projection("derives", tables=[total_table("totals")])
    generations: list[bool] = []

    @derives.on(Paid)
    def derive(paid: Paid, derived: Derived, generation: Generation) -> None:
        generations.append(generation.is_live)
        derived.emit(Noted(customer=paid.customer), event_stream=f"noted-{paid.customer}")

    await pay(app, 20)
    await app.catch_up("totals")
    before = content_of(app)
    await app.replays.diff("derives", ".", ".")
    async with app.replays.at("derives", position=9):
        pass
    assert content_of(app) == before
    assert set(generations) == {False}


@pytest.mark.covers("LEAD-3", "ZDT-3")
async def test_a_handler_that_writes_the_live_database_is_refused(app: App) -> None:
    """A handler with a connection of its own to the live file is stopped before it writes."""
    wild = app.projection("wild", tables=[total_table("totals")])
    database = app.store().database

    @wild.on(Paid)
    def write(paid: Paid) -> None:
        with closing(database.connect()) as connection:
            database.execute(connection, "DELETE FROM penstock_events")

    await pay(app, 3)
    before = content_of(app)
    with pytest.raises(IsolationError, match="wild"):
        await app.replays.diff("wild", ".", ".")
    assert content_of(app) == before


@pytest.mark.covers("LEAD-3")
async def test_a_handler_that_fails_is_named_with_its_event(app: App) -> None:
    """Whose handler failed at which event is told; one that is declared to skip is counted, and that is compared."""

    def failing(paid: Paid) -> int:
        if paid.cents == 5:
            raise ValueError("five is too much")
        return paid.cents

    declare(app, "halts", total_table("totals"), failing)
    skips = app.projection("skips", tables=[total := total_table("totals")], on_failure="skip")

    @skips.on(Paid)
    def add(paid: Paid, rows: Rows) -> None:
        rows.increment(total, {"customer": paid.customer}, cents=failing(paid))

    await pay(app, 9)
    with pytest.raises(ReplayError, match=r"'halts' failed at event .*position 5, paid.*five is too much"):
        await app.replays.diff("halts", ".", ".")
    found = await app.replays.diff("skips", ".", "projection:totals")
    assert (found.before.put_aside, found.after.put_aside) == (1, 0)
    assert not found.is_equal


@pytest.mark.covers("LEAD-3")
async def test_the_state_of_a_fold_is_compared_item_by_item(app: App) -> None:
    """A projection without tables is compared by its state, each item of a dictionary for itself."""
    for name, factor in (("one", 1), ("two", 2)):
        fold = app.projection(name, state=dict)

        @fold.on(Paid)
        def add(state: dict[str, int], paid: Paid, factor: int = factor) -> None:
            state[paid.customer] = state.get(paid.customer, 0) + (factor if paid.customer == "c1" else 1)

    await pay(app, 14)
    found = await app.replays.diff("one", ".", "projection:two")
    [table] = found.tables
    assert (table.table, table.live_rows, table.differing) == ("state_of_one", 7, 1)
    assert table.rows[0].key == {"key": "c1"}
    assert table.rows[0].columns == {"value": ("2", "4")}


@pytest.mark.covers("LEAD-3")
async def test_what_cannot_be_compared_is_said(app: App) -> None:
    """Wrong sides, wrong samples and events that are for nobody are errors with a remedy, and not an equality."""
    with pytest.raises(UsageError, match="nothing could be compared"):
        await app.replays.diff("totals", ".", ".")
    await pay(app, 3)
    with pytest.raises(UnknownProjectionError, match="totals"):
        await app.replays.diff("total", ".", ".")
    with pytest.raises(UsageError, match="share of the keys"):
        await app.replays.diff("totals", ".", ".", sample=1.5)
    document = Table(
        "documents", MetaData(), Column("id", Integer, primary_key=True), Column("tags", ARRAY(Text))
    )
    needs = app.projection("needs", tables=[document])
    needs.on(Paid)(lambda paid: None)
    with pytest.raises(ReplayError, match=r"documents\.tags is of type ARRAY.*--in postgresql://"):
        await app.replays.diff("needs", ".", ".")
    named = app.projection("named", tables=["nowhere"])
    named.on(Paid)(lambda paid: None)
    with pytest.raises(ReplayError, match="'nowhere' is only named"):
        await app.replays.diff("named", ".", ".")
