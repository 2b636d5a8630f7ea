"""Consumer groups: made, looked at, moved, removed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.errors import UnknownGroupError
from penstock.position import BEGINNING, NEW, EntryId, Start
from penstock.streams.abc import PendingSummary, StreamBroker
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
    ids_of,
    parsed,
)

__all__ = ["GroupsContract"]


class GroupsContract(Contract):
    """A group exists from its creation to its removal, and tells what it has."""

    @pytest.mark.covers("GROUP-1")
    async def test_a_group_is_created_once(self, broker: StreamBroker) -> None:
        """With its stream if that is missing; a second creation leaves it as it is."""
        assert await broker.create_group("orders", "billing", BEGINNING) is True
        await deliver(broker, 2)

        assert await broker.create_group("orders", "billing", BEGINNING) is False
        assert await broker.create_group("orders", "billing", NEW) is False
        assert (await broker.pending_summary("orders", "billing")).count == 2
        assert (await broker.read_group("billing", "ann", ["orders"], count=9)).batches == []

    @pytest.mark.covers("GROUP-1")
    @pytest.mark.parametrize(
        ("start", "expected"),
        [
            (BEGINNING, [1000, 2000, 3000]),
            (NEW, []),
            (EntryId(1000, 0), [2000, 3000]),
            (EntryId(2500), [3000]),
            (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), [2000, 3000]),
        ],
    )
    async def test_a_group_starts_where_it_was_told(
        self, broker: StreamBroker, start: Start, expected: list[int]
    ) -> None:
        """At the beginning, at new, after an id, or at a time; whatever is added later comes in any case."""
        for ms in (1000, 2000, 3000):
            await broker.append(entry("orders", entry_id=EntryId(ms)))
        await broker.create_group("orders", "billing", start)
        await broker.append(entry("orders", entry_id=EntryId(4000)))

        [(_, entries)] = (await broker.read_group("billing", "ann", ["orders"], count=9)).batches

        assert [entry_id.ms for entry_id in parsed(ids_of(entries))] == [*expected, 4000]

    @pytest.mark.parametrize("name", NAMES)
    async def test_groups_and_consumers_may_have_any_name(self, broker: StreamBroker, name: str) -> None:
        """Names come back as they were given."""
        [entry_id] = await deliver(broker, 1, stream=name, group=name, consumer=name)

        assert [group.name for group in await broker.groups(name)] == [name]
        assert [consumer.name for consumer in await broker.consumers(name, name)] == [name]
        assert [one.consumer for one in await broker.pending(name, name)] == [name]
        assert await broker.begin_alone(name, name, name, entry_id) == 1
        assert await broker.acknowledge(name, name, [entry_id]) == 1

    @pytest.mark.covers("READ-5")
    async def test_a_deleted_group_is_gone_with_its_pending_list(self, broker: StreamBroker) -> None:
        """Other groups, and the stream, are untouched; a group of the same name starts anew."""
        added = await deliver(broker, 2)
        await deliver(broker, 0, group="shipping")

        assert await broker.delete_group("orders", "billing") is True
        assert await broker.delete_group("orders", "billing") is False
        assert await broker.delete_group("none", "billing") is False
        assert [group.name for group in await broker.groups("orders")] == ["shipping"]
        assert ids_of(await broker.range("orders")) == added

        await broker.create_group("orders", "billing", BEGINNING)
        assert (await broker.pending_summary("orders", "billing")).count == 0

    @pytest.mark.covers("READ-5")
    async def test_a_group_that_is_not_there_is_named(self, broker: StreamBroker) -> None:
        """Every question about a missing group, or one of a missing stream, raises the same error."""
        await add(broker, "orders", 1)
        for stream in ("orders", "none"):
            questions = (
                broker.consumers(stream, "nobody"),
                broker.pending(stream, "nobody"),
                broker.pending_summary(stream, "nobody"),
                broker.move_group(stream, "nobody", BEGINNING),
                broker.read_group("nobody", "ann", [stream], count=1),
                broker.own_pending(stream, "nobody", "ann", after=b"0-0", count=1),
                broker.claim(stream, "nobody", "ann", min_idle=NOW, count=1),
            )
            for question in questions:
                with pytest.raises(UnknownGroupError) as refused:
                    await question
                assert (refused.value.stream, refused.value.group) == (stream, "nobody")
        assert await broker.streams() == ["orders"]

    async def test_settling_in_a_group_that_is_gone_finds_nothing(self, broker: StreamBroker) -> None:
        """What was pending there is pending no more: no error, and nothing of ours."""
        await add(broker, "orders", 1)
        for stream in ("orders", "none"):
            assert await broker.acknowledge(stream, "nobody", [b"1-0"]) == 0
            assert await broker.renew(stream, "nobody", "ann", [b"1-0"]) == [b"1-0"]
            assert await broker.release(stream, "nobody", "ann", [b"1-0"]) == 0
            assert await broker.begin_alone(stream, "nobody", "ann", b"1-0") is None
            assert await broker.remove_consumer(stream, "nobody", "ann", heir="bob") == 0
        assert await broker.streams() == ["orders"]

    async def test_moving_a_group_back_delivers_again(self, broker: StreamBroker) -> None:
        """The group goes on after the given place, whatever it had before."""
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added)

        await broker.move_group("orders", "billing", EntryId.parse(added[0]))
        [(_, entries)] = (await broker.read_group("billing", "ann", ["orders"], count=9)).batches

        assert ids_of(entries) == added[1:]

    async def test_moving_a_group_forward_leaves_entries_out(self, broker: StreamBroker) -> None:
        """To new: what is there now is not delivered."""
        await broker.create_group("orders", "billing", BEGINNING)
        await add(broker, "orders", 3)
        await broker.move_group("orders", "billing", NEW)

        assert (await broker.read_group("billing", "ann", ["orders"], count=9)).batches == []

    @pytest.mark.covers("READ-5")
    async def test_a_group_in_one_look(self, broker: StreamBroker) -> None:
        """Consumers, pending entries, the last delivery, and how many entries lie behind it; groups by name."""
        await broker.create_group("orders", "shipping", BEGINNING)
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added[:1])
        await add(broker, "orders", 2)

        billing, shipping = await broker.groups("orders")

        assert (billing.name, billing.consumers, billing.pending, billing.lag_entries) == ("billing", 1, 2, 2)
        assert billing.last_delivered == EntryId.parse(added[-1])
        assert (shipping.name, shipping.consumers, shipping.pending, shipping.lag_entries) == (
            "shipping",
            0,
            0,
            5,
        )
        assert shipping.last_delivered == EntryId(0)

    async def test_the_lag_is_right_after_deletions(self, broker: StreamBroker) -> None:
        """Only entries that are there and not delivered count, wherever others were deleted."""
        await deliver(broker, 3)
        added = await add(broker, "orders", 4)
        await broker.delete("orders", parsed(added[1:3]))

        [billing] = await broker.groups("orders")

        assert billing.lag_entries == 2

    @pytest.mark.covers("READ-5")
    async def test_consumers_tell_what_they_hold_and_how_long_they_were_silent(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """By name, each with its own pending entries and the time since it last spoke."""
        await deliver(broker, 2, consumer="bob")
        await pass_time(MOMENT)
        await deliver(broker, 1, consumer="ann")

        ann, bob = await broker.consumers("orders", "billing")

        assert (ann.name, ann.pending, bob.name, bob.pending) == ("ann", 1, "bob", 2)
        assert ann.idle < bob.idle < AGES
        assert bob.idle >= MOMENT

    # -- what is pending ----------------------------------------------------------------------------------------

    @pytest.mark.covers("READ-5")
    async def test_pending_entries_in_one_look(self, broker: StreamBroker) -> None:
        """Their number, both ends, and how many each consumer holds."""
        empty = await self._summary_of_nothing(broker)
        assert (empty.count, empty.lowest, empty.highest, dict(empty.consumers)) == (0, None, None, {})

        added = parsed([*await deliver(broker, 2), *await deliver(broker, 1, consumer="bob")])
        summary = await broker.pending_summary("orders", "billing")

        assert (summary.count, summary.lowest, summary.highest) == (3, added[0], added[2])
        assert dict(summary.consumers) == {"ann": 2, "bob": 1}

    async def _summary_of_nothing(self, broker: StreamBroker) -> PendingSummary:
        await broker.create_group("orders", "billing", BEGINNING)
        return await broker.pending_summary("orders", "billing")

    @pytest.mark.covers("READ-5")
    async def test_a_pending_entry_tells_who_has_it_and_since_when(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Delivered once, to one consumer, idle since then."""
        [entry_id] = await deliver(broker, 1)
        await pass_time(MOMENT)

        [one] = await broker.pending("orders", "billing")

        assert (one.entry_id, one.consumer, one.delivery_count) == (EntryId.parse(entry_id), "ann", 1)
        assert MOMENT <= one.idle < AGES

    async def test_pending_entries_are_listed_in_pages(self, broker: StreamBroker) -> None:
        """In id order, from an id on (which is included), at most so many."""
        added = parsed(await deliver(broker, 5))

        async def listed(start: EntryId | None, count: int) -> list[EntryId]:
            return [
                one.entry_id for one in await broker.pending("orders", "billing", start=start, count=count)
            ]

        assert await listed(None, 2) == added[:2]
        assert await listed(added[1], 2) == added[1:3]
        assert await listed(added[1].next(), 9) == added[2:]
        assert await listed(added[4].next(), 9) == []

    async def test_pending_entries_are_listed_of_one_consumer_or_by_idle_time(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Filters narrow the list; the count is that of matching entries."""
        old = parsed(await deliver(broker, 2))
        await pass_time(2 * MOMENT)
        young = parsed(await deliver(broker, 2, consumer="bob"))

        async def listed(**filters: Any) -> list[EntryId]:
            return [one.entry_id for one in await broker.pending("orders", "billing", **filters)]

        assert await listed(consumer="ann") == old
        assert await listed(consumer="bob", count=1) == young[:1]
        assert await listed(consumer="nobody") == []
        assert (await listed(min_idle=2 * MOMENT))[:2] == old
        assert await listed(min_idle=AGES) == []
