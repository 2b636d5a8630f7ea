"""Reading without a group, and a stream as a whole: ranges, waiting reads, deletion, information."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.errors import UnknownStreamError
from penstock.position import BEGINNING, NEW, EntryId, Start
from penstock.streams.abc import StreamBroker
from penstock.testing.contracts._common import (
    AGES,
    MOMENT,
    NAMES,
    NOW,
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

__all__ = ["ReadingContract"]

_TIMES_MS = (1000, 2000, 3000, 4000)


async def _add_at_times(broker: StreamBroker) -> None:
    for ms in _TIMES_MS:
        await broker.append(entry("orders", entry_id=EntryId(ms, 1)))


class ReadingContract(Contract):
    """Readers without a group see every entry, from wherever they begin."""

    @pytest.mark.covers("READ-1")
    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (None, None, [1000, 2000, 3000, 4000]),
            (EntryId(2000, 1), EntryId(3000, 1), [2000, 3000]),
            (EntryId(2000, 2), EntryId(3000, 0), []),
            (EntryId(2000, 1), None, [2000, 3000, 4000]),
            (None, EntryId(2000, 1), [1000, 2000]),
            (EntryId(2000), EntryId(2000, 9), [2000]),
            (EntryId(9000), None, []),
            (EntryId(3000), EntryId(2000), []),
        ],
    )
    async def test_a_range_includes_both_ends(
        self, broker: StreamBroker, start: EntryId | None, end: EntryId | None, expected: list[int]
    ) -> None:
        """Entries from the start to the end, both included, in either direction."""
        await _add_at_times(broker)

        forward = parsed(ids_of(await broker.range("orders", start, end)))
        backward = parsed(ids_of(await broker.range("orders", start, end, reverse=True)))

        assert [entry_id.ms for entry_id in forward] == expected
        assert backward == forward[::-1]

    @pytest.mark.covers("READ-1")
    async def test_a_range_can_be_limited(self, broker: StreamBroker) -> None:
        """At most so many entries, counted from the end where reading begins."""
        added = await add(broker, "orders", 5)

        assert ids_of(await broker.range("orders", count=2)) == added[:2]
        assert ids_of(await broker.range("orders", count=2, reverse=True)) == [added[4], added[3]]
        assert ids_of(await broker.range("orders", count=99)) == added

    @pytest.mark.parametrize("stream", NAMES)
    async def test_a_stream_that_is_not_there_is_empty(self, broker: StreamBroker, stream: str) -> None:
        """Reading what does not exist brings nothing, deletes nothing, and makes nothing appear."""
        assert await broker.range(stream) == []
        assert await broker.read({stream: b"0-0"}, count=10) == []
        assert await broker.length(stream) == 0
        assert await broker.delete(stream, [EntryId(1)]) == 0
        assert await broker.delete_stream(stream) is False
        assert await broker.streams() == []

    # -- read ---------------------------------------------------------------------------------------------------

    @pytest.mark.covers("READ-1")
    async def test_a_read_continues_after_a_position(self, broker: StreamBroker) -> None:
        """Entries after the given id, not the one with that id; the id need not exist."""
        added = await add(broker, "orders", 5)

        [(stream, entries)] = await broker.read({"orders": added[1]}, count=10)
        assert (stream, ids_of(entries)) == ("orders", added[2:])

        await broker.delete("orders", parsed(added[1:3]))
        [(_, entries)] = await broker.read({"orders": added[1]}, count=10)
        assert ids_of(entries) == added[3:]

    async def test_a_read_brings_at_most_count_of_each_stream(self, broker: StreamBroker) -> None:
        """The bound holds per stream; streams with nothing new are left out."""
        orders, invoices = await add(broker, "orders", 5), await add(broker, "invoices", 2)
        quiet = (await add(broker, "quiet", 1))[0]

        batches = dict(
            await broker.read({"orders": b"0-0", "quiet": quiet, "invoices": b"0-0", "none": b"0-0"}, count=3)
        )

        assert {stream: ids_of(entries) for stream, entries in batches.items()} == {
            "orders": orders[:3],
            "invoices": invoices,
        }

    async def test_reading_one_by_one_sees_everything_in_order(self, broker: StreamBroker) -> None:
        """Each read goes on where the last one ended, while entries are added in between."""
        added, seen, position = await add(broker, "orders", 3), list[bytes](), b"0-0"
        while batches := await broker.read({"orders": position}, count=1):
            position = batches[0][1][0][0]
            seen.append(position)
            if len(added) < 6:
                added += await add(broker, "orders", 1)

        assert seen == added

    async def test_everyone_sees_every_entry(self, broker: StreamBroker) -> None:
        """Reading takes nothing away from others."""
        await add(broker, "orders", 3)

        assert await broker.read({"orders": b"0-0"}, count=9) == await broker.read(
            {"orders": b"0-0"}, count=9
        )

    @pytest.mark.parametrize("block", [None, NOW])
    async def test_a_read_that_may_not_wait_does_not(
        self, broker: StreamBroker, block: timedelta | None
    ) -> None:
        """Without a time to block, or with none of it, an empty read answers at once."""
        assert await within(broker.read({"orders": b"0-0"}, count=1, block=block)) == []

    async def test_a_waiting_read_answers_with_the_first_entry(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Whichever of the streams gets one, even one that did not exist before."""
        await add(broker, "orders", 1)
        last = await broker.resolve("orders", NEW)
        reading = await started(
            broker.read({"orders": last, "invoices": b"0-0"}, count=5, block=AGES), pass_time
        )
        await broker.append(entry("invoices", b"n", b"7"))

        assert fields_of(await within(reading)) == {"invoices": [[b"n", b"7"]]}

    async def test_a_waiting_read_ends_with_nothing(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """When its time is over."""
        reading = await started(broker.read({"orders": b"0-0"}, count=5, block=MOMENT), pass_time)
        await pass_time(MOMENT)

        assert await within(reading) == []

    async def test_several_readers_wait_at_the_same_time(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """One instance serves many tasks; waiting readers block neither each other nor those who write."""
        readers = [
            await started(broker.read({"orders": b"0-0"}, count=5, block=AGES), pass_time) for _ in range(3)
        ]
        await broker.append(entry("orders", b"n", b"7"))

        for reading in readers:
            assert fields_of(await within(reading)) == {"orders": [[b"n", b"7"]]}

    # -- where reading begins -----------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "expected"),
        [
            (BEGINNING, [1000, 2000, 3000, 4000]),
            (NEW, []),
            (EntryId(2000, 1), [3000, 4000]),
            (EntryId(2000, 0), [2000, 3000, 4000]),
            (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), [2000, 3000, 4000]),
            (datetime(1970, 1, 1, 0, 0, 2, 500, tzinfo=UTC), [2000, 3000, 4000]),
            (datetime(1970, 1, 1, 0, 0, 2, 1000, tzinfo=UTC), [3000, 4000]),
            (datetime(1969, 1, 1, tzinfo=UTC), [1000, 2000, 3000, 4000]),
            (datetime(2100, 1, 1, tzinfo=UTC), []),
        ],
    )
    async def test_each_start_delivers_exactly_what_lies_behind_it(
        self, broker: StreamBroker, start: Start, expected: list[int]
    ) -> None:
        """New: nothing of what is there. An id: what is after it. A time: what was added then or later."""
        await _add_at_times(broker)

        batches = await broker.read({"orders": await broker.resolve("orders", start)}, count=10)

        assert [entry_id.ms for _, entries in batches for entry_id in parsed(ids_of(entries))] == expected

    async def test_new_is_the_last_id_even_when_its_entry_is_gone(self, broker: StreamBroker) -> None:
        """New in an emptied stream is where it left off; in a stream that does not exist, ``0-0``."""
        added = await add(broker, "orders", 2)
        await broker.delete("orders", parsed(added))

        assert await broker.resolve("orders", NEW) == added[-1]
        assert await broker.resolve("none", NEW) == b"0-0"
        assert await broker.streams() == ["orders"]

    # -- the stream as a whole ----------------------------------------------------------------------------------

    @pytest.mark.covers("READ-1")
    async def test_deleting_entries_counts_those_that_were_there(self, broker: StreamBroker) -> None:
        """Unknown ids are passed over; the others go, and nothing else."""
        added = await add(broker, "orders", 4)

        assert await broker.delete("orders", [*parsed(added[1:3]), EntryId(1)]) == 2
        assert await broker.delete("orders", parsed(added[1:3])) == 0
        assert await broker.delete("orders", []) == 0
        assert ids_of(await broker.range("orders")) == [added[0], added[3]]
        assert await broker.length("orders") == 2

    async def test_a_deleted_entry_stays_pending(self, broker: StreamBroker) -> None:
        """Deleting takes an entry out of the stream, not off a pending list."""
        added = await deliver(broker, 2)
        await broker.delete("orders", parsed(added[:1]))

        assert [one.entry_id for one in await broker.pending("orders", "billing")] == parsed(added)

    async def test_a_deleted_stream_takes_all_of_its_own_along(self, broker: StreamBroker) -> None:
        """Entries, groups, cursors, failures: the name is as unknown as before. Other streams keep theirs."""
        for stream in ("orders", "invoices"):
            await deliver(broker, 2, stream=stream)
            await broker.save_cursor(stream, "audit", b"1-0")

        assert await broker.delete_stream("orders") is True
        assert await broker.delete_stream("orders") is False
        assert await broker.streams() == ["invoices"]
        assert (await broker.length("orders"), await broker.length("invoices")) == (0, 2)
        assert (await broker.cursors("orders"), len(await broker.cursors("invoices"))) == ({}, 1)
        assert await broker.create_group("orders", "billing", BEGINNING) is True
        assert (await broker.pending_summary("orders", "billing")).count == 0

    @pytest.mark.covers("READ-5")
    async def test_a_stream_in_one_look(self, broker: StreamBroker) -> None:
        """Its length, the ends that are present, the highest id ever given, and how many groups it has."""
        added = parsed(await add(broker, "orders", 4))
        await broker.create_group("orders", "billing", NEW)
        await broker.delete("orders", [added[0], added[3]])

        info = await broker.info("orders")

        assert (info.name, info.length, info.groups) == ("orders", 2, 1)
        assert (info.first, info.last, info.last_id) == (added[1], added[2], added[3])

    async def test_an_empty_stream_has_no_ends(self, broker: StreamBroker) -> None:
        """A stream made by its group exists and is empty."""
        await broker.create_group("orders", "billing", BEGINNING)

        info = await broker.info("orders")

        assert (info.length, info.first, info.last, info.last_id) == (0, None, None, EntryId(0))
        assert await broker.streams() == ["orders"]

    @pytest.mark.covers("READ-5")
    async def test_information_about_nothing_is_refused(self, broker: StreamBroker) -> None:
        """A stream that does not exist is an error that names it."""
        with pytest.raises(UnknownStreamError) as refused:
            await broker.info("none")
        assert refused.value.stream == "none"
        with pytest.raises(UnknownStreamError):
            await broker.groups("none")

    async def test_streams_are_listed_by_name(self, broker: StreamBroker) -> None:
        """Every stream that exists, sorted."""
        assert await broker.streams() == []
        for stream in NAMES:
            await broker.append(entry(stream))

        assert await broker.streams() == sorted(NAMES)
