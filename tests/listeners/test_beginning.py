"""How a worker makes sure of its group: where it begins, that a second start changes nothing, what it leaves known."""

import asyncio
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import pytest

from penstock.errors import BrokerRefusedError
from penstock.position import BEGINNING, NEW, EntryId, Start
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.streams.publisher import Outgoing
from penstock.testing import Faulty, ManualClock
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop, another

Mode: TypeAlias = Literal["parallel", "exclusive", "keyed"]
MODES = pytest.mark.parametrize("mode", ["parallel", "exclusive", "keyed"])


async def work(shop: Workshop) -> None:
    """Work the group in its mode until nothing is left to do now, without an app."""
    is_ordered = shop.router.group(GROUP).settings.is_ordered
    worker = shop.ordered(until_idle=True) if is_ordered else shop.worker(until_idle=True)
    async with asyncio.timeout(10):
        await worker.run()


def booking(shop: Workshop) -> list[int]:
    """A listener; the numbers that it has got."""
    seen: list[int] = []

    @shop.router.listener(StockMoved)
    async def book(moved: StockMoved) -> None:
        seen.append(moved.number)

    return seen


async def move(shop: Workshop, *seconds: int) -> None:
    """One event for each of these seconds since 1970, at that time, with that number."""
    await shop.publisher.publish_many(
        [Outgoing(StockMoved(item="nail", number=each), entry_id=EntryId(each * 1000)) for each in seconds]
    )


@MODES
@pytest.mark.covers("GROUP-1")
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (BEGINNING, [1, 2, 3]),
        (NEW, []),
        (EntryId(1000), [2, 3]),
        (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), [2, 3]),
    ],
)
async def test_a_missing_group_begins_where_it_is_declared_to(
    server: MemoryServer, clock: ManualClock, mode: Mode, start: Start, expected: list[int]
) -> None:
    """At the first start of its first worker; a later start leaves it where it is, whatever is declared by then."""
    shop = await another(server, clock, mode=mode, start=start)
    seen = booking(shop)
    await move(shop, 1, 2, 3)
    await work(shop)
    assert seen == expected

    await move(shop, 4)
    shop.settings(start=BEGINNING if start is NEW else NEW)
    await work(shop)
    assert seen == [*expected, 4]


@MODES
@pytest.mark.covers("GROUP-1")
async def test_a_missing_stream_is_made_with_its_group(
    server: MemoryServer, clock: ManualClock, mode: Mode
) -> None:
    """A worker that comes before the first event waits for it in its group."""
    shop = await another(server, clock, mode=mode)
    seen = booking(shop)
    await work(shop)
    assert [group.name for group in await shop.broker.groups(STREAM)] == [GROUP]

    await move(shop, 1)
    await work(shop)
    assert seen == [1]


@MODES
@pytest.mark.covers("GROUP-1")
async def test_what_else_is_wrong_with_a_group_is_raised(
    server: MemoryServer, clock: ManualClock, mode: Mode
) -> None:
    """Only that it is there already is no error."""
    refusal = BrokerRefusedError("no rights")
    shop = Workshop(Faulty(MemoryBroker(server=server), fail={"create_group": [refusal]}), clock, mode=mode)
    booking(shop)
    with pytest.raises(BrokerRefusedError) as caught:
        await work(shop)
    assert caught.value is refusal


@MODES
@pytest.mark.covers("GC-3")
async def test_a_group_is_expected_from_its_first_worker_on(
    server: MemoryServer, clock: ManualClock, mode: Mode
) -> None:
    """Without an app, too, which would have registered it: should it be destroyed, nothing goes before it is back."""
    shop = await another(server, clock, mode=mode)
    booking(shop)
    await work(shop)
    assert set(await shop.broker.removal.registered_groups(STREAM)) == {GROUP}
