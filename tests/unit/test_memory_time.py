"""Idle times and due times of the memory backend: exact to the millisecond, on both sides of the bound."""

from datetime import timedelta

import pytest

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Dedupe, FailureKey, ListenerFailure, NewEntry
from penstock.streams.memory import MemoryBroker
from penstock.testing.clock import ManualClock

MS = timedelta(milliseconds=1)
MINUTE = timedelta(minutes=1)
WHERE = [("orders", "billing")]


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the broker."""
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    """An empty broker."""
    return MemoryBroker(clock)


async def delivered(broker: MemoryBroker) -> bytes:
    """An entry that ann has."""
    await broker.create_group("orders", "billing", BEGINNING)
    entry_id = await broker.append(NewEntry("orders", [b"n", b"1"]))
    await broker.read_group("billing", "ann", ["orders"], count=1)
    return entry_id


async def failed(broker: MemoryBroker, due_in: timedelta) -> FailureKey:
    """A failed message that is due again after a while."""
    entry_id = await delivered(broker)
    failure = ListenerFailure("charge", "error", "ValueError", "boom", "", due_in)
    await broker.failures.settle("orders", "billing", "ann", entry_id, [b"n", b"1"], [failure])
    return FailureKey("orders", "billing", EntryId.parse(entry_id), "charge")


@pytest.mark.covers("GROUP-9")
async def test_an_entry_can_be_claimed_from_its_idle_time_on(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """Not a millisecond earlier; and the claim starts the time anew."""
    entry_id = await delivered(broker)

    async def claimed() -> list[bytes]:
        claim = await broker.claim("orders", "billing", "bob", min_idle=MINUTE, count=9)
        return [one[0] for one in claim.entries]

    await clock.advance(MINUTE - MS)
    assert await claimed() == []
    await clock.advance(MS)
    assert await claimed() == [entry_id]
    await clock.advance(MINUTE - MS)
    assert await claimed() == []
    await clock.advance(MS)
    assert await claimed() == [entry_id]


async def test_idle_times_are_what_the_clock_says(broker: MemoryBroker, clock: ManualClock) -> None:
    """Since the delivery or the last renewal, in whole milliseconds; of a consumer since it last spoke."""
    entry_id = await delivered(broker)
    await clock.advance(1500 * MS + timedelta(microseconds=999))
    [pending] = await broker.pending("orders", "billing")
    [consumer] = await broker.consumers("orders", "billing")
    assert pending.idle == consumer.idle == 1500 * MS

    await broker.renew("orders", "billing", "ann", [entry_id])
    await clock.advance(20 * MS)
    [pending] = await broker.pending("orders", "billing")
    assert pending.idle in (20 * MS, 21 * MS)


async def test_a_retry_is_due_at_its_moment(broker: MemoryBroker, clock: ManualClock) -> None:
    """And hidden for exactly its visibility."""
    key = await failed(broker, due_in=MINUTE)
    store = broker.failures

    async def claim(token: str) -> bool:
        taken = await store.claim_retry(key, token=token, visibility=10 * MS, max_attempts=9)
        return taken is not None

    await clock.advance(MINUTE - MS)
    assert (await store.due(WHERE, count=1), await store.next_due(WHERE), await claim("t1")) == (
        [],
        MS,
        False,
    )
    await clock.advance(MS)
    assert len(await store.due(WHERE, count=1)) == 1
    assert await store.next_due(WHERE) == timedelta(0)
    assert await claim("t1") is True

    await clock.advance(9 * MS)
    assert (await store.due(WHERE, count=1), await store.next_due(WHERE), await claim("t2")) == (
        [],
        MS,
        False,
    )
    await clock.advance(MS)
    assert await claim("t2") is True


async def test_records_carry_the_clocks_time(broker: MemoryBroker, clock: ManualClock) -> None:
    """First, last and due."""
    key = await failed(broker, due_in=MINUTE)
    record = await broker.failures.get(key)

    assert record is not None
    assert record.first_failed == record.last_failed == clock.now()
    assert record.due == clock.now() + MINUTE


async def test_windows_and_lives_end_at_their_moment(broker: MemoryBroker, clock: ManualClock) -> None:
    """A dedupe token answers, and a name is held, up to the end and not beyond."""
    once = NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("t", window=MINUTE))
    first = await broker.append(once)
    held = {"description": "", "life": MINUTE}
    await broker.hold_name("billing", "ann", token="t1", **held)  # type: ignore[arg-type]

    await clock.advance(MINUTE - MS)
    assert await broker.append(once) == first
    assert (await broker.hold_name("billing", "ann", token="t2", **held)).token == "t1"  # type: ignore[arg-type]
    await clock.advance(MS)
    assert await broker.append(once) != first
    assert (await broker.hold_name("billing", "ann", token="t2", **held)).token == "t2"  # type: ignore[arg-type]
