"""Until idle: groups, projections and relays make work for each other, and the run ends when nothing moves anywhere.

Every handler here that holds no transaction of a file waits until all other parts have come to their end, so that
whoever it makes work for has looked, and found nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock import App, Event
from penstock._building import Selection
from penstock.errors import ProjectionHaltedError
from penstock.lifecycle import State
from penstock.listeners.runner import Part, Runner
from penstock.projections.derived import Derived
from penstock.retry import LeavePending, Retry


class Placed(Event, name="idle.placed", key="number", stream="placed"):
    """The first of a chain."""

    number: int


class Paid(Event, name="idle.paid", key="number", stream="paid"):
    """The second."""

    number: int


class Sent(Event, name="idle.sent", key="number", stream="sent"):
    """The third."""

    number: int


class Chain:
    """An app whose handlers wait for the others to end, and what they saw."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen: list[str] = []
        self.runner: Runner | None = None

    async def run(self) -> None:
        """Run it until idle, within a time that only an endless run needs."""
        self.runner = await self.app.runner(Selection(until_idle=True))
        async with asyncio.timeout(20):
            await self.runner.run()

    def saw(self, what: str) -> bool:
        """A handler in a thread ran: note it, and wait until all parts but one have ended; yes."""
        self.seen.append(what)
        ends = time.monotonic() + 10
        while not self._is_alone:
            assert time.monotonic() < ends, f"others still run beside {what}"
            time.sleep(0.001)
        return True

    async def see(self, what: str) -> None:
        """The same, for one on the event loop."""
        self.seen.append(what)
        async with asyncio.timeout(10):
            while not self._is_alone:
                await asyncio.sleep(0.001)

    @property
    def _is_alone(self) -> bool:
        assert self.runner is not None
        return sum(_is_running(part) for part in self.runner.parts) == 1


def _is_running(part: Part) -> bool:
    return part.life.state not in (State.STOPPED, State.FAILED)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """An app with two stores, and streams in memory."""
    app = App(
        "idle",
        streams="memory://",
        store=f"sqlite:///{tmp_path}/local.db",
        stores={"shared": {"url": f"sqlite:///{tmp_path}/shared.db"}},
        data_folder=str(tmp_path / "data"),
    )
    async with app:
        yield Chain(app)


def listen(chain: Chain, event: type[Event], group: str, then: Callable[[int], Event | None]) -> None:
    """A group that emits what follows, if something does."""

    @chain.app.listener(event, group=group)
    async def follow(placed: Placed | Paid | Sent) -> None:
        await chain.see(group)
        following = then(placed.number)
        if following is not None:
            await chain.app.emit(following)


@pytest.mark.covers("PROJ-21")
async def test_a_listener_stores_for_a_projection_that_had_ended(chain: Chain) -> None:
    """What it appends is projected in the same run."""

    @chain.app.listener(Placed, group="billing")
    async def pay(placed: Placed) -> None:
        await chain.see("billing")
        await chain.app.store().append(Paid(number=placed.number))

    totals = chain.app.projection("totals")

    @totals.on(Paid)
    def count(paid: Paid) -> None:
        chain.saw(f"totals {paid.number}")

    await chain.app.emit(Placed(number=1))
    await chain.run()
    assert chain.seen == ["billing", "totals 1"]


@pytest.mark.covers("PROJ-21", "EMIT-7")
async def test_a_projection_derives_for_a_relay_that_publishes_for_a_group(chain: Chain) -> None:
    """Three kinds in one chain, each of which had ended when its work came."""
    chain.app.relay("paid", events=[Paid], where=lambda event: chain.saw("relay"))
    listen(chain, Paid, "shipping", lambda number: Sent(number=number))
    listen(chain, Sent, "thanks", lambda number: None)
    totals = chain.app.projection("totals")

    @totals.on(Placed)
    def derive(placed: Placed, derived: Derived) -> None:
        chain.seen.append("totals")
        derived.emit(Paid(number=placed.number))

    await chain.app.store().append(Placed(number=1))
    await chain.run()
    assert chain.seen == ["totals", "relay", "shipping", "thanks"]


