"""What the memory backend promises beyond the contract: exact time, exact order, several brokers on one server."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokerRefusedError, UnknownGroupError, UsageError
from penstock.position import BEGINNING, EntryId
from penstock.streams._memory.ordered import Ordered, entry_id_of, number_of, raw_of
from penstock.streams.abc import Cap, Condition, Dedupe, FailureStore, NewEntry, StreamBroker
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing.clock import ManualClock
from penstock.testing.strategies import entry_ids

MS = timedelta(milliseconds=1)
LAST = EntryId(2**64 - 1, 2**64 - 1)
NEW_YEAR = b"1767225600000"


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the broker: it stands at the beginning of 2026."""
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    """An empty broker."""
    return MemoryBroker(clock)


def entry(stream: str = "orders", *fields: bytes) -> NewEntry:
    """A new entry."""
    return NewEntry(stream, fields or (b"n", b"1"))


def test_the_memory_backend_is_a_streams_backend() -> None:
    """To a type checker as well."""
    broker: StreamBroker = MemoryBroker()
    failures: FailureStore = broker.failures

    assert broker.capabilities.product == "memory"
    assert failures is broker.failures


# -- ids --------------------------------------------------------------------------------------------------------------


async def test_ids_are_made_from_the_clock(broker: MemoryBroker, clock: ManualClock) -> None:
    """Its milliseconds, and a counter within one of them."""
    made = [await broker.append(entry()) for _ in range(2)]
    await clock.advance(timedelta(microseconds=1999))
    made.append(await broker.append(entry()))

    assert made == [NEW_YEAR + b"-0", NEW_YEAR + b"-1", b"1767225600001-0"]


async def test_ids_rise_although_the_clock_is_behind(broker: MemoryBroker) -> None:
    """After an id of the future, the server counts on from there."""
    future = EntryId(9_000_000_000_000, 2**64 - 1)
    await broker.append(NewEntry("orders", [b"n", b"1"], entry_id=future))

    assert await broker.append(entry()) == b"9000000000001-0"


async def test_the_last_id_is_the_last(broker: MemoryBroker) -> None:
    """No server can go on from there; the refusal says what can be done."""
    await broker.append(NewEntry("orders", [b"n", b"1"], entry_id=LAST))

    with pytest.raises(BrokerRefusedError, match="last possible id"):
        await broker.append(entry())


@given(st.lists(entry_ids(), max_size=30), entry_ids(), entry_ids())
def test_ordered_ids_are_found_as_in_a_sorted_list(ids: list[EntryId], start: EntryId, end: EntryId) -> None:
    """However they were put in, and after some were taken out again."""
    ordered: Ordered[EntryId] = Ordered()
    for entry_id in ids:
        ordered[number_of(entry_id)] = entry_id
    for entry_id in ids[::3]:
        ordered.pop(number_of(entry_id))
    left = sorted(set(ids) - set(ids[::3]))

    assert [ordered[number] for number in ordered] == left
    assert [entry_id_of(one) for one in ordered.between(number_of(start), number_of(end))] == [
        one for one in left if start <= one <= end
    ]
    assert [raw_of(one) for one in ordered.after(number_of(start))] == [
        bytes(one) for one in left if one > start
    ]
    assert ordered.count_after(number_of(start)) == sum(one > start for one in left)
    assert ordered.count_below(number_of(start)) == sum(one < start for one in left)
    assert (ordered.first, ordered.last) == (
        (number_of(left[0]), number_of(left[-1])) if left else (None, None)
    )


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["", "a}b", "penstock:streams", "penstock:{x}:y", "\ud800"])
async def test_a_name_that_no_server_could_keep_is_refused(broker: MemoryBroker, stream: str) -> None:
    """So that no test passes with a name that fails in production."""
    with pytest.raises(UsageError):
        await broker.append(entry(stream))
    with pytest.raises(UsageError):
        await broker.create_group(stream, "billing", BEGINNING)
    [outcome] = await broker.append_many([entry(stream)])

    assert (outcome.condition, type(outcome.cause)) == (Condition.NOT_WRITTEN, UsageError)
    assert await broker.streams() == []


@pytest.mark.parametrize(
    "wrong",
    [
        NewEntry("orders", []),
        NewEntry("orders", [b"name without value"]),
        NewEntry("orders", [b"n", b"1"], cap=Cap(max_entries=0)),
        NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("")),
        NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("t", window=timedelta(0))),
    ],
)
async def test_an_entry_that_no_server_would_take_is_refused(broker: MemoryBroker, wrong: NewEntry) -> None:
    """Before anything is written."""
    with pytest.raises(UsageError):
        await broker.append(wrong)

    assert await broker.streams() == []


# -- several brokers --------------------------------------------------------------------------------------------------


@pytest.mark.covers("CONF-2")
async def test_namespaces_see_nothing_of_each_other() -> None:
    """Streams, groups, names, cursors and failures of the same names on one server are different ones."""
    server = MemoryServer(ManualClock())
    shop, bank = MemoryBroker(server=server, namespace="shop"), MemoryBroker(server=server, namespace="bank")
    await shop.create_group("orders", "billing", BEGINNING)
    await shop.append(entry())
    await shop.save_cursor("orders", "audit", b"1-1")
    await shop.hold_name("billing", "ann", token="t1", description="shop", life=timedelta(hours=1))

    assert await bank.streams() == []
    assert await bank.load_cursor("orders", "audit") is None
    held = await bank.hold_name("billing", "ann", token="t2", description="bank", life=timedelta(hours=1))
    assert held.token == "t2"
    with pytest.raises(UnknownGroupError):
        await bank.read_group("billing", "ann", ["orders"], count=1)


