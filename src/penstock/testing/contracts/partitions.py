"""`PartitionStoreContract`: layouts change one at a time, closed partitions stay closed, routes have no gaps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from penstock.errors import RepartitioningError, UnknownGroupError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import (
    Condition,
    Dedupe,
    LaneMark,
    LayoutPhase,
    PartitionLayout,
    RawId,
    Routed,
    RouteEntry,
    RouteMark,
    StreamBroker,
)
from penstock.testing.contracts._common import NAMES, Contract, entry

__all__ = ["PartitionStoreContract"]

FIRST = PartitionLayout("orders", 4, epoch=10, ever=4, revision=1)
LANE = "orders:0"


class LayoutsContract(Contract):
    """A stream's layout changes one revision after another."""

    @pytest.mark.covers("TOPIC-2")
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_layout_is_kept_whole(self, broker: StreamBroker, name: str) -> None:
        """Every fact of it, whatever the stream is called, also for who connects later."""
        assert await broker.partitions.layout(name) is None
        made = replace(FIRST, stream=name, epoch=2**53 - 1)
        assert await broker.partitions.put(made)
        changing = replace(made, phase=LayoutPhase.DRAINING, target=7, ever=7, revision=2)
        assert await broker.partitions.put(changing)
        await broker.close()
        await broker.open()

        assert await broker.partitions.layout(name) == changing

    async def test_of_two_changes_of_one_layout_one_happens(self, broker: StreamBroker) -> None:
        """The other is told, and changes nothing; the first layout of all is no exception."""
        firsts = [replace(FIRST, partitions=number) for number in (3, 5, 7)]
        done = await asyncio.gather(*map(broker.partitions.put, firsts))
        assert sorted(done) == [False, False, True]
        assert await broker.partitions.layout("orders") == firsts[done.index(True)]

        seconds = [replace(FIRST, epoch=epoch, revision=2) for epoch in (11, 12)]
        done = await asyncio.gather(*map(broker.partitions.put, seconds))
        assert sorted(done) == [False, True]
        assert await broker.partitions.layout("orders") == seconds[done.index(True)]

    async def test_a_layout_of_another_revision_is_not_replaced(self, broker: StreamBroker) -> None:
        """Neither a former one again, nor one that skips one."""
        assert not await broker.partitions.put(replace(FIRST, revision=2))
        assert await broker.partitions.put(FIRST)
        assert not await broker.partitions.put(FIRST)
        assert not await broker.partitions.put(replace(FIRST, revision=3))
        assert await broker.partitions.layout("orders") == FIRST

    async def test_a_removed_stream_has_no_layout(self, broker: StreamBroker) -> None:
        """What is kept beside a stream goes with it."""
        await broker.partitions.put(FIRST)
        await broker.partitions.open_lane("orders", 10)
        await broker.delete_stream("orders")

        assert await broker.partitions.layout("orders") is None
        assert await broker.partitions.mark("orders") is None


