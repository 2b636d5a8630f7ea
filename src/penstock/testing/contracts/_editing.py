"""Editing what a failed message is run with: the original stays, and so does the memory of who did it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from penstock.streams.abc import (
    MOST_EDITS,
    Edited,
    FailureKey,
    FailureRecord,
    FailureStore,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import AGES, MOMENT, PassTime
from penstock.testing.contracts._failing import (
    AGAIN,
    FOR_GOOD,
    PAYLOAD,
    FailureContract,
    claim,
    claimed,
    fail,
    whole,
)
from penstock.testing.contracts._in_lanes import filled, open_lane, parked_ids, payload

__all__ = ["EditingContract"]

_OTHER = [b"id", b"7", b"data", b'{"total": 4}']
_NOTIFY = replace(FOR_GOOD, listener="notify")


async def _edit(store: FailureStore, key: FailureKey, fields: Sequence[bytes] = _OTHER) -> Edited:
    return await store.edit(key, fields, who="ann", why="a typo")


async def _record(store: FailureStore, key: FailureKey) -> FailureRecord:
    record = await store.get(key)
    assert record is not None
    return record


class EditingContract(FailureContract):
    """A person mends the payload, and the message is run with that."""

    @pytest.mark.covers("LEAD-7")
    async def test_a_message_is_run_with_the_edited_payload(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Only the payload changes; the entry as it was is kept, with who edited it, why, and when."""
        key = await fail(broker, FOR_GOOD)
        before = await _record(failures, key)
        began_us = await broker.server_time_us()

        assert (
            await failures.edit(key, _OTHER, who="ann é 注", why='two\nlines, "quoted" \x00') is Edited.DONE
        )

        after = await _record(failures, key)
        [edit] = after.edits
        assert replace(after, edits=()) == replace(before, fields=_OTHER, original=PAYLOAD)
        assert (edit.who, edit.why) == ("ann é 注", 'two\nlines, "quoted" \x00')
        assert began_us // 1000 <= edit.when.timestamp() * 1000 + 1
        taken = await claim(failures, key, force=True)
        assert taken is not None
        assert taken.fields == _OTHER

    @pytest.mark.covers("LEAD-7")
    async def test_the_first_payload_is_the_original_however_often_it_is_edited(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """The latest edits are told, oldest first, and no more than so many are kept."""
        key = await fail(broker, FOR_GOOD)
        for number in range(MOST_EDITS + 3):
            await failures.edit(key, [b"n", b"%d" % number], who="ann", why=str(number))

        record = await _record(failures, key)

        assert record.original == PAYLOAD
        assert record.fields == [b"n", b"%d" % (MOST_EDITS + 2)]
        assert [edit.why for edit in record.edits] == [str(number) for number in range(3, MOST_EDITS + 3)]

    @pytest.mark.covers("LEAD-7")
    async def test_of_two_who_edit_at_once_the_later_wins_and_both_are_told(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Nobody's edit is lost without a trace."""
        key = await fail(broker, FOR_GOOD)
        people = {"ann": [b"by", b"ann"], "ben": [b"by", b"ben"]}

        answers = await asyncio.gather(
            *(failures.edit(key, fields, who=who, why="") for who, fields in people.items())
        )

        record = await _record(failures, key)
        assert answers == [Edited.DONE] * 2
        assert {edit.who for edit in record.edits} == {"ann", "ben"}
        assert record.fields == people[record.edits[-1].who]
        assert record.original == PAYLOAD

    @pytest.mark.covers("LEAD-7")
    async def test_all_records_of_a_message_share_the_payload(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Editing under one listener's name edits it for the others, in that group and no other."""
        key = await fail(broker, FOR_GOOD, _NOTIFY)
        other = await fail(broker, FOR_GOOD, group="shipping")

        assert await _edit(failures, key) is Edited.DONE

        assert (await _record(failures, replace(key, listener="notify"))).fields == _OTHER
        assert (await _record(failures, other)).fields == PAYLOAD
        [found] = await failures.find("orders", "billing", listener="notify")
        assert (found.fields, found.original, [edit.who for edit in found.edits]) == (None, None, ["ann"])

    @pytest.mark.covers("LEAD-7")
    async def test_what_somebody_runs_is_not_edited(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Not under the name of another listener either; once the claim ended, it can be."""
        key = await fail(broker, AGAIN, _NOTIFY)
        running = await claimed(failures, key)

        assert await _edit(failures, key) is Edited.BUSY
        assert await _edit(failures, replace(key, listener="notify")) is Edited.BUSY
        assert (await _record(failures, key)).edits == ()
        assert (await _record(failures, key)).fields == PAYLOAD

        assert await failures.fail_retry(running, FOR_GOOD) is Settled.DONE
        assert await _edit(failures, key) is Edited.DONE

        again = await claim(failures, key, "t2", visibility=timedelta(milliseconds=1), force=True)
        assert again is not None
        await pass_time(MOMENT)
        assert await _edit(failures, key, PAYLOAD) is Edited.DONE

    async def test_there_must_be_something_to_edit(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """No record, and a record without a payload, are told apart; neither becomes one that has been edited."""
        empty = await fail(broker, whole(FOR_GOOD), fields=None)

        assert await _edit(failures, empty) is Edited.EMPTY
        assert await _edit(failures, replace(empty, listener="nobody")) is Edited.GONE
        assert await _edit(failures, replace(empty, stream="none")) is Edited.GONE

        assert (await _record(failures, empty)).edits == ()
        assert await failures.get(replace(empty, stream="none")) is None
        assert await broker.streams() == ["orders"]

    async def test_an_edit_ends_with_the_last_record(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """The records of listeners that fail with it keep it; what fails anew later knows nothing of it."""
        key = await fail(broker, whole(AGAIN))
        await _edit(failures, key)
        taken = await claimed(failures, key)
        assert await failures.split_retry(taken, [FOR_GOOD, _NOTIFY]) is Settled.DONE

        charge = replace(key, listener="charge")
        record = await _record(failures, charge)
        assert (record.fields, record.original, len(record.edits)) == (_OTHER, PAYLOAD, 1)

        for listener in ("charge", "notify"):
            assert await failures.delete(replace(key, listener=listener)) is True
        assert await failures.groups_of("orders", key.entry_id) == []
        assert await failures.enqueue("orders", "billing", key.entry_id, PAYLOAD) is True
        record = await _record(failures, key)
        assert (record.fields, record.original, record.edits) == (PAYLOAD, None, ())

    @pytest.mark.covers("LEAD-7")
    async def test_a_parked_event_is_edited_in_its_place(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """It keeps its place in the line; unparked, it is handled with the new payload, before those behind it."""
        lane = await open_lane(broker)
        first, *others = await filled(broker, lane, behind=2)
        [record, *_] = await failures.find("orders", "billing", listener="charge")

        assert await _edit(failures, record.key) is Edited.DONE

        assert await parked_ids(broker, lane) == [first, *others]
        await broker.lanes.unpark("orders", "billing", "k")
        ran: list[list[bytes] | None] = []
        while (event := await broker.lanes.take_parked(lane, "k")) is not None:
            ran.append(event.fields)
            assert await broker.lanes.finish_parked(lane, "k", event.entry_id) is Settled.DONE
        assert ran == [_OTHER, payload(1), payload(2)]
        assert await failures.find("orders") == []

    @pytest.mark.covers("LEAD-7")
    async def test_what_is_being_unparked_is_not_edited(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Its owner may be running it; when it failed again it can be edited."""
        lane = await open_lane(broker)
        await filled(broker, lane)
        [record] = await failures.find("orders", "billing")
        await broker.lanes.unpark("orders", "billing", "k")

        assert await _edit(failures, record.key) is Edited.BUSY
        taken = await broker.lanes.take_parked(lane, "k")
        assert taken is not None
        assert taken.fields == payload(0)
        assert await _edit(failures, record.key) is Edited.BUSY

        await broker.lanes.fail_parked(lane, "k", taken.entry_id, [FOR_GOOD])
        assert await _edit(failures, record.key) is Edited.DONE

    async def test_a_message_that_fails_anew_stays_edited(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """A failure that is recorded on top of it brings the entry's own payload, which replaces nothing."""
        key = await fail(broker, AGAIN)
        await _edit(failures, key)
        taken = await claimed(failures, key)
        await failures.extend_retry(taken, visibility=AGES)
        assert await failures.fail_retry(taken, AGAIN) is Settled.DONE

        again = await claimed(failures, key, "t2")
        assert (again.attempts, again.fields) == (3, _OTHER)
