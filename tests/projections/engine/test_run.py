"""Running one projection: pages, positions, sources, what is declared against what is recorded."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import (
    ProjectionBusyError,
    ProjectionChangedError,
    RenamedProjectionError,
    StaleRunnerError,
    StoreWentBackError,
)
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, Interrupted, ProjectionRun, Supervised
from penstock.projections.abc import ProjectionPlan
from penstock.store.abc import EventFilter, Horizon, StoreBackend
from tests.projections.engine.doubles import (
    Counting,
    add,
    append,
    applied,
    checkpoint,
    make_run,
    new_event,
    to_the_end,
    totals,
)


@pytest.mark.covers("PROJ-4")
async def test_everything_is_handled_once_and_in_order(store: StoreBackend) -> None:
    """Events of all streams come by position, in pages, and the checkpoint is at the end."""
    for number in range(25):
        await append(store, new_event(f"order-{number % 3}", key=str(number % 3)))
    handlers = Counting(store.database)
    run = make_run(store, handlers, page_events=10)
    assert await to_the_end(run) == CaughtUp(25)
    assert applied(store.database) == handlers.calls == list(range(1, 26))
    assert totals(store.database) == {"0": 9, "1": 8, "2": 8}
    assert (run.pages, run.handled, handlers.commits) == (3, 25, 3)
    assert await to_the_end(make_run(store, handlers)) == CaughtUp(25)
    assert handlers.calls == list(range(1, 26))


@pytest.mark.covers("PROJ-7")
async def test_events_without_a_handler_advance_the_position(store: StoreBackend) -> None:
    """Their names are not even read, and the position is at the last event all the same."""
    await add(store, 3, name="order.placed")
    await add(store, 4, name="order.paid")
    handlers = Counting(store.database, names=frozenset({"order.placed"}))
    assert await to_the_end(make_run(store, handlers)) == CaughtUp(7)
    assert handlers.calls == [1, 2, 3]
    assert checkpoint(store.database).position == 7


async def test_a_projection_without_any_handler_stands_at_the_end(store: StoreBackend) -> None:
    """No names are not the same as any name."""
    await add(store, 3)
    handlers = Counting(store.database, names=frozenset())
    assert await to_the_end(make_run(store, handlers)) == CaughtUp(3)
    assert handlers.calls == []


async def test_a_page_ends_when_its_time_is_over(store: StoreBackend) -> None:
    """After the event during which it was; the rest is the next page."""
    await add(store, 5)
    handlers = Counting(store.database)
    run = make_run(store, handlers, page_time=timedelta(0))
    assert await to_the_end(run) == CaughtUp(5)
    assert (run.pages, applied(store.database)) == (5, [1, 2, 3, 4, 5])


@pytest.mark.covers("PROJ-11")
async def test_a_stop_takes_effect_within_one_event(store: StoreBackend) -> None:
    """What was handled by then is committed, the rest is not begun."""
    await add(store, 10)
    handlers = Counting(store.database)
    run = make_run(store, handlers, is_stopping=lambda: len(handlers.calls) >= 4)
    assert await to_the_end(run) == Interrupted()
    assert applied(store.database) == [1, 2, 3, 4]
    assert checkpoint(store.database).position == 4


@pytest.mark.covers("PROJ-15")
async def test_the_state_of_a_projection_is_saved_with_its_position(store: StoreBackend) -> None:
    """Position and state are of the same moment, over pages and runs."""
    await add(store, 5)
    handlers = Counting(store.database, keeps_state=True)
    await to_the_end(make_run(store, handlers, page_events=2))
    await add(store, 1)
    await to_the_end(make_run(store, handlers))
    found = checkpoint(store.database)
    assert (found.position, found.state) == (6, b'{"sum": 21}')


# -- sources -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def orders(store: StoreBackend) -> StoreBackend:
    """A store with two orders and a customer, in turns; positions 1 to 9."""
    for _ in range(3):
        await append(store, new_event("order-1"), new_event("order-2"), new_event("customer-1"))
    return store


@pytest.mark.covers("PROJ-4")
async def test_a_stream_that_is_added_starts_at_zero_without_touching_others(orders: StoreBackend) -> None:
    """Its own past is read up to where the others are, theirs is not read again, and then they go on together."""
    handlers = Counting(orders.database)
    one = EventFilter(streams=("order-1",))
    await to_the_end(make_run(orders, handlers, wanted=one))
    assert handlers.calls == [1, 4, 7]
    await append(orders, new_event("order-1"), new_event("customer-1"))
    both = EventFilter(streams=("customer-1", "order-1"))
    assert await to_the_end(make_run(orders, handlers, wanted=both, page_events=1)) == CaughtUp(11)
    assert sorted(handlers.calls[3:]) == [3, 6, 9, 10, 11]
    found = checkpoint(orders.database)
    assert (found.position, found.behind, found.sources) == (11, {}, ("stream:customer-1", "stream:order-1"))


@pytest.mark.covers("PROJ-4")
@pytest.mark.parametrize(
    ("first", "then", "new"),
    [
        (EventFilter(streams=("order-1",)), EventFilter(categories=("order",)), [2, 5, 8]),
        (EventFilter(categories=("order",)), EventFilter(streams=("order-2",)), []),
        (EventFilter(streams=("order-1",)), EventFilter(), [2, 3, 5, 6, 8, 9]),
        (EventFilter(), EventFilter(categories=("order",)), []),
        (EventFilter(streams=("order-1",)), EventFilter(streams=("order-2",)), [2, 5, 8]),
        (
            EventFilter(streams=("order-1",)),
            EventFilter(streams=("order-1",), categories=("order",)),
            [2, 5, 8],
        ),
    ],
)
async def test_changing_the_sources_never_brings_an_event_twice(
    orders: StoreBackend, first: EventFilter, then: EventFilter, new: list[int]
) -> None:
    """Whatever held an event before, by name or in a category, it is not handled for another source again."""
    handlers = Counting(orders.database)
    await to_the_end(make_run(orders, handlers, wanted=first))
    before = len(handlers.calls)
    await to_the_end(make_run(orders, handlers, wanted=then, page_events=2))
    assert handlers.calls[before:] == new
    await append(orders, new_event("order-2"))
    await to_the_end(make_run(orders, handlers, wanted=then))
    assert handlers.calls[before:] == [*new, 10]
    assert checkpoint(orders.database).former == {}


# -- declared against recorded ----------------------------------------------------------------------------------


async def test_a_checkpoint_above_the_store_is_a_store_that_went_back(store: StoreBackend) -> None:
    """It is refused, naming both places."""
    await add(store, 3)
    run = make_run(store, Counting(store.database))
    await to_the_end(run)

    def advance() -> None:
        try:
            run.open()
            run.advance(Horizon(2, 2))
        finally:
            run.close()

    with pytest.raises(StoreWentBackError, match="position 3, and the store ends at 2"):
        await asyncio.to_thread(advance)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 2}, "version 1 at its checkpoint, and is declared with 2; replay it"),
        ({"kind": "relay"}, "kind projection at its checkpoint"),
        ({"source": "shared"}, "source local at its checkpoint"),
    ],
)
@pytest.mark.covers("PROJ-1")
async def test_another_declaration_under_the_same_name_is_refused(
    store: StoreBackend, change: dict[str, Any], match: str
) -> None:
    """Another version, a relay of the name of a projection, another store: nothing is handled."""
    await add(store, 1)
    handlers = Counting(store.database)
    await to_the_end(make_run(store, handlers))
    await add(store, 1)
    with pytest.raises(ProjectionChangedError, match=match):
        await to_the_end(make_run(store, handlers, **change))
    assert handlers.calls == [1]


@pytest.mark.covers("PROJ-1")
async def test_a_new_name_over_the_same_tables_is_a_renamed_projection(store: StoreBackend) -> None:
    """It would count everything again, so it is refused, naming the former one."""
    await add(store, 2)
    handlers = Counting(store.database)
    await to_the_end(make_run(store, handlers, tables=("totals", "applied")))
    again = make_run(store, handlers)
    again.supervised = replace(again.supervised, plan=ProjectionPlan("sums", tables=("totals",)))
    with pytest.raises(RenamedProjectionError, match="totals was filled by 'totals' up to position 2"):
        await to_the_end(again)
    again.declared = ("totals", "sums")
    assert await to_the_end(again) == CaughtUp(2)


# -- lease and fence -------------------------------------------------------------------------------------------


@pytest.fixture
def runs(store: StoreBackend) -> Iterator[list[ProjectionRun]]:
    """Two runs of one projection under different tokens; closed in the end."""
    some = [
        make_run(store, Counting(store.database), terms=LeaseTerms(holder=name)) for name in ("ann", "bob")
    ]
    yield some
    for run in some:
        run.close()


@pytest.mark.covers("PROJ-9", "PROJ-14")
async def test_a_second_start_is_refused_politely(store: StoreBackend, runs: list[ProjectionRun]) -> None:
    """It is told who runs it, and for how long at least."""
    ann, bob = runs
    await asyncio.to_thread(ann.open)
    with pytest.raises(ProjectionBusyError, match="run by ann, for") as raised:
        await asyncio.to_thread(bob.open)
    assert timedelta(0) < raised.value.remaining <= timedelta(seconds=10)
    ann.close()
    await asyncio.to_thread(bob.open)


@pytest.mark.covers("PROJ-14")
async def test_a_runner_whose_lease_ran_out_changes_nothing(
    store: StoreBackend, runs: list[ProjectionRun]
) -> None:
    """Between two pages or in the middle of one: the fence finds out, and everything it did is rolled back."""
    ann, bob = runs
    ann.terms = LeaseTerms(timedelta(0), holder="ann")
    await add(store, 2)
    await asyncio.to_thread(ann.open)
    await asyncio.to_thread(bob.open)
    with pytest.raises(StaleRunnerError):
        await asyncio.to_thread(lambda: ann.advance(ann.horizon()))
    assert applied(store.database) == []
    assert await asyncio.to_thread(lambda: bob.advance(bob.horizon())) == CaughtUp(2)
    assert applied(store.database) == [1, 2]


async def test_a_supervised_projection_has_the_key_of_its_generation() -> None:
    """Generations of one projection have checkpoints of their own."""
    handlers: Any = None
    assert Supervised(ProjectionPlan("totals"), handlers, "g2").key == ("totals", "g2")


async def test_generations_are_fed_independently(store: StoreBackend) -> None:
    """Each from its own checkpoint, under its own lease."""
    await add(store, 2)
    live = make_run(store, Counting(store.database))
    copy = make_run(store, Counting(store.database))
    copy.supervised = replace(copy.supervised, generation="g2")
    await to_the_end(live)
    await to_the_end(copy)
    with closing(store.database.connect()) as connection:
        found = store.database.execute(
            connection, "SELECT generation, position FROM penstock_checkpoints"
        ).fetchall()
    assert sorted(map(tuple, found)) == [("", 2), ("g2", 2)]
