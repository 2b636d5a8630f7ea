"""A broker that breaks where a test says: chosen calls fail, or the process dies between any two steps.

Every call to the broker passes two steps, one before and one after it took effect. A test can let one call fail on
either side, watch all steps, or run a whole scenario once for each of them with `crash_at`, so that no place where a
process may be killed is left out:

```python
watched = Faulty(MemoryBroker())
await scenario(watched)
for number in range(len(watched.steps)):
    await scenario(Faulty(MemoryBroker(), crash_at=number))
```
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Any, TypeAlias, TypeVar, cast

from penstock.errors import UsageError
from penstock.streams.abc import (
    Capabilities,
    FailureStore,
    FigureStore,
    HistoryStore,
    LaneStore,
    LeaseStore,
    MemberStore,
    PartitionStore,
    RemovalStore,
    ScheduleStore,
    StreamBroker,
    ValueStore,
)

__all__ = ["After", "Crashed", "Fault", "Faulty", "Moment", "Step"]

M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])
R = TypeVar("R")


class Crashed(BaseException):
    """The process that used this broker is dead. Not an `Exception`, so that nothing handles it and goes on."""


@dataclass(frozen=True, slots=True)
class After:
    """A fault that strikes after the call took effect, as a lost reply does."""

    error: BaseException


Fault: TypeAlias = BaseException | After | None
"""What becomes of one call: an error before it took effect, one after, or ``None`` for a call that works."""


class Moment(Enum):
    """On which side of a call a step lies."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Step:
    """One side of one call. `call` is the method's name, ``failures.settle`` and the like for failure records."""

    number: int
    call: str
    moment: Moment


Hook: TypeAlias = Callable[[Step], Awaitable[None] | None]
"""Called at every step; what it raises, the caller of the broker gets; while it waits, the call waits."""


