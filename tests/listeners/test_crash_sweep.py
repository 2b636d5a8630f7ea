"""A worker that dies at any step of its cycle: the next one finds everything, and every account adds up."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from penstock.event import Event
from penstock.listeners import Delivery, Dependencies, GroupWorker, Router
from penstock.message import Message
from penstock.retry import Retry
from penstock.streams.abc import FailureState, NewEntry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.streams.publisher import Outgoing, Publisher
from penstock.testing import Faulty, ManualClock
from penstock.testing.faulty import Crashed
from tests.listeners.shop import MINUTE


class Ordered(Event, name="sweep.ordered"):
    """Handled one by one."""

    what: str


class Counted(Event, name="sweep.counted"):
    """Handled in batches."""

    what: str


class Signed(Event, name="sweep.signed"):
    """Acknowledged by hand."""

    what: str


STREAMS = ("sweep.counted", "sweep.ordered", "sweep.signed")
EMITTED = [
    *(Ordered(what=what) for what in ("good-1", "bad-1", "shy-1", "good-2")),
    *(Counted(what=what) for what in ("good-3", "bad-2", "good-4")),
    *(Signed(what=what) for what in ("good-5", "shy-2")),
]
GOOD = {"good-1", "good-2", "good-3", "good-4", "good-5", "shy-1", "shy-2"}


@dataclass
class Sweep:
    """One server, and workers of one group on it that come one after the other."""

    clock: ManualClock = field(default_factory=ManualClock)
    handled: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.server = MemoryServer(self.clock)
        self.plain = MemoryBroker(server=self.server)
        router = Router(default_group="sweep")
        self.group = router.group("sweep", retry=Retry(attempts=3, initial="0s"), concurrency=3)

        @self.group.on(Ordered)
        async def order(event: Ordered, message: Message) -> None:
            self._behave(event.what, message.attempt)

        @self.group.on(Counted, batch=10)
        async def count(events: list[Counted]) -> None:
            if any(event.what.startswith("bad") for event in events):
                raise ValueError("bad")
            self.handled.update(event.what for event in events)

        @self.group.on(Signed, acknowledge="manual")
        async def sign(event: Signed, message: Message, delivery: Delivery) -> None:
            self._behave(event.what, message.attempt)
            await delivery.acknowledge()

    def _behave(self, what: str, attempt: int) -> None:
        kind = what.partition("-")[0]
        if kind == "bad" or (kind == "shy" and attempt == 1):
            raise ValueError(what)
        self.handled[what] += 1

    async def emit(self) -> None:
        """Everything there is, and an entry that is no message."""
        publisher = Publisher(broker_for=lambda _: self.plain, source="tests", time_us=self.clock.time_us)
        await publisher.publish_many([Outgoing(event) for event in EMITTED])
        await self.plain.append(NewEntry("sweep.ordered", [b"temperature", b"21"]))

    async def work(self, broker: Faulty) -> None:
        """One worker's life. Raises `Crashed` if it dies."""
        await GroupWorker(
            broker,
            self.group,
            dependencies=Dependencies(),
            consumer="ann",
            clock=self.clock,
            until_idle=True,
        ).run()

    async def is_settled(self) -> bool:
        """Whether nothing is pending, unread, or to be run again."""
        for stream in STREAMS:
            for group in await self.plain.groups(stream):
                if group.pending or group.lag_entries:
                    return False
            for record in await self.plain.failures.find(stream):
                if record.state is FailureState.RETRYING:
                    return False
        return True


@pytest.mark.covers("GROUP-15")
async def test_a_worker_that_dies_at_any_step_loses_nothing() -> None:
    """One run for each broker call's beginning and end; after the next workers every event is handled or recorded."""
    died = 0
    sweep = Sweep()
    for step in range(10_000):
        sweep = Sweep()
        await sweep.emit()
        broker = Faulty(sweep.plain, crash_at=step)
        try:
            await sweep.work(broker)
        except Crashed:
            died += 1
        else:
            assert len(broker.steps) <= step, "it went on after it had died"
            break
        for _ in range(4):
            await sweep.clock.advance(2 * MINUTE)
            await sweep.work(Faulty(sweep.plain))
        await _account(sweep, f"died at {broker.steps[step]}")
    assert died > 60, "the cycle has more steps than that"
    await _account(sweep, "never died")


async def _account(sweep: Sweep, when: str) -> None:
    assert await sweep.is_settled(), when
    assert set(sweep.handled) == GOOD, when
    records = [record for stream in STREAMS for record in await sweep.plain.failures.find(stream)]
    assert sorted((each.key.stream, each.key.listener, each.cause) for each in records) == [
        ("sweep.counted", "count", "error"),
        ("sweep.ordered", "*", "undecodable"),
        ("sweep.ordered", "order", "error"),
    ], when
