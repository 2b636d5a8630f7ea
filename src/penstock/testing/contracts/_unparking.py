"""Unparking: the owner is asked, takes the first event of the key, and finishes or fails it, one after the other."""

from dataclasses import replace

import pytest

from penstock.position import EntryId
from penstock.streams.abc import FailureState, Lane, Lease, Parked, ParkedEvent, Settled, StreamBroker, Tally
from penstock.testing.contracts._common import MOMENT, Contract, PassTime, deliver
from penstock.testing.contracts._in_lanes import (
    CHARGE,
    NOTIFY,
    failed_with,
    filled,
    open_lane,
    parked_ids,
    parked_records,
    payload,
)

__all__ = ["UnparkingContract"]


async def _taken(broker: StreamBroker, lane: Lane, key: str = "k") -> ParkedEvent:
    event = await broker.lanes.take_parked(lane, key)
    assert event is not None
    return event


class UnparkingContract(Contract):
    """A person asks, the owner acts, in order."""

    @pytest.mark.covers("LEAD-7")
    async def test_a_key_is_worked_off_in_order(self, broker: StreamBroker) -> None:
        """The first for the listeners that failed, those behind it for all; then the key is open, nothing is left."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=2, failures=[CHARGE, NOTIFY])
        assert await broker.lanes.unpark("orders", "billing", "k") == 3
        handled: list[ParkedEvent] = []
        while event := await broker.lanes.take_parked(lane, "k"):
            handled.append(event)
            assert await broker.lanes.finish_parked(lane, "k", event.entry_id) is Settled.DONE

        assert handled == [
            ParkedEvent(EntryId.parse(ids[0]), 2, payload(0), ("charge", "notify")),
            ParkedEvent(EntryId.parse(ids[1]), 1, payload(1), ()),
            ParkedEvent(EntryId.parse(ids[2]), 1, payload(2), ()),
        ]
        assert await broker.lanes.parked_keys("orders", "billing") == []
        assert await broker.lanes.unparking("orders", "billing") == []
        assert await broker.failures.find("orders") == []
        assert await broker.failures.tally("orders") == []
        [entry_id] = await deliver(broker)
        assert await broker.lanes.join(lane, "k", entry_id, payload(3)) is Parked.OPEN

    async def test_nothing_is_taken_unasked(self, broker: StreamBroker) -> None:
        """Neither from a key that nobody asked for nor from one where nothing waits."""
        lane = await open_lane(broker)
        await filled(broker, lane, key="a")
        await filled(broker, lane, key="b")

        assert await broker.lanes.unpark("orders", "billing", "c") == 0
        assert await broker.lanes.unpark("orders", "billing", "b") == 1
        assert await broker.lanes.unparking("orders", "billing") == ["b"]
        for key in ("a", "c"):
            assert await broker.lanes.take_parked(lane, key) is None
        assert [record.attempts for record in await parked_records(broker)] == [1, 1]

    async def test_what_is_taken_keeps_its_place(self, broker: StreamBroker) -> None:
        """An owner that dies while it handles leaves everything as it was, but for the attempt."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=1)
        await broker.lanes.unpark("orders", "billing", "k")

        assert [(await _taken(broker, lane)).attempts for _ in range(3)] == [2, 3, 4]
        assert await parked_ids(broker, lane) == ids
        await broker.leases.release(lane.lease)
        heir = await open_lane(broker, consumer="bob")
        assert (await _taken(broker, heir)).attempts == 5
        assert [record.attempts for record in await parked_records(broker)] == [5, 0]

    @pytest.mark.covers("LEAD-7")
    async def test_one_that_fails_again_stops_its_key(self, broker: StreamBroker) -> None:
        """It stays the first, with its new error; the others wait on, until somebody asks again."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=1)
        await broker.lanes.unpark("orders", "billing", "k")
        event = await _taken(broker, lane)
        failure = replace(CHARGE, error="still")

        assert await broker.lanes.fail_parked(lane, "k", event.entry_id, [failure]) is Settled.DONE
        assert await parked_ids(broker, lane) == ids
        assert await broker.lanes.unparking("orders", "billing") == []
        assert await broker.lanes.take_parked(lane, "k") is None
        record = (await parked_records(broker, ids[0]))[0]
        assert (failed_with(record), record.attempts, record.parked_key) == (failure, 2, "k")
        assert await broker.lanes.unpark("orders", "billing", "k") == 2
        assert (await _taken(broker, lane)).attempts == 3

    async def test_the_failures_are_the_records(self, broker: StreamBroker) -> None:
        """Listeners that succeed have none any more; new ones take over how often the event was tried."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=1, failures=[CHARGE, NOTIFY])
        await broker.lanes.unpark("orders", "billing", "k")
        await _taken(broker, lane)
        await broker.lanes.fail_parked(lane, "k", EntryId.parse(ids[0]), [NOTIFY])

        [record] = await parked_records(broker, ids[0])
        assert (record.key.listener, record.attempts) == ("notify", 2)
        await broker.lanes.discard_parked("orders", "billing", "k", EntryId.parse(ids[0]))
        await broker.lanes.unpark("orders", "billing", "k")
        for _ in range(2):
            await _taken(broker, lane)
        await broker.lanes.fail_parked(lane, "k", EntryId.parse(ids[1]), [CHARGE])
        [record] = await parked_records(broker)
        assert (record.key.listener, record.attempts, record.state) == ("charge", 2, FailureState.PARKED)
        [event] = await broker.lanes.parked("orders", "billing", "k")
        assert event == ParkedEvent(EntryId.parse(ids[1]), 2, payload(1), ("charge",))
        assert await broker.failures.tally("orders") == [Tally("orders", "billing", 0, 0, 1)]

    async def test_events_that_come_meanwhile_wait_behind(self, broker: StreamBroker) -> None:
        """While a key is worked off, its order holds: what joins is taken after all that waited."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane)
        await broker.lanes.unpark("orders", "billing", "k")
        event = await _taken(broker, lane)
        [later] = await deliver(broker)
        assert await broker.lanes.join(lane, "k", later, payload(1)) is Parked.DONE
        await broker.lanes.finish_parked(lane, "k", event.entry_id)

        assert [bytes(event.entry_id), later] == [*ids, bytes((await _taken(broker, lane)).entry_id)]
        assert await broker.lanes.unparking("orders", "billing") == ["k"]

    async def test_only_the_first_event_is_finished(self, broker: StreamBroker) -> None:
        """Another one of the key, one of another key, and one that was finished already are not."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=1)
        [other] = await filled(broker, lane, key="other")
        await broker.lanes.unpark("orders", "billing", "k")

        for entry_id in (ids[1], other, b"1-1"):
            place = EntryId.parse(entry_id)
            assert await broker.lanes.finish_parked(lane, "k", place) is Settled.NOT_YOURS
            assert await broker.lanes.fail_parked(lane, "k", place, [CHARGE]) is Settled.NOT_YOURS
        assert await broker.lanes.finish_parked(lane, "k", EntryId.parse(ids[0])) is Settled.DONE
        assert await broker.lanes.finish_parked(lane, "k", EntryId.parse(ids[0])) is Settled.NOT_YOURS
        assert await parked_ids(broker, lane) == [ids[1]]
        assert await broker.lanes.unparking("orders", "billing") == ["k"]

    @pytest.mark.covers("GROUP-5")
    @pytest.mark.parametrize("ending", ["expired", "revoked", "wrong token"])
    async def test_a_former_owner_finishes_nothing(
        self, broker: StreamBroker, pass_time: PassTime, ending: str
    ) -> None:
        """What it took is still there for the next owner, attempts and all."""
        lane = await open_lane(broker, life=10 * MOMENT)
        ids = await filled(broker, lane, behind=1)
        await broker.lanes.unpark("orders", "billing", "k")
        event = await _taken(broker, lane)
        match ending:
            case "expired":
                await pass_time(10 * MOMENT)
            case "revoked":
                await broker.leases.revoke(lane.lease.name, stream="orders")
            case _:
                lease = lane.lease
                lane = replace(lane, lease=Lease(lease.name, "bob", lease.fence, "orders"))

        assert await broker.lanes.take_parked(lane, "k") is None
        assert await broker.lanes.finish_parked(lane, "k", event.entry_id) is Settled.NOT_YOURS
        assert await broker.lanes.fail_parked(lane, "k", event.entry_id, [NOTIFY]) is Settled.NOT_YOURS
        assert await parked_ids(broker, lane) == ids
        assert await broker.lanes.unparking("orders", "billing") == ["k"]
        assert [record.attempts for record in await parked_records(broker)] == [2, 0]

    async def test_discarding_one_event(self, broker: StreamBroker) -> None:
        """It and its records are gone; the others wait on, and the one that was being handled is not finished."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=2, failures=[CHARGE, NOTIFY])
        await broker.lanes.unpark("orders", "billing", "k")
        event = await _taken(broker, lane)

        assert await broker.lanes.discard_parked("orders", "billing", "k", event.entry_id) == 1
        assert await broker.lanes.discard_parked("orders", "billing", "k", event.entry_id) == 0
        assert await broker.lanes.discard_parked("orders", "billing", "other", EntryId.parse(ids[1])) == 0
        assert await broker.lanes.finish_parked(lane, "k", event.entry_id) is Settled.NOT_YOURS
        assert await parked_ids(broker, lane) == ids[1:]
        assert len(await parked_records(broker)) == 2

    async def test_discarding_a_key(self, broker: StreamBroker) -> None:
        """All of it is gone, however much it was, and the key is open."""
        lane = await open_lane(broker)
        await filled(broker, lane, behind=250)
        kept = await filled(broker, lane, key="other")
        await broker.lanes.unpark("orders", "billing", "k")

        assert await broker.lanes.discard_parked("orders", "billing", "k") == 251
        assert await broker.lanes.discard_parked("orders", "billing", "k") == 0
        assert await parked_ids(broker, lane) == []
        assert await broker.lanes.unparking("orders", "billing") == []
        assert await parked_ids(broker, lane, "other") == kept
        assert await broker.failures.tally("orders") == [Tally("orders", "billing", 0, 0, 1)]
        [entry_id] = await deliver(broker)
        assert await broker.lanes.join(lane, "k", entry_id, payload(1)) is Parked.OPEN

    async def test_records_of_others_stay(self, broker: StreamBroker) -> None:
        """A listener's failed record of the same event, from before it was parked, is not the line's business."""
        lane = await open_lane(broker)
        [entry_id] = await deliver(broker)
        await broker.lanes.settle(lane, entry_id, payload(0), [NOTIFY])
        await broker.move_group("orders", "billing", EntryId.parse(entry_id).previous())
        await broker.read_group("billing", "ann", ["orders"], count=10)
        await broker.lanes.park(lane, "k", entry_id, payload(0), [CHARGE])
        await broker.lanes.unpark("orders", "billing", "k")
        event = await _taken(broker, lane)
        assert event.listeners == ("charge",)
        await broker.lanes.finish_parked(lane, "k", event.entry_id)

        [record] = await broker.failures.find("orders")
        assert (record.key.listener, record.state, record.parked_key) == ("notify", FailureState.FAILED, None)
        shown = await broker.failures.get(record.key)
        assert shown is not None
        assert shown.fields == payload(0)
        await broker.move_group("orders", "billing", event.entry_id.previous())
        await broker.read_group("billing", "ann", ["orders"], count=10)
        await broker.lanes.park(lane, "other", entry_id, payload(0), [CHARGE])
        assert await parked_ids(broker, lane, "other") == [entry_id]
        assert await broker.lanes.discard_parked("orders", "billing", "other") == 1
        assert await broker.failures.delete(record.key)
        assert await broker.failures.tally("orders") == []
