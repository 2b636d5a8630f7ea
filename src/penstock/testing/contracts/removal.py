"""`RemovalStoreContract`: what may be removed from a stream, who holds what, and that nothing else goes."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.errors import StreamFullError, UsageError
from penstock.position import BEGINNING, NEW, EntryId
from penstock.streams.abc import Cap, Hold, HoldKind, RawId, StreamBroker
from penstock.testing.contracts._common import (
    NAMES,
    Contract,
    add,
    deliver,
    entry,
    ids_of,
    numbered,
    parsed,
)

__all__ = ["RemovalStoreContract"]

_LARGEST = 2**64 - 1


class RemovalStoreContract(Contract):
    """What every `RemovalStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    # -- who holds what -------------------------------------------------------------------------------------------

    async def test_a_stream_without_readers_has_no_floor(self, broker: StreamBroker) -> None:
        """Nobody needs anything; a stream that does not exist is needed by nobody either."""
        await add(broker, "orders", 2)
        await broker.removal.register_groups("invoices", ["billing"])

        for stream in ("orders", "invoices"):
            floor = await broker.removal.floor(stream)
            assert (floor.entry_id, floor.holds) == (None, ())

    @pytest.mark.covers("GC-3")
    async def test_a_group_needs_its_lowest_pending_entry(self, broker: StreamBroker) -> None:
        """What is delivered and unsettled is needed, however much was settled behind it (9 of 10)."""
        added = await deliver(broker, 10)
        await broker.acknowledge("orders", "billing", [*added[:3], *added[4:]])

        floor = await broker.removal.floor("orders")

        needed = EntryId.parse(added[3])
        assert floor.holds == (Hold(HoldKind.GROUP, "billing", needed, pending=1),)
        assert floor.entry_id == needed

    @pytest.mark.covers("GC-3")
    async def test_a_group_needs_what_it_was_not_delivered(self, broker: StreamBroker) -> None:
        """With nothing pending, a group needs what comes after its last delivered entry."""
        added = await deliver(broker, 2)
        await broker.acknowledge("orders", "billing", added)
        await add(broker, "orders", 1)

        assert (await broker.removal.floor("orders")).entry_id == EntryId.parse(added[-1]).next()

    async def test_a_group_that_was_set_back_needs_what_it_will_be_given(self, broker: StreamBroker) -> None:
        """What will be delivered once more is needed, also below an entry that is pending."""
        await deliver(broker, 3)
        await broker.move_group("orders", "billing", BEGINNING)

        assert (await broker.removal.floor("orders")).entry_id == EntryId(0, 1)

    @pytest.mark.covers("GC-3")
    @pytest.mark.parametrize("name", NAMES)
    async def test_cursors_and_relays_need_what_comes_after_them(
        self, broker: StreamBroker, name: str
    ) -> None:
        """Both hold from the first entry after their position, under names of any kind."""
        added = await add(broker, name, 3)
        await broker.save_cursor(name, name, added[1])
        await broker.removal.save_relay(name, name, added[0])

        after = [position.next() for position in parsed(added)]
        assert (await broker.removal.floor(name)).holds == (
            Hold(HoldKind.RELAY, name, after[0]),
            Hold(HoldKind.CURSOR, name, after[1]),
        )

    @pytest.mark.covers("GC-3", "GC-4")
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_registered_group_that_is_not_there_needs_everything(
        self, broker: StreamBroker, name: str
    ) -> None:
        """It protects the whole stream and is shown with the time since when, until it is created."""
        before = datetime.fromtimestamp(await broker.server_time_us() // 1000 / 1000, UTC)
        await add(broker, name, 2)
        await broker.removal.register_groups(name, [name])
        await broker.removal.register_groups(name, [name, "other"])

        registered = await broker.removal.registered_groups(name)
        assert list(registered) == sorted([name, "other"])
        assert before <= registered[name] <= before + timedelta(minutes=1)
        holds = {hold.name: hold for hold in (await broker.removal.floor(name)).holds}
        assert holds[name] == Hold(HoldKind.ABSENT_GROUP, name, EntryId(0), since=registered[name])

        await broker.create_group(name, name, NEW)
        await broker.create_group(name, "other", NEW)
        floor = await broker.removal.floor(name)
        assert {hold.kind for hold in floor.holds} == {HoldKind.GROUP}

    async def test_a_group_that_is_expected_no_more_holds_nothing(self, broker: StreamBroker) -> None:
        """Unregistering frees what an absent group held; one that exists counts all the same."""
        await deliver(broker, 1)
        await broker.removal.register_groups("orders", ["billing", "mail"])

        assert await broker.removal.unregister_group("orders", "mail")
        assert not await broker.removal.unregister_group("orders", "mail")
        assert await broker.removal.unregister_group("orders", "billing")
        assert [hold.name for hold in (await broker.removal.floor("orders")).holds] == ["billing"]

    async def test_a_deleted_group_is_expected_no_more(self, broker: StreamBroker) -> None:
        """Deleting a group unregisters it, also one that was never created."""
        await deliver(broker, 1)
        await broker.removal.register_groups("orders", ["billing", "mail"])

        assert await broker.delete_group("orders", "billing")
        assert not await broker.delete_group("orders", "mail")
        assert await broker.removal.registered_groups("orders") == {}
        assert (await broker.removal.floor("orders")).entry_id is None

    async def test_a_deleted_stream_is_expected_by_nobody(self, broker: StreamBroker) -> None:
        """Who reads a stream is forgotten with it."""
        await add(broker, "orders", 1)
        await broker.removal.register_groups("orders", ["mail"])
        await broker.removal.save_relay("orders", "out", b"1-0")
        await broker.delete_stream("orders")
        await add(broker, "orders", 1)

        assert (await broker.removal.floor("orders")).holds == ()

    async def test_relays_go_forward_only_and_can_be_forgotten(self, broker: StreamBroker) -> None:
        """A late save of an older position changes nothing."""
        store = broker.removal
        await store.save_relay("orders", "out", b"10-0")
        await store.save_relay("orders", "out", b"9-5")

        assert await store.relays("orders") == {"out": EntryId(10)}
        assert await store.delete_relay("orders", "out")
        assert not await store.delete_relay("orders", "out")
        assert await store.relays("orders") == {}

    @pytest.mark.parametrize(
        ("position", "needed"),
        [
            (EntryId(5, 9), EntryId(5, 10)),
            (EntryId(5, 2**53), EntryId(5, 2**53 + 1)),
            (EntryId(5, _LARGEST), EntryId(6)),
            (EntryId(10**19 - 1, _LARGEST), EntryId(10**19)),
            (EntryId(_LARGEST, _LARGEST), EntryId(_LARGEST, _LARGEST)),
        ],
    )
    async def test_the_floor_is_exact_for_any_place(
        self, broker: StreamBroker, position: EntryId, needed: EntryId
    ) -> None:
        """Places are two 64-bit numbers, and none of their digits is rounded."""
        await broker.append(entry("orders", entry_id=position))
        await broker.save_cursor("orders", "audit", bytes(position))

        assert (await broker.removal.floor("orders")).entry_id == needed

    # -- trimming -------------------------------------------------------------------------------------------------

    @pytest.mark.covers("GC-3", "GC-4")
    async def test_what_all_have_settled_goes_and_the_rest_stays(self, broker: StreamBroker) -> None:
        """Group B is idle: nothing of what A has settled goes, and it is said who holds it. Then B catches up."""
        added = await deliver(broker, 5, group="a")
        await broker.acknowledge("orders", "a", added)
        await broker.create_group("orders", "b", BEGINNING)

        held = await broker.removal.trim("orders")
        assert (held.removed, held.more) == (0, False)
        assert [(hold.kind, hold.name) for hold in held.held_by] == [(HoldKind.GROUP, "b")]

        await broker.read_group("b", "bob", ["orders"], count=3)
        await broker.acknowledge("orders", "b", added[:3])
        partly = await broker.removal.trim("orders")
        assert (partly.removed, partly.more) == (3, False)
        assert [hold.needs for hold in partly.held_by] == [EntryId.parse(added[2]).next()]
        assert ids_of(await broker.range("orders")) == added[3:]

    @pytest.mark.covers("GC-4")
    async def test_what_nobody_reads_was_handled_by_nobody(self, broker: StreamBroker) -> None:
        """Asked for what was handled, a stream without any reader keeps everything."""
        added = await add(broker, "orders", 3)

        assert (await broker.removal.trim("orders", handled=True)).removed == 0
        await broker.save_cursor("orders", "audit", added[0])
        assert (await broker.removal.trim("orders", handled=True)).removed == 1
        await broker.delete_cursor("orders", "audit")
        assert (await broker.removal.trim("orders")).removed == 2

    @pytest.mark.covers("GC-6")
    async def test_only_what_lies_below_an_id_goes(self, broker: StreamBroker) -> None:
        """The id itself stays; nothing below is left over; and nobody held anything of what was asked for."""
        added = await deliver(broker, 5)
        await broker.acknowledge("orders", "billing", added[:4])

        trimmed = await broker.removal.trim("orders", below=EntryId.parse(added[2]))

        assert (trimmed.removed, trimmed.more, trimmed.held_by) == (2, False, ())
        assert ids_of(await broker.range("orders")) == added[2:]

    @pytest.mark.covers("GC-6")
    async def test_the_newest_entries_are_kept(self, broker: StreamBroker) -> None:
        """Exactly as many stay as were to be kept, if nobody needs more of them."""
        added = await add(broker, "orders", 250)

        assert (await broker.removal.trim("orders", keep=120)).removed == 130
        assert ids_of(await broker.range("orders")) == added[130:]
        assert (await broker.removal.trim("orders", keep=120)).removed == 0
        assert (await broker.removal.trim("orders", keep=0)).removed == 120

    @pytest.mark.covers("GC-6")
    async def test_length_and_age_remove_below_the_floor_only(self, broker: StreamBroker) -> None:
        """Both bounds end at what is needed, and say who needs it."""
        added = await deliver(broker, 6)
        await broker.acknowledge("orders", "billing", added[:2])

        by_length = await broker.removal.trim("orders", keep=1)
        assert (by_length.removed, [hold.name for hold in by_length.held_by]) == (2, ["billing"])
        by_id = await broker.removal.trim("orders", below=EntryId.parse(added[5]))
        assert (by_id.removed, [hold.needs for hold in by_id.held_by]) == (0, [EntryId.parse(added[2])])
        both = await broker.removal.trim("orders", below=EntryId.parse(added[2]), keep=1)
        assert both.held_by == ()

    @pytest.mark.covers("GC-3")
    async def test_force_removes_what_is_needed(self, broker: StreamBroker) -> None:
        """A person may remove it all the same; the entries are pending still, and gone."""
        added = await deliver(broker, 5)

        trimmed = await broker.removal.trim("orders", below=EntryId.parse(added[3]), force=True)
        assert (trimmed.removed, trimmed.more, trimmed.held_by) == (3, False, ())
        trimmed = await broker.removal.trim("orders", keep=1, force=True)
        assert (trimmed.removed, trimmed.held_by) == (1, ())
        assert ids_of(await broker.range("orders")) == added[4:]
        assert (await broker.pending_summary("orders", "billing")).count == 5

    @pytest.mark.covers("GC-5")
    @pytest.mark.parametrize("limit", [1, 7, 100, 150, 1000])
    @pytest.mark.parametrize("how", ["floor", "below", "keep", "all"])
    async def test_a_step_removes_no_more_than_its_limit(
        self, broker: StreamBroker, limit: int, how: str
    ) -> None:
        """However much there is to remove, a step is bounded to the entry, and the steps together remove it all."""
        await broker.append_many(numbered("orders", 330))
        ids = ids_of(await broker.range("orders"))
        asked = {"below": {"below": EntryId.parse(ids[305])}, "keep": {"keep": 25}}.get(how, {})
        if how != "all":
            await broker.save_cursor("orders", "audit", ids[304] if how == "floor" else ids[-1])
        stays = 0 if how == "all" else 25

        more, removed = True, 0
        while more:
            step = await broker.removal.trim("orders", limit=limit, **asked)  # type: ignore[arg-type]
            assert 0 < step.removed <= limit
            removed, more = removed + step.removed, step.more
            assert more == (removed < 330 - stays)
        assert ids_of(await broker.range("orders")) == (ids[-stays:] if stays else [])

    @pytest.mark.covers("GC-5")
    async def test_gaps_are_no_hindrance(self, broker: StreamBroker) -> None:
        """Entries that were removed one by one before count for nothing."""
        await broker.append_many(numbered("orders", 250))
        ids = ids_of(await broker.range("orders"))
        await broker.delete("orders", parsed(ids[::2]))
        await broker.save_cursor("orders", "audit", ids[199])

        assert (await broker.removal.trim("orders")).removed == 100
        assert ids_of(await broker.range("orders")) == ids[201::2]

    async def test_trimming_nothing_is_no_error(self, broker: StreamBroker) -> None:
        """A stream that does not exist, an empty one, and one whose entries are all needed."""
        assert (await broker.removal.trim("orders")).removed == 0
        await broker.create_group("orders", "billing", BEGINNING)
        trimmed = await broker.removal.trim("orders", keep=0)
        assert (trimmed.removed, trimmed.more, trimmed.held_by) == (0, False, ())
        await add(broker, "orders", 1)
        assert (await broker.removal.trim("orders", below=EntryId(1))).held_by == ()

    @pytest.mark.parametrize("wrong", [{"keep": -1}, {"limit": 0}])
    async def test_bounds_that_mean_nothing_are_refused(
        self, broker: StreamBroker, wrong: dict[str, int]
    ) -> None:
        """Fewer than no entries cannot be kept, and a step removes at least one."""
        with pytest.raises(UsageError):
            await broker.removal.trim("orders", **wrong)  # type: ignore[arg-type]

    @pytest.mark.covers("GC-1")
    @pytest.mark.parametrize("count", [0, 5, 1000, 2300])
    async def test_entries_below_an_id_are_counted(self, broker: StreamBroker, count: int) -> None:
        """To the entry, over as many steps as it takes; nothing lies below the first id of all."""
        await broker.append_many(numbered("orders", count + 1))
        last = ids_of(await broker.range("orders"))[-1]

        assert await broker.removal.count_below("orders", EntryId.parse(last)) == count
        assert await broker.removal.count_below("orders", EntryId(0)) == 0
        assert await broker.removal.count_below("nothing", EntryId.parse(last)) == 0

    # -- single entries -------------------------------------------------------------------------------------------

    @pytest.mark.covers("GC-2", "GC-3")
    async def test_a_settled_entry_goes_from_the_middle(self, broker: StreamBroker) -> None:
        """What all have settled goes though an entry before it is pending; what is pending or undelivered stays."""
        added = await deliver(broker, 3)
        await broker.acknowledge("orders", "billing", added[1:])
        added += await add(broker, "orders", 1)

        gone = await broker.removal.remove("orders", [*added, b"1-1"])

        assert gone.removed == tuple(added[1:3])
        assert gone.missing == (b"1-1",)
        assert {entry_id: [hold.name for hold in holds] for entry_id, holds in gone.held.items()} == {
            added[0]: ["billing"],
            added[3]: ["billing"],
        }
        assert ids_of(await broker.range("orders")) == [added[0], added[3]]

    @pytest.mark.covers("GC-2", "GC-3")
    async def test_every_reader_can_hold_a_single_entry(self, broker: StreamBroker) -> None:
        """Another group, a cursor before it, a relay before it, and a group that is expected: each is named."""
        added = await deliver(broker, 2)
        await broker.acknowledge("orders", "billing", added)
        await broker.create_group("orders", "idle", BEGINNING)
        await broker.save_cursor("orders", "audit", added[0])
        await broker.removal.save_relay("orders", "out", b"0-0")
        await broker.removal.register_groups("orders", ["mail"])

        held = (await broker.removal.remove("orders", added)).held

        assert {hold.name for hold in held[added[0]]} == {"idle", "out", "mail"}
        assert {hold.name for hold in held[added[1]]} == {"idle", "out", "mail", "audit"}
        assert await broker.length("orders") == 2

    @pytest.mark.covers("GC-3")
    async def test_force_removes_a_single_entry(self, broker: StreamBroker) -> None:
        """What is held goes when a person says so; what is not there cannot."""
        added = await deliver(broker, 2)

        gone = await broker.removal.remove("orders", [added[0], b"1-1"], force=True)

        assert (gone.removed, gone.missing, gone.held) == ((added[0],), (b"1-1",), {})

    async def test_many_single_entries_go_at_once(self, broker: StreamBroker) -> None:
        """More than one script takes; each is answered for, in order."""
        added = ids_of_outcomes = [
            outcome.entry_id for outcome in await broker.append_many(numbered("orders", 1200))
        ]
        wanted: list[RawId] = [entry_id for entry_id in ids_of_outcomes if entry_id is not None]
        await broker.save_cursor("orders", "audit", wanted[999])

        gone = await broker.removal.remove("orders", wanted)

        assert list(gone.removed) == added[:1000]
        assert list(gone.held) == added[1000:]

    # -- one floor for caps too -----------------------------------------------------------------------------------

    @pytest.mark.covers("EMIT-8", "GC-3")
    @pytest.mark.parametrize("reader", ["absent group", "cursor", "relay"])
    async def test_a_cap_ends_at_the_same_floor(self, broker: StreamBroker, reader: str) -> None:
        """A full stream refuses as long as a cursor, a relay or a group that is expected needs its oldest entry."""
        added = await add(broker, "orders", 2)
        if reader == "absent group":
            await broker.removal.register_groups("orders", ["mail"])
        elif reader == "cursor":
            await broker.save_cursor("orders", "audit", b"0-0")
        else:
            await broker.removal.save_relay("orders", "out", b"0-0")

        with pytest.raises(StreamFullError):
            await broker.append(entry("orders", cap=Cap(max_entries=2)))
        assert ids_of(await broker.range("orders")) == added
        await broker.append(entry("orders", cap=Cap(max_entries=2, remove_needed=True)))
        assert await broker.length("orders") == 2
