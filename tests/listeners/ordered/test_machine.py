"""Anything happens in any order: members start, stop, die and are cut off, handlers fail, entries are removed.

Beside it stands a plain model. After each step every event is in one place, and none is missing; and each key's events
come to their first success in the order in which they were emitted.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.errors import BrokerRefusedError
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.position import EntryId
from penstock.retry import Retry
from penstock.streams.abc import FailureState, NewEntry
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.testing import Faulty, ManualClock
from penstock.testing.faulty import Step
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop

T = TypeVar("T")

KEYS = ("nail", "nut", "")
LANES = (f"{STREAM}:0", f"{STREAM}:1")
MEMBERS = st.integers(0, 2)
PLANS = ((), (), ("fail",), ("fail", "fail"), ("fail", "fail", "fail"), ("hang",), ("fail", "hang"))


class Member:
    """One process: it may be cut off from the server, and die."""

    def __init__(self, machine: "OrderedGroupMachine", chosen: dict[str, Any]) -> None:
        self.is_dead = False
        self.connected = asyncio.Event()
        self.connected.set()
        broker = Faulty(MemoryBroker(server=machine.server), at_step=self._pass)
        self.shop = Workshop(broker, machine.clock, **chosen)

        @self.shop.router.listener(StockMoved)
        async def book(moved: StockMoved) -> None:
            await machine.handle(self, moved)

        async def lanes_of(_stream: str) -> tuple[str, ...]:
            return LANES

        self.worker: OrderedWorker = self.shop.ordered(lanes_of=lanes_of)
        self.running = asyncio.create_task(self.worker.run())

    async def _pass(self, _step: Step) -> None:
        if not self.is_dead:
            await self.connected.wait()
        if self.is_dead:
            raise BrokerRefusedError("dead")

    async def stop(self) -> None:
        """Drain and end."""
        self.connected.set()
        self.worker.stop()
        await asyncio.wait_for(self.running, 10)

    async def die(self) -> None:
        """End at once, without another word to the server."""
        self.is_dead = True
        self.connected.set()
        self.running.cancel()
        await asyncio.wait([self.running], timeout=10)
        assert self.running.done()


class OrderedGroupMachine(RuleBasedStateMachine):
    """Up to three members of one group over two lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.server = MemoryServer(self.clock)
        self.broker = MemoryBroker(server=self.server)
        self.members: dict[int, Member] = {}
        self.emitted: list[tuple[str, str, EntryId]] = []
        """Key, lane and place of each event, by number."""
        self.plans: dict[int, list[str]] = {}
        """What the next runs of an event's handler do."""
        self.is_well = False
        self.hanging: list[asyncio.Event] = []
        self.handled: list[int] = []
        self.removed: set[int] = set()
        self.discarded: set[int] = set()
        self.at_work: Counter[tuple[int, str, str]] = Counter()
        self.overlaps: list[StockMoved] = []
        """Events that were begun while the same process handled another one of their turn."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a step."""
        return self.runner.run(work)

    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        await self.clock.advance(timedelta(0))
        await self.clock.advance(timedelta(0))

    async def handle(self, member: Member, moved: StockMoved) -> None:
        """What the listener of every member does: as planned, and with an eye on what else is at work."""
        key, lane, _ = self.emitted[moved.number]
        turn = id(member), lane, key if self.chosen["mode"] == "keyed" else ""
        self.at_work[turn] += 1
        if self.at_work[turn] > 1:
            self.overlaps.append(moved)
        try:
            await self._do(moved)
        finally:
            self.at_work[turn] -= 1

    async def _do(self, moved: StockMoved) -> None:
        plan = self.plans.get(moved.number)
        what = plan.pop(0) if plan and not self.is_well else "succeed"
        if what == "fail":
            raise ValueError(f"cannot book {moved.number}")
        if what == "hang":
            let_go = asyncio.Event()
            self.hanging.append(let_go)
            await let_go.wait()
        else:
            await asyncio.sleep(0)
        self.handled.append(moved.number)

    # -- what happens -------------------------------------------------------------------------------------------

    @initialize(
        mode=st.sampled_from(["keyed", "exclusive"]),
        on_failure=st.sampled_from(["retry", "park"]),
        concurrency=st.integers(1, 4),
        window=st.integers(1, 6),
        attempts=st.integers(1, 2),
    )
    def choose(self, mode: str, on_failure: str, concurrency: int, window: int, attempts: int) -> None:
        """How the group works, and its first member."""
        self.chosen = {
            "mode": mode,
            "on_failure": on_failure,
            "concurrency": concurrency,
            "window": window,
            "retry": Retry(attempts=attempts, initial="5s", jitter=0),
            "drain_timeout": "10ms",
        }

        async def make() -> None:
            await self.broker.open()
            for lane in LANES:
                await self.broker.create_group(lane, GROUP, EntryId(0))
            self.members[0] = await self._start()

        self.run(make())

    @rule(
        moves=st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.sampled_from(PLANS),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def emit(self, moves: list[tuple[str, tuple[str, ...]]]) -> None:
        """Some events are emitted, and how their handlers will fare is settled."""

        async def emit() -> None:
            for key, plan in moves:
                number, lane = len(self.emitted), LANES[KEYS.index(key) % 2]
                body = b'{"item":"%s","number":%d}' % (key.encode(), number)
                meta = b'{"time":0,"key":"%s"}' % key.encode() if key else b'{"time":0}'
                fields = [b"id", b"%d" % number, b"name", STREAM.encode(), b"meta", meta, b"data", body]
                raw = await self.broker.append(NewEntry(lane, fields))
                self.emitted.append((key, lane, EntryId.parse(raw)))
                self.plans[number] = list(plan)
            await self.settle()

        self.run(emit())

    @rule(
        number=MEMBERS,
        what=st.sampled_from(
            ["start"] * 4 + ["stop", "kill", "kill", "cut off", "cut off", "reconnect", "reconnect"]
        ),
    )
    def members_come_and_go(self, number: int, what: str) -> None:
        """A process comes, drains, dies in the middle of whatever it does, is cut off from the server, or back again.

        What it had sent before it died may have been done; what was on its way while it was cut off arrives late.
        """
        member = self.members.get(number)
        if what == "start" and member is None:
            self.members[number] = self.run(self._start())
        elif member is not None and what in ("stop", "kill"):
            del self.members[number]
            self.run(member.stop() if what == "stop" else member.die())
        elif member is not None and what == "cut off":
            member.connected.clear()
        elif member is not None and what == "reconnect":
            member.connected.set()
            self.run(self.settle())

    async def _start(self) -> Member:
        member = Member(self, self.chosen)
        await self.settle()
        return member

    @rule(seconds=st.sampled_from([1, 5, 11, 40]))
    def wait(self, seconds: int) -> None:
        """Time passes."""

        async def pass_time() -> None:
            for _ in range(seconds):
                await self.clock.advance(timedelta(seconds=1))

        self.run(pass_time())

    @rule()
    def let_go(self) -> None:
        """Handlers that hung come to their end."""
        for each in self.hanging:
            each.set()
        self.hanging.clear()
        self.run(self.settle())

    @rule(
        what=st.sampled_from(["remove", "unpark", "unpark", "unpark", "discard"]),
        pick=st.integers(0, 10**6),
        lane=st.sampled_from(LANES),
    )
    def a_person_intervenes(self, what: str, pick: int, lane: str) -> None:
        """Someone deletes an entry from its stream, asks for a key to be handled, or gives up what waits under it."""
        self.run(self._intervene(what, pick, lane))

    async def _intervene(self, what: str, pick: int, lane: str) -> None:
        parked = await self.broker.lanes.parked_keys(lane, GROUP)
        if what == "remove" and self.emitted:
            number = pick % len(self.emitted)
            _, of, place = self.emitted[number]
            await self.broker.delete(of, [place])
            self.removed.add(number)
        elif what == "unpark" and parked:
            await self.broker.lanes.unpark(lane, GROUP, parked[pick % len(parked)].key)
        elif what == "discard" and parked:
            key = parked[pick % len(parked)].key
            waiting = await self.broker.lanes.parked(lane, GROUP, key, count=1000)
            await self.broker.lanes.discard_parked(lane, GROUP, key)
            self.discarded |= {self.number_of(lane, event.entry_id) for event in waiting}

    # -- what holds ---------------------------------------------------------------------------------------------

    def number_of(self, lane: str, place: EntryId) -> int:
        """The event at a place."""
        return next(number for number, (_, of, at) in enumerate(self.emitted) if (of, at) == (lane, place))

    @invariant()
    def every_event_is_in_one_place(self) -> None:
        """Unread, pending, failed, parked; if it is in none of them it was handled, removed or given up."""
        places = self.run(self.places())
        for number in range(len(self.emitted)):
            found = places.get(number, [])
            assert len(found) <= 1, f"event {number} is {' and '.join(found)}"
            gone = self.removed | self.discarded
            assert found or number in self.handled or number in gone, f"event {number} is lost"

    @invariant()
    def each_key_is_in_order(self) -> None:
        """No event has its first success before an earlier one of its key that succeeds as well."""
        seen: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in dict.fromkeys(self.handled):
            key, lane, _ = self.emitted[number]
            seen[lane, key].append(number)
        for numbers in seen.values():
            assert numbers == sorted(numbers)
        assert self.overlaps == []

    async def places(self) -> dict[int, list[str]]:
        """Where the server has each event."""
        found: dict[int, list[str]] = defaultdict(list)
        for lane in LANES if self.emitted else ():
            [info] = await self.broker.groups(lane)
            for entry in await self.broker.range(lane, info.last_delivered.next()):
                found[self.number_of(lane, EntryId.parse(entry[0]))].append("unread")
            for pending in await self.broker.pending(lane, GROUP, count=10_000):
                found[self.number_of(lane, pending.entry_id)].append("pending")
            records = await self.broker.failures.find(lane, count=10_000)
            states = {(record.key.entry_id, record.state) for record in records}
            for place, state in states:
                found[self.number_of(lane, place)].append(f"recorded as {state.value}")
            parked = {
                event.entry_id
                for key in await self.broker.lanes.parked_keys(lane, GROUP)
                for event in await self.broker.lanes.parked(lane, GROUP, key.key, count=10_000)
            }
            assert parked == {place for place, state in states if state is FailureState.PARKED}
        return found

    def teardown(self) -> None:
        """In the end all is well, one process is left, and everything comes to its end."""
        try:
            if hasattr(self, "chosen"):
                self.run(self._finish())
                self.each_key_is_in_order()
        finally:
            self.runner.close()

    async def _finish(self) -> None:
        self.is_well = True
        for each in self.hanging:
            each.set()
        for member in self.members.values():
            await member.die()
        self.members.clear()
        await self.clock.advance(timedelta(seconds=60))
        last, places = Member(self, self.chosen), await self.places()
        for _ in range(200):
            await self.clock.advance(timedelta(seconds=1))
            for lane in LANES:
                for key in await self.broker.lanes.parked_keys(lane, GROUP):
                    await self.broker.lanes.unpark(lane, GROUP, key.key)
            places = await self.places()
            if all(place == ["recorded as failed"] for place in places.values() if place):
                break
        await last.stop()
        assert all(place == ["recorded as failed"] for place in places.values() if place), places
        gone = self.removed | self.discarded | set(self.handled)
        assert all(places.get(number) or number in gone for number in range(len(self.emitted)))


@pytest.mark.covers("LEAD-7", "GROUP-5", "LISTEN-18")
@pytest.mark.timeout(300)
class TestOrderedGroup(OrderedGroupMachine.TestCase):  # type: ignore[misc, valid-type]
    """Random histories."""

    settings = settings(
        max_examples=80,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
