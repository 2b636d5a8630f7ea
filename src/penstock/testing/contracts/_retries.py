"""Retries: due at their time, run by one at a time, from their records."""

import asyncio
from dataclasses import replace

import pytest

from penstock.position import EntryId
from penstock.streams.abc import (
    FailureState,
    FailureStore,
    ListenerFailure,
    RetryClaim,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import AGES, MOMENT, NOW, PassTime
from penstock.testing.contracts._failing import (
    AGAIN,
    FOR_GOOD,
    PAYLOAD,
    WHERE,
    FailureContract,
    claim,
    claimed,
    due_keys,
    fail,
)

__all__ = ["RetriesContract"]

_LATER = replace(AGAIN, due_in=AGES)


class RetriesContract(FailureContract):
    """A due retry is run by exactly one, from its record, as often as its attempts allow."""

    # -- when -----------------------------------------------------------------------------------------------------

    @pytest.mark.covers("FAIL-9")
    async def test_a_retry_is_due_when_its_time_has_come(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Not before; and it cannot be claimed before, either."""
        later = await fail(broker, _LATER)
        assert await due_keys(failures) == []
        assert await claim(failures, later) is None

        soon = await fail(broker, replace(AGAIN, due_in=MOMENT))
        await pass_time(2 * MOMENT)

        assert await due_keys(failures) == [soon]

    async def test_the_oldest_due_comes_first(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """By due time, not by when it failed or where it stood; at most so many."""
        delays = (3, 1, 2)
        keys = [await fail(broker, replace(AGAIN, due_in=number * 10 * MOMENT)) for number in delays]
        await pass_time(31 * MOMENT)

        assert await due_keys(failures) == [keys[1], keys[2], keys[0]]
        assert await due_keys(failures, count=2) == [keys[1], keys[2]]

    async def test_each_group_shows_so_many_that_are_due(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """The bound holds for each stream and group; those not asked for are not shown."""
        places = [("orders", "billing"), ("orders", "shipping"), ("invoices", "billing")]
        for stream, group in places:
            for _ in range(3):
                await fail(broker, AGAIN, stream=stream, group=group)
                await broker.read_group(group, "ann", [stream], count=99)

        found = [retry.key for retry in await failures.due(places[:2], count=2)]

        assert sorted((key.stream, key.group) for key in found) == [places[0]] * 2 + [places[1]] * 2
        assert await failures.due([], count=2) == []

    async def test_the_next_due_time_is_known(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """``None`` without retries, then the time until the earliest, zero when it is due."""
        both = [*WHERE, ("invoices", "billing")]
        await fail(broker, FOR_GOOD)
        assert await failures.next_due(both) is None

        await fail(broker, _LATER)
        await fail(broker, replace(AGAIN, due_in=2 * AGES), stream="invoices")
        wait = await failures.next_due(both)
        assert wait is not None
        assert AGES / 2 < wait <= AGES
        assert (await failures.next_due(both[1:]) or NOW) > AGES

        await fail(broker, AGAIN)
        assert await failures.next_due(both) == NOW
        assert await failures.next_due([]) is None

    # -- claiming -------------------------------------------------------------------------------------------------

    async def test_a_claim_counts_the_attempt_and_hides_the_retry(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Before the handler starts: so an attempt that kills its process has been counted."""
        key = await fail(broker, AGAIN)

        taken = await claim(failures, key)

        assert taken == RetryClaim(key, "t1", 2, PAYLOAD)
        record = await failures.get(key)
        assert record is not None
        assert (record.attempts, record.state) == (2, FailureState.RETRYING)
        assert await due_keys(failures) == []
        assert await claim(failures, key, "t2") is None

    async def test_one_of_a_hundred_gets_a_due_retry(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """However many claim at the same time, and the attempt is counted once."""
        key = await fail(broker, AGAIN)

        answers = await asyncio.gather(*(claim(failures, key, f"t{number}") for number in range(100)))

        [winner] = [answer for answer in answers if answer is not None]
        assert winner.attempts == 2
        assert await failures.succeed_retry(winner) is Settled.DONE

    async def test_a_retry_that_was_not_finished_is_due_again(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """When the visibility is over: its process has died, and the next claim counts one more."""
        key = await fail(broker, AGAIN)
        await claimed(failures, key, visibility=MOMENT)
        await pass_time(2 * MOMENT)

        assert await due_keys(failures) == [key]
        assert (await claimed(failures, key, "t2")).attempts == 3

    async def test_used_up_attempts_fail_without_running(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """A message that kills every process ends here: failed, not claimed, no attempt counted."""
        key = await fail(broker, AGAIN)
        await claim(failures, key, visibility=MOMENT, max_attempts=2)
        await pass_time(2 * MOMENT)

        assert await claim(failures, key, "t2", max_attempts=2) is None

        record = await failures.get(key)
        assert record is not None
        assert (record.state, record.attempts, record.due) == (FailureState.FAILED, 2, None)
        assert await due_keys(failures) == []

    async def test_what_is_not_there_cannot_beclaimed(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Unknown messages, listeners, groups, streams; and what has failed for good."""
        key = await fail(broker, FOR_GOOD)
        unknown = [
            replace(key, listener="nobody"),
            replace(key, group="none"),
            replace(key, stream="none"),
            replace(key, entry_id=EntryId(1)),
        ]

        for one in (key, *unknown):
            assert await claim(failures, one) is None
        for one in unknown:
            assert await claim(failures, one, force=True) is None
            assert await failures.get(one) is None
        assert await broker.streams() == ["orders"]

    @pytest.mark.parametrize("failure", [_LATER, FOR_GOOD, AGAIN], ids=["not due", "failed", "due"])
    async def test_a_person_may_claim_at_any_time(
        self, broker: StreamBroker, failures: FailureStore, failure: ListenerFailure
    ) -> None:
        """With force neither due time nor attempts matter; the attempt counts all the same."""
        key = await fail(broker, failure)

        taken = await claim(failures, key, max_attempts=1, force=True)

        assert taken == RetryClaim(key, "t1", 2, PAYLOAD)

    async def test_a_running_retry_is_not_taken_away(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Not even with force, for as long as its holder's visibility lasts."""
        running, abandoned = await fail(broker, AGAIN), await fail(broker, AGAIN)
        await claimed(failures, running)
        await claimed(failures, abandoned, visibility=MOMENT)
        await pass_time(2 * MOMENT)

        assert await claim(failures, running, "t2", force=True) is None
        assert await claim(failures, abandoned, "t2", force=True) is not None

    async def test_a_forced_retry_is_hidden_and_held_too(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Nobody else gets it meanwhile, forced or not."""
        key = await fail(broker, FOR_GOOD)
        await claim(failures, key, force=True)

        assert await claim(failures, key, "t2") is None
        assert await claim(failures, key, "t2", force=True) is None
        assert await due_keys(failures) == []

    async def test_a_longer_visibility_keeps_others_away(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Whoever is still at work extends it, and the retry stays hidden."""
        key = await fail(broker, AGAIN)
        taken = await claimed(failures, key, visibility=10 * MOMENT)

        assert await failures.extend_retry(taken, visibility=AGES) is Settled.DONE
        await pass_time(11 * MOMENT)

        assert await due_keys(failures) == []
        assert await claim(failures, key, "t2") is None
