"""Lost connections and servers that are away: what was being written is told, and everything goes on afterwards."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio

from penstock.errors import (
    BrokerUnavailableError,
    PublishError,
)
from penstock.position import BEGINNING
from penstock.streams.abc import (
    Condition,
    GroupRead,
    NewEntry,
)
from penstock.streams.valkey import Reconnect, ValkeyBroker
from penstock.telemetry import Observer
from tests.streams.valkey.proxy import Proxy
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]

SHORT = timedelta(milliseconds=200)
QUICK = Reconnect(initial=timedelta(milliseconds=1), longest=timedelta(milliseconds=20))
ENTRY = NewEntry("orders", [b"n", b"1"])


class Recorder(Observer):
    """Remembers what it was told about connections."""

    def __init__(self) -> None:
        self.tries: list[tuple[int, timedelta]] = []
        self.back = asyncio.Event()

    def reconnecting(self, what: str, attempt: int, delay: timedelta, cause: BaseException) -> None:
        """A try has failed."""
        self.tries.append((attempt, delay))

    def reconnected(self, what: str) -> None:
        """The server is back."""
        self.back.set()


async def waiting_clients(admin: Any, number: int) -> None:
    """Until so many clients wait for entries."""
    while (await admin.info("clients"))["blocked_clients"] < number:
        await asyncio.sleep(0)


async def start_reading(
    broker: ValkeyBroker, admin: Any, group: str = "billing"
) -> "asyncio.Task[GroupRead]":
    """A group read that waits on the server."""
    reading = asyncio.create_task(
        broker.read_group(group, "ann", ["orders"], count=10, block=timedelta(seconds=60))
    )
    await waiting_clients(admin, 1)
    return reading


@pytest.mark.covers("EMIT-1")
async def test_a_lost_answer_to_an_append_is_unknown_and_never_sent_again(
    valkey_server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """The entry is there once, and the caller is told that nobody knows."""
    async with Proxy(valkey_server.socket) as proxy:
        broker = await connect(
            proxy.url, namespace=namespace, plain=plain, answer_timeout=SHORT, reconnect=QUICK
        )
        await broker.append(ENTRY)
        proxy.swallow_replies = True
        with pytest.raises(PublishError) as caught:
            await broker.append(ENTRY)
        assert caught.value.outcomes == ("unknown",)
        assert isinstance(caught.value.causes[0], BrokerUnavailableError)
        proxy.swallow_replies = False
        assert await broker.length("orders") == 2
        await broker.append(ENTRY)
        assert await broker.length("orders") == 3


@pytest.mark.covers("EMIT-3")
async def test_a_connection_cut_in_the_middle_of_a_pipeline_says_what_became_of_each_entry(
    valkey_server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Answered: written. Sent and not answered: unknown, whether it arrived or not."""
    async with Proxy(valkey_server.socket) as proxy:
        broker = await connect(proxy.url, namespace=namespace, plain=plain, reconnect=QUICK)
        await broker.append(ENTRY)
        packed = (
            len(b"*5\r\n$4\r\nXADD\r\n$%d\r\n%s:orders\r\n$1\r\n*\r\n$1\r\nn\r\n$1\r\n1\r\n")
            - 4
            + len(namespace)
            + 7
        )
        packed += len(str(len(namespace) + 7)) - 7
        proxy.pass_on, proxy.cut_after_replies = 4 * packed + 11, 8
        outcomes = await broker.append_many([ENTRY] * 10)
        assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 4 + [
            Condition.UNKNOWN
        ] * 6
        proxy.pass_on = None
        found = [entry_id for entry_id, _ in await broker.range("orders")]
        assert [outcome.entry_id for outcome in outcomes[:4]] == found[1:]
        assert all(isinstance(outcome.cause, BrokerUnavailableError) for outcome in outcomes[4:])


