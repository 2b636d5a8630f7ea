"""Settling a delivery as failed: what is recorded, and when nothing is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import (
    FailureKey,
    FailureState,
    FailureStore,
    ListenerFailure,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import (
    AGES,
    MOMENT,
    NAMES,
    NOW,
    PassTime,
    deliver,
    parsed,
)
from penstock.testing.contracts._failing import AGAIN, FOR_GOOD, PAYLOAD, WHERE, FailureContract, claim, fail

__all__ = ["RecordingContract"]

_OTHER = replace(FOR_GOOD, listener="notify", error="no route")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def _server_time(broker: StreamBroker) -> datetime:
    return _EPOCH + timedelta(microseconds=await broker.server_time_us())


class RecordingContract(FailureContract):
    """Recording and acknowledging are one step, taken only by whoever holds the entry."""

    @pytest.mark.covers("FAIL-1")
    async def test_a_failure_is_recorded_and_the_entry_settled(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """The record has everything that is known: which message and listener, what happened, when, how often."""
        failure = ListenerFailure("charge", "error", "shop.Declined", "no funds: ✗", "Traceback …\n  ✗", AGES)
        [entry_id] = await deliver(broker, 1)
        before = await _server_time(broker)

        settled = await failures.settle("orders", "billing", "ann", entry_id, PAYLOAD, [failure])

        assert settled is Settled.DONE
        assert (await broker.pending_summary("orders", "billing")).count == 0
        key = FailureKey("orders", "billing", EntryId.parse(entry_id), "charge")
        record = await failures.get(key)
        assert record is not None
        assert (record.key, record.state, record.attempts, record.fields) == (
            key,
            FailureState.RETRYING,
            1,
            PAYLOAD,
        )
        assert (record.cause, record.error_type) == ("error", "shop.Declined")
        assert (record.error, record.traceback) == ("no funds: ✗", "Traceback …\n  ✗")
        # A server keeps whole milliseconds.
        assert before - timedelta(milliseconds=1) <= record.first_failed <= await _server_time(broker)
        assert record.last_failed == record.first_failed
        assert record.due == record.last_failed + AGES

    async def test_a_failure_without_another_attempt_is_final(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Its state says that a person decides; it is never due."""
        key = await fail(broker, FOR_GOOD)

        record = await failures.get(key)

        assert record is not None
        assert (record.state, record.due) == (FailureState.FAILED, None)
        assert await failures.due(WHERE, count=9) == []

    @pytest.mark.covers("FAIL-1")
    async def test_each_failing_listener_has_its_record(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Two listeners fail on one message: two records, each with the payload at hand."""
        key = await fail(broker, AGAIN, _OTHER)

        charge, notify = await failures.get(key), await failures.get(replace(key, listener="notify"))

        assert charge is not None
        assert notify is not None
        assert (charge.error, charge.state) == ("boom", FailureState.RETRYING)
        assert (notify.error, notify.state) == ("no route", FailureState.FAILED)
        assert charge.fields == notify.fields == PAYLOAD

    @pytest.mark.covers("FAIL-1")
    async def test_equal_failures_of_many_messages_never_merge(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Same listener, same error, same millisecond: still one record a message."""
        added = await deliver(broker, 20)
        for entry_id in added:
            await failures.settle("orders", "billing", "ann", entry_id, PAYLOAD, [FOR_GOOD])

        found = await failures.find("orders")

        assert sorted(record.key.entry_id for record in found) == parsed(added)

    @pytest.mark.parametrize("name", NAMES)
    async def test_streams_groups_and_listeners_may_have_any_name(
        self, broker: StreamBroker, failures: FailureStore, name: str
    ) -> None:
        """Names come back as they were given and do not mix with others."""
        listeners = [name, f"{name}/x", f"{name}:x", "x"]
        key = await fail(
            broker, *(replace(AGAIN, listener=one) for one in listeners), stream=name, group=name
        )

        assert sorted(record.key.listener for record in await failures.find(name)) == sorted(listeners)
        assert {retry.key for retry in await failures.due([(name, name)], count=9)} == {
            replace(key, listener=one) for one in listeners
        }
        for one in listeners:
            assert await failures.delete(replace(key, listener=one)) is True
        assert await failures.find(name) == []

    @pytest.mark.covers("FAIL-7")
    @pytest.mark.parametrize(
        "fields",
        [[b"", b""], [b"n", b"1", b"n", b"2"], [b"raw", bytes(range(256))], [b"large", b"x" * 1024 * 1024]],
        ids=["empty", "same name twice", "all bytes", "1 MiB"],
    )
    async def test_the_payload_is_kept_as_it_was(
        self, broker: StreamBroker, failures: FailureStore, fields: list[bytes]
    ) -> None:
        """Byte for byte, in order; a claim for a retry brings it along."""
        key = await fail(broker, AGAIN, fields=fields)

        record, claimed = await failures.get(key), await claim(failures, key)

        assert record is not None
        assert claimed is not None
        assert record.fields == claimed.fields == fields

    async def test_a_failure_without_payload_has_none(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """An entry that was gone when it came in is recorded without fields."""
        key = await fail(broker, FOR_GOOD, fields=None)

        record = await failures.get(key)

        assert record is not None
        assert record.fields is None

    @pytest.mark.covers("FAIL-4")
    async def test_failing_again_on_a_later_delivery_counts_the_record_up(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Attempts and last time grow, the first time stays; records of other listeners are as they were."""
        key = await fail(broker, FOR_GOOD, _OTHER)
        first = await failures.get(key)
        untouched = await failures.get(replace(key, listener="notify"))
        await pass_time(MOMENT)
        await broker.move_group("orders", "billing", BEGINNING)
        await broker.read_group("billing", "bob", ["orders"], count=1)

        again = replace(FOR_GOOD, error="boom again")
        settled = await failures.settle("orders", "billing", "bob", bytes(key.entry_id), PAYLOAD, [again])

        record = await failures.get(key)
        assert settled is Settled.DONE
        assert first is not None
        assert record is not None
        assert (record.attempts, record.error) == (2, "boom again")
        assert record.first_failed == first.first_failed
        assert record.last_failed >= first.last_failed + MOMENT
        assert await failures.get(replace(key, listener="notify")) == untouched
        assert len(await failures.find("orders")) == 2

    # -- who may --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("why", ["another's", "settled", "never delivered", "no group", "no stream"])
    async def test_an_entry_that_is_not_ours_is_not_settled(
        self, broker: StreamBroker, failures: FailureStore, why: str
    ) -> None:
        """Nothing is recorded and nothing acknowledged: whoever has it now decides."""
        [entry_id] = await deliver(broker, 1)
        stream, group = "orders", "billing"
        match why:
            case "another's":
                await broker.claim("orders", "billing", "bob", min_idle=NOW, count=1)
            case "settled":
                await broker.acknowledge("orders", "billing", [entry_id])
            case "never delivered":
                entry_id = b"1-0"
            case "no group":
                group = "nobody"
            case _:
                stream = "none"
        before = await broker.pending_summary("orders", "billing")

        settled = await failures.settle(stream, group, "ann", entry_id, PAYLOAD, [AGAIN])

        assert settled is Settled.NOT_YOURS
        assert await broker.pending_summary("orders", "billing") == before
        assert await failures.find(stream) == []
        assert await failures.due([(stream, group)], count=9) == []
        assert await broker.streams() == ["orders"]

    async def test_settling_twice_records_once(self, broker: StreamBroker, failures: FailureStore) -> None:
        """A repeated call, as after a lost reply, finds the entry settled."""
        key = await fail(broker, FOR_GOOD)

        again = await failures.settle("orders", "billing", "ann", bytes(key.entry_id), PAYLOAD, [FOR_GOOD])

        record = await failures.get(key)
        assert again is Settled.NOT_YOURS
        assert record is not None
        assert record.attempts == 1

    async def test_groups_fail_for_themselves(self, broker: StreamBroker, failures: FailureStore) -> None:
        """One message may fail in two groups: two records, each with its own payload and end."""
        key = await fail(broker, FOR_GOOD)
        await deliver(broker, 0, group="shipping")
        await failures.settle("orders", "shipping", "ann", bytes(key.entry_id), [b"x", b"y"], [FOR_GOOD])
        await failures.delete(key)

        record = await failures.get(replace(key, group="shipping"))

        assert record is not None
        assert record.fields == [b"x", b"y"]

    # -- vanished -------------------------------------------------------------------------------------------------

    async def test_a_vanished_entry_is_recorded_and_settled(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Whoever holds it: the record stands for the whole message, has no payload, and is final."""
        added = await deliver(broker, 2)
        await broker.delete("orders", parsed(added[:1]))

        assert await failures.settle_vanished("orders", "billing", added[0]) is Settled.DONE

        record = await failures.get(FailureKey("orders", "billing", EntryId.parse(added[0]), "*"))
        assert record is not None
        assert (record.cause, record.state, record.fields) == ("vanished", FailureState.FAILED, None)
        assert [one.entry_id for one in await broker.pending("orders", "billing")] == parsed(added[1:])

    @pytest.mark.parametrize("why", ["it is there", "settled", "never delivered", "no group", "no stream"])
    async def test_what_has_not_vanished_is_not_recorded_as_such(
        self, broker: StreamBroker, failures: FailureStore, why: str
    ) -> None:
        """An entry that is in the stream, or pending with nobody, stays what it is."""
        [entry_id] = await deliver(broker, 1)
        stream, group = "orders", "billing"
        match why:
            case "settled":
                await broker.acknowledge("orders", "billing", [entry_id])
                await broker.delete("orders", parsed([entry_id]))
            case "never delivered":
                entry_id = b"1-0"
            case "no group":
                group = "nobody"
            case "no stream":
                stream = "none"
            case _:
                pass
        before = await broker.pending_summary("orders", "billing")

        assert await failures.settle_vanished(stream, group, entry_id) is Settled.NOT_YOURS
        assert await broker.pending_summary("orders", "billing") == before
        assert await failures.find(stream) == []

    async def test_a_vanished_entry_may_be_settled_as_failed(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Deleted while its handler ran: the failure is recorded with the payload that was delivered."""
        [entry_id] = await deliver(broker, 1)
        await broker.delete("orders", parsed([entry_id]))

        settled = await failures.settle("orders", "billing", "ann", entry_id, PAYLOAD, [AGAIN])

        assert settled is Settled.DONE
        assert [retry.key.entry_id for retry in await failures.due(WHERE, count=9)] == parsed([entry_id])

    # -- what removes records -------------------------------------------------------------------------------------

    async def test_records_outlive_their_group(self, broker: StreamBroker, failures: FailureStore) -> None:
        """Deleting a group takes its pending list, not what is known of failures; they can still be retried."""
        key = await fail(broker, AGAIN)
        await broker.delete_group("orders", "billing")

        claimed = await claim(failures, key)

        assert claimed is not None
        assert claimed.fields == PAYLOAD

    async def test_records_go_with_their_stream(self, broker: StreamBroker, failures: FailureStore) -> None:
        """Deleting a stream forgets its failures; those of other streams stay."""
        key = await fail(broker, AGAIN, FOR_GOOD)
        other = await fail(broker, AGAIN, stream="invoices")
        await broker.delete_stream("orders")

        assert await failures.get(key) is None
        assert await failures.find("orders") == []
        assert await failures.due(WHERE, count=9) == []
        assert [retry.key for retry in await failures.due([("invoices", "billing")], count=9)] == [other]
