"""Members of an ordered group share its lanes, and no lane is without an owner for longer than a lease's life."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.listeners._ordered._share import fair_share, in_own_order
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.streams.memory import MemoryServer
from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import GROUP, LIFE, STREAM, StockMoved, Workshop, another, until

SECOND = timedelta(seconds=1)
LANES = [f"{STREAM}:{number}" for number in range(6)]


@pytest.mark.covers("LISTEN-18")
async def test_members_hold_their_share_and_hand_over_when_others_come_and_go(
    server: MemoryServer, clock: ManualClock
) -> None:
    """Six lanes: one member has six, two have three each, three have two each; who leaves gives back at once."""
    shops = [await another(server, clock) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        workers: list[OrderedWorker] = []
        for shop in shops:
            workers.append(await stack.enter_async_context(_member(shop)))
            await _settle(clock, workers)
            share = 6 // len(workers)
            assert [len(worker.lanes) for worker in workers] == [share] * len(workers)
            assert sorted(lane for worker in workers for lane in worker.lanes) == LANES
    assert await shops[0].broker.leases.leases(LANES[0]) == []


@pytest.mark.covers("LISTEN-18")
async def test_the_lanes_of_a_dead_member_are_taken_within_a_life(
    server: MemoryServer, clock: ManualClock
) -> None:
    """It neither releases nor leaves: its leases and its membership run out, and the other takes all."""
    first, second = await another(server, clock), await another(server, clock)
    for lane in LANES[:3]:
        await first.broker.leases.acquire(
            f"group:{GROUP}", token="dead", description="a dead process", life=LIFE, stream=lane
        )
    await first.broker.members.join(STREAM, GROUP, token="dead", description="a dead process", life=LIFE)
    async with _member(second) as worker:
        await until(lambda: len(worker.lanes) == 3)
        for _ in range(31):
            await clock.advance(SECOND)
        await until(lambda: sorted(worker.lanes) == LANES)


@pytest.mark.covers("LISTEN-18")
async def test_each_key_stays_in_order_over_partitions_and_hand_overs(
    server: MemoryServer, clock: ManualClock
) -> None:
    """Members come and go while events are handled: nothing is lost, doubled, or handled out of its key's order."""
    seen: dict[str, list[int]] = {}
    shops = [await another(server, clock, mode="keyed", concurrency=3) for _ in range(3)]
    for shop in shops:

        @shop.router.listener(StockMoved)
        async def book(moved: StockMoved) -> None:
            await asyncio.sleep(0)
            seen.setdefault(moved.item, []).append(moved.number)

    total = 900
    await _fill(shops[0], total)
    async with contextlib.AsyncExitStack() as stack:
        workers: list[OrderedWorker] = []
        for shop in shops:
            workers.append(await stack.enter_async_context(_member(shop, listen=False)))
            await _settle(clock, workers)
        workers[0].stop()
        await until(lambda: not workers[0].lanes)
        await _fill(shops[0], total, start=total)
        await _settle(clock, workers[1:])
        await until(lambda: sum(map(len, seen.values())) >= 2 * total)
    assert sum(map(len, seen.values())) == 2 * total
    assert all(numbers == sorted(numbers) for numbers in seen.values())


async def test_a_lane_that_is_no_more_is_given_back(shop: Workshop, clock: ManualClock) -> None:
    """The set of lanes is asked for again and again: what left it is drained, what came is taken."""
    lanes: list[str] = LANES[:2]

    async def lanes_of(_stream: str) -> Sequence[str]:
        return list(lanes)

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None: ...

    async with shop.working(lanes_of=lanes_of) as worker:
        await until(lambda: list(worker.lanes) == LANES[:2])
        lanes[:] = LANES[1:3]
        await clock.advance(shop.router.group(GROUP).settings.refresh)
        await until(lambda: list(worker.lanes) == LANES[1:3])


@given(
    readers=st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.integers(1, 9), st.sets(st.integers(0, 5), min_size=1)),
        min_size=1,
    )
)
def test_all_shares_together_are_enough_for_all_lanes(readers: dict[str, tuple[int, set[int]]]) -> None:
    """Whoever reads whichever streams: the members together may hold every lane, and nobody a whole one too many."""
    shares: list[int] = []
    for member in range(6):
        mine = {stream: [""] * count for stream, (count, who) in readers.items() if member in who}
        others = {stream: len(who) for stream, (_, who) in readers.items()}
        due = sum((Fraction(count, len(who)) for count, who in readers.values() if member in who), Fraction())
        shares.append(fair_share(mine, others))
        assert shares[-1] == ceil(due)
    assert sum(shares) >= sum(count for count, _ in readers.values())


@given(lanes=st.lists(st.text(max_size=3), unique=True), token=st.text())
def test_every_member_looks_at_every_lane(lanes: list[str], token: str) -> None:
    """Only where it begins differs."""
    assert sorted(in_own_order(lanes, token)) == sorted(lanes)


@contextlib.asynccontextmanager
async def _member(shop: Workshop, *, listen: bool = True) -> AsyncIterator[OrderedWorker]:
    async def lanes_of(stream: str) -> Sequence[str]:
        return LANES

    if listen:

        @shop.router.listener(StockMoved)
        async def book(moved: StockMoved) -> None: ...

    async with shop.working(lanes_of=lanes_of) as worker:
        yield worker


async def _settle(clock: ManualClock, workers: list[OrderedWorker]) -> None:
    """Let as much time pass as members need to see each other."""
    for _ in range(60):
        await clock.advance(SECOND)
        await asyncio.sleep(0.001)


async def _fill(shop: Workshop, count: int, *, start: int = 0) -> None:
    from penstock.streams.abc import NewEntry

    for number in range(start, start + count):
        item = f"item-{number % 40}"
        lane = LANES[number % 40 % len(LANES)]
        body = b'{"item":"%s","number":%d}' % (item.encode(), number)
        meta = b'{"time":0,"key":"%s"}' % item.encode()
        fields = [b"id", b"%d" % number, b"name", STREAM.encode(), b"meta", meta, b"data", body]
        await shop.broker.append(NewEntry(lane, fields))
