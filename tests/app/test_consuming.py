"""A consumer group in one's own hands: numbered consumers, batches, scaling down by claiming."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from penstock import App, Delivery, Event, LeavePending, Message, Retry
from penstock.errors import ConfigurationError, ConsumerBusyError, UsageError
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker, MemoryServer
from penstock.streams.valkey import ValkeyBroker
from penstock.testing import ManualClock


class Paid(Event, name="paid", key="order"):
    """An order was paid."""

    order: int


class Sent(Event, name="sent"):
    """An order was sent."""

    order: int


@pytest.fixture(params=["memory", "valkey"])
def make_broker(request: pytest.FixtureRequest, server_url: str) -> Callable[[], StreamBroker]:
    """Brokers of one server, as processes have them."""
    memory, namespace = MemoryServer(), uuid4().hex
    if request.param == "memory":
        return lambda: MemoryBroker(server=memory)
    return lambda: ValkeyBroker(server_url, namespace=namespace)


@pytest.fixture
async def make_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_broker: Callable[[], StreamBroker]
) -> AsyncIterator[Callable[[], App]]:
    """Apps as processes have them, each with a broker of its own, the group ``ledger`` over two streams."""
    monkeypatch.chdir(tmp_path)
    made: list[tuple[App, StreamBroker]] = []

    def make() -> App:
        broker = make_broker()
        app = App("shop", broker=broker)
        app.group("ledger", streams=["paid", "sent"], min_idle="1h", retry=Retry(attempts=1))
        made.append((app, broker))
        return app

    yield make
    for app, broker in made:
        await app.close()
        await broker.close()


@pytest.fixture
def app(make_app: Callable[[], App]) -> App:
    """One of them."""
    return make_app()


def names_of(batch: list[Message]) -> list[str]:
    """What a batch holds."""
    return [f"{message.name}-{message.payload['order']}" for message in batch]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.covers("GROUP-6", "GROUP-12", "GROUP-13")
async def test_draining_hands_everything_over_in_batches(app: App) -> None:
    """At most *count* entries of one stream at a time, in the order of the stream; then the answer is yes."""
    await app.emit_many([Paid(order=number) for number in range(10)])
    await app.emit_many([Sent(order=number) for number in range(5)])
    batches: list[list[str]] = []

    async def keep(batch: list[Message]) -> None:
        batches.append(names_of(batch))

    assert await app.consumer("ledger").consume(keep, count=4, drain=True) is True
    assert all(len(batch) <= 4 for batch in batches)
    assert all(len({name.partition("-")[0] for name in batch}) == 1 for batch in batches)
    paid = [name for batch in batches for name in batch if name.startswith("paid")]
    assert sorted(paid) == sorted(f"paid-{number}" for number in range(10))
    broker = await app.broker_for("paid")
    assert [each.pending for each in await broker.groups("paid")] == [0]
    assert [each.lag_entries for each in await broker.groups("sent")] == [0]


@pytest.mark.covers("LISTEN-13")
async def test_a_batch_of_messages_may_hold_several_event_names(app: App) -> None:
    """Whoever takes messages as they come gets them together, whatever their names."""
    for number in range(6):
        await app.emit({"order": number}, name="paid" if number % 2 else "refunded", stream="paid")
    seen: list[list[str]] = []

    async def keep(batch: list[Message]) -> None:
        seen.append(names_of(batch))

    app.registry.groups["ledger"].configure(concurrency=1)
    await app.consumer("ledger").consume(keep, count=100, drain=True)
    assert seen == [["refunded-0", "paid-1", "refunded-2", "paid-3", "refunded-4", "paid-5"]]


async def test_a_handler_may_take_declared_events_or_deliveries(app: App) -> None:
    """Decoded events of one type; or deliveries, of which each is acknowledged by itself."""
    await app.emit_many([Paid(order=number) for number in range(3)])
    events: list[Paid] = []

    async def take(batch: list[Paid]) -> None:
        events.extend(batch)

    await app.consumer("ledger").consume(take, drain=True)
    assert events == [Paid(order=number) for number in range(3)]

    def look(batch: list[Delivery]) -> None:
        events.extend(Paid(order=delivery.message.payload["order"] + 100) for delivery in batch)

    await app.emit(Paid(order=7))
    await app.consumer("ledger").consume(look, drain=True)
    assert events[-1] == Paid(order=107)


@pytest.mark.covers("GROUP-6")
async def test_a_number_is_worked_once(make_app: Callable[[], App]) -> None:
    """A second start under the same number answers no at once; another number runs beside it."""
    first, second = make_app(), make_app()
    seen: list[str] = []

    async def keep(batch: list[Message]) -> None:
        seen.extend(names_of(batch))

    one = first.consumer("ledger")
    working = asyncio.create_task(one.consume_many(2, keep))
    await first.emit(Paid(order=1))
    await until(lambda: seen == ["paid-1"])
    assert await second.consumer("ledger").consume_many(2, keep, drain=True) is False
    assert await second.consumer("ledger").consume_many(3, keep, drain=True) is True
    one.stop()
    assert await working is True
    assert await second.consumer("ledger").consume_many(2, keep, drain=True) is True


@pytest.mark.covers("GROUP-7", "FAIL-10")
async def test_a_failing_batch_costs_only_its_bad_entries(app: App) -> None:
    """The others are acknowledged; the bad one is a failed message."""
    await app.emit_many([Paid(order=number) for number in range(5)])
    handled: list[int] = []

    async def charge(batch: list[Paid]) -> None:
        if any(each.order == 3 for each in batch):
            raise ValueError("no")
        handled.extend(each.order for each in batch)

    assert await app.consumer("ledger").consume(charge, drain=True)
    assert sorted(handled) == [0, 1, 2, 4]
    broker = await app.broker_for("paid")
    [record] = await broker.failures.find("paid", "ledger")
    assert (record.key.listener, record.error) == ("consume", "no")
    assert (await broker.pending_summary("paid", "ledger")).count == 0


async def _left_by(app: App, number: int, orders: range) -> None:
    """What a consumer took before it died."""
    await app.emit_many([Paid(order=each) for each in orders])
    broker = await app.broker_for("paid")
    for stream in ("paid", "sent"):
        await broker.create_group(stream, "ledger", app.registry.groups["ledger"].settings.start)
    await broker.read_group("ledger", f"consumer-{number}", ["paid"], count=len(orders))


@pytest.mark.covers("GROUP-8")
async def test_scaling_down_moves_what_was_pending_to_one_that_runs(make_app: Callable[[], App]) -> None:
    """Consumer 2 is gone with entries in its hands; claimed for 1, which runs, they are handled without a restart."""
    first, second = make_app(), make_app()
    await _left_by(second, 2, range(150))
    first.registry.groups["ledger"].configure(min_idle=timedelta(milliseconds=300))
    seen: list[str] = []

    async def keep(batch: list[Message]) -> None:
        seen.extend(names_of(batch))

    one = first.consumer("ledger")
    broker = await first.broker_for("paid")
    # Nobody may take them but by the claim.
    one.group.configure(min_idle=timedelta(hours=1))
    assert await one.claim(2, 1) == 150
    assert {each.name for each in await broker.consumers("paid", "ledger")} == {"consumer-1"}
    assert await one.consume(keep, drain=True)
    assert sorted(seen) == sorted(f"paid-{each}" for each in range(150))
    assert (await broker.pending_summary("paid", "ledger")).count == 0


@pytest.mark.covers("GROUP-8")
async def test_what_is_moved_to_a_running_consumer_is_handled_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks among its own pending entries again and again; what a handler left there on purpose stays."""
    monkeypatch.chdir(tmp_path)
    clock = ManualClock()
    app = App("shop", broker=MemoryBroker(server=MemoryServer(clock)), clock=clock)
    app.group("ledger", streams=["paid", "sent"], min_idle="1h")
    await _left_by(app, 3, range(20))
    seen: list[str] = []

    async def keep(batch: list[Message]) -> None:
        seen.extend(names_of(batch))
        if names_of(batch) == ["sent-0"]:
            raise LeavePending

    one = app.consumer("ledger")
    working = asyncio.create_task(one.consume(keep))
    await app.emit(Sent(order=0))
    await until(lambda: seen == ["sent-0"])
    assert await one.claim(3, 1) == 20
    await clock.advance(timedelta(seconds=15))
    await until(lambda: len(seen) == 21)
    for _ in range(3):
        await clock.advance(timedelta(seconds=15))
    one.stop()
    assert await working
    assert sorted(seen) == sorted(["sent-0", *(f"paid-{each}" for each in range(20))])
    broker = await app.broker_for("paid")
    assert (await broker.pending_summary("paid", "ledger")).count == 0
    assert (await broker.pending_summary("sent", "ledger")).count == 1
    await app.close()


