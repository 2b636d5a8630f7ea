"""The collector: what it removes, what it leaves, who does it, and what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from penstock._housekeeping import Housekeeper, Keeping
from penstock._housekeeping._collecting import Collecting
from penstock.errors import BrokerUnavailableError, UsageError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import NewEntry, RawId, StreamBroker
from penstock.streams.collector import COLLECTOR, Retention, collect
from penstock.testing import Faulty, ManualClock

INTERVAL = timedelta(seconds=3)


async def add(broker: StreamBroker, count: int, stream: str = "orders") -> list[RawId]:
    """Add entries; their ids."""
    outcomes = await broker.append_many([NewEntry(stream, [b"n", b"%d" % each]) for each in range(count)])
    return [outcome.entry_id for outcome in outcomes if outcome.entry_id is not None]


async def handled(broker: StreamBroker, count: int, *, group: str = "billing") -> list[RawId]:
    """Add entries that a group has been given, all of them, and has settled."""
    await broker.create_group("orders", group, BEGINNING)
    added = await add(broker, count)
    await broker.read_group(group, "ann", ["orders"], count=count)
    await broker.acknowledge("orders", group, added)
    return added


async def ids(broker: StreamBroker) -> list[RawId]:
    """What is in the stream."""
    return [entry[0] for entry in await broker.range("orders")]


@asynccontextmanager
async def running(keeping: Keeping) -> AsyncIterator["asyncio.Task[None]"]:
    """A process that collects."""
    task = asyncio.create_task(Housekeeper(keeping, [Collecting]).run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# -- what goes ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("GC-4")
async def test_what_all_groups_have_handled_is_collected(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """With retention "handled" what every group has settled goes; without one nothing ever does."""
    await handled(broker, 10)
    await broker.create_group("orders", "mail", BEGINNING)

    async with running(keep(orders={"retention": "handled"})):
        await clock.advance(INTERVAL)
        assert await broker.length("orders") == 10

        [(_, entries)] = (await broker.read_group("mail", "bob", ["orders"], count=4)).batches
        await broker.acknowledge("orders", "mail", [entry[0] for entry in entries])
        await clock.advance(INTERVAL)
        assert await broker.length("orders") == 6

    async with running(keep(orders={})):
        await broker.read_group("mail", "bob", ["orders"], count=10)
        await clock.advance(INTERVAL * 10)
        assert await broker.length("orders") == 6


@pytest.mark.covers("GC-4")
@pytest.mark.parametrize("pending", range(10))
async def test_nine_of_ten_acknowledged_keeps_the_right_ones(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping], pending: int
) -> None:
    """Exactly what lies below the pending entry goes: it, and what comes after it, stays until it is settled."""
    await broker.create_group("orders", "billing", BEGINNING)
    added = await add(broker, 10)
    await broker.read_group("billing", "ann", ["orders"], count=10)
    await broker.acknowledge("orders", "billing", [*added[:pending], *added[pending + 1 :]])

    async with running(keep(orders={"retention": "handled"})):
        await clock.advance(INTERVAL)
        assert await ids(broker) == added[pending:]

        await broker.acknowledge("orders", "billing", [added[pending]])
        await clock.advance(INTERVAL)
        assert await ids(broker) == []


@pytest.mark.covers("GC-4")
async def test_the_tail_of_a_burst_goes_within_one_interval(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """However soon after a collection the last entries are handled, the next one takes them: nothing is left over."""
    async with running(keep(orders={"retention": "handled"})):
        for size in (100, 7, 1):
            await handled(broker, size)
            await clock.advance(INTERVAL)
            assert await broker.length("orders") == 0


@pytest.mark.covers("GC-3", "GC-4")
async def test_a_group_that_never_came_protects_everything_and_is_told_of(
    broker: StreamBroker,
    clock: ManualClock,
    keep: Callable[..., Keeping],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A registered group that is not there keeps all; after a day a warning names it and the remedy, once a day."""
    await handled(broker, 5)
    await broker.removal.register_groups("orders", ["mail"])
    job, keeping = Collecting(), keep(orders={"retention": "handled"})

    await clock.advance(timedelta(hours=23))
    await job.run(keeping)
    assert (await broker.length("orders"), caplog.text) == (5, "")
    for days in (1, 2):
        await clock.advance(timedelta(hours=24))
        await job.run(keeping)
        await job.run(keeping)
        [line] = [record.getMessage() for record in caplog.records]
        assert f"'mail', which was registered {days} days ago" in line
        assert "penstock groups delete mail --stream orders" in line
        caplog.clear()
    await broker.removal.unregister_group("orders", "mail")
    await job.run(keeping)
    assert await broker.length("orders") == 0