class MarksContract(Contract):
    """A partition takes entries under one epoch, until it is closed."""

    @pytest.mark.parametrize("name", NAMES)
    async def test_an_open_partition_takes_entries_of_its_epoch(
        self, broker: StreamBroker, name: str
    ) -> None:
        """One at a time and many at once, with an id or a token of their own too."""
        assert await broker.partitions.open_lane(name, 10)
        assert await broker.partitions.mark(name) == LaneMark(10, True)
        await broker.append(entry(name, epoch=10))
        await broker.append(entry(name, epoch=10, entry_id=EntryId(2**45)))
        outcomes = await broker.append_many(
            [entry(name, epoch=10), entry(name, epoch=10, dedupe=Dedupe("one"))]
        )

        assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 2
        assert await broker.length(name) == 4

    @pytest.mark.parametrize("epoch", [9, 11])
    async def test_an_entry_of_another_layout_is_refused(self, broker: StreamBroker, epoch: int) -> None:
        """Of a former one and of a later one; an entry of none is not checked. The stream is as it was."""
        await broker.partitions.open_lane(LANE, 10)
        with pytest.raises(RepartitioningError, match="orders:0"):
            await broker.append(entry(LANE, epoch=epoch))
        [refused, added] = await broker.append_many([entry(LANE, epoch=epoch), entry(LANE, epoch=10)])

        assert refused.condition is Condition.NOT_WRITTEN
        assert isinstance(refused.cause, RepartitioningError)
        assert added.condition is Condition.WRITTEN
        assert await broker.length(LANE) == 1

    async def test_an_unmarked_partition_takes_no_entry_of_a_layout(self, broker: StreamBroker) -> None:
        """What was never opened is closed."""
        with pytest.raises(RepartitioningError):
            await broker.append(entry(LANE, epoch=10))
        assert await broker.length(LANE) == 0

    async def test_a_closed_partition_stays_closed_under_its_epoch(self, broker: StreamBroker) -> None:
        """Whoever opens it late does not open it; the next layout does."""
        await broker.partitions.open_lane(LANE, 10)
        assert await broker.partitions.close_lane(LANE, 10)
        assert not await broker.partitions.open_lane(LANE, 10)
        assert await broker.partitions.mark(LANE) == LaneMark(10, False)
        with pytest.raises(RepartitioningError):
            await broker.append(entry(LANE, epoch=10))

        assert await broker.partitions.open_lane(LANE, 11)
        await broker.append(entry(LANE, epoch=11))

    async def test_a_former_layout_neither_opens_nor_closes(self, broker: StreamBroker) -> None:
        """A command that slept through a whole change does no harm when it wakes up."""
        await broker.partitions.open_lane(LANE, 11)
        assert not await broker.partitions.close_lane(LANE, 10)
        assert not await broker.partitions.open_lane(LANE, 10)

        assert await broker.partitions.mark(LANE) == LaneMark(11, True)

    async def test_opening_and_closing_may_be_repeated(self, broker: StreamBroker) -> None:
        """A command that was killed does it all again."""
        assert [await broker.partitions.open_lane(LANE, 10) for _ in range(2)] == [True, True]
        assert [await broker.partitions.close_lane(LANE, 10) for _ in range(2)] == [True, True]
        assert await broker.partitions.mark(LANE) == LaneMark(10, False)

    async def test_nothing_comes_in_after_closing(self, broker: StreamBroker) -> None:
        """With many publishers at once: what is there when closing was answered is all there will ever be."""
        await broker.partitions.open_lane(LANE, 10)
        publishing = [asyncio.create_task(broker.append(entry(LANE, epoch=10))) for _ in range(50)]
        await broker.append(entry(LANE, epoch=10))
        await broker.partitions.close_lane(LANE, 10)
        length = await broker.length(LANE)
        late = [asyncio.create_task(broker.append(entry(LANE, epoch=10))) for _ in range(50)]
        ended = await asyncio.gather(*publishing, *late, return_exceptions=True)

        assert await broker.length(LANE) == length
        assert sum(isinstance(each, bytes) for each in ended) == length - 1

    async def test_what_a_token_wrote_is_answered_by_a_closed_partition(self, broker: StreamBroker) -> None:
        """Sending an unknown outcome again finds it, where it was written; nothing else does."""
        await broker.partitions.open_lane(LANE, 10)
        written = await broker.append(entry(LANE, epoch=10, dedupe=Dedupe("one")))
        await broker.partitions.close_lane(LANE, 10)

        assert await broker.append(entry(LANE, epoch=10, dedupe=Dedupe("one"))) == written
        with pytest.raises(RepartitioningError):
            await broker.append(entry(LANE, epoch=10, dedupe=Dedupe("two")))