@pytest.mark.covers("GROUP-8")
async def test_a_living_source_is_not_robbed_unless_forced(make_app: Callable[[], App]) -> None:
    """The claim is refused and names who works there; forced, it moves what is pending."""
    first, second = make_app(), make_app()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(batch: list[Message]) -> None:
        begun.set()
        await go_on.wait()

    two = first.consumer("ledger")
    working = asyncio.create_task(two.consume_many(2, hold))
    await first.emit(Paid(order=1))
    await begun.wait()
    other = second.consumer("ledger")
    with pytest.raises(ConsumerBusyError, match=r"consumer-2.*process \d+"):
        await other.claim(2, 1)
    broker = await second.broker_for("paid")
    assert dict((await broker.pending_summary("paid", "ledger")).consumers) == {"consumer-2": 1}
    assert await other.claim(2, 1, force=True) == 1
    assert dict((await broker.pending_summary("paid", "ledger")).consumers) == {"consumer-1": 1}
    go_on.set()
    two.stop()
    assert await working


@pytest.mark.covers("GROUP-8")
async def test_claiming_where_nothing_is_moves_nothing(app: App) -> None:
    """No group, no consumer, no stream: none of them is an error."""
    assert await app.consumer("ledger").claim(5, 1) == 0


async def test_what_cannot_be_consumed_is_refused(app: App) -> None:
    """The error says what to do."""
    ledger = app.consumer("ledger")

    async def keep(batch: list[Message]) -> None:
        """Nothing."""

    with pytest.raises(UsageError, match="begin at 1"):
        await ledger.consume_many(0, keep)
    with pytest.raises(UsageError, match="at least one entry"):
        await ledger.consume(keep, count=0)
    with pytest.raises(UsageError, match="itself"):
        await ledger.claim(1, 1)
    with pytest.raises(ConfigurationError, match="no streams"):
        app.consumer("nobody")
    with pytest.raises(ConfigurationError):
        await ledger.consume("not a function", drain=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_streams_that_settings_give_a_group_are_consumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All streams registered for the group, in code or in the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("[stream.'paid']\ngroups = ['books']\n")
    app = App("shop", streams="memory://")
    seen: list[str] = []

    async def keep(batch: list[Message]) -> None:
        seen.extend(names_of(batch))

    async with app:
        await app.emit(Paid(order=1))
        assert await app.consumer("books").consume(keep, drain=True)
    assert seen == ["paid-1"]