@pytest.mark.covers("PROJ-21", "EMIT-7")
async def test_a_chain_that_comes_back_to_where_it_began_is_followed_to_its_end(chain: Chain) -> None:
    """From the store to a stream, through a listener back into the store, and to the same relay: three times round."""
    chain.app.relay("placed", events=[Placed], where=lambda event: chain.saw("relay"))

    @chain.app.listener(Placed, group="again")
    async def place_another(placed: Placed) -> None:
        await chain.see("again")
        if placed.number:
            await chain.app.store().append(Placed(number=placed.number - 1))

    await chain.app.store().append(Placed(number=2))
    await chain.run()
    assert chain.seen == ["relay", "again"] * 3


@pytest.mark.covers("PROJ-21")
@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a")])
async def test_groups_make_work_for_groups_that_had_ended(chain: Chain, names: tuple[str, str, str]) -> None:
    """Three of them through three streams, whatever their order; no projection is there."""
    first, second, third = names
    listen(chain, Placed, first, lambda number: Paid(number=number))
    listen(chain, Paid, second, lambda number: Sent(number=number))
    listen(chain, Sent, third, lambda number: Placed(number=number - 1) if number else None)
    await chain.app.emit(Placed(number=1))
    await chain.run()
    assert chain.seen == [*names, *names]


@pytest.mark.covers("PROJ-21")
async def test_projections_over_two_stores_and_a_relay_between_them_go_on_for_each_other(
    chain: Chain,
) -> None:
    """What one derives is copied into the other store, and projected there."""
    chain.app.relay("share", source="local", target="shared", events=[Paid])
    first = chain.app.projection("first")
    second = chain.app.projection("second", store="shared", into="shared")

    @first.on(Placed)
    def derive(placed: Placed, derived: Derived) -> None:
        chain.seen.append("first")
        derived.emit(Paid(number=placed.number))

    @second.on(Paid)
    def note(paid: Paid) -> None:
        chain.seen.append("second")

    await chain.app.store().append(Placed(number=1))
    await chain.run()
    assert chain.seen == ["first", "second"]


async def test_a_message_that_its_listener_leaves_pending_does_not_keep_the_run_from_ending(
    chain: Chain,
) -> None:
    """It is not due again before `min_idle`, though it would make work each time; what was emitted is handled."""
    left: list[int] = []

    @chain.app.listener(Placed, group="undecided")
    async def leave(placed: Placed) -> None:
        left.append(placed.number)
        await chain.see("undecided")
        await chain.app.emit(Paid(number=placed.number))
        raise LeavePending

    listen(chain, Paid, "billing", lambda number: None)
    await chain.app.emit(Placed(number=1))
    await chain.run()
    assert (chain.seen, left) == (["undecided", "billing"], [1])
    await chain.run()
    assert left == [1, 1], "another run begins by what is pending with it"


async def test_a_listener_that_fails_does_not_keep_the_run_from_ending(chain: Chain) -> None:
    """Retries that are due later are left to the next run."""

    @chain.app.listener(Placed, group="failing", retry=Retry(attempts=3, initial="1h"))
    async def fail(placed: Placed) -> None:
        await chain.see("failing")
        raise ValueError("no place")

    listen(chain, Paid, "billing", lambda number: None)
    await chain.app.emit(Placed(number=1))
    await chain.run()
    assert chain.seen == ["failing"]


async def test_a_projection_that_halts_on_what_a_listener_stored_ends_the_run_with_its_error(
    chain: Chain,
) -> None:
    """The groups end as well, and nothing is run again."""

    @chain.app.listener(Placed, group="billing")
    async def pay(placed: Placed) -> None:
        await chain.see("billing")
        await chain.app.store().append(Paid(number=placed.number))

    totals = chain.app.projection("totals")

    @totals.on(Paid)
    def count(paid: Paid) -> None:
        raise ValueError("no place")

    await chain.app.emit(Placed(number=1))
    with pytest.raises(ProjectionHaltedError, match="halted at position 1"):
        await chain.run()
    assert chain.seen == ["billing"]


async def test_a_run_with_nothing_to_do_is_one_run(chain: Chain) -> None:
    """It looks once, and ends."""
    listen(chain, Placed, "billing", lambda number: None)
    totals = chain.app.projection("totals")

    @totals.on(Paid)
    def count(paid: Paid) -> None:
        chain.saw("totals")

    runner = await chain.app.runner(Selection(until_idle=True))
    starts = 0
    for part in runner.parts:
        started = part.run

        async def counted(started: Callable[[], object] = started) -> None:
            nonlocal starts
            starts += 1
            await started()  # type: ignore[misc]

        part.run = counted  # type: ignore[method-assign]
    await runner.run()
    assert (starts, chain.seen) == (2, [])