async def test_brokers_of_one_server_share_everything() -> None:
    """As processes do: one adds, another one's waiting read gets it."""
    server = MemoryServer(ManualClock())
    here, there = MemoryBroker(server=server), MemoryBroker(server=server)
    await here.create_group("orders", "billing", BEGINNING)
    reading = asyncio.create_task(
        here.read_group("billing", "ann", ["orders"], count=1, block=timedelta(hours=1))
    )
    await server_turns()

    entry_id = await there.append(entry())

    assert (await reading).batches == [("orders", [[entry_id, [b"n", b"1"]]])]
    await there.close()
    assert await here.length("orders") == 1


def test_a_shared_server_has_its_own_clock() -> None:
    """Two clocks would contradict each other."""
    with pytest.raises(UsageError, match="clock"):
        MemoryBroker(ManualClock(), server=MemoryServer())


# -- waiting ----------------------------------------------------------------------------------------------------------


async def server_turns() -> None:
    """Let tasks come to where they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_wait_lasts_exactly_as_long_as_it_was_told_to(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    """By the clock that the test owns, to the microsecond."""
    reading = asyncio.create_task(broker.read({"orders": b"0-0"}, count=1, block=50 * MS))
    await clock.advance(50 * MS - timedelta(microseconds=1))
    assert not reading.done()
    await clock.advance(timedelta(microseconds=1))

    assert reading.result() == []
    assert clock.sleeping == 0


async def test_whoever_waited_longest_is_served_first(broker: MemoryBroker) -> None:
    """Consumers that wait get entries in the order in which they began to wait."""
    await broker.create_group("orders", "billing", BEGINNING)
    readers: list[asyncio.Task[object]] = []
    for name in ("ann", "bob", "cat"):
        readers.append(
            asyncio.create_task(
                broker.read_group("billing", name, ["orders"], count=1, block=timedelta(hours=1))
            )
        )
        await server_turns()

    for _ in range(3):
        await broker.append(entry())

    assert [one.consumer for one in await broker.pending("orders", "billing")] == ["ann", "bob", "cat"]
    await asyncio.gather(*readers)


async def test_serving_happens_before_the_append_answers(broker: MemoryBroker) -> None:
    """A reader cancelled after it was served leaves its entries pending, as a connection cut at that moment does."""
    await broker.create_group("orders", "billing", BEGINNING)
    reading = asyncio.create_task(
        broker.read_group("billing", "ann", ["orders"], count=1, block=timedelta(hours=1))
    )
    await server_turns()
    await broker.append(entry())
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert (await broker.pending_summary("orders", "billing")).consumers == {"ann": 1}


@pytest.mark.parametrize("removed", ["group", "stream"])
async def test_a_waiting_read_ends_as_its_group_does(broker: MemoryBroker, removed: str) -> None:
    """At once, and not at the end of its time."""
    await broker.create_group("orders", "billing", BEGINNING)
    reading = asyncio.create_task(
        broker.read_group("billing", "ann", ["orders"], count=1, block=timedelta(hours=1))
    )
    await server_turns()
    if removed == "group":
        await broker.delete_group("orders", "billing")
    else:
        await broker.delete_stream("orders")

    with pytest.raises(UnknownGroupError):
        await reading


async def test_a_waiting_read_sees_its_group_move(broker: MemoryBroker) -> None:
    """Entries that become new again are delivered to whoever waits."""
    await broker.create_group("orders", "billing", BEGINNING)
    entry_id = await broker.append(entry())
    await broker.read_group("billing", "ann", ["orders"], count=1)
    reading = asyncio.create_task(
        broker.read_group("billing", "bob", ["orders"], count=1, block=timedelta(hours=1))
    )
    await server_turns()

    await broker.move_group("orders", "billing", BEGINNING)

    [(_, entries)] = (await reading).batches
    assert entries[0][0] == entry_id
    [pending] = await broker.pending("orders", "billing")
    assert (pending.consumer, pending.delivery_count) == ("bob", 1)


async def test_closing_ends_every_wait(broker: MemoryBroker, clock: ManualClock) -> None:
    """Waiting reads answer with nothing, and nothing of them is left behind."""
    reading = asyncio.create_task(broker.read({"orders": b"0-0"}, count=1, block=timedelta(hours=1)))
    await server_turns()
    assert broker._space.waiters.count == 1
    await broker.close()

    assert await reading == []
    assert (clock.sleeping, broker._space.waiters.count) == (0, 0)


async def test_a_loop_of_empty_reads_lets_others_run(broker: MemoryBroker) -> None:
    """A reader that does not wait gives way on every read, as it would while a server answers."""
    others = asyncio.create_task(server_turns())
    async with asyncio.timeout(10):
        while not others.done():
            await broker.read({"orders": b"0-0"}, count=1)


# -- nothing is shared by accident ------------------------------------------------------------------------------------


async def test_callers_cannot_change_what_is_stored(broker: MemoryBroker) -> None:
    """Neither through the fields they gave nor through those they got."""
    fields = [b"n", b"1"]
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(NewEntry("orders", fields))
    fields.append(b"changed")
    for read in (
        await broker.range("orders"),
        (await broker.read({"orders": b"0-0"}, count=1))[0][1],
        (await broker.read_group("billing", "ann", ["orders"], count=1)).batches[0][1],
        await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=1),
        (await broker.claim("orders", "billing", "bob", min_idle=timedelta(0), count=1)).entries,
    ):
        assert read[0][1] == [b"n", b"1"]
        read[0][1].append(b"changed")

    assert (await broker.range("orders"))[0][1] == [b"n", b"1"]
