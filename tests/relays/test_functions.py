"""Functions of users that raise: judged by the policy wherever they are called, and never a loss in silence."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.errors import ProjectionHaltedError
from penstock.message import Message
from penstock.projections._engine._run import CaughtUp, Waiting
from penstock.projections.abc import OnFailure
from penstock.relays._letting_go import let_go
from penstock.relays._noting import read_through
from penstock.relays._publishing import PublishHandlers
from penstock.relays._tokens import ensure_token, positions, token_of
from penstock.relays._upkeep import Kept, Upkeep
from penstock.relays.abc import RelayPlan
from penstock.retry import Retry
from penstock.store.abc import EventFilter, StoreBackend
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from tests.relays.conftest import Relaying, append, names_in, new_event

BAD = "bad"


@pytest.fixture(params=[("sqlite", "memory"), ("postgresql", "valkey")], ids=["sqlite", "postgresql"])
def surroundings(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the stores are in, and what the streams."""
    found: tuple[str, str] = request.param
    return found


class Moody:
    """A function that raises for one event whenever it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.raises = True

    def __call__(self, event: Message) -> Any:
        """What was asked for, or an error of the user's own."""
        if self.raises and event.id == BAD:
            raise ZeroDivisionError("a mistake of the user's")
        return self.answer


FUNCTIONS = [("where", True), ("to", "order.placed"), ("rename", "order.placed")]


@pytest.mark.parametrize(("option", "answer"), FUNCTIONS)
@pytest.mark.parametrize("target", ["streams", "shared"])
async def test_a_function_that_raises_is_judged_by_the_policy(
    local: StoreBackend,
    shared: StoreBackend,
    broker: StreamBroker,
    relaying: Relaying,
    option: str,
    answer: Any,
    target: str,
) -> None:
    """The relay stands before the event, with the error; with ``skip`` that event alone goes to the failures."""

    async def there() -> list[str]:
        if target == "streams":
            return await names_in(broker, "order.placed")
        return [event.id for event in (await shared.read(EventFilter(), limit=10)).events]

    await append(local, new_event(id="1"), new_event(id=BAD), new_event(id="2"))
    function: dict[str, Any] = {option: Moody(answer)}
    outcome = await relaying.catch_up(RelayPlan("relay", target=target, **function))
    while not isinstance(outcome, Waiting):
        outcome = await relaying.catch_up(RelayPlan("relay", target=target, **function))
    assert isinstance(outcome.failure, ZeroDivisionError)
    assert outcome.event is not None
    assert (outcome.event.id, await there()) == (BAD, ["1"])

    connection = (local if target == "streams" else shared).database.connect()
    (local if target == "streams" else shared).database.execute(
        connection, "UPDATE penstock_projections SET retry_at = 0, stands = 0"
    )
    connection.close()
    skipping = RelayPlan("relay", target=target, on_failure="skip", retry=Retry(attempts=1), **function)
    while not isinstance(await relaying.catch_up(skipping), CaughtUp):
        pass
    assert await there() == ["1", "2"]


