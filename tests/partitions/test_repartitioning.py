"""Repartitioning: nothing is lost, keys keep their order, and whoever is killed in the middle can be followed."""

import asyncio
from datetime import timedelta

import pytest

from penstock.errors import ConfigurationError, IllegalTransitionError, RepartitioningError, UsageError
from penstock.position import BEGINNING, NEW
from penstock.streams.abc import LayoutPhase, NewEntry, StreamBroker
from penstock.streams.memory import MemoryBroker
from penstock.streams.partitioned import Partitioned
from penstock.streams.partitions import begun, lane_names
from penstock.streams.repartitioning import Repartitioning, Undrained
from penstock.testing.faulty import Crashed, Faulty
from tests.partitions.shop import (
    GROUP,
    ORDERS,
    Readers,
    entry,
    publish,
    publisher,
    settled_layout,
    written,
)

SOON = timedelta(seconds=20)
AT_ONCE = timedelta(milliseconds=1)
KEYS = ["", "a", "b", "ключ", "鍵:1", "e#2", "user-7", "{x}"]


@pytest.mark.covers("TOPIC-2")
@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "in batches"])
async def test_nothing_is_lost_and_keys_keep_their_order_under_load(
    broker: StreamBroker, batch: bool
) -> None:
    """Four partitions become seven and then two while publishers write and a group reads.

    Every event is handled once, in the order in which its publisher wrote it.
    """
    count = 80
    await publisher(broker).layout(ORDERS)
    async with Readers(broker, 7) as readers:
        publishing = [
            asyncio.create_task(publish(broker, keys, count, batch=batch))
            for keys in (KEYS[:3], KEYS[3:6], KEYS[6:])
        ]
        for partitions, first in ((7, count), (2, 3 * count)):
            await readers.until(first)
            done = await Repartitioning(broker, ORDERS).to(partitions, timeout=SOON)
            assert not done.held_by
            await settled_layout(broker, partitions)
        await asyncio.gather(*publishing)
        await readers.until(len(KEYS) * count)

    assert readers.handled == {key: list(range(count)) for key in KEYS}
    assert any(len(lanes) > 1 for lanes in readers.places.values())


@pytest.mark.covers("TOPIC-2")
async def test_a_publisher_with_a_former_layout_writes_into_the_present_one(broker: StreamBroker) -> None:
    """It learns of the change from the first partition that refuses it, and nothing of it lands where nobody looks."""
    stale = publisher(broker)
    before = await stale.layout(ORDERS)
    await Repartitioning(broker, ORDERS).to(7, timeout=SOON)
    await Repartitioning(broker, ORDERS).to(2, timeout=SOON)

    placed = {key: (await stale.append(entry(key, 0), key))[0] for key in KEYS}
    after = await settled_layout(broker, 2)
    assert {each.stream for each in placed.values()} <= set(lane_names(ORDERS, 2))
    assert {each.epoch for each in placed.values()} == {after.epoch}
    assert after.epoch > before.epoch
    assert await written(broker, 7) == {key: [0] for key in KEYS}


async def test_a_publisher_waits_for_the_change_to_end(broker: StreamBroker) -> None:
    """What it is told to write meanwhile is written when the new partitions are open."""
    known = publisher(broker)
    await _close(broker)
    writing = asyncio.create_task(known.append(entry("a", 1), "a"))
    while known._refused == {}:
        await asyncio.sleep(0.001)
    assert not writing.done()
    await Repartitioning(broker, ORDERS).to(7, timeout=SOON)

    added, _ = await asyncio.wait_for(writing, 20)
    assert added.epoch == (await settled_layout(broker, 7)).epoch


async def test_a_publisher_does_not_wait_for_ever(broker: StreamBroker) -> None:
    """After its patience it says that nothing was written, and which command ends that state."""
    await _close(broker)
    known = publisher(broker, patience=timedelta(milliseconds=30))
    with pytest.raises(RepartitioningError, match="penstock streams repartition orders"):
        await known.append(entry("a", 1), "a")
    _, [kept, there] = await known.append_many(
        [(entry("a", 1), "a"), (NewEntry("else", [b"a", b"b"]), None)], broker.append_many
    )

    assert isinstance(kept.cause, RepartitioningError)
    assert there.entry_id is not None
    assert await written(broker, 4) == {}


