"""What a consumer does with what it holds: read it again, acknowledge, renew, release, count handlings alone."""

from datetime import timedelta

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Settled, StreamBroker
from penstock.testing.contracts._common import (
    MOMENT,
    NOW,
    Contract,
    PassTime,
    deliver,
    ids_of,
    parsed,
)

__all__ = ["SettlingContract"]

_YEARS = timedelta(days=3650)


class SettlingContract(Contract):
    """A consumer settles what it holds, and never what others hold."""

    # -- reading it again ---------------------------------------------------------------------------------------

    async def test_own_pending_entries_come_back_in_order(self, broker: StreamBroker) -> None:
        """What is pending with this consumer, from after an id on, at most so many; others' entries are not shown."""
        added = await deliver(broker, 4)
        await deliver(broker, 2, consumer="bob")
        await broker.acknowledge("orders", "billing", added[1:2])
        left = [added[0], *added[2:]]

        async def own(after: bytes, count: int) -> list[bytes]:
            return ids_of(await broker.own_pending("orders", "billing", "ann", after=after, count=count))

        assert await own(b"0-0", 99) == left
        assert await own(b"0-0", 2) == left[:2]
        assert await own(left[1], 99) == left[2:]
        assert await own(left[-1], 99) == []
        assert (await broker.pending_summary("orders", "billing")).consumers == {"ann": 3, "bob": 2}

    async def test_own_pending_entries_are_whole_or_shown_as_gone(self, broker: StreamBroker) -> None:
        """An entry deleted meanwhile is still pending; it comes without fields."""
        await broker.create_group("orders", "billing", BEGINNING)
        added = await deliver(broker, 2)
        await broker.delete("orders", parsed(added[:1]))

        entries = await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=9)

        assert entries == [[added[0], None], [added[1], [b"n", b"1"]]]
        assert (await broker.pending_summary("orders", "billing")).count == 2

    async def test_a_consumer_without_entries_has_nothing_of_its_own(self, broker: StreamBroker) -> None:
        """Nor has one that nobody has heard of; new entries do not show."""
        await broker.create_group("orders", "billing", BEGINNING)
        await deliver(broker, 1, consumer="bob")

        assert await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=9) == []

    # -- acknowledging ------------------------------------------------------------------------------------------

    async def test_acknowledging_counts_what_was_pending(self, broker: StreamBroker) -> None:
        """Once; again, or for an id that never was, it counts nothing."""
        added = await deliver(broker, 3)

        assert await broker.acknowledge("orders", "billing", [*added[:2], b"1-0"]) == 2
        assert await broker.acknowledge("orders", "billing", added[:2]) == 0
        assert await broker.acknowledge("orders", "billing", []) == 0
        assert [one.entry_id for one in await broker.pending("orders", "billing")] == parsed(added[2:])

    async def test_acknowledging_concerns_one_group(self, broker: StreamBroker) -> None:
        """Other groups have their own pending lists, and the entry stays in the stream."""
        added = await deliver(broker, 2)
        await deliver(broker, 0, group="shipping")
        await broker.acknowledge("orders", "billing", added)

        assert (await broker.pending_summary("orders", "shipping")).count == 2
        assert ids_of(await broker.range("orders")) == added

    async def test_many_are_acknowledged_at_once(self, broker: StreamBroker) -> None:
        """As many as one likes."""
        added = await deliver(broker, 2500)

        assert await broker.acknowledge("orders", "billing", added) == 2500
        assert (await broker.pending_summary("orders", "billing")).count == 0

    async def test_a_vanished_entry_can_be_acknowledged(self, broker: StreamBroker) -> None:
        """It is pending, so it counts."""
        added = await deliver(broker, 1)
        await broker.delete("orders", parsed(added))

        assert await broker.acknowledge("orders", "billing", added) == 1

    # -- renewing -----------------------------------------------------------------------------------------------

    async def test_renewing_restarts_the_idle_time(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """So that others do not take the entry over; its delivery count stays."""
        added = await deliver(broker, 2)
        await pass_time(2 * MOMENT)

        assert await broker.renew("orders", "billing", "ann", added[:1]) == []

        renewed, left = await broker.pending("orders", "billing")
        assert renewed.idle < left.idle
        assert left.idle >= 2 * MOMENT
        assert (renewed.consumer, renewed.delivery_count) == ("ann", 1)

    async def test_renewing_names_what_is_not_ours(self, broker: StreamBroker) -> None:
        """Acknowledged, never delivered, or with someone else: named, in the given order, and untouched."""
        added = await deliver(broker, 3)
        [other] = await deliver(broker, 1, consumer="bob")
        await broker.acknowledge("orders", "billing", added[1:2])

        lost = await broker.renew("orders", "billing", "ann", [added[0], added[1], other, b"1-0", added[2]])

        assert lost == [added[1], other, b"1-0"]
        assert await broker.renew("orders", "billing", "ann", []) == []

    async def test_renewing_never_steals(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """An entry that another claimed stays with that other, its idle time as it was."""
        added = await deliver(broker, 1)
        await broker.claim("orders", "billing", "bob", min_idle=NOW, count=1)
        await pass_time(2 * MOMENT)

        assert await broker.renew("orders", "billing", "ann", added) == added

        [one] = await broker.pending("orders", "billing")
        assert (one.consumer, one.delivery_count) == ("bob", 2)
        assert one.idle >= 2 * MOMENT

    async def test_renewing_keeps_vanished_entries_pending(self, broker: StreamBroker) -> None:
        """An entry deleted while in hand is still ours: renewing it neither loses nor settles it."""
        added = await deliver(broker, 2)
        await broker.delete("orders", parsed(added[:1]))

        assert await broker.renew("orders", "billing", "ann", added) == []
        assert (await broker.pending_summary("orders", "billing")).consumers == {"ann": 2}

    async def test_many_are_renewed_at_once(self, broker: StreamBroker) -> None:
        """As many as one likes, those that are lost named."""
        added = await deliver(broker, 1200)
        await broker.acknowledge("orders", "billing", added[::2])

        assert await broker.renew("orders", "billing", "ann", added) == added[::2]

    # -- releasing ----------------------------------------------------------------------------------------------

    async def test_a_released_entry_is_free_at_once(self, broker: StreamBroker) -> None:
        """Anyone's next claim takes it, however long claims wait."""
        added = await deliver(broker, 2)

        assert await broker.release("orders", "billing", "ann", added[:1]) == 1

        claimed = await broker.claim("orders", "billing", "bob", min_idle=_YEARS, count=9)
        assert claimed.entries == [[added[0], [b"n", b"0"]]]
        assert (await broker.pending_summary("orders", "billing")).consumers == {"ann": 1, "bob": 1}

    async def test_releasing_counts_what_was_ours(self, broker: StreamBroker) -> None:
        """What others hold, or nobody, is not released."""
        added = await deliver(broker, 2)
        [other] = await deliver(broker, 1, consumer="bob")

        assert await broker.release("orders", "billing", "ann", [*added, other, b"1-0"]) == 2
        assert await broker.release("orders", "billing", "ann", []) == 0
        claimed = await broker.claim("orders", "billing", "cat", min_idle=_YEARS, count=9)
        assert ids_of(claimed.entries) == added

    # -- handling alone -----------------------------------------------------------------------------------------

    async def test_handlings_alone_are_counted(self, broker: StreamBroker) -> None:
        """Each beginning counts, also over a change of hands: whoever died handling it is not forgotten."""
        first, second = await deliver(broker, 2)

        assert await broker.begin_alone("orders", "billing", "ann", first) == 1
        assert await broker.begin_alone("orders", "billing", "ann", first) == 2
        assert await broker.begin_alone("orders", "billing", "ann", second) == 1
        await broker.claim("orders", "billing", "bob", min_idle=NOW, count=1)
        assert await broker.begin_alone("orders", "billing", "bob", first) == 3

    async def test_only_ones_own_entry_is_begun(self, broker: StreamBroker) -> None:
        """With another consumer, settled or unknown: ``None``, and nothing is counted."""
        first, second = await deliver(broker, 2)
        await broker.acknowledge("orders", "billing", [second])

        assert await broker.begin_alone("orders", "billing", "bob", first) is None
        assert await broker.begin_alone("orders", "billing", "ann", second) is None
        assert await broker.begin_alone("orders", "billing", "ann", b"1-0") is None
        assert await broker.begin_alone("orders", "billing", "ann", first) == 1

    async def test_groups_count_for_themselves(self, broker: StreamBroker) -> None:
        """One group's handlings alone say nothing about another's."""
        [entry_id] = await deliver(broker, 1)
        await deliver(broker, 0, group="shipping")
        await broker.begin_alone("orders", "billing", "ann", entry_id)

        assert await broker.begin_alone("orders", "shipping", "ann", entry_id) == 1

    async def test_releasing_clears_the_suspicion(self, broker: StreamBroker) -> None:
        """Whoever gives an entry back was not killed by it, so that the next count starts at one."""
        [entry_id] = await deliver(broker, 1)
        await broker.begin_alone("orders", "billing", "ann", entry_id)
        await broker.release("orders", "billing", "ann", [entry_id])

        assert await broker.begin_alone("orders", "billing", "ann", entry_id) == 1

    async def test_an_entry_handled_alone_is_acknowledged_with_its_count(self, broker: StreamBroker) -> None:
        """`acknowledge_alone` settles it and forgets the count; should it be delivered again, it counts from one."""
        [entry_id] = await deliver(broker, 1)
        await broker.begin_alone("orders", "billing", "ann", entry_id)

        assert await broker.acknowledge_alone("orders", "billing", "ann", entry_id) is Settled.DONE
        assert (await broker.pending_summary("orders", "billing")).count == 0

        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "ann", ["orders"], count=1)
        assert await broker.begin_alone("orders", "billing", "ann", entry_id) == 1

    async def test_only_ones_own_entry_is_acknowledged_alone(self, broker: StreamBroker) -> None:
        """What another consumer took over meanwhile stays pending with it, its count kept."""
        [entry_id] = await deliver(broker, 1)
        await broker.begin_alone("orders", "billing", "ann", entry_id)
        await broker.claim("orders", "billing", "bob", min_idle=NOW, count=1)

        assert await broker.acknowledge_alone("orders", "billing", "ann", entry_id) is Settled.NOT_YOURS
        assert await broker.acknowledge_alone("orders", "billing", "bob", b"1-0") is Settled.NOT_YOURS
        assert await broker.acknowledge_alone("orders", "nobody", "bob", entry_id) is Settled.NOT_YOURS
        assert await broker.acknowledge_alone("none", "billing", "bob", entry_id) is Settled.NOT_YOURS

        assert await broker.begin_alone("orders", "billing", "bob", entry_id) == 2
        assert [one.entry_id for one in await broker.pending("orders", "billing")] == [
            EntryId.parse(entry_id)
        ]