async def _after_a_loss(local: StoreBackend, plan: RelayPlan, moody: Moody) -> tuple[Relaying, MemoryBroker]:
    """Three events were published, and the server has lost them all; now the function raises for one of them."""
    moody.raises = False
    await append(local, new_event(id="1"), new_event(id=BAD), new_event(id="2"))
    await Relaying({"local": local}, MemoryBroker()).finish(plan)
    moody.raises = True
    broker = MemoryBroker()
    return Relaying({"local": local}, broker), broker


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize(("option", "answer"), FUNCTIONS)
@pytest.mark.parametrize("policy", ["halt", "retry"])
async def test_what_is_to_be_added_again_halts_a_relay_whose_function_raises(
    local: StoreBackend, option: str, answer: Any, policy: OnFailure
) -> None:
    """It names the event; when the function answers again, everything is there, in order."""
    function: dict[str, Any] = {option: (moody := Moody(answer))}
    plan = RelayPlan("orders", on_failure=policy, **function)
    relaying, broker = await _after_a_loss(local, plan, moody)
    await append(local, new_event(id="3"))
    for _ in range(2):
        with pytest.raises(ProjectionHaltedError, match="added again: a mistake of the user's") as caught:
            await relaying.catch_up(plan)
        assert (caught.value.event_id, caught.value.position) == (BAD, 2)
    assert "3" not in await names_in(broker, "order.placed")

    moody.raises = False
    await relaying.finish(plan)
    assert await names_in(broker, "order.placed") == ["1", BAD, "2", "3"]


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize("policy", ["skip", "park"])
async def test_what_is_to_be_added_again_goes_to_the_failures_where_a_relay_goes_on(
    local: StoreBackend, policy: OnFailure, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and it is published when it is tried again; whoever looks after the server does the same."""
    moody = Moody(True)
    plan = RelayPlan("orders", on_failure=policy, where=moody)
    relaying, broker = await _after_a_loss(local, plan, moody)
    handlers = relaying.handlers(plan)
    assert isinstance(handlers, PublishHandlers)
    kept = Kept(plan, local, local, handlers)
    upkeep = Upkeep([kept], clock=SystemClock(), needed_after=_nobody)
    for _ in range(2):
        await upkeep.look(kept)
        await broker.relays.forget(await _token(local), "order.placed")
        await broker.delete_stream("order.placed")
    await append(local, new_event(id="3"))
    await relaying.finish(plan)
    assert await names_in(broker, "order.placed") == ["1", "2", "3"]

    moody.raises = False
    connection = local.database.connect()
    marked = local.database.execute(connection, "UPDATE penstock_projection_failures SET wanted = 1")
    assert marked.rowcount == 1
    connection.close()
    await relaying.finish(plan)
    assert await names_in(broker, "order.placed") == ["1", "2", "3", BAD]


async def test_whoever_looks_after_a_server_says_that_the_relay_stands(
    local: StoreBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """And looks after the other relays."""
    moody = Moody(True)
    plan = RelayPlan("orders", where=moody)
    relaying, _ = await _after_a_loss(local, plan, moody)
    handlers = relaying.handlers(plan)
    assert isinstance(handlers, PublishHandlers)
    upkeep = Upkeep([Kept(plan, local, local, handlers)], clock=SystemClock(), needed_after=_nobody)
    await upkeep.look_once()

    assert "relay 'orders' stands" in caplog.text
    assert BAD in caplog.text


@pytest.mark.parametrize(("option", "answer"), FUNCTIONS)
async def test_what_a_function_cannot_judge_is_kept(local: StoreBackend, option: str, answer: Any) -> None:
    """An event for which it raises is not deleted, nor what follows it in its event stream."""
    function: dict[str, Any] = {option: Moody(answer)}
    plan = RelayPlan("orders", keep=timedelta(0), **function)
    await append(local, new_event(id="1"), new_event(id=BAD), new_event(id="2"))

    assert await let_go(local, plan, through=3) == 1
    assert [event.id for event in (await local.read(EventFilter(), limit=10)).events] == [BAD, "2"]


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize("policy", ["skip", "park"])
async def test_keep_never_deletes_what_a_failure_still_needs(local: StoreBackend, policy: OnFailure) -> None:
    """Of the relay itself, and of another one that shares the store but is declared by another app."""
    moody = Moody(True)
    broker = MemoryBroker()
    relaying = Relaying({"local": local}, broker)
    keeping = RelayPlan("keeping", keep=timedelta(0))
    failing = RelayPlan("failing", to="failing", where=moody, on_failure=policy, retry=Retry(attempts=1))
    await append(local, *(new_event(id=each) for each in ("1", "2", BAD, "3")))
    await relaying.finish(keeping)
    while not isinstance(await relaying.catch_up(failing), CaughtUp):
        pass

    async def needed(_: str) -> int:
        return await asyncio.to_thread(_noted, local)

    for plan, needed_after in ((failing, _nobody), (keeping, needed)):
        kept = Kept(RelayPlan(plan.name, to=plan.to, keep=timedelta(0)), local, local)
        await Upkeep([kept], clock=SystemClock(), needed_after=needed_after).look(kept)
        left = [event.id for event in (await local.read(EventFilter(), limit=10)).events]
        assert left == [BAD, "3"]

    moody.raises = False
    connection = local.database.connect()
    local.database.execute(connection, "UPDATE penstock_projection_failures SET wanted = 1")
    connection.close()
    await relaying.finish(failing)
    assert sorted(await names_in(broker, "failing")) == ["1", "2", "3", BAD]
    kept = Kept(keeping, local, local)
    await Upkeep([kept], clock=SystemClock(), needed_after=needed).look(kept)
    assert (await local.read(EventFilter(), limit=10)).events == []


@pytest.mark.covers("EMIT-7")
async def test_keep_waits_for_event_streams_that_were_added_later(local: StoreBackend) -> None:
    """A relay that goes through one from its beginning still needs what lies below its position."""
    relaying = Relaying({"local": local}, MemoryBroker())
    await append(local, *(new_event(stream=f"order-{n % 2}") for n in range(6)))
    await relaying.finish(RelayPlan("orders", streams=("order-0",)))
    connection = local.database.connect()
    assert read_through(local.database, connection, "orders") == 6
    run = relaying.run(RelayPlan("orders", streams=("order-0", "order-1")))
    await asyncio.to_thread(_open_and_close, run)
    assert read_through(local.database, connection, "orders") == 0
    connection.close()
    await relaying.finish(RelayPlan("orders", streams=("order-0", "order-1")))
    connection = local.database.connect()
    assert read_through(local.database, connection, "orders") == 6
    connection.close()


def _open_and_close(run: Any) -> None:
    run.open()
    run.close()


def _noted(store: StoreBackend) -> int:
    connection = store.database.connect()
    try:
        return min(positions(store.database, connection).values())
    finally:
        connection.close()


async def _token(store: StoreBackend) -> str:
    connection = store.database.connect()
    ensure_token(store.database, connection, "orders")
    try:
        return token_of(store.database, connection, "orders")
    finally:
        connection.close()


async def _nobody(_: str) -> None:
    return None