async def test_what_is_not_drained_in_time_is_given_up(broker: StreamBroker) -> None:
    """Who held it up is said, and publishers go on in the partitions that there were."""
    known = publisher(broker)
    added, _ = await known.append(entry("a", 1), "a")
    await broker.create_group(added.stream, "late", BEGINNING)
    told: list[object] = []
    done = await Repartitioning(broker, ORDERS, progress=told.append).to(7, timeout=AT_ONCE)

    assert done.held_by == (Undrained(added.stream, "late", 1, 0),)
    assert (done.before, done.layout) == (4, await settled_layout(broker, 4))
    assert told
    again, _ = await known.append(entry("a", 2), "a")
    assert again.stream == added.stream


async def test_pending_entries_hold_a_change(broker: StreamBroker) -> None:
    """Delivered is not handled; acknowledged is."""
    added, entry_id = await publisher(broker).append(entry("a", 1), "a")
    await broker.create_group(added.stream, GROUP, BEGINNING)
    await broker.read_group(GROUP, "ann", [added.stream], count=1)
    done = await Repartitioning(broker, ORDERS).to(7, timeout=AT_ONCE)
    assert done.held_by == (Undrained(added.stream, GROUP, 0, 1),)

    await broker.acknowledge(added.stream, GROUP, [entry_id])
    assert not (await Repartitioning(broker, ORDERS).to(7, timeout=AT_ONCE)).held_by
    await settled_layout(broker, 7)


async def test_groups_are_there_before_the_first_event(broker: StreamBroker) -> None:
    """A group of the former partitions reads the new ones from their beginning, also where nobody starts it in time."""
    known = publisher(broker)
    await known.layout(ORDERS)
    for lane in lane_names(ORDERS, 4):
        await broker.create_group(lane, GROUP, BEGINNING)
    await Repartitioning(broker, ORDERS).to(7, timeout=SOON)
    added = [(await known.append(entry(key, 0), key))[0] for key in map(str, range(50))]

    assert {each.stream for each in added} == set(lane_names(ORDERS, 7))
    lags = {lane: (await broker.groups(lane))[0].lag_entries for lane in lane_names(ORDERS, 7)}
    assert sum(lags.values()) == 50
    assert GROUP in await broker.removal.registered_groups("orders:6")


