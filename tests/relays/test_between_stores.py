"""Relays from one store into another: events and checkpoint in one transaction of the target."""

import asyncio

import pytest

from penstock.projections._engine._run import Waiting
from penstock.relays.abc import RelayPlan
from penstock.store.abc import EventFilter, StoreBackend, StreamMetadata
from tests.relays.conftest import Relaying, append, new_event

SHARE = RelayPlan("share", target="shared")


async def ids(store: StoreBackend) -> list[str]:
    """The ids of the events of a store, in its order."""
    page = await store.read(EventFilter(), limit=10_000)
    return [event.id for event in page.events]


@pytest.mark.covers("PROJ-2")
async def test_events_arrive_in_order_whole_and_once(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """Envelope, body and stream are as they were; version and position are those of the target."""
    await append(shared, new_event(stream="order-1"))
    events = [
        new_event(stream=f"order-{n % 3}", source="shop", headers={"n": str(n)}, data=b"%d" % n)
        for n in range(30)
    ]
    await append(local, *events)
    await relaying.finish(SHARE)
    await relaying.finish(SHARE)

    page = await shared.read(EventFilter(), limit=100)
    assert [event.id for event in page.events[1:]] == [event.id for event in events]
    assert [(event.meta, event.data, event.stream) for event in page.events[1:]] == [
        (event.meta, event.data, event.stream) for event in events
    ]
    of_one = await shared.read_stream("order-1", limit=100)
    assert [event.stream_version for event in of_one] == list(range(1, 12))


@pytest.mark.covers("PROJ-2")
async def test_a_lost_checkpoint_repeats_nothing(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """The target passes over what it has, by event id."""
    events = [new_event() for _ in range(10)]
    await append(local, *events)
    await relaying.finish(SHARE)
    connection = shared.database.connect()
    shared.database.execute(connection, "UPDATE penstock_checkpoints SET position = 3")
    connection.close()
    await relaying.finish(SHARE)

    assert await ids(shared) == [event.id for event in events]


@pytest.mark.covers("PROJ-2")
async def test_two_relays_at_once_copy_each_event_once(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """One of the two has the lease; the other is refused."""
    events = [new_event() for _ in range(200)]
    await append(local, *events)
    await asyncio.gather(*(relaying.catch_up(SHARE) for _ in range(2)), return_exceptions=True)
    await relaying.finish(SHARE)

    assert await ids(shared) == [event.id for event in events]


async def test_a_relay_chooses_renames_and_redirects(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """By category, by name, by a function; what does not go is passed over."""
    await append(
        local,
        new_event("order.placed", stream="order-1", data=b"1"),
        new_event("order.placed", stream="order-1", data=b"2"),
        new_event("order.paid", stream="order-1", data=b"3"),
        new_event("order.placed", stream="invoice-1", data=b"4"),
    )
    plan = RelayPlan(
        "share",
        target="shared",
        categories=("order",),
        names=("order.placed",),
        where=lambda event: event.payload != 2,
        rename={"order.placed": "shop.order.placed"},
        to=lambda event: f"shop_{event.stream}",
    )
    assert await relaying.finish(plan) >= 4

    [event] = (await shared.read(EventFilter(), limit=10)).events
    assert (event.name, event.stream, event.data) == ("shop.order.placed", "shop_order-1", b"1")


async def test_a_stream_that_takes_no_events_stops_the_relay(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """It stands before the event, says why, and goes on when the target allows it."""
    await shared.set_metadata("order-2", StreamMetadata(owner="totals"))
    events = [new_event(stream=f"order-{n}") for n in (1, 2, 3)]
    await append(local, *events)
    outcome = await relaying.catch_up(SHARE)
    assert isinstance(outcome, Waiting)
    assert "totals" in str(outcome.failure)
    assert await ids(shared) == [events[0].id]

    await shared.set_metadata("order-2", StreamMetadata())
    connection = shared.database.connect()
    shared.database.execute(connection, "UPDATE penstock_projections SET retry_at = 0")
    connection.close()
    await relaying.finish(SHARE)
    assert await ids(shared) == [event.id for event in events]


async def test_two_stores_that_share_with_each_other_do_not_loop(
    local: StoreBackend, shared: StoreBackend, relaying: Relaying
) -> None:
    """What comes back is known by its id."""
    back = RelayPlan("back", source="shared", target="local")
    mine, theirs = new_event(), new_event()
    await append(local, mine)
    await append(shared, theirs)
    for _ in range(3):
        await relaying.finish(SHARE)
        await relaying.finish(back)

    assert sorted(await ids(local)) == sorted(await ids(shared)) == sorted([mine.id, theirs.id])
