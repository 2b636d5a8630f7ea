"""Parking: an event that failed waits under its key with its payload, and later ones of the key wait behind it."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import (
    FailureKey,
    FailureState,
    Parked,
    ParkedEvent,
    ParkedKey,
    Settled,
    StreamBroker,
    Tally,
)
from penstock.testing.contracts._common import AGES, MOMENT, Contract, PassTime, deliver, parsed
from penstock.testing.contracts._failing import AGAIN, fail
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

__all__ = ["ParkingContract"]

_KEYS = ["", " ", "a:b", "a%3Ab", "{k}", "}{", "k", "ключ 鍵", "é", "*", "a/b\n\x00c"]


class ParkingContract(Contract):
    """What waits, where, and how it is found."""

    # -- putting aside --------------------------------------------------------------------------------------------

    @pytest.mark.covers("LEAD-7")
    async def test_a_parked_event_is_settled_and_waits_with_its_payload(self, broker: StreamBroker) -> None:
        """It is pending no more, and everything about it is kept under its key."""
        lane = await open_lane(broker)
        [entry_id] = await filled(broker, lane, failures=[NOTIFY, CHARGE])

        assert (await broker.pending_summary("orders", "billing")).count == 0
        assert await broker.lanes.parked("orders", "billing", "k") == [
            ParkedEvent(EntryId.parse(entry_id), 1, payload(0), ("charge", "notify"))
        ]

    async def test_a_parked_event_outlives_its_entry(self, broker: StreamBroker) -> None:
        """What was removed from the stream still waits."""
        lane = await open_lane(broker)
        [entry_id] = await filled(broker, lane)
        await broker.delete("orders", parsed([entry_id]))

        [event] = await broker.lanes.parked("orders", "billing", "k")
        assert event.fields == payload(0)

    @pytest.mark.covers("LEAD-7")
    async def test_later_events_of_the_key_wait_behind(self, broker: StreamBroker) -> None:
        """In the order in which they came, settled too; they were not handled, so all listeners will run."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=2)

        assert await broker.lanes.parked("orders", "billing", "k") == [
            ParkedEvent(EntryId.parse(ids[0]), 1, payload(0), ("charge",)),
            ParkedEvent(EntryId.parse(ids[1]), 0, payload(1), ()),
            ParkedEvent(EntryId.parse(ids[2]), 0, payload(2), ()),
        ]
        assert (await broker.pending_summary("orders", "billing")).count == 0

    @pytest.mark.covers("LEAD-7")
    async def test_an_open_key_holds_nothing_up(self, broker: StreamBroker) -> None:
        """Only the keys with something parked do: others are to be handled, and nothing is changed."""
        lane = await open_lane(broker)
        await filled(broker, lane)
        [entry_id] = await deliver(broker)

        for key in ("", "other"):
            assert await broker.lanes.join(lane, key, entry_id, payload(1)) is Parked.OPEN
        assert (await broker.pending_summary("orders", "billing")).count == 1
        assert await broker.failures.find("orders", listener="*") == []

    async def test_keys_groups_and_streams_are_apart(self, broker: StreamBroker) -> None:
        """What waits under one key of one group of one stream waits nowhere else, whatever the key is."""
        places = [("orders", "billing"), ("orders", "shipping"), ("invoices", "billing")]
        lanes = [await open_lane(broker, stream=stream, group=group) for stream, group in places]
        ids = {
            (lane.stream, lane.group, key): await filled(broker, lane, key=key, behind=1)
            for lane in lanes
            for key in _KEYS
        }

        for (stream, group, key), waiting in ids.items():
            found = await broker.lanes.parked(stream, group, key)
            assert [bytes(event.entry_id) for event in found] == waiting
        for stream, group in places:
            found_keys = [parked.key for parked in await broker.lanes.parked_keys(stream, group)]
            assert found_keys == sorted(_KEYS)

    async def test_a_rewound_group_parks_nothing_twice(self, broker: StreamBroker) -> None:
        """What is delivered again keeps its place in the line, whether it joins or fails again."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=2)
        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "ann", ["orders"], count=10)

        for entry_id in reversed(ids):
            assert await broker.lanes.join(lane, "k", entry_id, payload(9)) is Parked.DONE
        assert await parked_ids(broker, lane) == ids
        assert len(await parked_records(broker)) == 3
        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "ann", ["orders"], count=10)
        assert await broker.lanes.park(lane, "k", ids[1], payload(9), [NOTIFY]) is Settled.DONE
        assert await parked_ids(broker, lane) == ids
        [_, event, _] = await broker.lanes.parked("orders", "billing", "k")
        assert event.fields == payload(1)

    # -- the records ----------------------------------------------------------------------------------------------

    @pytest.mark.covers("LEAD-7")
    async def test_what_waits_is_among_the_failures(self, broker: StreamBroker) -> None:
        """In a state of its own, with the key; one that only stands behind another says so."""
        lane = await open_lane(broker)
        first, second = await filled(broker, lane, behind=1, failures=[CHARGE, NOTIFY])
        charge, notify, behind = await parked_records(broker)

        assert [record.key for record in (charge, notify, behind)] == [
            FailureKey("orders", "billing", EntryId.parse(first), "charge"),
            FailureKey("orders", "billing", EntryId.parse(first), "notify"),
            FailureKey("orders", "billing", EntryId.parse(second), "*"),
        ]
        assert [failed_with(charge), failed_with(notify)] == [CHARGE, NOTIFY]
        assert (behind.cause, behind.error_type, behind.attempts) == ("behind", "", 0)
        for record in (charge, notify, behind):
            assert (record.state, record.parked_key, record.due) == (FailureState.PARKED, "k", None)
            shown = await broker.failures.get(record.key)
            assert shown is not None
            assert (shown.state, shown.parked_key) == (FailureState.PARKED, "k")
            assert shown.fields == payload(1 if record is behind else 0)
        assert await broker.failures.find("orders", state=FailureState.FAILED) == []
        assert await broker.failures.tally("orders") == [Tally("orders", "billing", 0, 0, 3)]

    async def test_states_are_counted_apart(self, broker: StreamBroker) -> None:
        """Retrying, failed, parked."""
        lane = await open_lane(broker)
        await fail(broker, AGAIN)
        await fail(broker, CHARGE)
        await filled(broker, lane, behind=1)

        assert await broker.failures.tally("orders") == [Tally("orders", "billing", 1, 1, 2)]

    async def test_nothing_retries_what_is_parked(self, broker: StreamBroker) -> None:
        """It is never due, and a person's retry does not take it out of its place either."""
        lane = await open_lane(broker)
        await filled(broker, lane, behind=1)

        assert await broker.failures.due([("orders", "billing")], count=10) == []
        assert await broker.failures.next_due([("orders", "billing")]) is None
        for record in await parked_records(broker):
            for force in (False, True):
                claim = await broker.failures.claim_retry(
                    record.key, token="t", visibility=AGES, max_attempts=99, force=force
                )
                assert claim is None
        assert [record.attempts for record in await parked_records(broker)] == [1, 0]

    async def test_parking_ends_the_retries_of_an_event(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """One left from before the group was ordered, and one that runs at this moment, are parked with it."""
        lane = await open_lane(broker)
        key = await fail(broker, AGAIN)
        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "ann", ["orders"], count=10)
        claim = await broker.failures.claim_retry(key, token="t", visibility=AGES, max_attempts=9)
        assert claim is not None
        await broker.lanes.park(lane, "k", bytes(key.entry_id), payload(0), [CHARGE])

        assert await broker.failures.succeed_retry(claim) is Settled.NOT_YOURS
        assert await broker.failures.fail_retry(claim, AGAIN) is Settled.NOT_YOURS
        await pass_time(MOMENT)
        assert await broker.failures.next_due([("orders", "billing")]) is None
        [record] = await parked_records(broker)
        assert (record.key, record.attempts) == (key, 3)

    async def test_what_is_parked_stays_parked_when_it_fails_elsewhere(self, broker: StreamBroker) -> None:
        """A group that was set back and is not ordered any more counts the failure; the event stays in its line."""
        lane = await open_lane(broker)
        [entry_id] = await filled(broker, lane)
        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "ann", ["orders"], count=10)
        await broker.failures.settle("orders", "billing", "ann", entry_id, payload(0), [AGAIN])

        [record] = await broker.failures.find("orders")
        assert (record.state, record.attempts, record.due) == (FailureState.PARKED, 2, None)
        assert await broker.failures.due([("orders", "billing")], count=10) == []
        assert await parked_ids(broker, lane) == [entry_id]

    async def test_deleting_the_records_takes_the_event_out(self, broker: StreamBroker) -> None:
        """With its last record an event leaves its line, and with the last event its key is open."""
        lane = await open_lane(broker)
        first, second = await filled(broker, lane, behind=1, failures=[CHARGE, NOTIFY])
        charge, notify, behind = await parked_records(broker)
        assert await broker.failures.delete(charge.key)

        assert await parked_ids(broker, lane) == [first, second]
        [event, _] = await broker.lanes.parked("orders", "billing", "k")
        assert event.listeners == ("notify",)
        assert await broker.failures.delete(notify.key)
        assert not await broker.failures.delete(notify.key)
        assert await parked_ids(broker, lane) == [second]
        await broker.lanes.unpark("orders", "billing", "k")
        assert await broker.failures.delete(behind.key)
        assert await broker.lanes.parked_keys("orders", "billing") == []
        assert await broker.lanes.unparking("orders", "billing") == []
        assert await broker.failures.tally("orders") == []
        [entry_id] = await deliver(broker)
        assert await broker.lanes.join(lane, "k", entry_id, payload(3)) is Parked.OPEN

    # -- looking --------------------------------------------------------------------------------------------------

    async def test_parked_keys_in_one_look(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """How many events wait since when, and what the first one failed with."""
        lane = await open_lane(broker)
        before = await _now(broker)
        ids = await filled(broker, lane, key="a", behind=1)
        await pass_time(MOMENT)
        later = await _now(broker)
        await pass_time(MOMENT)
        [joined] = await deliver(broker)
        await broker.lanes.join(lane, "a", joined, payload(2))
        others = await filled(broker, lane, key="b", failures=[NOTIFY])
        await broker.lanes.unpark("orders", "billing", "b")

        first, second = await broker.lanes.parked_keys("orders", "billing")
        assert before <= first.since <= later <= second.since
        assert first == ParkedKey(
            *("orders", "billing", "a", 3, first.since, EntryId.parse(ids[0])),
            "ValueError",
            "boom",
            unparking=False,
        )
        assert second == ParkedKey(
            *("orders", "billing", "b", 1, second.since, EntryId.parse(others[0])),
            "OSError",
            "no route",
            unparking=True,
        )

    async def test_parked_keys_in_pages(self, broker: StreamBroker) -> None:
        """By key, each once, from behind the last one seen."""
        lane = await open_lane(broker)
        for key in _KEYS:
            await filled(broker, lane, key=key)
        seen: list[str] = []
        after: str | None = None
        while page := await broker.lanes.parked_keys("orders", "billing", after=after, count=3):
            seen += [parked.key for parked in page]
            after = page[-1].key

        assert seen == sorted(_KEYS)

    async def test_parked_events_in_pages(self, broker: StreamBroker) -> None:
        """In order, each once; also when the last one seen has gone meanwhile."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=6)
        seen: list[EntryId] = []
        after: EntryId | None = None
        while page := await broker.lanes.parked("orders", "billing", "k", after=after, count=2):
            seen += [event.entry_id for event in page]
            after = page[-1].entry_id
            if len(seen) == 4:
                for entry_id in seen:
                    await broker.lanes.discard_parked("orders", "billing", "k", entry_id)

        assert seen == parsed(ids)
        assert await broker.lanes.parked("orders", "billing", "k", after=seen[3], count=1) != []
        assert await broker.lanes.parked("orders", "billing", "nothing here") == []

    # -- deleting -------------------------------------------------------------------------------------------------

    async def test_a_deleted_group_leaves_what_is_parked(self, broker: StreamBroker) -> None:
        """As its failures stay: a person decides what becomes of them."""
        lane = await open_lane(broker)
        ids = await filled(broker, lane, behind=1)
        await broker.delete_group("orders", "billing")

        assert await parked_ids(broker, lane) == ids
        assert len(await parked_records(broker)) == 2
        assert await broker.lanes.discard_parked("orders", "billing", "k") == 2

    async def test_a_deleted_stream_leaves_nothing(self, broker: StreamBroker) -> None:
        """Everything that waited goes with it, and a new stream of the name begins with open keys."""
        lane = await open_lane(broker)
        for key in _KEYS:
            await filled(broker, lane, key=key, behind=1)
        await broker.lanes.unpark("orders", "billing", "k")
        await broker.delete_stream("orders")

        assert await broker.lanes.parked_keys("orders", "billing") == []
        assert await broker.lanes.unparking("orders", "billing") == []
        assert await broker.failures.tally("orders") == []
        again = await open_lane(broker)
        [entry_id] = await deliver(broker)
        for key in _KEYS:
            assert await parked_ids(broker, again, key) == []
            assert await broker.lanes.join(again, key, entry_id, payload(1)) is Parked.OPEN


async def _now(broker: StreamBroker) -> datetime:
    """The server's time in whole milliseconds, as times in records are kept."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=await broker.server_time_us() // 1000)