class RoutesContract(Contract):
    """Entries of a foreign stream come into each partition once, in order, by one router."""

    @pytest.mark.covers("TOPIC-2")
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_routed_entry_is_there_byte_by_byte(self, broker: StreamBroker, name: str) -> None:
        """Names and values as they came, whatever the streams are called, and how far it came is known."""
        await broker.partitions.open_lane(name, 10)
        fields = [b"s", bytes(range(256)), b"s", b"", b"\xff", b"again"]
        sent = RouteEntry(name, EntryId(5, 7), fields, None)
        assert await broker.partitions.fence_route(name, name, 1) == []

        assert await _route(broker, [sent], source=name) == [Routed.WRITTEN]
        [[_, found]] = await broker.range(name)
        assert found == fields
        assert await broker.partitions.fence_route(name, name, 2) == [RouteMark(name, 10, 4, EntryId(5, 7))]
        assert name in await broker.streams()

    async def test_an_entry_is_routed_once(self, broker: StreamBroker) -> None:
        """Again, alone or with others, it is already there; the order of what is there is that of the source."""
        await broker.partitions.open_lane(LANE, 10)
        assert await _route(broker, _chain(1, 2, 3)) == [Routed.WRITTEN] * 3
        assert await _route(broker, _chain(2, 3, 4)) == [Routed.ALREADY_THERE] * 2 + [Routed.WRITTEN]

        assert await _numbers(broker) == [b"1", b"2", b"3", b"4"]

    async def test_after_a_refused_entry_the_next_is_out_of_turn(self, broker: StreamBroker) -> None:
        """So that a partition never has a later one without the earlier."""
        await broker.partitions.open_lane(LANE, 10)
        await _route(broker, _chain(1, 2))
        [_, *later] = _chain(3, 4, 5)

        assert await _route(broker, later) == [Routed.OUT_OF_TURN] * 2
        assert await _route(broker, _chain(3, 4, 5)) == [Routed.WRITTEN] * 3

    async def test_a_closed_partition_takes_no_routed_entry(self, broker: StreamBroker) -> None:
        """Nor does one of another layout; other partitions do."""
        await broker.partitions.open_lane(LANE, 10)
        await broker.partitions.close_lane(LANE, 10)
        await broker.partitions.open_lane("orders:1", 10)
        sent = [*_chain(1), *_chain(2, lane="orders:1"), *_chain(3)]

        assert await _route(broker, sent) == [Routed.CLOSED, Routed.WRITTEN, Routed.CLOSED]
        assert await _route(broker, _chain(4, lane="orders:1"), epoch=9) == [Routed.CLOSED]

    async def test_a_former_router_adds_nothing(self, broker: StreamBroker) -> None:
        """From the moment at which its successor is known there; the same router goes on."""
        await broker.partitions.open_lane(LANE, 10)
        await _route(broker, _chain(1), fence=5)
        assert await broker.partitions.fence_route(LANE, "foreign", 6) == [RouteMark(LANE, 10, 4, EntryId(1))]

        assert await _route(broker, _chain(2), fence=5) == [Routed.FENCED]
        assert await _route(broker, _chain(2), fence=6) == [Routed.WRITTEN]
        assert await broker.partitions.fence_route(LANE, "foreign", 5) == [RouteMark(LANE, 10, 4, EntryId(2))]
        assert await _route(broker, _chain(3), fence=5) == [Routed.FENCED]

    async def test_a_new_layout_counts_anew_and_the_former_is_remembered(self, broker: StreamBroker) -> None:
        """What came under another layout says nothing of this one's entries; the last two are told."""
        await broker.partitions.open_lane(LANE, 10)
        await _route(broker, _chain(8))
        await broker.partitions.open_lane(LANE, 11)

        assert await _route(broker, _chain(5, 6), epoch=11, partitions=7) == [Routed.WRITTEN] * 2
        assert await broker.partitions.fence_route(LANE, "foreign", 1) == [
            RouteMark(LANE, 11, 7, EntryId(6)),
            RouteMark(LANE, 10, 4, EntryId(8)),
        ]
        await broker.partitions.open_lane(LANE, 12)
        await _route(broker, _chain(9, 10), epoch=12, partitions=2)
        assert await broker.partitions.fence_route(LANE, "foreign", 1) == [
            RouteMark(LANE, 12, 2, EntryId(10)),
            RouteMark(LANE, 11, 7, EntryId(6)),
        ]

    async def test_sources_do_not_know_of_each_other(self, broker: StreamBroker) -> None:
        """Two foreign streams are routed into one partition, each by its own count and fence."""
        await broker.partitions.open_lane(LANE, 10)
        await _route(broker, _chain(5), source="one", fence=9)

        assert await _route(broker, _chain(3), source="two", fence=1) == [Routed.WRITTEN]
        assert await _numbers(broker) == [b"5", b"3"]

    async def test_routing_is_noted_in_the_group(self, broker: StreamBroker) -> None:
        """The group of the foreign stream moves forward, never back, so that its floor and lag are those of routing."""
        for number in range(1, 5):
            await broker.append(entry("foreign", entry_id=EntryId(number)))
        with pytest.raises(UnknownGroupError):
            await broker.partitions.advance_route("foreign", "router", b"2-0")
        with pytest.raises(UnknownGroupError):
            await broker.partitions.advance_route("nowhere", "router", b"2-0")
        await broker.create_group("foreign", "router", BEGINNING)

        await broker.partitions.advance_route("foreign", "router", b"3-0")
        await broker.partitions.advance_route("foreign", "router", b"2-0")
        [group] = await broker.groups("foreign")
        assert (group.last_delivered, group.lag_entries, group.pending) == (EntryId(3), 1, 0)


class PartitionStoreContract(LayoutsContract, MarksContract, RoutesContract):
    """What every `PartitionStore` guarantees. Inherit it and supply the ``broker`` fixture."""


async def _route(
    broker: StreamBroker,
    entries: Sequence[RouteEntry],
    *,
    source: str = "foreign",
    epoch: int = 10,
    partitions: int = 4,
    fence: int = 1,
) -> list[object]:
    return list(
        await broker.partitions.route(source, entries, epoch=epoch, partitions=partitions, fence=fence)
    )


def _chain(*numbers: int, lane: str = LANE) -> list[RouteEntry]:
    """Entries of the foreign stream that follow each other in a partition."""
    before = (None, *map(EntryId, numbers))
    return [
        RouteEntry(lane, EntryId(number), [b"n", b"%d" % number], after)
        for number, after in zip(numbers, before, strict=False)
    ]


async def _numbers(broker: StreamBroker) -> list[RawId]:
    return [fields[1] for _, fields in await broker.range(LANE)]
