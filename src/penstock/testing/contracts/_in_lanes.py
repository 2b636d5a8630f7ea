"""Short hands for the suites about ordered groups."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from penstock.position import EntryId
from penstock.streams.abc import (
    FailureRecord,
    FailureState,
    Lane,
    ListenerFailure,
    RawId,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import AGES, deliver
from penstock.testing.contracts._failing import FOR_GOOD
from penstock.testing.contracts.leases import take

__all__ = [
    "CHARGE",
    "NOTIFY",
    "failed_with",
    "filled",
    "open_lane",
    "parked_ids",
    "parked_records",
    "payload",
]

CHARGE: Final = FOR_GOOD
NOTIFY: Final = ListenerFailure("notify", "error", "OSError", "no route", "Traceback: no route", due_in=None)


def payload(number: int) -> list[bytes]:
    """Fields that can be told apart."""
    return [b"n", b"%d" % number]


async def open_lane(
    broker: StreamBroker,
    *,
    stream: str = "orders",
    group: str = "billing",
    consumer: str = "ann",
    life: timedelta = AGES,
) -> Lane:
    """The lane in the hands of a consumer."""
    lease = await take(broker, f"ordered:{group}", token=consumer, life=life, stream=stream)
    return Lane(stream, group, consumer, lease)


async def filled(
    broker: StreamBroker,
    lane: Lane,
    *,
    key: str = "k",
    behind: int = 0,
    failures: Sequence[ListenerFailure] = (CHARGE,),
) -> list[RawId]:
    """Park one event under a key, and so many behind it; their ids."""
    first, *others = await deliver(
        broker, 1 + behind, stream=lane.stream, group=lane.group, consumer=lane.consumer
    )
    assert await broker.lanes.park(lane, key, first, payload(0), failures) is Settled.DONE
    for number, entry_id in enumerate(others, 1):
        await broker.lanes.join(lane, key, entry_id, payload(number))
    return [first, *others]


async def parked_ids(broker: StreamBroker, lane: Lane, key: str = "k") -> list[RawId]:
    """What waits under a key, in order."""
    return [bytes(event.entry_id) for event in await broker.lanes.parked(lane.stream, lane.group, key)]


async def parked_records(broker: StreamBroker, entry_id: RawId | None = None) -> list[FailureRecord]:
    """The parked records, of one event or of all, without what is the clock's."""
    found = await broker.failures.find(
        "orders",
        state=FailureState.PARKED,
        entry_id=None if entry_id is None else EntryId.parse(entry_id),
    )
    return sorted(found, key=lambda record: (record.key, record.cause))


def failed_with(record: FailureRecord) -> ListenerFailure:
    """What a record says of how it ended."""
    return replace(
        CHARGE,
        listener=record.key.listener,
        cause=record.cause,
        error_type=record.error_type,
        error=record.error,
        traceback=record.traceback,
    )