async def test_what_had_not_left_when_the_connection_broke_was_not_written(
    valkey_server: RealServer, namespace: str, connect: Connect
) -> None:
    """A command gathered for a write that never took place is safe to send again."""
    broker = await connect(valkey_server.url, namespace=namespace, reconnect=QUICK)
    await broker.append(ENTRY)
    first, second = (asyncio.create_task(broker.append(ENTRY)) for _ in range(2))
    await asyncio.sleep(0)
    # The first has left; the second waits for the end of this turn of the loop.
    broker._server.appends.at(b"").wire.drop(ConnectionResetError("cut"))  # type: ignore[union-attr]
    with pytest.raises(PublishError):
        await first
    with pytest.raises(BrokerUnavailableError):
        await second


async def test_while_the_server_is_down_nothing_is_written_and_everyone_is_told(
    start_server: Start, namespace: str, connect: Connect, plain: bool
) -> None:
    """A call waits for the server as long as for an answer, and no longer."""
    server = start_server()
    broker = await connect(
        server.url, namespace=namespace, plain=plain, answer_timeout=SHORT, reconnect=QUICK
    )
    await broker.append(ENTRY)
    server.kill()
    with pytest.raises((PublishError, BrokerUnavailableError)):
        await broker.append(ENTRY)
    with pytest.raises(BrokerUnavailableError, match=r"away for 0.2 s"):
        await broker.append(ENTRY)
    outcomes = await broker.append_many([ENTRY] * 3)
    assert [outcome.condition for outcome in outcomes] == [Condition.NOT_WRITTEN] * 3
    with pytest.raises(BrokerUnavailableError):
        await broker.length("orders")
    await broker.interrupt("billing", "ann")


