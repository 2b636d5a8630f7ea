"""The random test of ordered groups: owners come, expire, are robbed, come back; only the present one's word counts.

```python
TestMyLanes = lane_machine(connect).TestCase
```

*connect* is an async context manager of an open broker on an empty namespace and of a coroutine function that lets time
pass on its server. Needs Hypothesis.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import (
    FailureKey,
    FailureState,
    Lane,
    Lease,
    LeaseInfo,
    ListenerFailure,
    NewEntry,
    Parked,
    Settled,
    StreamBroker,
)
from penstock.testing.contracts._common import AGES, MOMENT, PassTime
from penstock.testing.contracts._lane_model import LaneModel, Waiting

__all__ = ["lane_machine"]

R = TypeVar("R")

Connect = Callable[[], AbstractAsyncContextManager[tuple[StreamBroker, PassTime]]]

STREAM: Final = "orders:{eu}"
GROUP: Final = "billing"
OWNERS: Final = ("ann", "bob", "c:d")
KEYS: Final = ("", "a:{b}")
LISTENERS: Final = ("charge", "notify")

owners = st.sampled_from(OWNERS)
keys = st.sampled_from(KEYS)
picks = st.integers(0, 9)
some_listeners = st.sets(st.sampled_from(LISTENERS), min_size=1).map(sorted)


def lane_machine(connect: Connect) -> type[RuleBasedStateMachine]:
    """The machine on the brokers that *connect* gives."""
    return type("LaneMachineOn", (LaneMachine,), {"connect": staticmethod(connect)})


class LaneMachine(RuleBasedStateMachine):
    """One lane of an ordered group beside its model."""

    connect: Connect

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.broker, self.pass_time = self.run(self.stack.enter_async_context(self.connect()))
        self.model = LaneModel()
        self.run(self.broker.create_group(STREAM, GROUP, BEGINNING))

    def teardown(self) -> None:
        """Close what was opened."""
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """What a coroutine answers."""
        return self.runner.run(work)

    # -- the lease ------------------------------------------------------------------------------------------------

    @rule(owner=owners)
    def acquire(self, owner: str) -> None:
        """The first one has it; its own token has it again; everybody else learns whose it is."""
        model = self.model
        answer = self.run(
            self.broker.leases.acquire("lane", token=owner, description="", life=AGES, stream=STREAM)
        )
        if model.holder is None:
            assert isinstance(answer, Lease)
            assert answer.fence > model.fence, "a fence grows from owner to owner"
            model.holder, model.fence = answer, answer.fence
            model.former.append(answer)
        elif model.holder.token == owner:
            assert answer == model.holder
        else:
            assert isinstance(answer, LeaseInfo)
            assert (answer.token, answer.fence) == (model.holder.token, model.fence)

    @precondition(lambda self: self.model.former)
    @rule(pick=picks, how=st.sampled_from(["renew", "release"]))
    def use_a_lease(self, pick: int, how: str) -> None:
        """Whoever has, or once had, the lease renews it or gives it up: it does something for the present one only."""
        model, lease = self.model, self.lease(pick)
        ours = lease == model.holder
        if how == "renew":
            assert self.run(self.broker.leases.renew(lease, life=AGES)) is ours
        else:
            assert self.run(self.broker.leases.release(lease)) is ours
            model.holder = None if ours else model.holder

    @rule(how=st.sampled_from(["revoke", "expire"]))
    def take_away(self, how: str) -> None:
        """A person takes the lease, or time does."""
        model = self.model
        if how == "revoke":
            assert self.run(self.broker.leases.revoke("lane", stream=STREAM)) is (model.holder is not None)
        elif model.holder is not None:
            self.run(self.broker.leases.renew(model.holder, life=MOMENT / 10))
            self.run(self._pass())
        model.holder = None

    async def _pass(self) -> None:
        await self.pass_time(MOMENT / 10)

    # -- entries --------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 3))
    def emit(self, count: int) -> None:
        """Events come in, by turns of each key."""
        model = self.model
        for _ in range(count):
            number = len(model.added)
            raw = self.run(self.broker.append(NewEntry(STREAM, _payload(number))))
            model.added.append(EntryId.parse(raw))
            model.unread.append(model.added[-1])

    @rule(owner=owners, count=st.integers(1, 3))
    def read(self, owner: str, count: int) -> None:
        """Reading needs no lease: an owner that was paused may read once more."""
        model = self.model
        self.run(self.broker.read_group(GROUP, owner, [STREAM], count=count))
        taken, model.unread = model.unread[:count], model.unread[count:]
        model.pending |= dict.fromkeys(taken, owner)

    @rule(owner=owners)
    def take_over(self, owner: str) -> None:
        """A new owner claims what others left."""
        self.run(self.broker.claim(STREAM, GROUP, owner, min_idle=MOMENT * 0, count=1000))
        self.model.pending = dict.fromkeys(self.model.pending, owner)

    # -- settling -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.former and self.model.added)
    @rule(
        pick=picks,
        entry=picks,
        how=st.sampled_from(["handle", "fail", "park", "join"]),
        listeners=some_listeners,
    )
    def settle(self, pick: int, entry: int, how: str, listeners: list[str]) -> None:
        """Somebody who has, or once had, the lease settles any entry."""
        model, lanes = self.model, self.broker.lanes
        lane, number = self.lane(pick), entry % min(len(model.added), 8)
        entry_id, key = model.added[-1 - number], self.key_of(model.added[-1 - number])
        raw, fields = bytes(entry_id), _payload(model.added.index(entry_id))
        ours = lane.lease == model.holder and model.pending.get(entry_id) == lane.consumer
        match how:
            case "handle":
                expected: Any = int(ours) if lane.lease == model.holder else None
                assert self.run(lanes.acknowledge(lane, [raw])) == expected
                model.handled |= {entry_id} if ours else set()
            case "fail":
                settled = self.run(lanes.settle(lane, raw, fields, _failures(listeners)))
                assert settled is (Settled.DONE if ours else Settled.NOT_YOURS)
                model.failed |= {entry_id} if ours else set()
            case "park":
                settled = self.run(lanes.park(lane, key, raw, fields, _failures(listeners)))
                assert settled is (Settled.DONE if ours else Settled.NOT_YOURS)
                if ours:
                    model.parked.setdefault(key, {})[entry_id] = Waiting(dict.fromkeys(listeners, 1))
            case _:
                answer = self.run(lanes.join(lane, key, raw, fields))
                if ours and key not in model.parked:
                    assert answer is Parked.OPEN
                    return
                assert answer is (Parked.DONE if ours else Parked.NOT_YOURS)
                if ours:
                    model.parked[key][entry_id] = Waiting({"*": 0})
        if ours:
            del model.pending[entry_id]

    # -- what is parked -------------------------------------------------------------------------------------------

    @rule(key=keys)
    def unpark(self, key: str) -> None:
        """A person asks for a key."""
        waiting = len(self.model.parked.get(key, ()))
        assert self.run(self.broker.lanes.unpark(STREAM, GROUP, key)) == waiting
        self.model.asked |= {key} if waiting else set()

    @precondition(lambda self: self.model.former)
    @rule(pick=picks, key=keys)
    def take(self, pick: int, key: str) -> None:
        """The owner takes the first event of a key that was asked for."""
        model, lane = self.model, self.lane(pick)
        event = self.run(self.broker.lanes.take_parked(lane, key))
        if lane.lease != model.holder or key not in model.asked:
            assert event is None
            return
        first = model.first(key)
        assert first is not None
        records = model.parked[key][first].attempts
        model.parked[key][first].attempts = {listener: tries + 1 for listener, tries in records.items()}
        assert event is not None
        assert event.entry_id == first
        assert event.fields == _payload(model.added.index(first))
        assert event.attempts == max(records.values()) + 1
        assert event.listeners == (() if "*" in records else tuple(sorted(records)))

    @precondition(lambda self: self.model.former and self.model.parked)
    @rule(pick=picks, key=keys, nth=st.integers(0, 2), listeners=st.one_of(st.just([]), some_listeners))
    def end(self, pick: int, key: str, nth: int, listeners: list[str]) -> None:
        """Somebody says how an event of a key ended: it counts for the owner, and for the first."""
        model, lanes, lane = self.model, self.broker.lanes, self.lane(pick)
        line = list(model.parked.get(key, ()))
        entry_id = line[nth % len(line)] if line else model.added[-1]
        ours = lane.lease == model.holder and entry_id == model.first(key)
        if listeners:
            work = lanes.fail_parked(lane, key, entry_id, _failures(listeners))
        else:
            work = lanes.finish_parked(lane, key, entry_id)
        assert self.run(work) is (Settled.DONE if ours else Settled.NOT_YOURS)
        if not ours:
            return
        if not listeners:
            model.leave(key, entry_id)
            return
        before = model.parked[key][entry_id].attempts
        tried = max(before.values())
        model.parked[key][entry_id].attempts = {name: before.get(name, tried) for name in listeners}
        model.asked.discard(key)

    @rule(key=keys, nth=st.one_of(st.none(), st.integers(0, 2)))
    def discard(self, key: str, nth: int | None) -> None:
        """A person gives up one event of a key, or all of them."""
        model, lanes = self.model, self.broker.lanes
        line = list(model.parked.get(key, ()))
        chosen = line if nth is None else line[nth : nth + 1]
        one = chosen[0] if nth is not None and chosen else None
        if nth is None or one is not None:
            assert self.run(lanes.discard_parked(STREAM, GROUP, key, one)) == len(chosen)
        for entry_id in chosen:
            model.leave(key, entry_id)

    @precondition(lambda self: self.model.parked)
    @rule(pick=picks)
    def delete_record(self, pick: int) -> None:
        """A person forgets one failure: with its last one an event leaves its line."""
        model = self.model
        records = sorted(self.records())
        key, entry_id, listener, _ = records[pick % len(records)]
        assert self.run(self.broker.failures.delete(FailureKey(STREAM, GROUP, entry_id, listener)))
        del model.parked[key][entry_id].attempts[listener]
        if not model.parked[key][entry_id].attempts:
            model.leave(key, entry_id)

    # -- after every step -----------------------------------------------------------------------------------------

    @invariant()
    def every_entry_is_in_one_place(self) -> None:
        """And it is the place where the server has it."""
        model = self.model
        assert model.places() == sorted(model.added)
        pending = self.run(self.broker.pending(STREAM, GROUP, count=1000))
        assert {entry.entry_id: entry.consumer for entry in pending} == model.pending
        failed = self.run(self.broker.failures.find(STREAM, state=FailureState.FAILED, count=1000))
        assert {record.key.entry_id for record in failed} == model.failed

    @invariant()
    def the_lines_are_those_of_the_model(self) -> None:
        """Keys, events in order, records, counts, and who was asked for."""
        model, lanes = self.model, self.broker.lanes
        found = self.run(lanes.parked_keys(STREAM, GROUP))
        assert [(each.key, each.events, each.first, each.unparking) for each in found] == [
            (key, len(line), model.first(key), key in model.asked)
            for key, line in sorted(model.parked.items())
        ]
        assert self.run(lanes.unparking(STREAM, GROUP)) == sorted(model.asked)
        for key in KEYS:
            events = self.run(lanes.parked(STREAM, GROUP, key, count=1000))
            assert [event.entry_id for event in events] == list(model.parked.get(key, ()))
        records = self.run(self.broker.failures.find(STREAM, state=FailureState.PARKED, count=1000))
        shown = [
            (record.parked_key or "", record.key.entry_id, record.key.listener, record.attempts)
            for record in records
        ]
        assert sorted(shown) == sorted(self.records())
        tallies = self.run(self.broker.failures.tally(STREAM))
        assert sum(tally.parked for tally in tallies) == len(records)

    @invariant()
    def one_has_the_lease(self) -> None:
        """Or nobody."""
        model = self.model
        info = self.run(self.broker.leases.look("lane", stream=STREAM))
        assert (info is None) == (model.holder is None)
        if info is not None and model.holder is not None:
            assert (info.token, info.fence) == (model.holder.token, model.holder.fence)

    # -- helpers --------------------------------------------------------------------------------------------------

    def lease(self, pick: int) -> Lease:
        """One of the last leases there were, the present one more often than others."""
        former = self.model.former[-4:]
        if pick >= 5 and self.model.holder is not None:
            return self.model.holder
        return former[pick % len(former)]

    def lane(self, pick: int) -> Lane:
        """The lane as one who has, or once had, the lease holds it."""
        lease = self.lease(pick)
        return Lane(STREAM, GROUP, lease.token, replace(lease))

    def key_of(self, entry_id: EntryId) -> str:
        """The key of an event."""
        return KEYS[self.model.added.index(entry_id) % len(KEYS)]

    def records(self) -> list[tuple[str, EntryId, str, int]]:
        """Every parked record of the model: key, entry, listener, attempts."""
        return [
            (key, entry_id, listener, attempts)
            for key, line in self.model.parked.items()
            for entry_id, waiting in line.items()
            for listener, attempts in waiting.attempts.items()
        ]


def _payload(number: int) -> list[bytes]:
    return [b"n", b"%d" % number]


def _failures(listeners: list[str]) -> list[ListenerFailure]:
    return [ListenerFailure(listener, "error", "ValueError", "boom", "", None) for listener in listeners]
