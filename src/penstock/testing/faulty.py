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
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast, get_type_hints

from penstock.errors import UsageError
from penstock.streams.abc import Capabilities, StreamBroker

__all__ = ["After", "Crashed", "Fault", "Faulty", "Moment", "Step"]

M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


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
    """One side of one call. `call` is the method's name, with that of its store if it has one: ``failures.settle``."""

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

    async def through(
        self, call: str, run: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run one call between its two steps, or break it."""
        await self._pass(call, Moment.BEFORE)
        fault = next(self._faults[call], None) if call in self._faults else None
        if isinstance(fault, BaseException):
            raise fault
        answer = await run(*args, **kwargs)
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


def _calls_of(contract: type) -> Iterator[str]:
    return (name for name, member in vars(contract).items() if inspect.iscoroutinefunction(member))


def _calls_of_stores() -> Iterator[str]:
    for name, member in vars(StreamBroker).items():
        if isinstance(member, property):
            store: type = get_type_hints(member.fget)["return"]
            yield from (f"{name}.{call}" for call in _calls_of(store))


_CALLS: Final = (*_calls_of(StreamBroker), *_calls_of_stores())


class _GatedStore:
    """A store whose calls pass a gate. What else it has is as it is."""

    def __init__(self, name: str, store: object, gate: _Gate) -> None:
        self._name = name
        self._store = store
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        found, call = getattr(self._store, name), f"{self._name}.{name}"
        return functools.partial(self._gate.through, call, found) if call in _CALLS else found


def _gated(method: M) -> M:
    """The method of a broker with a gate in front, under the same signature."""
    name: str = method.__name__

    @functools.wraps(method)
    async def call(self: "Faulty", /, *args: Any, **kwargs: Any) -> Any:
        return await self.pass_on(name, *args, **kwargs)

    return cast("M", call)


class Faulty:
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
                of_failures = [known for known in _CALLS if known == f"failures.{call}"]
                nearest = of_failures or get_close_matches(call, _CALLS, 1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise UsageError(f"a broker has no call {call!r} that could fail{hint}")
        self._broker = broker
        self._gate = _Gate(fail or {}, at_step, crash_at)
        self.failures = self._gated_store("failures", broker.failures)
        self.figures = self._gated_store("figures", broker.figures)
        self.history = self._gated_store("history", broker.history)
        self.lanes = self._gated_store("lanes", broker.lanes)
        self.leases = self._gated_store("leases", broker.leases)
        self.members = self._gated_store("members", broker.members)
        self.notes = self._gated_store("notes", broker.notes)
        self.partitions = self._gated_store("partitions", broker.partitions)
        self.relays = self._gated_store("relays", broker.relays)
        self.removal = self._gated_store("removal", broker.removal)
        self.schedule = self._gated_store("schedule", broker.schedule)
        self.values = self._gated_store("values", broker.values)

    def _gated_store(self, name: str, store: S) -> S:
        return cast("S", _GatedStore(name, store, self._gate))

    async def pass_on(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the method *name* of what is behind the gate."""
        return await self._gate.through(name, getattr(self._broker, name), *args, **kwargs)

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
