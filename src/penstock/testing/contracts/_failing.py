"""Short hands for the suites about failed messages."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from penstock.position import EntryId
from penstock.streams.abc import FailureKey, FailureStore, ListenerFailure, RetryClaim, Settled, StreamBroker
from penstock.testing.contracts._common import AGES, NOW, Contract, deliver

__all__ = [
    "AGAIN",
    "FOR_GOOD",
    "PAYLOAD",
    "WHERE",
    "FailureContract",
    "claim",
    "claimed",
    "due_keys",
    "fail",
    "whole",
]

AGAIN: Final = ListenerFailure("charge", "error", "ValueError", "boom", "Traceback: boom", due_in=NOW)
"""A failure that is to be retried at once."""
FOR_GOOD: Final = replace(AGAIN, due_in=None)
"""A failure without another attempt."""
PAYLOAD: Final = [b"id", b"7", b"data", b'{"total": 3}']
WHERE: Final = [("orders", "billing")]


class FailureContract(Contract):
    """The fixtures of the suites about failed messages."""

    @pytest.fixture
    def failures(self, broker: StreamBroker) -> FailureStore:
        """The records behind the broker."""
        return broker.failures


def whole(failure: ListenerFailure) -> ListenerFailure:
    """The same failure, of the message as a whole."""
    return replace(failure, listener="*")


async def fail(
    broker: StreamBroker,
    *failures: ListenerFailure,
    fields: list[bytes] | None = PAYLOAD,
    stream: str = "orders",
    group: str = "billing",
) -> FailureKey:
    """Deliver a new entry and settle it with *failures*; the key of the first one's record."""
    [entry_id] = await deliver(broker, 1, stream=stream, group=group)
    settled = await broker.failures.settle(stream, group, "ann", entry_id, fields, failures)
    assert settled is Settled.DONE
    return FailureKey(stream, group, EntryId.parse(entry_id), failures[0].listener)


async def claim(
    store: FailureStore,
    key: FailureKey,
    token: str = "t1",
    *,
    visibility: timedelta = AGES,
    max_attempts: int = 5,
    force: bool = False,
) -> RetryClaim | None:
    """Claim a retry as a worker does."""
    return await store.claim_retry(
        key, token=token, visibility=visibility, max_attempts=max_attempts, force=force
    )


async def claimed(
    store: FailureStore, key: FailureKey, token: str = "t1", *, visibility: timedelta = AGES
) -> RetryClaim:
    """The claim of a retry that is due."""
    taken = await claim(store, key, token, visibility=visibility)
    assert taken is not None
    return taken


async def due_keys(store: FailureStore, count: int = 99) -> list[FailureKey]:
    """What is due in the group that these tests use."""
    return [retry.key for retry in await store.due(WHERE, count=count)]