async def test_an_interrupted_change_is_taken_back(broker: StreamBroker) -> None:
    """Ctrl-C while it waits leaves the partitions that there were, open."""
    added, _ = await publisher(broker).append(entry("a", 1), "a")
    await broker.create_group(added.stream, "late", BEGINNING)
    looked = asyncio.Event()
    change = Repartitioning(broker, ORDERS, progress=lambda _: looked.set())
    running = asyncio.create_task(change.to(7, timeout=SOON))
    await asyncio.wait_for(looked.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await settled_layout(broker, 4)


async def test_two_that_change_to_the_same_number_do_it_together(broker: StreamBroker) -> None:
    """Neither fails, and the stream is changed once."""
    first = await publisher(broker).layout(ORDERS)
    changes = [Repartitioning(broker, ORDERS).to(7, timeout=SOON) for _ in range(4)]
    done = await asyncio.gather(*changes)

    layout = await settled_layout(broker, 7)
    assert {each.layout for each in done} == {layout}
    assert layout.revision == first.revision + 3


async def test_a_change_to_another_number_is_refused_meanwhile(broker: StreamBroker) -> None:
    """It says what is going on, and changes nothing."""
    draining = await _close(broker)
    with pytest.raises(IllegalTransitionError, match="being changed to 7 partitions"):
        await Repartitioning(broker, ORDERS).to(5, timeout=SOON)
    assert await broker.partitions.layout(ORDERS) == draining
    assert (await Repartitioning(broker, ORDERS).give_up()).partitions == 4
    await settled_layout(broker, 4)


@pytest.mark.parametrize("partitions", [0, -1, 1025])
async def test_a_stream_has_1_to_1024_partitions(broker: StreamBroker, partitions: int) -> None:
    """Everything else is refused before anything is asked of the server."""
    with pytest.raises(UsageError, match="1 to 1024"):
        await Repartitioning(broker, ORDERS).to(partitions, timeout=SOON)
    assert await broker.partitions.layout(ORDERS) is None


async def test_a_stream_with_unhandled_entries_is_not_divided(broker: StreamBroker) -> None:
    """What lies in it would be in no partition; the groups are named, and afterwards they are in every partition."""
    entry_id = await broker.append(entry("a", 0))
    await broker.create_group(ORDERS, GROUP, BEGINNING)
    for make in (Repartitioning(broker, ORDERS).to(4, timeout=SOON), publisher(broker).layout(ORDERS)):
        with pytest.raises(ConfigurationError, match="billing"):
            await make
    assert await broker.partitions.layout(ORDERS) is None
    await broker.removal.register_groups(ORDERS, [GROUP])
    await broker.read_group(GROUP, "ann", [ORDERS], count=1)
    await broker.acknowledge(ORDERS, GROUP, [entry_id])

    assert (await Repartitioning(broker, ORDERS).to(4, timeout=SOON)).before is None
    await settled_layout(broker, 4)
    assert [[each.name for each in await broker.groups(lane)] for lane in lane_names(ORDERS, 4)] == [
        [GROUP]
    ] * 4


@pytest.mark.parametrize("who", ["nobody", "registered", "cursor"])
async def test_a_stream_that_somebody_is_to_read_is_not_divided(broker: StreamBroker, who: str) -> None:
    """A group that was declared and never started, a reader that has not come so far, or nobody at all so far."""
    [first, _] = [await broker.append(entry("a", number)) for number in range(2)]
    if who == "registered":
        await broker.removal.register_groups(ORDERS, [GROUP])
    elif who == "cursor":
        await broker.save_cursor(ORDERS, "audit", first)
    expected = {"nobody": "groups that come", "registered": GROUP, "cursor": "audit"}[who]
    with pytest.raises(ConfigurationError, match=expected):
        await Repartitioning(broker, ORDERS).to(4, timeout=SOON)


async def test_lost_marks_are_made_again(broker: StreamBroker) -> None:
    """A partition that was deleted with all that is kept beside it takes events again."""
    known = publisher(broker)
    added, _ = await known.append(entry("a", 0), "a")
    await broker.delete_stream(added.stream)

    assert (await known.append(entry("a", 1), "a"))[0].stream == added.stream


@pytest.mark.covers("TOPIC-2")
@pytest.mark.parametrize("after", ["run again", "given up"])
async def test_killed_at_any_step_it_can_be_followed(after: str) -> None:
    """Wherever the process died: running it again ends in the new layout, giving it up in one of the two.

    Every event is there, once, and publishers go on, whatever they knew before.
    """
    broker = MemoryBroker()
    watched = Faulty(broker)
    await _changed(watched, publisher(broker, 3))
    ended: list[int] = []
    for number in range(len(watched.steps)):
        broker = MemoryBroker()
        stale = publisher(broker, 3)
        with pytest.raises(Crashed):
            await _changed(Faulty(broker, crash_at=number), stale)
        if after == "run again":
            await Repartitioning(broker, ORDERS).to(5, timeout=SOON)
        else:
            await Repartitioning(broker, ORDERS).give_up()
        layout = await broker.partitions.layout(ORDERS)
        assert layout is not None
        ended.append(layout.partitions)
        for known in (stale, publisher(broker, layout.partitions)):
            for key in KEYS:
                have = (await written(broker, 5)).get(key, [])
                await known.append(entry(key, len(have)), key)
        await settled_layout(broker, layout.partitions)
        assert await written(broker, 5) == {key: [0, 1, 2] for key in KEYS}, number
    assert set(ended) == ({5} if after == "run again" else {3, 5})
    assert ended == sorted(ended)


async def _changed(broker: StreamBroker, known: Partitioned) -> None:
    """A stream of three partitions with events in it becomes one of five."""
    for key in KEYS:
        await known.append(entry(key, 0), key)
    await broker.create_group("orders:0", GROUP, NEW)
    await Repartitioning(broker, ORDERS).to(5, timeout=SOON)


async def _close(broker: StreamBroker) -> object:
    """Four partitions that are closed, and nobody who goes on with it."""
    layout = await publisher(broker).layout(ORDERS)
    draining = begun(layout, 7)
    assert await broker.partitions.put(draining)
    for lane in lane_names(ORDERS, 4):
        await broker.partitions.close_lane(lane, layout.epoch)
    assert draining.phase is LayoutPhase.DRAINING
    return draining