@pytest.mark.covers("GC-6")
async def test_age_and_length_go_as_far_as_nobody_needs_them(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """Old entries and those beyond the length go; what a group needs stays, however old, unless the stream says so."""
    old = await handled(broker, 4)
    needed = await add(broker, 2)
    await clock.advance(timedelta(days=8))
    young = await add(broker, 3)

    async with running(keep(orders={"retention": "7 days"})):
        await clock.advance(INTERVAL)
        assert await ids(broker) == needed + young
    async with running(keep(orders={"retention": 2})):
        await clock.advance(INTERVAL)
        assert await ids(broker) == needed + young
    async with running(keep(orders={"retention": {"age": "7 days"}, "remove_needed": True})):
        await clock.advance(INTERVAL)
        assert await ids(broker) == young
    async with running(keep(orders={"retention": 2, "remove_needed": True})):
        await clock.advance(INTERVAL)
        assert await ids(broker) == young[1:]
    assert old


@pytest.mark.covers("GC-4")
async def test_what_nobody_reads_is_not_handled(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """A stream without any group keeps everything: its first group is perhaps still to come."""
    await add(broker, 3)
    async with running(keep(orders={"retention": "handled"})):
        await clock.advance(INTERVAL)
    assert await broker.length("orders") == 3


# -- how ------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("GC-5")
async def test_one_call_does_a_bounded_piece_and_says_that_there_is_more(broker: StreamBroker) -> None:
    """A budget of no time is one step; calls go on where the last one ended."""
    await handled(broker, 5000)
    retention = Retention(handled=True)

    first = await collect(broker, "orders", retention, budget=timedelta(0))
    second = await collect(broker, "orders", retention, budget=timedelta(0))
    last = await collect(broker, "orders", retention, budget=timedelta(0))

    assert [(each.removed, each.more) for each in (first, second, last)] == [
        (2000, True),
        (2000, True),
        (1000, False),
    ]


@pytest.mark.covers("GC-5", "OPS-6")
async def test_one_of_several_collectors_acts(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """Two processes keep house: one collects. When it ends, the other goes on at once; when it dies, a little later."""
    one, other = (Faulty(broker), Faulty(broker))
    keepings = [keep(orders={"retention": "handled"}) for _ in range(2)]
    for keeping, own in zip(keepings, (one, other), strict=True):
        keeping.pools["default"] = own  # type: ignore[index]

    def trims(of: Faulty) -> int:
        return sum(step.call == "removal.trim" for step in of.steps)

    async with running(keepings[0]) as first:
        await clock.advance(INTERVAL)
        async with running(keepings[1]):
            await clock.advance(INTERVAL * 3)
            assert (trims(one) > 0, trims(other)) == (True, 0)
            lease = await broker.leases.look(COLLECTOR, stream="orders")
            assert lease is not None
            assert lease.token == keepings[0].token

            first.cancel()
            with suppress(asyncio.CancelledError):
                await first
            await clock.advance(INTERVAL)
            assert trims(other) > 0

        # The second ends well, too: nobody is left, and the lease is free.
        assert await broker.leases.look(COLLECTOR, stream="orders") is None


@pytest.mark.covers("GC-5", "OPS-6")
async def test_a_collector_that_died_is_followed_by_another(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """Its lease runs out, and the next process collects: nobody has to clear anything away."""
    await handled(broker, 3)
    dead = keep(orders={"retention": "handled"})
    assert await dead.acts(broker, COLLECTOR, life=INTERVAL * 4, stream="orders")

    async with running(keep(orders={"retention": "handled"})):
        await clock.advance(INTERVAL)
        assert await broker.length("orders") == 3
        for _ in range(4):
            await clock.advance(INTERVAL)
        assert await broker.length("orders") == 0


async def test_a_server_that_is_away_ends_no_collector(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """It is tried again at the next interval."""
    await handled(broker, 3)
    keeping = keep(orders={"retention": "handled"})
    keeping.pools["default"] = Faulty(  # type: ignore[index]
        broker, fail={"removal.trim": [BrokerUnavailableError("gone")]}
    )
    async with running(keeping):
        await clock.advance(INTERVAL)
        await clock.advance(INTERVAL)
        assert await broker.length("orders") == 0


@pytest.mark.covers("GC-6")
@pytest.mark.parametrize(
    "wrong", [{}, {"age": timedelta(0)}, {"entries": 0}, {"handled": False, "entries": -1}]
)
def test_a_retention_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    """It says what goes, and leaves something."""
    with pytest.raises(UsageError):
        Retention(**wrong)  # type: ignore[arg-type]


async def test_trimming_by_id_ends_before_a_pending_entry_of_the_same_millisecond(
    broker: StreamBroker, clock: ManualClock, keep: Callable[..., Keeping]
) -> None:
    """Ids of one millisecond differ in their counter only, which may be larger than a floating number can tell."""
    await broker.create_group("orders", "billing", BEGINNING)
    for counter in (2**63, 2**63 + 1, 2**63 + 2):
        await broker.append(NewEntry("orders", [b"n", b"1"], EntryId(5, counter)))
    await broker.read_group("billing", "ann", ["orders"], count=3)
    await broker.acknowledge("orders", "billing", [b"5-%d" % 2**63])

    async with running(keep(orders={"retention": "handled"})):
        await clock.advance(INTERVAL)
    assert await ids(broker) == [b"5-%d" % (2**63 + 1), b"5-%d" % (2**63 + 2)]
