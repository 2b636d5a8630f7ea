"""Reading as a consumer of a group: who gets what, waiting, and acknowledgements that travel along."""

import asyncio
from datetime import timedelta
from itertools import chain

import pytest

from penstock.errors import UnknownGroupError
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import RawId, StreamBroker
from penstock.testing.contracts._common import (
    AGES,
    FIELDS,
    MOMENT,
    NOW,
    PATIENCE,
    Contract,
    PassTime,
    add,
    deliver,
    entry,
    fields_of,
    ids_of,
    parsed,
    started,
    within,
)

__all__ = ["GroupReadsContract"]


class GroupReadsContract(Contract):
    """Each entry goes to one consumer of a group and is pending with it from then on."""

    async def test_a_delivered_entry_is_pending_with_its_reader(self, broker: StreamBroker) -> None:
        """A read brings the entry whole, and the group remembers who has it."""
        await broker.create_group("orders", "billing", BEGINNING)
        entry_id = await broker.append(entry("orders"))

        answer = await broker.read_group("billing", "ann", ["orders"], count=10)

        assert answer.batches == [("orders", [[entry_id, FIELDS]])]
        assert [(one.entry_id, one.consumer) for one in await broker.pending("orders", "billing")] == [
            (EntryId.parse(entry_id), "ann")
        ]

    @pytest.mark.covers("GROUP-2")
    async def test_members_share_and_groups_do_not(self, broker: StreamBroker) -> None:
        """Three members of a group, reading at once, get disjoint parts; another group gets everything too."""
        await broker.create_group("orders", "billing", BEGINNING)
        await broker.create_group("orders", "shipping", BEGINNING)
        added = [outcome.entry_id for outcome in await broker.append_many([entry("orders")] * 3000)]

        async def read_all(group: str, consumer: str) -> list[RawId]:
            seen: list[RawId] = []
            while batches := (await broker.read_group(group, consumer, ["orders"], count=100)).batches:
                seen += ids_of(batches[0][1])
            return seen

        shares = await asyncio.gather(*(read_all("billing", name) for name in ("ann", "bob", "cat")))

        assert sorted(chain(*shares), key=EntryId.parse) == added
        assert [share == sorted(share, key=EntryId.parse) for share in shares] == [True] * 3
        assert await read_all("shipping", "dan") == added

    @pytest.mark.covers("GROUP-12")
    @pytest.mark.parametrize("count", [1, 3, 100])
    async def test_a_read_delivers_at_most_count_of_each_stream(
        self, broker: StreamBroker, count: int
    ) -> None:
        """The bound is per stream, and the next read goes on behind it."""
        for stream in ("orders", "invoices"):
            await broker.create_group(stream, "billing", BEGINNING)
            await add(broker, stream, 4)

        first = fields_of(
            (await broker.read_group("billing", "ann", ["orders", "invoices"], count=count)).batches
        )
        second = fields_of(
            (await broker.read_group("billing", "bob", ["orders", "invoices"], count=9)).batches
        )

        for stream in ("orders", "invoices"):
            assert len(first[stream]) == min(count, 4)
            assert first[stream] + second.get(stream, []) == [[b"n", b"%d" % number] for number in range(4)]

    async def test_streams_with_nothing_new_are_left_out(self, broker: StreamBroker) -> None:
        """An answer names only streams that brought something."""
        for stream in ("orders", "invoices"):
            await broker.create_group(stream, "billing", BEGINNING)
        await add(broker, "invoices", 1)

        [(stream, _)] = (await broker.read_group("billing", "ann", ["orders", "invoices"], count=9)).batches

        assert stream == "invoices"

    async def test_deleted_entries_are_not_delivered(self, broker: StreamBroker) -> None:
        """What was deleted before anyone got it is simply not there."""
        await broker.create_group("orders", "billing", BEGINNING)
        added = await add(broker, "orders", 3)
        await broker.delete("orders", parsed(added[:2]))

        [(_, entries)] = (await broker.read_group("billing", "ann", ["orders"], count=9)).batches

        assert ids_of(entries) == added[2:]

    # -- waiting ------------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-13")
    @pytest.mark.parametrize("block", [None, NOW])
    async def test_a_group_read_that_may_not_wait_does_not(
        self, broker: StreamBroker, block: timedelta | None
    ) -> None:
        """Without a time to block, or with none of it, an empty read answers at once."""
        await broker.create_group("orders", "billing", BEGINNING)

        answer = await within(broker.read_group("billing", "ann", ["orders"], count=1, block=block))

        assert answer.batches == []

    @pytest.mark.covers("GROUP-13")
    async def test_a_waiting_group_read_gets_the_first_entry(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """As soon as it is added, to whichever stream."""
        for stream in ("orders", "invoices"):
            await broker.create_group(stream, "billing", BEGINNING)
        reading = await started(
            broker.read_group("billing", "ann", ["orders", "invoices"], count=5, block=AGES), pass_time
        )
        await broker.append(entry("invoices"))

        assert fields_of((await within(reading)).batches) == {"invoices": [FIELDS]}
        assert (await broker.pending_summary("invoices", "billing")).consumers == {"ann": 1}

    @pytest.mark.covers("GROUP-13")
    async def test_a_waiting_group_read_ends_with_nothing(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """When its time is over; the consumer may read on."""
        await broker.create_group("orders", "billing", BEGINNING)
        reading = await started(
            broker.read_group("billing", "ann", ["orders"], count=5, block=MOMENT), pass_time
        )
        await pass_time(MOMENT)

        assert (await within(reading)).batches == []
        await broker.append(entry("orders"))
        assert len((await broker.read_group("billing", "ann", ["orders"], count=5)).batches) == 1

    async def test_one_entry_wakes_one_of_the_waiting(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Two consumers wait; each entry goes to one of them."""
        await broker.create_group("orders", "billing", BEGINNING)
        readers = [
            await started(broker.read_group("billing", name, ["orders"], count=1, block=AGES), pass_time)
            for name in ("ann", "bob")
        ]
        first = await broker.append(entry("orders"))
        done, waiting = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        assert (len(done), len(waiting)) == (1, 1)

        second = await broker.append(entry("orders"))
        got = [ids_of(batches[0][1]) for batches in [(await within(reading)).batches for reading in readers]]
        assert sorted(got) == [[first], [second]]

    async def test_an_interrupted_read_answers_at_once(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """With nothing; interrupting again, or nobody, does no harm, and other consumers go on waiting."""
        await broker.create_group("orders", "billing", BEGINNING)
        ann, bob = [
            await started(broker.read_group("billing", name, ["orders"], count=1, block=AGES), pass_time)
            for name in ("ann", "bob")
        ]
        await broker.interrupt("billing", "nobody")
        async with asyncio.timeout(PATIENCE):
            while not ann.done():
                await broker.interrupt("billing", "ann")
                await pass_time(MOMENT)
        await broker.interrupt("billing", "ann")

        assert ann.result().batches == []
        assert not bob.done()
        await broker.append(entry("orders"))
        assert len((await within(bob)).batches) == 1

    async def test_a_cancelled_read_loses_nothing(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """What is added around the cancellation goes to the next reader, or is pending with the cancelled one."""
        await broker.create_group("orders", "billing", BEGINNING)
        reading = await started(
            broker.read_group("billing", "ann", ["orders"], count=9, block=AGES), pass_time
        )
        before = asyncio.create_task(broker.append(entry("orders")))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(reading)
        added = [await before, await broker.append(entry("orders"))]

        answer = await broker.read_group("billing", "bob", ["orders"], count=9)

        seen_by_bob = [entry_id for _, entries in answer.batches for entry_id in ids_of(entries)]
        left_with_ann = [
            bytes(one.entry_id) for one in await broker.pending("orders", "billing", consumer="ann")
        ]
        assert sorted(left_with_ann + seen_by_bob) == sorted(added)

    async def test_a_cancelled_reader_reads_on(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """The next read of the same consumer works as if nothing had been."""
        await broker.create_group("orders", "billing", BEGINNING)
        reading = await started(
            broker.read_group("billing", "ann", ["orders"], count=9, block=AGES), pass_time
        )
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(reading)

        again = await started(broker.read_group("billing", "ann", ["orders"], count=9, block=AGES), pass_time)
        await broker.append(entry("orders"))
        batches = (await within(again)).batches
        own = await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=9)

        # The entry may have been handed to the dying connection; then it is pending and comes from there.
        assert len(own) == 1
        assert batches in ([("orders", [[own[0][0], FIELDS]])], [])

    @pytest.mark.parametrize("removed", ["group", "stream"])
    async def test_a_reader_learns_that_its_group_is_gone(
        self, broker: StreamBroker, pass_time: PassTime, removed: str
    ) -> None:
        """While it waits, or at the latest with its next read."""
        await broker.create_group("orders", "billing", BEGINNING)

        async def read_on() -> None:
            while True:
                await broker.read_group("billing", "ann", ["orders"], count=1, block=MOMENT)

        reading = await started(read_on(), pass_time)
        if removed == "group":
            await broker.delete_group("orders", "billing")
        else:
            await broker.delete_stream("orders")
        await pass_time(2 * MOMENT)

        with pytest.raises(UnknownGroupError) as refused:
            await within(reading)
        assert (refused.value.stream, refused.value.group) == ("orders", "billing")

    # -- acknowledgements sent along ----------------------------------------------------------------------------

    async def test_acknowledgements_travel_with_a_read(self, broker: StreamBroker) -> None:
        """They are counted per stream, like those sent alone: what is not pending does not count."""
        orders = await deliver(broker, 3)
        invoices = await deliver(broker, 2, stream="invoices")
        new = await add(broker, "orders", 1)

        answer = await broker.read_group(
            "billing",
            "ann",
            ["orders"],
            count=9,
            acknowledge={"orders": orders[:2], "invoices": [*invoices, b"1-0"]},
        )

        assert dict(answer.acknowledged) == {"orders": 2, "invoices": 2}
        assert [ids_of(entries) for _, entries in answer.batches] == [new]
        assert (await broker.pending_summary("orders", "billing")).count == 2
        assert (await broker.pending_summary("invoices", "billing")).count == 0

    async def test_acknowledgements_arrive_while_the_read_waits(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """They take effect before the waiting begins."""
        added = await deliver(broker, 2)
        reading = await started(
            broker.read_group(
                "billing", "ann", ["orders"], count=9, block=AGES, acknowledge={"orders": added}
            ),
            pass_time,
        )
        async with asyncio.timeout(PATIENCE):
            while (await broker.pending_summary("orders", "billing")).count:
                await pass_time(MOMENT)
        assert not reading.done()

        await broker.append(entry("orders"))
        assert dict((await within(reading)).acknowledged) == {"orders": 2}

    @pytest.mark.parametrize("along", [{}, {"orders": []}])
    async def test_nothing_to_acknowledge_is_fine(
        self, broker: StreamBroker, along: dict[str, list[bytes]]
    ) -> None:
        """An empty mapping or an empty list is no acknowledgement."""
        await deliver(broker, 1)

        answer = await broker.read_group("billing", "ann", ["orders"], count=9, acknowledge=along)

        assert answer.acknowledged.get("orders", 0) == 0
        assert (await broker.pending_summary("orders", "billing")).count == 1

    async def test_a_failing_read_acknowledges_all_the_same(self, broker: StreamBroker) -> None:
        """The group of one stream is gone; what was finished elsewhere is settled nonetheless."""
        added = await deliver(broker, 2)
        await add(broker, "invoices", 1)

        with pytest.raises(UnknownGroupError) as refused:
            await broker.read_group("billing", "ann", ["invoices"], count=9, acknowledge={"orders": added})

        assert (refused.value.stream, refused.value.group) == ("invoices", "billing")
        assert (await broker.pending_summary("orders", "billing")).count == 0
