"""Records that a person puts: one group handles a message again, which need not be in the stream."""

import asyncio

import pytest

from penstock.position import EntryId
from penstock.streams.abc import FailureKey, FailureState, FailureStore, StreamBroker
from penstock.testing.contracts._common import NAMES
from penstock.testing.contracts._failing import (
    AGAIN,
    FOR_GOOD,
    PAYLOAD,
    WHERE,
    FailureContract,
    claimed,
    due_keys,
    fail,
)

__all__ = ["EnqueuedContract"]

_PLACE = EntryId(1_700_000_000_000, 3)
_KEY = FailureKey("orders", "billing", _PLACE, "*")


class EnqueuedContract(FailureContract):
    """What is put is due at once, for one group, and once."""

    @pytest.mark.covers("ARCH-5")
    async def test_a_message_is_given_to_one_group(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Its record is due, no attempt has been made, and neither stream nor group have to exist."""
        assert await failures.enqueue("orders", "billing", _PLACE, PAYLOAD) is True

        assert await due_keys(failures) == [_KEY]
        record = await failures.get(_KEY)
        assert record is not None
        assert (record.state, record.cause, record.attempts) == (FailureState.RETRYING, "restored", 0)
        assert (record.fields, record.due) == (PAYLOAD, record.first_failed)
        assert await failures.due([("orders", "shipping")], count=9) == []
        assert await broker.streams() == []

    async def test_its_first_run_is_the_first_attempt(self, failures: FailureStore) -> None:
        """It is run, fails and succeeds as any other record is."""
        await failures.enqueue("orders", "billing", _PLACE, PAYLOAD)

        first = await claimed(failures, _KEY)
        assert (first.attempts, first.fields) == (1, PAYLOAD)
        await failures.fail_retry(first, AGAIN)
        again = await claimed(failures, _KEY)
        assert again.attempts == 2
        await failures.split_retry(again, [])

        assert await failures.find("orders") == []

    @pytest.mark.covers("ARCH-5")
    async def test_putting_it_twice_puts_it_once(self, failures: FailureStore) -> None:
        """Also at the same time; and one that runs, or has failed since, stays as it is."""
        answers = await asyncio.gather(
            *(failures.enqueue("orders", "billing", _PLACE, PAYLOAD) for _ in range(5))
        )
        assert sorted(answers) == [False] * 4 + [True]

        running = await claimed(failures, _KEY)
        assert await failures.enqueue("orders", "billing", _PLACE, PAYLOAD) is False
        await failures.fail_retry(running, FOR_GOOD)
        assert await failures.enqueue("orders", "billing", _PLACE, PAYLOAD) is False

        record = await failures.get(_KEY)
        assert record is not None
        assert (record.state, record.error, record.attempts) == (FailureState.FAILED, "boom", 1)

    async def test_it_may_be_for_one_listener(self, broker: StreamBroker, failures: FailureStore) -> None:
        """Records of the message's other listeners are not touched."""
        key = await fail(broker, FOR_GOOD)
        before = await failures.get(key)

        assert await failures.enqueue("orders", "billing", key.entry_id, PAYLOAD, listener="notify") is True

        assert await failures.get(key) == before
        assert [each.key.listener for each in await failures.due(WHERE, count=9)] == ["notify"]

    @pytest.mark.parametrize("name", NAMES)
    async def test_names_may_be_anything(self, failures: FailureStore, name: str) -> None:
        """Stream, group and listener come back as they were given."""
        await failures.enqueue(name, name, _PLACE, PAYLOAD, listener=name)

        key = FailureKey(name, name, _PLACE, name)
        assert [each.key for each in await failures.find(name)] == [key]
        assert [each.key for each in await failures.due([(name, name)], count=9)] == [key]
