"""Caps: how large a stream may grow, and what a cap may not remove."""

import pytest

from penstock.errors import StreamFullError
from penstock.position import BEGINNING, NEW, EntryId
from penstock.streams.abc import Cap, Condition, RawId, StreamBroker
from penstock.testing.contracts._common import (
    AGES,
    Contract,
    add,
    deliver,
    entry,
    ids_of,
)

__all__ = ["CapsContract"]

_THREE = Cap(max_entries=3)
_AGED = Cap(max_age=AGES)


class CapsContract(Contract):
    """A capped stream never exceeds its cap, and the cap never takes what a group still needs unless it may."""

    @pytest.mark.covers("EMIT-8")
    async def test_a_capped_stream_keeps_its_newest_entries(self, broker: StreamBroker) -> None:
        """Without groups nothing is needed: the oldest make room, exactly as many as are too many."""
        added: list[RawId] = []
        for _ in range(10):
            added.append(await broker.append(entry("orders", cap=_THREE)))
            assert await broker.length("orders") == min(len(added), 3)

        assert ids_of(await broker.range("orders")) == added[-3:]

    async def test_a_cap_cuts_down_what_was_there_before(self, broker: StreamBroker) -> None:
        """The first capped append brings a longer stream down to its cap."""
        await add(broker, "orders", 250)
        last = await broker.append(entry("orders", cap=_THREE))

        assert await broker.length("orders") == 3
        assert ids_of(await broker.range("orders", reverse=True, count=1)) == [last]

    @pytest.mark.covers("EMIT-8")
    async def test_a_full_stream_refuses_while_an_entry_is_pending(self, broker: StreamBroker) -> None:
        """What is delivered and unsettled is needed: the append is refused, and nothing changes."""
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added[1:])

        with pytest.raises(StreamFullError) as refused:
            await broker.append(entry("orders", cap=_THREE))

        assert (refused.value.stream, refused.value.limit) == ("orders", 3)
        assert ids_of(await broker.range("orders")) == added

    @pytest.mark.covers("EMIT-8")
    async def test_a_full_stream_refuses_while_an_entry_is_undelivered(self, broker: StreamBroker) -> None:
        """What a group has not been given yet is needed."""
        await broker.create_group("orders", "billing", BEGINNING)
        added = await add(broker, "orders", 3)

        with pytest.raises(StreamFullError):
            await broker.append(entry("orders", cap=_THREE))

        assert ids_of(await broker.range("orders")) == added

    async def test_a_settled_entry_makes_room(self, broker: StreamBroker) -> None:
        """As soon as no group needs the oldest entry, the append goes through and removes it."""
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added[:1])

        last = await broker.append(entry("orders", cap=_THREE))

        assert ids_of(await broker.range("orders")) == [*added[1:], last]

    async def test_a_group_that_began_at_new_needs_nothing_old(self, broker: StreamBroker) -> None:
        """What lies before a group's start is not needed by it."""
        await add(broker, "orders", 3)
        await broker.create_group("orders", "billing", NEW)

        await broker.append(entry("orders", cap=_THREE))

        assert await broker.length("orders") == 3

    async def test_the_slowest_group_decides(self, broker: StreamBroker) -> None:
        """An entry that one of several groups needs is needed."""
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added)
        await broker.create_group("orders", "shipping", BEGINNING)

        with pytest.raises(StreamFullError):
            await broker.append(entry("orders", cap=_THREE))

    async def test_too_little_room_is_no_room(self, broker: StreamBroker) -> None:
        """When only some of what must go may go, the append is refused and none of it is removed."""
        added = await deliver(broker, 5)
        await broker.acknowledge("orders", "billing", added[:2])

        with pytest.raises(StreamFullError):
            await broker.append(entry("orders", cap=_THREE))

        assert ids_of(await broker.range("orders")) == added

    @pytest.mark.covers("EMIT-8")
    async def test_a_cap_may_be_allowed_to_come_first(self, broker: StreamBroker) -> None:
        """With `remove_needed` the oldest go although a group needs them; pending ones have vanished then."""
        added = await deliver(broker, 3)

        last = await broker.append(entry("orders", cap=Cap(max_entries=3, remove_needed=True)))

        assert ids_of(await broker.range("orders")) == [*added[1:], last]
        assert (await broker.pending_summary("orders", "billing")).count == 3

    async def test_among_many_entries_only_the_refused_is_missing(self, broker: StreamBroker) -> None:
        """A full stream refuses its entry; the others of the same call are written."""
        await deliver(broker, 3)

        full, other = await broker.append_many([entry("orders", cap=_THREE), entry("invoices", cap=_THREE)])

        assert (full.condition, full.entry_id, type(full.cause)) == (
            Condition.NOT_WRITTEN,
            None,
            StreamFullError,
        )
        assert other.condition is Condition.WRITTEN

    @pytest.mark.covers("EMIT-8")
    async def test_entries_past_the_age_are_removed(self, broker: StreamBroker) -> None:
        """An append removes what is older than the cap's age, and nothing younger."""
        await broker.append(entry("orders", entry_id=EntryId(1000)))
        await broker.append(entry("orders", entry_id=EntryId(2000)))
        young = await broker.append(entry("orders"))

        last = await broker.append(entry("orders", cap=_AGED))

        assert ids_of(await broker.range("orders")) == [young, last]

    @pytest.mark.covers("EMIT-8")
    async def test_old_entries_that_are_needed_stay(self, broker: StreamBroker) -> None:
        """A cap by age removes up to what a group needs, and never refuses."""
        await broker.create_group("orders", "billing", BEGINNING)
        for ms in (1000, 2000, 3000):
            await broker.append(entry("orders", entry_id=EntryId(ms)))
        await broker.read_group("billing", "ann", ["orders"], count=2)
        await broker.acknowledge("orders", "billing", [b"1000-0"])

        last = await broker.append(entry("orders", cap=_AGED))

        assert ids_of(await broker.range("orders")) == [b"2000-0", b"3000-0", last]

    async def test_both_caps_hold_together(self, broker: StreamBroker) -> None:
        """Length and age at once: whatever removes more."""
        for ms in (1000, 2000):
            await broker.append(entry("orders", entry_id=EntryId(ms)))
        young = await add(broker, "orders", 2)

        last = await broker.append(entry("orders", cap=Cap(max_entries=4, max_age=AGES)))
        assert ids_of(await broker.range("orders")) == [*young, last]

        last = await broker.append(entry("orders", cap=Cap(max_entries=2, max_age=AGES)))
        assert await broker.length("orders") == 2
