"""A master under the eyes of Sentinels: it is asked for, and followed when it changes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import pytest
import redis.asyncio
from redis.asyncio.sentinel import Sentinel

from penstock.errors import BrokerUnavailableError, PublishError
from penstock.event import Event
from penstock.listeners import GroupWorker, Router
from penstock.position import BEGINNING
from penstock.streams.abc import Condition, Dedupe, NewEntry
from penstock.streams.publisher import Outgoing, Publisher
from penstock.streams.valkey import Reconnect, ValkeyBroker
from tests.streams.valkey.clusters import RealSentinels, client_of, wait_until
from tests.streams.valkey.servers import RealServer

R = TypeVar("R")
Connect = Callable[..., Awaitable[ValkeyBroker]]

SECOND = timedelta(seconds=1)
QUICK = Reconnect(longest=timedelta(milliseconds=200))


class Placed(Event, name="order.placed", stream="orders"):
    """An order was placed."""

    number: int


@pytest.fixture
def own_sentinels() -> Iterator[Callable[[], RealSentinels]]:
    """Starts a trio whose servers a test may kill."""
    started: list[RealSentinels] = []

    def start() -> RealSentinels:
        started.append(RealSentinels())
        return started[-1]

    yield start
    for one in started:
        one.remove()


def numbered(number: int, **how: Any) -> NewEntry:
    """An entry that can be told from others."""
    return NewEntry("orders", [b"n", b"%d" % number], **how)


async def insist(call: Callable[[], Awaitable[R]]) -> R:
    """What a call that is safe to repeat answers, when each of the connections may turn out to be broken."""
    while True:
        try:
            return await call()
        except (PublishError, BrokerUnavailableError):
            continue


async def append_once(broker: ValkeyBroker, number: int) -> None:
    """Add an entry, also when the connection breaks just then."""
    await insist(lambda: broker.append(numbered(number, dedupe=Dedupe(f"{number}"))))


async def numbers_in(broker: ValkeyBroker) -> list[int]:
    """What is in the stream, in its order."""
    return [int(fields[1]) for _, fields in await broker.range("orders")]


async def replicated(sentinels: RealSentinels) -> None:
    """Wait until the replica has what the master has; the master it is asked on is the one of now."""

    def has_all() -> bool:
        with client_of(sentinels.master) as client:
            facts: dict[str, Any] = client.info("replication")
        return bool(facts["connected_slaves"] and facts["slave0"]["offset"] == facts["master_repl_offset"])

    await asyncio.to_thread(wait_until, has_all)


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_the_master_is_followed_when_it_changes(
    own_sentinels: Callable[[], RealSentinels], connect: Connect, plain: bool
) -> None:
    """Publishing, settling and reading go on with the new master; nothing that had reached it is lost."""
    sentinels = own_sentinels()
    broker = await connect(sentinels.url, plain=plain, reconnect=QUICK)
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append_many([numbered(number) for number in range(5)])
    read = await broker.read_group("billing", "ann", ["orders"], count=3)
    await replicated(sentinels)
    former = sentinels.master
    await asyncio.to_thread(sentinels.fail_over)
    await append_once(broker, 5)
    outcomes = await broker.append_many([numbered(6, dedupe=Dedupe("six")), numbered(7)])
    assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 2
    assert sentinels.master is not former
    assert await insist(lambda: numbers_in(broker)) == list(range(8))
    held = [entry_id for entry_id, _ in read.batches[0][1]]
    assert await insist(lambda: broker.renew("orders", "billing", "ann", held)) == []
    read = await insist(
        lambda: broker.read_group("billing", "ann", ["orders"], count=9, acknowledge={"orders": held})
    )
    assert (read.acknowledged, len(read.batches[0][1])) == ({"orders": 3}, 5)


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_a_waiting_group_read_survives_a_failover(
    own_sentinels: Callable[[], RealSentinels], connect: Connect, plain: bool
) -> None:
    """It ends, or breaks as reads do when a connection is lost; the next one has what was added since."""
    sentinels = own_sentinels()
    broker = await connect(sentinels.url, plain=plain, reconnect=QUICK)
    await broker.create_group("orders", "billing", BEGINNING)
    await replicated(sentinels)
    with client_of(sentinels.master) as client:
        reading = asyncio.create_task(
            broker.read_group("billing", "ann", ["orders"], count=5, block=timedelta(minutes=1))
        )
        while not client.info("clients")["blocked_clients"]:
            await asyncio.sleep(0.005)
    await asyncio.to_thread(sentinels.fail_over)
    await append_once(broker, 1)
    try:
        read = await reading
    except BrokerUnavailableError:
        read = await broker.read_group("billing", "ann", ["orders"], count=5, block=timedelta(minutes=1))
    assert [fields for _, fields in read.batches[0][1]] == [[b"n", b"1"]]


@pytest.mark.covers("LEAD-10", "CONF-7")
@pytest.mark.parametrize("how", ["asked for", "killed"])
async def test_publishing_goes_on_through_a_failover(
    own_sentinels: Callable[[], RealSentinels], connect: Connect, how: str
) -> None:
    """Nothing is written twice, and order is kept.

    Lost is at most what the master accepted before it was killed and had not sent to the replica; nothing when it was
    asked to hand over.
    """
    sentinels = own_sentinels()
    broker = await connect(sentinels.url, reconnect=QUICK, answer_timeout=timedelta(seconds=20))
    await broker.append_many([numbered(number) for number in range(50)])
    await replicated(sentinels)
    written: list[int] = []
    unknown: list[int] = []
    stop = asyncio.Event()

    async def publish() -> None:
        for number in itertools.count(50):
            if stop.is_set():
                return
            try:
                [outcome] = await broker.append_many([numbered(number)])
            except (PublishError, BrokerUnavailableError):
                unknown.append(number)
                continue
            (written if outcome.condition is Condition.WRITTEN else unknown).append(number)

    publishing = asyncio.create_task(publish())
    while len(written) < 50:
        await asyncio.sleep(0.001)
    former = sentinels.master
    if how == "killed":
        former.kill()
        await asyncio.to_thread(sentinels.wait_for_another, former)
    else:
        await asyncio.to_thread(sentinels.fail_over)
    so_far = len(written)
    while len(written) < so_far + 50:
        await asyncio.sleep(0.001)
    stop.set()
    await publishing
    found = await numbers_in(broker)
    assert found == sorted(set(found))
    assert set(range(50)) <= set(found)
    assert set(written[-50:] if how == "killed" else written) <= set(found)
    assert set(found) <= {*range(50), *written, *unknown}


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_a_worker_goes_on_through_a_failover(
    own_sentinels: Callable[[], RealSentinels], connect: Connect
) -> None:
    """Without a restart, and with everything handled that the new master knows of."""
    sentinels = own_sentinels()
    broker = await connect(sentinels.url, reconnect=QUICK)
    group = Router().group("shop", min_idle="2s")
    seen: list[int] = []

    @group.on(Placed)
    async def handle(order: Placed) -> None:
        seen.append(order.number)

    publisher = Publisher(broker_for=lambda stream: broker, source="tests")
    worker = GroupWorker(broker, group, consumer="ann")
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await publisher.publish_many([Outgoing(Placed(number=number)) for number in range(10)])
    await replicated(sentinels)
    former = sentinels.master
    former.kill()
    await asyncio.to_thread(sentinels.wait_for_another, former)
    await publisher.publish_many([Outgoing(Placed(number=number)) for number in range(10, 20)])
    async with asyncio.timeout(30):
        while len(set(seen)) < 20 or (await broker.pending_summary("orders", "shop")).count:
            await asyncio.sleep(0.01)
    worker.stop()
    await running


@pytest.mark.covers("CONF-6")
@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_client_of_the_master_may_be_brought(
    sentinel_server: RealSentinels, namespace: str, connect: Connect, plain: bool, protocol: int
) -> None:
    """Its pool is the source of connections, and gets all of them back."""
    found = Sentinel([("127.0.0.1", each.port) for each in sentinel_server.sentinels])  # type: ignore[no-untyped-call]
    client = found.master_for("main", protocol=protocol)
    broker = await connect(client=client, namespace=namespace, plain=plain)
    await broker.append(numbered(1))
    assert await numbers_in(broker) == [1]
    pool: Any = client.connection_pool
    assert len(pool._in_use_connections) == 2
    assert "main" in repr(broker)
    await broker.close()
    assert not pool._in_use_connections
    await client.aclose()
    await found.aclose()


@pytest.mark.covers("CONF-1")
async def test_sentinels_that_do_not_answer_are_passed_over(
    sentinel_server: RealSentinels, connect: Connect
) -> None:
    """One that does is enough; with none, or none that knows the service, it is told at once."""
    one = sentinel_server.sentinels[2].port
    broker = await connect(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{one}/main/0")
    assert await broker.length("orders") == 0
    for url in (f"redis+sentinel://127.0.0.1:{one}/elsewhere", "redis+sentinel://127.0.0.1:1/main"):
        with pytest.raises(BrokerUnavailableError, match=url.rpartition("/")[2]):
            await connect(url)


async def test_a_master_that_became_a_replica_is_not_believed(
    start_server: Callable[..., RealServer], connect: Connect
) -> None:
    """Sentinels may be behind: what an old master would tell is out of date, so it is not asked."""
    server = start_server(with_port=True)
    pool: Any = redis.asyncio.ConnectionPool.from_url(server.url)
    pool.service_name = "main"
    with client_of(server) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(BrokerUnavailableError, match="no longer where the sentinels say"):
        await connect(client=redis.asyncio.Redis(connection_pool=pool))
    await pool.aclose()


@pytest.mark.covers("CONF-1")
async def test_servers_and_sentinels_have_passwords_of_their_own(
    connect: Connect, own_sentinels: Callable[[], RealSentinels]
) -> None:
    """Those of the URL's head are for the server, those of its query for the Sentinels; neither is ever shown."""
    sentinels = own_sentinels()
    for server in sentinels.servers:
        with client_of(server) as client:
            client.execute_command("ACL", "SETUSER", "shop", "on", ">s1-secret", "~*", "&*", "+@all")
    for sentinel in sentinels.sentinels:
        with client_of(sentinel) as client:
            client.execute_command("ACL", "SETUSER", "eye", "on", ">s2-secret", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")
    head, tail = sentinels.url.replace("//", "//shop:s1-secret@"), "sentinel_username=eye&sentinel_password="
    broker = await connect(f"{head}?{tail}s2-secret")
    await broker.append(numbered(1))
    assert "secret" not in repr(broker)
    with pytest.raises(BrokerUnavailableError) as caught:
        await connect(f"{head}?{tail}wrong-secret")
    assert "secret" not in str(caught.value)
