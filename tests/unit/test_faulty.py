"""A broker that breaks where a test says, and nowhere else."""

import asyncio
import inspect
import operator
from datetime import UTC, datetime

import pytest

from penstock.errors import BrokerUnavailableError, UsageError
from penstock.position import BEGINNING
from penstock.streams.abc import (
    FailureStore,
    FigureStore,
    HistoryStore,
    LaneStore,
    LeaseStore,
    MemberStore,
    NewEntry,
    NoteStore,
    PartitionStore,
    RelayStore,
    RemovalStore,
    ScheduleStore,
    StreamBroker,
    ValueStore,
)
from penstock.streams.memory import MemoryBroker
from penstock.testing.faulty import After, Crashed, Faulty, Moment, Step

GONE = BrokerUnavailableError("gone")
ENTRY = NewEntry("orders", [b"n", b"1"])


STORES: dict[str, type] = {
    "failures": FailureStore,
    "figures": FigureStore,
    "history": HistoryStore,
    "lanes": LaneStore,
    "leases": LeaseStore,
    "members": MemberStore,
    "notes": NoteStore,
    "partitions": PartitionStore,
    "relays": RelayStore,
    "removal": RemovalStore,
    "schedule": ScheduleStore,
    "values": ValueStore,
}


def calls_of(contract: type) -> set[str]:
    """The coroutines of a contract."""
    return {name for name, method in vars(contract).items() if inspect.iscoroutinefunction(method)}


CALLS = sorted(
    calls_of(StreamBroker) | {f"{name}.{call}" for name, store in STORES.items() for call in calls_of(store)}
)


def test_a_faulty_broker_has_every_call_of_a_broker() -> None:
    """To a type checker as well: what the contract gains, this must gain too."""
    broker: StreamBroker = Faulty(MemoryBroker())

    assert calls_of(StreamBroker) <= calls_of(type(broker))
    stores = {name for name, each in vars(StreamBroker).items() if isinstance(each, property)}
    assert stores - {"capabilities"} == STORES.keys()
    assert broker.capabilities == MemoryBroker().capabilities


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_can_be_broken(call: str) -> None:
    """Those of the broker and those of every store; it is broken before anything is done with what it was given."""
    faulty = Faulty(MemoryBroker(), fail={call: [GONE]})
    with pytest.raises(BrokerUnavailableError) as raised:
        await operator.attrgetter(call)(faulty)()
    assert raised.value is GONE
    assert faulty.steps == [Step(0, call, Moment.BEFORE)]


async def test_what_is_no_call_of_a_store_passes_by() -> None:
    """Only what can fail at a server can be broken."""
    broker = MemoryBroker()
    faulty = Faulty(broker)
    told: list[str] = []

    assert faulty.schedule.look_every == broker.schedule.look_every
    faulty.schedule.on_change(lambda: told.append("changed"))
    await broker.schedule.schedule(ENTRY, "1", due=datetime.now(UTC))
    assert (told, faulty.steps) == (["changed"], [])


async def test_without_a_plan_everything_works() -> None:
    """Arguments and answers pass through as they are."""
    faulty = Faulty(MemoryBroker())
    entry_id = await faulty.append(ENTRY)
    await faulty.create_group("orders", "billing", BEGINNING)

    answer = await faulty.read_group("billing", "ann", ["orders"], count=1)

    assert answer.batches == [("orders", [[entry_id, [b"n", b"1"]]])]


async def test_a_call_fails_before_it_took_effect() -> None:
    """The error is the planned one, nothing happened, and the next call works."""
    faulty = Faulty(MemoryBroker(), fail={"append": [GONE]})
    with pytest.raises(BrokerUnavailableError) as raised:
        await faulty.append(ENTRY)
    assert raised.value is GONE
    assert await faulty.length("orders") == 0

    await faulty.append(ENTRY)
    assert await faulty.length("orders") == 1


async def test_a_call_fails_after_it_took_effect() -> None:
    """As when the reply is lost: the caller sees an error, the entry is there."""
    faulty = Faulty(MemoryBroker(), fail={"append": [After(GONE)]})
    with pytest.raises(BrokerUnavailableError):
        await faulty.append(ENTRY)

    assert await faulty.length("orders") == 1


async def test_a_plan_is_followed_call_by_call() -> None:
    """``None`` stands for a call that works; each method has its own plan."""
    faulty = Faulty(MemoryBroker(), fail={"length": [None, GONE, None], "failures.find": [GONE]})
    assert await faulty.length("orders") == 0
    with pytest.raises(BrokerUnavailableError):
        await faulty.length("orders")
    with pytest.raises(BrokerUnavailableError):
        await faulty.failures.find("orders")

    assert [await faulty.length("orders") for _ in range(3)] == [0, 0, 0]
    assert await faulty.failures.find("orders") == []


@pytest.mark.parametrize(("wrong", "nearest"), [("acknowlege", "acknowledge"), ("settle", "failures.settle")])
def test_a_plan_for_no_call_is_refused(wrong: str, nearest: str) -> None:
    """A test that breaks nothing would prove nothing; the nearest name is offered."""
    with pytest.raises(UsageError, match=f"did you mean '{nearest}'"):
        Faulty(MemoryBroker(), fail={wrong: [GONE]})


async def test_every_call_passes_two_steps() -> None:
    """One before and one after it took effect, failure records included; a failed one has no second."""
    seen: list[Step] = []
    faulty = Faulty(MemoryBroker(), fail={"length": [GONE]}, at_step=seen.append)
    await faulty.append(ENTRY)
    with pytest.raises(BrokerUnavailableError):
        await faulty.length("orders")
    await faulty.failures.tally("orders")

    assert seen == faulty.steps
    assert [(step.number, step.call, step.moment) for step in seen] == [
        (0, "append", Moment.BEFORE),
        (1, "append", Moment.AFTER),
        (2, "length", Moment.BEFORE),
        (3, "failures.tally", Moment.BEFORE),
        (4, "failures.tally", Moment.AFTER),
    ]


async def test_a_step_can_hold_a_call_up() -> None:
    """While the hook waits, the call waits: so two calls can be brought into any order."""
    go_on = asyncio.Event()

    async def hold(step: Step) -> None:
        if (step.call, step.moment) == ("append", Moment.BEFORE):
            await go_on.wait()

    broker = MemoryBroker()
    appending = asyncio.create_task(Faulty(broker, at_step=hold).append(ENTRY))
    await asyncio.sleep(0)
    assert await broker.length("orders") == 0

    go_on.set()
    await appending
    assert await broker.length("orders") == 1


async def test_a_crash_at_every_step_leaves_what_had_taken_effect() -> None:
    """A scenario is run once for each step: nothing after the crash happens any more, and nothing before is undone."""

    async def scenario(broker: Faulty) -> None:
        for _ in range(3):
            await broker.append(ENTRY)

    watched = Faulty(MemoryBroker())
    await scenario(watched)
    assert len(watched.steps) == 6

    left: list[int] = []
    for number in range(6):
        broker = MemoryBroker()
        crashing = Faulty(broker, crash_at=number)
        with pytest.raises(Crashed):
            await scenario(crashing)
        with pytest.raises(Crashed):
            await crashing.append(ENTRY)
        left.append(await broker.length("orders"))

    assert left == [0, 1, 1, 2, 2, 3]


def test_nothing_handles_a_crash_by_mistake() -> None:
    """Code that catches every `Exception` does not survive its own death."""
    assert not issubclass(Crashed, Exception)