@pytest.mark.covers("CONF-7")
async def test_a_server_that_was_killed_and_started_again_is_found_again(
    start_server: Start, namespace: str, connect: Connect, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers and writers go on by themselves; the tries came later and later, and were told and logged."""
    caplog.set_level(logging.INFO, logger="penstock")
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    told = Recorder()
    policy = Reconnect(initial=timedelta(milliseconds=2), longest=timedelta(milliseconds=50), jitter=0)
    broker = await connect(server.url, namespace=namespace, plain=plain, reconnect=policy, observer=told)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        await broker.create_group("orders", "billing", BEGINNING)
        reading = await start_reading(broker, admin)
    server.kill()
    with pytest.raises(BrokerUnavailableError):
        await reading
    waiting = asyncio.create_task(broker.append(ENTRY))
    while len(told.tries) < 7:
        await asyncio.sleep(0)
    server.start()
    entry_id = await waiting
    assert told.back.is_set()
    read = await broker.read_group("billing", "ann", ["orders"], count=10, block=timedelta(seconds=60))
    assert [entry for _, [entry] in read.batches] == [[entry_id, [b"n", b"1"]]]
    delays = [delay / timedelta(milliseconds=1) for _, delay in told.tries[:7]]
    assert delays == sorted(delays)
    assert delays[:3] == [2.0, 4.0, 8.0]
    assert delays[6] == 50
    assert [attempt for attempt, _ in told.tries[:7]] == [1, 2, 3, 4, 5, 6, 7]
    assert any("next try in" in record.message for record in caplog.records)
    assert any("connected to" in record.message for record in caplog.records)


@pytest.mark.covers("CONF-7")
async def test_tries_can_be_bounded(start_server: Start, connect: Connect) -> None:
    """After so many, whoever waits is told; the next call begins anew."""
    server = start_server()
    told = Recorder()
    policy = Reconnect(attempts=3, initial=timedelta(milliseconds=1), longest=timedelta(milliseconds=2))
    broker = await connect(server.url, reconnect=policy, observer=told)
    server.kill()
    for _ in range(2):
        before = len(told.tries)
        results = await asyncio.gather(
            broker.length("orders"), broker.acknowledge("orders", "g", [b"1-1"]), return_exceptions=True
        )
        assert all(isinstance(result, BrokerUnavailableError) for result in results)
        assert len(told.tries) - before <= 4
    server.start()
    assert await broker.length("orders") == 0


@pytest.mark.covers("CONF-7")
async def test_a_server_that_stops_answering_is_given_up_and_found_again(
    start_server: Start, namespace: str, connect: Connect, plain: bool
) -> None:
    """Frozen, as by a paused machine: appends are unknown, other calls unavailable; afterwards all goes on."""
    server = start_server()
    broker = await connect(
        server.url,
        namespace=namespace,
        plain=plain,
        answer_timeout=SHORT,
        connect_timeout=SHORT,
        reconnect=QUICK,
    )
    await broker.append(ENTRY)
    server.freeze()
    results = await asyncio.gather(broker.append(ENTRY), broker.length("orders"), return_exceptions=True)
    assert isinstance(results[0], PublishError)
    assert isinstance(results[1], BrokerUnavailableError)
    server.thaw()
    await broker.append(ENTRY)
    assert await broker.length("orders") in (2, 3)


@pytest.mark.covers("CONF-9")
async def test_a_waiting_read_outlives_the_answer_timeout(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """A read may wait for entries longer than any answer may take, again and again, without an error."""
    # A server may answer a wait that ran out up to a tenth of a second late.
    broker = await connect(
        server.url, namespace=namespace, plain=plain, answer_timeout=timedelta(milliseconds=500)
    )
    await broker.create_group("orders", "billing", BEGINNING)
    for _ in range(2):
        read = await broker.read_group("billing", "ann", ["orders"], count=1, block=3 * SHORT)
        assert read.batches == []
        assert await broker.read({"orders": b"0-0"}, count=1, block=3 * SHORT) == []
    await broker.append(ENTRY)
    assert len((await broker.read_group("billing", "ann", ["orders"], count=1, block=SHORT)).batches) == 1


async def test_a_waiting_read_whose_server_froze_ends(
    start_server: Start, namespace: str, connect: Connect, plain: bool
) -> None:
    """It waits for its own time and the answer timeout on top, not for ever."""
    server = start_server()
    broker = await connect(
        server.url, namespace=namespace, plain=plain, answer_timeout=SHORT, reconnect=QUICK
    )
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.read_group("billing", "ann", ["orders"], count=1)
    server.freeze()
    with pytest.raises(BrokerUnavailableError, match=r"0.3 s|broke"):
        await broker.read_group("billing", "ann", ["orders"], count=1, block=timedelta(milliseconds=100))
    server.thaw()


async def test_a_server_that_became_a_replica_is_left(
    start_server: Start, namespace: str, connect: Connect
) -> None:
    """A write it refuses was not written; the connection is made anew, since the name may lead to the new primary."""
    server = start_server(with_port=True)
    broker = await connect(server.url, namespace=namespace, reconnect=QUICK, answer_timeout=SHORT)
    await broker.append(ENTRY)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        await admin.replicaof("127.0.0.1", str(server.port))
        with pytest.raises(BrokerUnavailableError, match="read only"):
            await broker.append(ENTRY)
        assert broker._server.appends.at(b"").wire is None
        [outcome] = await broker.append_many([ENTRY])
        assert outcome.condition is Condition.NOT_WRITTEN
        await admin.replicaof("NO", "ONE")
    await broker.append(ENTRY)
    assert await broker.length("orders") == 2


async def test_a_server_that_still_reads_its_files_is_waited_for(
    start_server: Start, namespace: str, connect: Connect, plain: bool
) -> None:
    """While loading it takes connections and refuses commands: that is an outage, and it ends."""
    server = start_server("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
    broker = await connect(server.url, namespace=namespace, plain=plain, reconnect=QUICK)
    await broker.append_many([NewEntry(f"s{number}", [b"n", b"1"]) for number in range(2000)])
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        await admin.save()
    server.kill()
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    with contextlib.suppress(BrokerUnavailableError):
        # It may be this call that finds the old connection broken.
        await broker.length("s1")
    assert await broker.length("s1") == 1
    await starting