class _Gate:
    """Where all calls of one process pass."""

    def __init__(
        self, faults: Mapping[str, Iterable[Fault]], at_step: Hook | None, crash_at: int | None
    ) -> None:
        self.steps: list[Step] = []
        self._faults: dict[str, Iterator[Fault]] = {call: iter(planned) for call, planned in faults.items()}
        self._at_step = at_step
        self._crash_at = crash_at
        self._crashed = False

    async def through(self, call: str, run: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run one call between its two steps, or break it."""
        await self._pass(call, Moment.BEFORE)
        fault = next(self._faults[call], None) if call in self._faults else None
        if isinstance(fault, BaseException):
            raise fault
        answer = await run()
        await self._pass(call, Moment.AFTER)
        if fault is not None:
            raise fault.error
        return answer

    async def _pass(self, call: str, moment: Moment) -> None:
        if self._crashed:
            raise Crashed
        step = Step(len(self.steps), call, moment)
        self.steps.append(step)
        if step.number == self._crash_at:
            self._crashed = True
            raise Crashed
        waiting = self._at_step(step) if self._at_step is not None else None
        if inspect.isawaitable(waiting):
            await waiting


_FAILURES = "failures."
_PARTITIONS = "partitions."
_LEASES = "leases."
_MEMBERS = "members."
_LANES = "lanes."
_REMOVAL = "removal."
_FIGURES = "figures."
_HISTORY = "history."
_SCHEDULE = "schedule."
_VALUES = "values."


class _Gated:
    """Something whose calls pass a gate."""

    def __init__(self, target: object, gate: _Gate, prefix: str = "") -> None:
        self._target = target
        self._gate = gate
        self._prefix = prefix

    async def pass_on(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the method *name* of what is behind the gate."""
        run = getattr(self._target, name)
        return await self._gate.through(self._prefix + name, lambda: run(*args, **kwargs))


def _gated(method: M) -> M:
    """The method of a contract with a gate in front, under the same signature."""
    name: str = method.__name__

    @functools.wraps(method)
    async def call(self: _Gated, /, *args: Any, **kwargs: Any) -> Any:
        return await self.pass_on(name, *args, **kwargs)

    return cast("M", call)


class FaultyFailures(_Gated):
    """The failure records behind a `Faulty` broker."""

    settle = _gated(FailureStore.settle)
    settle_vanished = _gated(FailureStore.settle_vanished)
    enqueue = _gated(FailureStore.enqueue)
    due = _gated(FailureStore.due)
    next_due = _gated(FailureStore.next_due)
    claim_retry = _gated(FailureStore.claim_retry)
    extend_retry = _gated(FailureStore.extend_retry)
    succeed_retry = _gated(FailureStore.succeed_retry)
    fail_retry = _gated(FailureStore.fail_retry)
    split_retry = _gated(FailureStore.split_retry)
    return_retry = _gated(FailureStore.return_retry)
    edit = _gated(FailureStore.edit)
    get = _gated(FailureStore.get)
    find = _gated(FailureStore.find)
    groups_of = _gated(FailureStore.groups_of)
    tally = _gated(FailureStore.tally)
    delete = _gated(FailureStore.delete)


class FaultyPartitions(_Gated):
    """The layouts and marks behind a `Faulty` broker."""

    layout = _gated(PartitionStore.layout)
    put = _gated(PartitionStore.put)
    open_lane = _gated(PartitionStore.open_lane)
    close_lane = _gated(PartitionStore.close_lane)
    mark = _gated(PartitionStore.mark)
    fence_route = _gated(PartitionStore.fence_route)
    route = _gated(PartitionStore.route)
    advance_route = _gated(PartitionStore.advance_route)


class FaultyFigures(_Gated):
    """The figures of handlers behind a `Faulty` broker."""

    note = _gated(FigureStore.note)
    figures = _gated(FigureStore.figures)


class FaultyRemovals(_Gated):
    """What may be removed, behind a `Faulty` broker."""

    register_groups = _gated(RemovalStore.register_groups)
    unregister_group = _gated(RemovalStore.unregister_group)
    registered_groups = _gated(RemovalStore.registered_groups)
    save_relay = _gated(RemovalStore.save_relay)
    relays = _gated(RemovalStore.relays)
    delete_relay = _gated(RemovalStore.delete_relay)
    floor = _gated(RemovalStore.floor)
    count_below = _gated(RemovalStore.count_below)
    trim = _gated(RemovalStore.trim)
    remove = _gated(RemovalStore.remove)


class FaultyLeases(_Gated):
    """The leases behind a `Faulty` broker."""

    acquire = _gated(LeaseStore.acquire)
    renew = _gated(LeaseStore.renew)
    release = _gated(LeaseStore.release)
    look = _gated(LeaseStore.look)
    leases = _gated(LeaseStore.leases)
    revoke = _gated(LeaseStore.revoke)


class FaultyMembers(_Gated):
    """The members behind a `Faulty` broker."""

    join = _gated(MemberStore.join)
    leave = _gated(MemberStore.leave)
    members = _gated(MemberStore.members)


class FaultyLanes(_Gated):
    """The ordered settling and parking behind a `Faulty` broker."""

    acknowledge = _gated(LaneStore.acknowledge)
    settle = _gated(LaneStore.settle)
    begin_alone = _gated(LaneStore.begin_alone)
    park = _gated(LaneStore.park)
    join = _gated(LaneStore.join)
    parked_keys = _gated(LaneStore.parked_keys)
    parked = _gated(LaneStore.parked)
    unpark = _gated(LaneStore.unpark)
    unparking = _gated(LaneStore.unparking)
    take_parked = _gated(LaneStore.take_parked)
    finish_parked = _gated(LaneStore.finish_parked)
    fail_parked = _gated(LaneStore.fail_parked)
    discard_parked = _gated(LaneStore.discard_parked)


class FaultyHistory(_Gated):
    """The index of histories behind a `Faulty` broker."""

    page = _gated(HistoryStore.page)
    length = _gated(HistoryStore.length)
    prune = _gated(HistoryStore.prune)
    mark_archived = _gated(HistoryStore.mark_archived)


class FaultySchedule(_Gated):
    """What enters streams later, behind a `Faulty` broker."""

    schedule = _gated(ScheduleStore.schedule)
    cancel = _gated(ScheduleStore.cancel)
    replace = _gated(ScheduleStore.replace)
    delayed = _gated(ScheduleStore.delayed)
    streams = _gated(ScheduleStore.streams)
    move_due = _gated(ScheduleStore.move_due)
    next_due = _gated(ScheduleStore.next_due)
    check = _gated(ScheduleStore.check)
    tick = _gated(ScheduleStore.tick)
    ticks = _gated(ScheduleStore.ticks)
    forget_tick = _gated(ScheduleStore.forget_tick)

    @property
    def look_every(self) -> timedelta | None:
        """As the schedule behind has it."""
        return cast("ScheduleStore", self._target).look_every

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Told by the schedule behind."""
        return cast("ScheduleStore", self._target).on_change(tell)


class FaultyValues(_Gated):
    """The small values behind a `Faulty` broker."""

    get = _gated(ValueStore.get)
    set = _gated(ValueStore.set)
    incr = _gated(ValueStore.incr)
    delete = _gated(ValueStore.delete)
    expire = _gated(ValueStore.expire)
    hash_get = _gated(ValueStore.hash_get)
    hash_all = _gated(ValueStore.hash_all)
    hash_set = _gated(ValueStore.hash_set)
    hash_incr = _gated(ValueStore.hash_incr)
    hash_delete = _gated(ValueStore.hash_delete)


class Faulty(_Gated):
    """A `StreamBroker` that passes every call on to *broker*, except where it was told to break.

    *fail* plans the coming calls of a method, first to last; calls beyond the plan work. Name methods as in `Step`.
    *at_step* is called at every step. With *crash_at* the step of that number, and every one after it, raises
    `Crashed`: what had taken effect by then stays, nothing more is added.

    Raises:
        UsageError: *fail* names a method that the broker does not have.
    """

    def __init__(
        self,
        broker: StreamBroker,
        *,
        fail: Mapping[str, Iterable[Fault]] | None = None,
        at_step: Hook | None = None,
        crash_at: int | None = None,
    ) -> None:
        for call in fail or {}:
            if call not in _CALLS:
                of_failures = [known for known in _CALLS if known == _FAILURES + call]
                nearest = of_failures or get_close_matches(call, _CALLS, 1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise UsageError(f"a broker has no call {call!r} that could fail{hint}")
        super().__init__(broker, _Gate(fail or {}, at_step, crash_at))
        self._broker = broker
        self.failures = FaultyFailures(broker.failures, self._gate, _FAILURES)
        self.leases = FaultyLeases(broker.leases, self._gate, _LEASES)
        self.members = FaultyMembers(broker.members, self._gate, _MEMBERS)
        self.lanes = FaultyLanes(broker.lanes, self._gate, _LANES)
        self.partitions = FaultyPartitions(broker.partitions, self._gate, _PARTITIONS)
        self.figures = FaultyFigures(broker.figures, self._gate, _FIGURES)
        self.notes = broker.notes
        self.removal = FaultyRemovals(broker.removal, self._gate, _REMOVAL)
        self.history = FaultyHistory(broker.history, self._gate, _HISTORY)
        self.schedule = FaultySchedule(broker.schedule, self._gate, _SCHEDULE)
        self.values = FaultyValues(broker.values, self._gate, _VALUES)

    @property
    def steps(self) -> list[Step]:
        """Every step so far, in order."""
        return self._gate.steps

    @property
    def capabilities(self) -> Capabilities:
        """What the broker behind found at `open`."""
        return self._broker.capabilities

    open = _gated(StreamBroker.open)
    close = _gated(StreamBroker.close)
    server_time_us = _gated(StreamBroker.server_time_us)
    append = _gated(StreamBroker.append)
    append_many = _gated(StreamBroker.append_many)
    range = _gated(StreamBroker.range)
    read = _gated(StreamBroker.read)
    resolve = _gated(StreamBroker.resolve)
    length = _gated(StreamBroker.length)
    delete = _gated(StreamBroker.delete)
    delete_stream = _gated(StreamBroker.delete_stream)
    info = _gated(StreamBroker.info)
    streams = _gated(StreamBroker.streams)
    save_cursor = _gated(StreamBroker.save_cursor)
    load_cursor = _gated(StreamBroker.load_cursor)
    delete_cursor = _gated(StreamBroker.delete_cursor)
    cursors = _gated(StreamBroker.cursors)
    create_group = _gated(StreamBroker.create_group)
    delete_group = _gated(StreamBroker.delete_group)
    move_group = _gated(StreamBroker.move_group)
    groups = _gated(StreamBroker.groups)
    consumers = _gated(StreamBroker.consumers)
    pending_summary = _gated(StreamBroker.pending_summary)
    pending = _gated(StreamBroker.pending)
    read_group = _gated(StreamBroker.read_group)
    interrupt = _gated(StreamBroker.interrupt)
    own_pending = _gated(StreamBroker.own_pending)
    acknowledge = _gated(StreamBroker.acknowledge)
    renew = _gated(StreamBroker.renew)
    claim = _gated(StreamBroker.claim)
    release = _gated(StreamBroker.release)
    begin_alone = _gated(StreamBroker.begin_alone)
    acknowledge_alone = _gated(StreamBroker.acknowledge_alone)
    remove_consumer = _gated(StreamBroker.remove_consumer)
    hold_name = _gated(StreamBroker.hold_name)
    free_name = _gated(StreamBroker.free_name)


_CALLS = tuple(
    prefix + name
    for kind, prefix in (
        (Faulty, ""),
        (FaultyFailures, _FAILURES),
        (FaultyHistory, _HISTORY),
        (FaultySchedule, _SCHEDULE),
        (FaultyValues, _VALUES),
        (FaultyPartitions, _PARTITIONS),
        (FaultyFigures, _FIGURES),
        (FaultyRemovals, _REMOVAL),
        (FaultyLeases, _LEASES),
        (FaultyMembers, _MEMBERS),
        (FaultyLanes, _LANES),
    )
    for name, method in vars(kind).items()
    if inspect.iscoroutinefunction(method)
)
