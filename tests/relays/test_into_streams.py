"""Relays from a store into streams: every event once, in order, envelope and all, whatever happens on the way."""

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import redis

from penstock.clock import SystemClock
from penstock.errors import BrokerUnavailableError, StaleRunnerError, StreamFullError, TransientError
from penstock.position import BEGINNING
from penstock.projections._engine._run import CaughtUp, Waiting
from penstock.projections._engine._threads import OwnThread
from penstock.projections.abc import OnFailure
from penstock.relays._publishing import PublishHandlers
from penstock.relays._upkeep import Kept, Upkeep
from penstock.relays.abc import RelayPlan
from penstock.retry import Retry
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoreBackend
from penstock.streams.abc import Cap, StreamBroker
from penstock.streams.layouts import LAYOUTS, Layouts
from penstock.streams.memory import MemoryBroker
from penstock.streams.repartitioning import Repartitioning
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import After, Crashed, Fault, Faulty
from tests.relays.conftest import Relaying, append, messages, names_in, new_event
from tests.streams.valkey.servers import RealServer, valkey_binary


@pytest.mark.covers("EMIT-7")
async def test_what_is_stored_is_published(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """In the order of the store, into the stream that emitting would choose, the envelope as it was."""
    stored = [
        new_event("order.placed", source="shop", causation="c", headers={"tenant": "ü"}),
        new_event("order.paid", data=None),
        new_event("order.placed"),
    ]
    await append(local, *stored)
    assert await relaying.finish(RelayPlan("orders")) == 3

    [first, second] = await messages(broker, "order.placed")
    assert [first.id, second.id] == [stored[0].id, stored[2].id]
    assert (first.meta, first.data, first.name) == (stored[0].meta, stored[0].data, "order.placed")
    [paid] = await messages(broker, "order.paid")
    assert (paid.id, paid.data) == (stored[1].id, None)


@pytest.mark.covers("EMIT-7")
async def test_relaying_again_adds_nothing(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Neither when nothing is new, nor when the checkpoint was lost and everything is read again."""
    events = [new_event() for _ in range(5)]
    await append(local, *events[:3])
    await relaying.finish(RelayPlan("orders"))
    await append(local, *events[3:])
    await relaying.finish(RelayPlan("orders"))
    connection = local.database.connect()
    local.database.execute(connection, "UPDATE penstock_checkpoints SET position = 0, state = NULL")
    connection.close()
    await relaying.finish(RelayPlan("orders"))

    assert await names_in(broker, "order.placed") == [event.id for event in events]


async def test_an_event_that_cannot_be_written_is_judged_by_the_policy(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """By default the relay stands before it; what comes before is there, what comes after is not."""
    relaying.how["max_body"] = 100
    events = [new_event(), new_event(data=b'"' + b"x" * 200 + b'"'), new_event()]
    await append(local, *events)
    outcome = await relaying.catch_up(RelayPlan("orders"))
    while not isinstance(outcome, Waiting):
        outcome = await relaying.catch_up(RelayPlan("orders"))

    assert outcome.event is not None
    assert outcome.event.id == events[1].id
    assert await names_in(broker, "order.placed") == [events[0].id]


@pytest.mark.parametrize("policy", ["skip", "park"])
async def test_a_failed_event_is_published_when_it_is_tried_again(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying, policy: OnFailure
) -> None:
    """Skipped or parked with its key, it waits among the failures; other events go on; later it comes, once."""
    relaying.how["max_body"] = 100
    large = b'"' + b"x" * 200 + b'"'
    events = [
        new_event(key="a"),
        new_event(key="b", data=large),
        new_event(key="b"),
        new_event(key="a"),
    ]
    await append(local, *events)
    plan = RelayPlan("orders", on_failure=policy, retry=Retry(attempts=1))
    while not isinstance(await relaying.catch_up(plan), CaughtUp):
        pass
    expected = [0, 2, 3] if policy == "skip" else [0, 3]
    assert await names_in(broker, "order.placed") == [events[n].id for n in expected]

    relaying.how["max_body"] = 1000
    connection = local.database.connect()
    local.database.execute(connection, "UPDATE penstock_projection_failures SET wanted = 1")
    connection.close()
    await relaying.finish(plan)
    await relaying.finish(plan)
    later = [1] if policy == "skip" else [1, 2]
    assert await names_in(broker, "order.placed") == [events[n].id for n in (*expected, *later)]


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize("after", [False, True], ids=["not written", "unknown"])
async def test_a_lost_connection_neither_loses_nor_repeats(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying, after: bool
) -> None:
    """Whether what was sent had arrived or not."""
    gone = BrokerUnavailableError("gone")
    events = [new_event(f"order.{n % 3}") for n in range(50)]
    await append(local, *events)
    plan = RelayPlan("orders", page=7)
    faults: list[Fault] = [None, After(gone) if after else gone, None, None, After(gone)] * 10
    relaying.broker = cast("StreamBroker", Faulty(broker, fail={"relays.add": faults}))
    for _ in range(40):
        try:
            await relaying.finish(plan)
            break
        except BrokerUnavailableError:
            continue
    else:
        pytest.fail("the relay did not come to its end")

    for n in range(3):
        assert await names_in(broker, f"order.{n}") == [event.id for event in events[n::3]]


@pytest.mark.covers("EMIT-7")
async def test_a_crash_at_any_step_neither_loses_nor_repeats(tmp_path: Path) -> None:
    """Before and after every call to the servers: the next run goes on where the last one was."""
    for step in range(1000):
        broker = MemoryBroker()
        store = SqliteBackend("local", tmp_path / f"{step}.db")
        await store.open()
        events = [new_event(f"order.{n % 2}") for n in range(12)]
        await append(store, *events)
        dying = Faulty(broker, crash_at=step)
        relaying = Relaying({"local": store}, cast("StreamBroker", dying), partitions={"order.1": 2})
        plan = RelayPlan("orders", page=5)
        try:
            await relaying.finish(plan)
            died = False
        except Crashed:
            died = True
        again = Relaying({"local": store}, broker, partitions={"order.1": 2})
        await again.finish(plan)

        assert await names_in(broker, "order.0") == [event.id for event in events[::2]], step
        lanes = [*await names_in(broker, "order.1:0"), *await names_in(broker, "order.1:1")]
        assert lanes == [event.id for event in events[1::2]], step
        await store.close()
        if not died:
            assert step > 8
            return


@pytest.mark.covers("EMIT-7")
async def test_two_relays_at_once_publish_each_event_once(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Even when both send: the script lets each event in once, in order."""
    events = [new_event() for _ in range(400)]
    await append(local, *events)
    plan = RelayPlan("orders", page=25, retry=Retry(initial="1ms", longest="1ms"))

    def run_out() -> None:
        with closing(local.database.connect()) as connection:
            local.database.execute(connection, "UPDATE penstock_projections SET lease_until = 0")

    async def steal() -> None:
        for _ in range(5):
            await asyncio.to_thread(run_out)
            await asyncio.sleep(0.005)

    runs = [relaying.catch_up(plan) for _ in range(4)]
    outcomes = await asyncio.gather(*runs, steal(), return_exceptions=True)
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    assert all(isinstance(each, (StaleRunnerError, TransientError)) for each in failures), failures
    run_out()
    # An event at which one after the other was overtaken looks as if it were deadly: it is left alone for a moment.
    while not isinstance(await relaying.catch_up(plan), CaughtUp):
        pass

    assert await names_in(broker, "order.placed") == [event.id for event in events]


@pytest.mark.covers("EMIT-7")
async def test_a_relay_that_was_overtaken_publishes_nothing_again(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Its lease ran out and another came to the end meanwhile: what it is about to send is not taken for late."""
    events = [new_event() for _ in range(30)]
    await append(local, *events)
    plan, thread = RelayPlan("orders", page=10), OwnThread("overtaken")
    overtaken = relaying.run(plan)
    try:
        await thread.call(overtaken.open)
        horizon = await thread.call(overtaken.horizon)
        with closing(local.database.connect()) as connection:
            local.database.execute(connection, "UPDATE penstock_projections SET lease_until = 0")
        await relaying.finish(plan)
        with pytest.raises(StaleRunnerError):
            await thread.call(lambda: overtaken.advance(horizon))
    finally:
        await thread.call(overtaken.close)
        thread.end()
    await relaying.finish(plan)

    assert await names_in(broker, "order.placed") == [event.id for event in events]


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize("removed", ["trimmed", "deleted"])
async def test_what_was_published_does_not_come_again_when_its_stream_is_removed(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying, removed: str
) -> None:
    """It was there once; what is stored later is published."""
    await append(local, new_event(), new_event())
    await relaying.finish(RelayPlan("orders"))
    if removed == "deleted":
        await broker.delete_stream("order.placed")
    else:
        await broker.removal.trim("order.placed", keep=0, force=True)
    later = new_event()
    await append(local, later)
    await relaying.finish(RelayPlan("orders"))

    assert await names_in(broker, "order.placed") == [later.id]


@pytest.mark.covers("EMIT-7", "TOPIC-2")
@pytest.mark.parametrize("restarted", [False, True])
async def test_partitions_have_every_event_once_whatever_changes(
    local: StoreBackend, broker: StreamBroker, restarted: bool
) -> None:
    """Three partitions become five while the relay runs and dies: each key is in order, each event there once."""
    keys = ["a", "b", "ключ", "鍵:1", "e#2", "f", "g"]
    relaying = Relaying({"local": local}, broker, partitions={"order.placed": 3})
    plan = RelayPlan("orders", page=10)
    events = [new_event(key=keys[n % len(keys)], data=b"%d" % n) for n in range(140)]
    await append(local, *events[:70])
    await relaying.finish(plan)
    connection = local.database.connect()
    # As after a crash before the checkpoint was moved: all of it is sent again, under another layout.
    local.database.execute(connection, "UPDATE penstock_checkpoints SET position = 33, state = NULL")
    connection.close()
    await Repartitioning(broker, "order.placed").to(5, timeout=timedelta(seconds=10))
    if restarted:
        relaying = Relaying({"local": local}, broker, partitions={"order.placed": 5})
    await relaying.finish(plan)
    await append(local, *events[70:])
    await relaying.finish(plan)

    found: dict[str, list[str]] = {}
    for lane in range(5):
        for message in await messages(broker, f"order.placed:{lane}"):
            found.setdefault(str(message.key), []).append(message.id)
    for number, key in enumerate(keys):
        wanted = [event.id for event in events[number :: len(keys)]]
        assert sorted(found[key]) == sorted(wanted), key
    assert sum(map(len, found.values())) == 140


async def test_the_layout_of_the_stream_is_respected(local: StoreBackend, broker: StreamBroker) -> None:
    """Also where it carries another content type than the event was stored in."""
    layouts = Layouts({"order.placed": LAYOUTS["beeorm"]})
    relaying = Relaying({"local": local}, broker, layouts=layouts)
    await append(local, new_event(data=b'{"n": 7}'))
    await relaying.finish(RelayPlan("orders"))

    [[entry_id, fields]] = await broker.range("order.placed")
    assert LAYOUTS["beeorm"].read("order.placed", entry_id, fields).payload == {"n": 7}


async def test_names_in_every_script_and_large_bodies(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Relays, streams, events and keys are called as people like; a body may be a megabyte."""
    large = b'"' + b"x" * 1_000_000 + b'"'
    events = [
        new_event("заказ принят", stream="заказ-№ 1", key="клю:ч", headers={"имя": "значение"}),
        *(new_event("注文", data=large) for _ in range(3)),
    ]
    await append(local, *events)
    await relaying.finish(RelayPlan("реле: один", to=lambda event: f"поток {event.name}"))

    [first] = await messages(broker, "поток заказ принят")
    assert (first.key, first.headers) == ("клю:ч", {"имя": "значение"})
    assert [message.data for message in await messages(broker, "поток 注文")] == [large] * 3


async def test_a_capped_stream_makes_the_relay_wait(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """A reader still needs its oldest entries: the relay tries again, and goes on when the reader has."""
    relaying.how["cap_for"] = _two_at_most
    await broker.create_group("order.placed", "billing", BEGINNING)
    events = [new_event() for _ in range(4)]
    await append(local, *events)
    with pytest.raises(StreamFullError):
        await relaying.finish(RelayPlan("orders"))
    assert await names_in(broker, "order.placed") == [event.id for event in events[:2]]

    read = await broker.read_group("billing", "ann", ["order.placed"], count=10)
    await broker.acknowledge("order.placed", "billing", [entry[0] for entry in read.batches[0][1]])
    await relaying.finish(RelayPlan("orders"))
    assert await names_in(broker, "order.placed") == [event.id for event in events[2:]]


@pytest.mark.covers("EMIT-7")
async def test_relays_of_one_name_out_of_two_stores_do_not_mix(
    local: StoreBackend, shared: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Two services each have a relay ``orders`` into one stream: both are published whole."""
    mine, theirs = [new_event() for _ in range(3)], [new_event() for _ in range(2)]
    await append(local, *mine)
    await append(shared, *theirs)
    await relaying.finish(RelayPlan("orders"))
    await relaying.finish(RelayPlan("orders", source="shared"))

    assert await names_in(broker, "order.placed") == [event.id for event in (*mine, *theirs)]


async def test_an_event_stream_that_is_added_later_is_published_from_its_beginning(
    local: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """Into a stream that has later events already; the others do not come again."""
    events = [new_event(stream=f"order-{n % 2}") for n in range(20)]
    await append(local, *events)
    await relaying.finish(RelayPlan("orders", streams=("order-0",)))
    await relaying.finish(RelayPlan("orders", streams=("order-0", "order-1")))
    await relaying.finish(RelayPlan("orders", streams=("order-0", "order-1")))

    assert await names_in(broker, "order.placed") == [event.id for event in (*events[::2], *events[1::2])]


@pytest.mark.covers("EMIT-7")
async def test_what_a_server_has_lost_is_published_again(local: StoreBackend, tmp_path: Path) -> None:
    """After kill -9 the server is as it was a while ago. The relay finds out, and adds what is gone, in order."""
    server = RealServer(valkey_binary()).start()
    broker = ValkeyBroker(server.url)
    await broker.open()
    try:
        relaying = Relaying({"local": local}, broker)
        events = [new_event(f"order.{n % 2}") for n in range(30)]
        await append(local, *events[:10])
        await relaying.finish(RelayPlan("orders"))
        with redis.Redis(unix_socket_path=server.socket) as client:
            client.save()
        await append(local, *events[10:20])
        await append(local, new_event("order.new", id="new"))
        await relaying.finish(RelayPlan("orders"))
        server.kill()
        server.start()
        await append(local, *events[20:])
        await relaying.finish(RelayPlan("orders"))

        for n in range(2):
            assert await names_in(broker, f"order.{n}") == [event.id for event in events[n::2]]
        # Nothing was sent to this one since: only who looks finds that it is gone.
        assert await names_in(broker, "order.new") == []
        handlers = relaying.handlers(RelayPlan("orders"))
        assert isinstance(handlers, PublishHandlers)
        kept = Kept(RelayPlan("orders"), local, local, handlers)
        await Upkeep([kept], clock=SystemClock(), needed_after=_nobody).look(kept)
        assert await names_in(broker, "order.new") == ["new"]
        await relaying.finish(RelayPlan("orders"))
        assert await names_in(broker, "order.new") == ["new"]
    finally:
        await broker.close()
        server.remove()


async def _nobody(_: str) -> None:
    return None


def _two_at_most(_: str) -> Cap:
    return Cap(max_entries=2)
