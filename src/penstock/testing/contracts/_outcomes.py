"""How retries end: success, another failure, given back, too late; and how long the payload lives."""

from dataclasses import replace

import pytest

from penstock.streams.abc import FailureState, FailureStore, ListenerFailure, Settled, StreamBroker
from penstock.testing.contracts._common import AGES, MOMENT, NOW, PassTime, deliver
from penstock.testing.contracts._failing import (
    AGAIN,
    FOR_GOOD,
    PAYLOAD,
    WHERE,
    FailureContract,
    claimed,
    due_keys,
    fail,
    whole,
)

__all__ = ["OutcomesContract"]

_NOTIFY = replace(AGAIN, listener="notify")


class OutcomesContract(FailureContract):
    """What a retry came to is written by whoever holds it, and by nobody else."""

    @pytest.mark.covers("FAIL-4")
    async def test_success_removes_the_record(self, broker: StreamBroker, failures: FailureStore) -> None:
        """Once; the same claim finds nothing afterwards."""
        key = await fail(broker, AGAIN)
        taken = await claimed(failures, key)

        assert await failures.succeed_retry(taken) is Settled.DONE
        assert await failures.get(key) is None
        assert await failures.find("orders") == []
        assert await failures.succeed_retry(taken) is Settled.NOT_YOURS

    @pytest.mark.covers("FAIL-4")
    async def test_failing_again_updates_the_record(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """The new error, the last time, the next due time; when it first failed stays. The attempt was counted."""
        key = await fail(broker, AGAIN)
        first = await failures.get(key)
        await pass_time(MOMENT)
        taken = await claimed(failures, key)

        new = ListenerFailure("charge", "error", "KeyError", "other", "Traceback: other", due_in=AGES)
        assert await failures.fail_retry(taken, new) is Settled.DONE

        record = await failures.get(key)
        assert first is not None
        assert record is not None
        assert (record.error_type, record.error, record.traceback) == (
            "KeyError",
            "other",
            "Traceback: other",
        )
        assert (record.attempts, record.state, record.fields) == (2, FailureState.RETRYING, PAYLOAD)
        assert record.first_failed == first.first_failed
        assert record.last_failed >= first.last_failed + MOMENT
        assert record.due == record.last_failed + AGES
        assert await due_keys(failures) == []

    async def test_failing_for_good_ends_the_retries(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Without a due time the state is failed, and the payload stays for a person's retry."""
        key = await fail(broker, AGAIN)

        assert await failures.fail_retry(await claimed(failures, key), FOR_GOOD) is Settled.DONE

        record = await failures.get(key)
        assert record is not None
        assert (record.state, record.due, record.fields) == (FailureState.FAILED, None, PAYLOAD)

    async def test_a_retry_due_again_runs_again(self, broker: StreamBroker, failures: FailureStore) -> None:
        """Fails twice, succeeds on the third run: each claim counts one more."""
        key = await fail(broker, AGAIN)
        taken = await claimed(failures, key)
        await failures.fail_retry(taken, AGAIN)

        third = await claimed(failures, key, "t2")

        assert (taken.attempts, third.attempts) == (2, 3)
        assert await failures.succeed_retry(third) is Settled.DONE

    async def test_a_retry_given_back_is_due_at_once(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """As if it had not been claimed: the next claim counts the same attempt."""
        key = await fail(broker, AGAIN)
        taken = await claimed(failures, key)

        assert await failures.return_retry(taken) is Settled.DONE

        assert await due_keys(failures) == [key]
        assert (await claimed(failures, key, "t2")).attempts == taken.attempts == 2
        assert await failures.return_retry(taken) is Settled.NOT_YOURS

    async def test_the_listeners_that_failed_take_the_whole_messages_place(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """A poison message is retried as a whole; then each failing listener has a record of its own, payload kept."""
        key = await fail(broker, whole(AGAIN))
        taken = await claimed(failures, key)

        split = await failures.split_retry(taken, [FOR_GOOD, replace(_NOTIFY, due_in=NOW)])

        assert split is Settled.DONE
        assert await failures.get(key) is None
        charge = await failures.get(replace(key, listener="charge"))
        assert charge is not None
        assert (charge.state, charge.error, charge.fields) == (FailureState.FAILED, "boom", PAYLOAD)
        assert await due_keys(failures) == [replace(key, listener="notify")]
        assert len(await failures.find("orders")) == 2

    async def test_a_whole_message_without_failing_listeners_is_done(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Every listener succeeded: the record is removed."""
        key = await fail(broker, whole(AGAIN))

        assert await failures.split_retry(await claimed(failures, key), []) is Settled.DONE

        assert await failures.find("orders") == []
        assert await due_keys(failures) == []

    async def test_a_lost_claim_changes_nothing(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Its visibility ended and another took over: whatever the first one has to say comes too late."""
        key = await fail(broker, whole(AGAIN))
        late = await claimed(failures, key, visibility=MOMENT)
        await pass_time(2 * MOMENT)
        present = await claimed(failures, key, "t2")
        before = await failures.get(key)

        for answer in (
            failures.extend_retry(late, visibility=AGES),
            failures.succeed_retry(late),
            failures.fail_retry(late, FOR_GOOD),
            failures.split_retry(late, [FOR_GOOD]),
            failures.split_retry(late, []),
            failures.return_retry(late),
        ):
            assert await answer is Settled.NOT_YOURS
        assert await failures.get(key) == before
        assert len(await failures.find("orders")) == 1
        assert await failures.succeed_retry(present) is Settled.DONE

    @pytest.mark.covers("FAIL-5")
    async def test_a_record_deleted_while_it_runs_stays_deleted(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """A person's delete wins: the running claim is told so, and nothing is resurrected."""
        key = await fail(broker, whole(AGAIN))
        taken = await claimed(failures, key)
        assert await failures.delete(key) is True

        for answer in (
            failures.extend_retry(taken, visibility=AGES),
            failures.fail_retry(taken, AGAIN),
            failures.split_retry(taken, [AGAIN]),
            failures.return_retry(taken),
            failures.succeed_retry(taken),
        ):
            assert await answer is Settled.NOT_YOURS
        assert await failures.get(key) is None
        assert await failures.find("orders") == []
        assert await due_keys(failures) == []
        assert await failures.next_due(WHERE) is None

    # -- the payload ----------------------------------------------------------------------------------------------

    @pytest.mark.covers("FAIL-7")
    async def test_a_retry_needs_no_stream_entry(self, broker: StreamBroker, failures: FailureStore) -> None:
        """The entry was deleted: the retry runs from its record, fails once more, and succeeds."""
        key = await fail(broker, AGAIN)
        await broker.delete("orders", [key.entry_id])

        taken = await claimed(failures, key)
        assert taken.fields == PAYLOAD
        assert await failures.fail_retry(taken, AGAIN) is Settled.DONE
        again = await claimed(failures, key, "t2")
        assert again.fields == PAYLOAD
        assert await failures.succeed_retry(again) is Settled.DONE

    async def test_the_payload_lives_until_the_last_record_is_gone(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """One listener succeeds, one is deleted, the third still has the payload; after it, nothing is left."""
        key = await fail(broker, AGAIN, _NOTIFY, replace(AGAIN, listener="third"))
        await failures.succeed_retry(await claimed(failures, key))
        await failures.delete(replace(key, listener="notify"))

        last = await claimed(failures, replace(key, listener="third"))
        assert last.fields == PAYLOAD
        await failures.succeed_retry(last)

        # A later failure of the same message that brings no payload finds none.
        await broker.move_group("orders", "billing", key.entry_id.previous())
        await deliver(broker, 0)
        await failures.settle("orders", "billing", "ann", bytes(key.entry_id), None, [FOR_GOOD])
        record = await failures.get(key)
        assert record is not None
        assert (record.fields, record.attempts) == (None, 1)
