"""`RelayStoreContract`: what a relay adds is added once, in order, and marked in the same step."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.position import BEGINNING
from penstock.streams.abc import (
    Cap,
    Index,
    RelayBatch,
    Relayed,
    RelayEntry,
    RelayMark,
    RelayOutcome,
    StreamBroker,
)
from penstock.testing.contracts._common import NAMES, Contract, within

__all__ = ["RelayStoreContract"]

LANE = "orders:0"
OUT = "orders of the shop"


def event(position: int, **how: Any) -> RelayEntry:
    """The event at a position of the store, told apart by it."""
    return RelayEntry(position, f"id {position}", [b"n", b"%d" % position], **how)


def batch(stream: str, *positions: int, **how: Any) -> RelayBatch:
    """Some events for a stream."""
    return RelayBatch(stream, [event(position) for position in positions], **how)


async def numbers(broker: StreamBroker, stream: str) -> list[int]:
    """The positions of the events in a stream, in its order."""
    return [int(fields[1]) for _, fields in await broker.range(stream)]


class RelayingContract(Contract):
    """Events go in once and in order, whoever sends them, and how often."""

    @pytest.mark.covers("EMIT-7")
    @pytest.mark.parametrize("name", NAMES)
    async def test_events_are_added_in_order_and_marked(self, broker: StreamBroker, name: str) -> None:
        """Whatever the stream and the relay are called; the mark is that of the last event."""
        assert await broker.relays.marks(name, [name]) == {}
        assert await broker.relays.add(name, batch(name, 3, 4, 2**62)) == Relayed(RelayOutcome.DONE, 2**62, 3)

        assert await numbers(broker, name) == [3, 4, 2**62]
        assert await broker.relays.marks(name, [name, "other"]) == {
            name: [RelayMark(2**62, f"id {2**62}")],
        }

    @pytest.mark.covers("EMIT-7")
    async def test_what_was_added_is_not_added_again(self, broker: StreamBroker) -> None:
        """Sent again as a whole, in other pieces, or by two at once: each event is there once."""
        await broker.relays.add(OUT, batch("orders", 1, 2, 3))
        again = [
            await broker.relays.add(OUT, batch("orders", 1, 2, 3)),
            await broker.relays.add(OUT, batch("orders", 2, 3, 4)),
        ]
        assert again == [Relayed(RelayOutcome.DONE, 3, 0), Relayed(RelayOutcome.DONE, 4, 1)]
        both = await asyncio.gather(
            *(broker.relays.add(OUT, batch("orders", *range(5, 9 + extra))) for extra in range(8))
        )

        assert sum(each.added for each in both) == 11
        assert await numbers(broker, "orders") == list(range(1, 16))

    async def test_positions_are_compared_as_numbers(self, broker: StreamBroker) -> None:
        """Ten comes after nine, and numbers beyond what a float holds are told apart."""
        big = 2**53
        for position in (9, 10, big, big + 1, big + 2):
            assert (await broker.relays.add(OUT, batch("orders", position))).added == 1
        assert (await broker.relays.add(OUT, batch("orders", big + 1, big + 2))).added == 0
        assert await numbers(broker, "orders") == [9, 10, big, big + 1, big + 2]

    async def test_relays_do_not_mind_each_other(self, broker: StreamBroker) -> None:
        """Two relays write into one stream from two stores, and each one into two streams."""
        await broker.relays.add("a", batch("orders", 5))
        await broker.relays.add("b", batch("orders", 2))
        await broker.relays.add("a", batch("invoices", 1))

        assert await numbers(broker, "orders") == [5, 2]
        assert await numbers(broker, "invoices") == [1]
        assert await broker.relays.marks("a", ["orders", "invoices"]) == {
            "orders": [RelayMark(5, "id 5")],
            "invoices": [RelayMark(1, "id 1")],
        }

    async def test_a_name_is_not_mistaken_for_part_of_another(self, broker: StreamBroker) -> None:
        """Neither names with spaces and colons, nor ids with them."""
        await broker.relays.add("a", RelayBatch("orders", [RelayEntry(7, "an id: 8 %d", [b"n", b"7"])]))
        await broker.relays.add("last:a", batch("orders", 3))

        assert await broker.relays.marks("a", ["orders"]) == {"orders": [RelayMark(7, "an id: 8 %d")]}

    @pytest.mark.parametrize("positions", [[], [0, 1], [2, 2], [3, 2]])
    async def test_a_batch_without_order_is_refused(
        self, broker: StreamBroker, positions: Sequence[int]
    ) -> None:
        """It cannot be marked; nothing is added."""
        with pytest.raises(UsageError, match="ascend"):
            await broker.relays.add(OUT, batch("orders", *positions))
        assert await broker.length("orders") == 0

    async def test_readers_that_wait_are_told(self, broker: StreamBroker) -> None:
        """An event that is relayed is delivered as any other is."""
        await broker.create_group("orders", "billing", BEGINNING)
        waiting = asyncio.create_task(
            broker.read_group("billing", "ann", ["orders"], count=10, block=timedelta(seconds=15))
        )
        await asyncio.sleep(0)
        await broker.relays.add(OUT, batch("orders", 1))

        [(stream, entries)] = (await within(waiting)).batches
        assert (stream, [fields for _, fields in entries]) == ("orders", [[b"n", b"1"]])

    async def test_a_relayed_stream_is_among_the_streams(self, broker: StreamBroker) -> None:
        """It is found without being known by name."""
        await broker.relays.add(OUT, batch("orders", 1))
        assert "orders" in await broker.streams()

    async def test_a_big_batch_is_whole(self, broker: StreamBroker) -> None:
        """Hundreds of events, and bodies of a megabyte."""
        body = b"x" * 1_000_000
        await broker.relays.add(OUT, RelayBatch("files", [RelayEntry(1, "1", [b"n", b"1", b"data", body])]))
        await broker.relays.add(OUT, batch("orders", *range(1, 1001)))

        assert await numbers(broker, "orders") == list(range(1, 1001))
        assert (await broker.range("files"))[0][1][3] == body


class MarksOfRelaysContract(Contract):
    """A mark is where the relay is, and a server that has lost something is found out."""

    async def test_a_server_that_lost_something_adds_nothing(self, broker: StreamBroker) -> None:
        """Its mark is not where the relay had brought it: what comes next would leave a gap."""
        assert await broker.relays.add(OUT, batch("orders", 9, after=5)) == Relayed(RelayOutcome.BEHIND, 0, 0)
        await broker.relays.add(OUT, batch("orders", 4))
        assert await broker.relays.add(OUT, batch("orders", 9, after=5)) == Relayed(RelayOutcome.BEHIND, 4, 0)
        assert await numbers(broker, "orders") == [4]

        assert (await broker.relays.add(OUT, batch("orders", 5, 9, after=4))).added == 2
        assert (await broker.relays.add(OUT, batch("orders", 9, 10, after=5))).added == 1
        assert await numbers(broker, "orders") == [4, 5, 9, 10]

    @pytest.mark.covers("EMIT-7")
    async def test_a_mark_stays_when_the_stream_goes(self, broker: StreamBroker) -> None:
        """Trimmed, emptied or removed: what was relayed once is not relayed again, and what is new is."""
        await broker.relays.add(OUT, batch("orders", 1, 2))
        await broker.removal.trim("orders", keep=0, force=True)
        assert (await broker.relays.add(OUT, batch("orders", 1, 2))).added == 0
        await broker.delete_stream("orders")

        assert await broker.relays.add(OUT, batch("orders", 1, 2, 3, after=2)) == Relayed(
            RelayOutcome.DONE, 3, 1
        )
        assert await numbers(broker, "orders") == [3]

    async def test_a_forgotten_relay_begins_anew(self, broker: StreamBroker) -> None:
        """In that stream; nothing else is forgotten."""
        for relay in ("a", "b"):
            await broker.relays.add(relay, batch("orders", 1, 2))
        assert await broker.relays.forget("a", "orders")
        assert not await broker.relays.forget("a", "orders")

        assert await broker.relays.marks("a", ["orders"]) == {}
        assert (await broker.relays.add("a", batch("orders", 1))).added == 1
        assert (await broker.relays.add("b", batch("orders", 1))).added == 0


class CapsOfRelaysContract(Contract):
    """What holds for every entry holds for relayed ones: caps, histories, partitions."""

    async def test_a_cap_is_kept(self, broker: StreamBroker) -> None:
        """Where nobody needs the old ones, they go; the events are relayed all the same."""
        done = await broker.relays.add(OUT, batch("orders", *range(1, 11), cap=Cap(max_entries=3)))

        assert done == Relayed(RelayOutcome.DONE, 10, 10)
        assert await numbers(broker, "orders") == [8, 9, 10]

    async def test_a_full_stream_takes_no_more_and_none_twice(self, broker: StreamBroker) -> None:
        """What went in before is marked; the rest goes in when a reader has caught up."""
        await broker.create_group("orders", "billing", BEGINNING)
        how = {"cap": Cap(max_entries=3)}
        full = await broker.relays.add(OUT, batch("orders", 1, 2, 3, 4, 5, **how))
        assert full == Relayed(RelayOutcome.FULL, 3, 3)
        assert (await broker.relays.add(OUT, batch("orders", 4, 5, **how))).outcome is RelayOutcome.FULL

        read = await broker.read_group("billing", "ann", ["orders"], count=2)
        [(_, entries)] = read.batches
        await broker.acknowledge("orders", "billing", [entry_id for entry_id, _ in entries])
        done = await broker.relays.add(OUT, batch("orders", 1, 2, 3, 4, 5, **how))

        assert done == Relayed(RelayOutcome.DONE, 5, 2)
        assert await numbers(broker, "orders") == [3, 4, 5]

    async def test_histories_have_their_place(self, broker: StreamBroker) -> None:
        """Each event in that of its entity, once."""
        entries = [
            event(1, index=Index("order.placed", "17")),
            event(2),
            event(3, index=Index("order.placed", "18")),
            event(4, index=Index("order.placed", "17")),
        ]
        for _ in range(2):
            await broker.relays.add(OUT, RelayBatch("orders", entries))

        first = await broker.history.page("orders", "order.placed", "17")
        second = await broker.history.page("orders", "order.placed", "18")
        assert [chapter.entry[1][1] for chapter in first.chapters if chapter.entry] == [b"1", b"4"]
        assert [chapter.entry[1][1] for chapter in second.chapters if chapter.entry] == [b"3"]

    async def test_only_the_layout_that_holds_takes_events(self, broker: StreamBroker) -> None:
        """A closed partition, or one of another layout, takes nothing, and says what it has."""
        lane = {"epoch": 10, "partitions": 2}
        closed = await broker.relays.add(OUT, batch(LANE, 1, **lane))
        assert closed == Relayed(RelayOutcome.CLOSED, 0, 0)
        await broker.partitions.open_lane(LANE, 10)
        assert (await broker.relays.add(OUT, batch(LANE, 1, 3, **lane))).added == 2
        await broker.partitions.close_lane(LANE, 10)

        assert await broker.relays.add(OUT, batch(LANE, 1, 3, **lane)) == Relayed(RelayOutcome.DONE, 3, 0)
        assert await broker.relays.add(OUT, batch(LANE, 3, 4, **lane)) == Relayed(RelayOutcome.CLOSED, 3, 0)
        assert await numbers(broker, LANE) == [1, 3]

    async def test_each_layout_has_a_mark_of_its_own(self, broker: StreamBroker) -> None:
        """Under the next one, events that belonged elsewhere before come in, though their positions are lower."""
        await broker.partitions.open_lane(LANE, 10)
        await broker.relays.add(OUT, batch(LANE, 5, 6, epoch=10, partitions=2))
        await broker.partitions.open_lane(LANE, 11)
        later = await broker.relays.add(OUT, batch(LANE, 4, 7, epoch=11, partitions=3))

        assert later == Relayed(RelayOutcome.DONE, 7, 2)
        assert await broker.relays.marks(OUT, [LANE]) == {
            LANE: [RelayMark(7, "id 7", 11, 3), RelayMark(6, "id 6", 10, 2)],
        }
        await broker.partitions.open_lane(LANE, 12)
        await broker.relays.add(OUT, batch(LANE, 8, epoch=12, partitions=1))
        [marks] = (await broker.relays.marks(OUT, [LANE])).values()
        assert [mark.epoch for mark in marks] == [12, 11]


class RelayStoreContract(RelayingContract, MarksOfRelaysContract, CapsOfRelaysContract):
    """Everything a `RelayStore` promises. Supply ``broker``, an open `StreamBroker`."""
