"""Answers that send a command elsewhere or ask for patience: each is understood, and followed on a real server."""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokerRefusedError, BrokerUnavailableError, InvalidSettingsError
from penstock.position import BEGINNING
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.exchange import Patience
from penstock.streams._valkey.redirections import Ask, Load, Moved, Step, Wait, key_of, next_step
from penstock.streams._valkey.slots import Address, SlotRange, read_slots, slot_of
from penstock.streams._valkey.urls import ClusterUrl, SentinelUrl, ServerUrl, read_url
from penstock.streams.abc import Condition, Dedupe, NewEntry
from penstock.streams.keys import hash_tag
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.clusters import client_of
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]

ENTRY = NewEntry("orders", [b"n", b"1"])


def numbered(number: int, **how: Any) -> NewEntry:
    """An entry that can be told from others."""
    return NewEntry("orders", [b"n", b"%d" % number], **how)


# -- understanding ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-10")
@pytest.mark.parametrize(
    ("reply", "step"),
    [
        ("MOVED 3999 127.0.0.1:6381", Moved(3999, Address("127.0.0.1", 6381))),
        ("MOVED 3999 node-2.example:6381", Moved(3999, Address("node-2.example", 6381))),
        ("MOVED 3999 ::1:6381", Moved(3999, Address("::1", 6381))),
        ("MOVED 3999 :6381", Moved(3999, Address("", 6381))),
        ("ASK 3999 127.0.0.1:6381", Ask(Address("127.0.0.1", 6381))),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Wait()),
        ("CLUSTERDOWN Hash slot not served", Wait()),
        ("LOADING Valkey is loading the dataset in memory", Wait()),
        ("READONLY You can't write against a read only replica.", Wait()),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Wait()),
        ("NOREPLICAS Not enough good replicas to write.", Wait()),
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            Wait(),
        ),
        ("NOSCRIPT No matching script. Please use EVAL.", Load()),
        ("UNBLOCKED the stream key no longer exists", None),
        ("CROSSSLOT Keys in request don't hash to the same slot", None),
        ("NOGROUP No such key 'x' or consumer group 'g'", None),
        ("OOM command not allowed when used memory > 'maxmemory'.", None),
        ("BUSY The server is busy running a script.", None),
    ],
)
def test_what_was_not_done_is_told_from_what_was_refused(reply: str, step: Step | None) -> None:
    """Only answers that are given before anything takes effect lead to another try."""
    assert next_step(ReplyError(reply)) == step


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ((b"XADD", b"orders", b"*", b"n", b"1"), b"orders"),
        ((b"EVALSHA", b"0c0e", 2, b"orders", b"beside", b"argument"), b"orders"),
        ((b"XGROUP", b"CREATE", b"orders", "billing", b"$"), b"orders"),
        ((b"MEMORY", b"USAGE", b"orders"), b"orders"),
        ((b"XREADGROUP", b"GROUP", "STREAMS", "ann", b"COUNT", 1, b"STREAMS", b"orders", b">"), b"orders"),
        ((b"XREAD", b"COUNT", 1, b"BLOCK", 5, b"STREAMS", b"orders", b"0-0"), b"orders"),
        ((b"SADD", "orders", "x"), b"orders"),
        ((b"TIME",), b""),
        ((b"CLIENT", b"UNBLOCK", 7), b""),
    ],
)
def test_the_key_of_a_command_is_found(command: tuple[bytes | str | int, ...], key: bytes) -> None:
    """By it the node is chosen."""
    assert key_of(command) == key


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("{}"), max_size=12))
def test_the_slot_follows_the_tag_that_keys_are_made_by(name: str) -> None:
    """What is kept beside a stream is in its slot because both agree on the tag."""
    tag = hash_tag(name)
    assert slot_of(name.encode()) == slot_of(b"{" + tag.encode() + b"}") or "}" in tag or not tag


def test_a_node_without_a_host_of_its_own_is_where_it_was_asked() -> None:
    """A cluster that does not know its address says nothing, or a question mark."""
    asked = Address("10.0.0.1", 7000)
    reply: list[list[Any]] = [
        [0, 5460, [b"", 7000, b"id", []]],
        [5461, 9, [None, 7001, b"id", []], [b"10.0.0.9", 7009, b"id", []]],
        [10, 11, [b"10.0.0.3", 7002, b"id"]],
    ]
    assert list(read_slots(reply, asked)) == [
        SlotRange(0, 5460, asked),
        SlotRange(5461, 9, Address("10.0.0.1", 7001)),
        SlotRange(10, 11, Address("10.0.0.3", 7002)),
    ]


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("CONF-1")
@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_urls_of_several_servers_are_read(scheme: str) -> None:
    """Ports may be left out; user and password stand before the first host and are for the servers."""
    assert read_url(f"{scheme}://ann:pw@h:7/2") == ServerUrl("redis://ann:pw@h:7/2")
    assert read_url(f"{scheme}s://h") == ServerUrl("rediss://h")
    cluster = read_url(f"{scheme}+cluster://ann:p%40w@a,[::1]:7001/?socket_keepalive=yes")
    assert cluster == ClusterUrl(
        "redis", "ann:p%40w@", (Address("a", 6379), Address("::1", 7001)), "socket_keepalive=yes"
    )
    assert isinstance(cluster, ClusterUrl)
    assert cluster.url_at(Address("::1", 7)) == "redis://ann:p%40w@[::1]:7/?socket_keepalive=yes"
    sentinel = read_url(f"{scheme}s+sentinel://:pw@a,b:7/main/3?sentinel_username=s&sentinel_password=t&x=1")
    assert sentinel == SentinelUrl(
        "rediss", ":pw@", (Address("a", 26379), Address("b", 7)), "main", 3, "x=1", "s", "t"
    )


@pytest.mark.covers("CONF-1")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://h/3", "database 0 only"),
        ("redis+cluster://ann:secret@h:port", "%40"),
        ("redis+cluster://", "host is missing"),
        ("redis+cluster://h,", "host is missing"),
        ("redis+cluster://h?wrong=1", "no such setting: 'wrong'"),
        ("redis+cluster://ann:se/secret@h", "%2F"),
        ("redis+sentinel://h:26379", "service's name"),
        ("redis+sentinel://h/main/x", "service's name"),
        ("redis+sentinel://h/main/0/secret", "service's name"),
        ("redis+sentinel://h/main?wrong=1", "no such setting: 'wrong'"),
        ("unix+cluster:///s", "no scheme"),
        ("redis+ring://h", "redis+cluster://"),
    ],
)
def test_a_wrong_url_of_several_servers_is_refused_without_its_password(url: str, said: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidSettingsError) as caught:
        ValkeyBroker(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_patience_grows_and_ends() -> None:
    """Pauses double, and none goes beyond the deadline."""
    patience = Patience(0.02)
    pauses = 0
    while await patience.pause():
        pauses += 1
    assert 2 <= pauses <= 4
    assert patience.is_over


# -- a server that asks for patience ----------------------------------------------------------------------------------


async def refused(server: RealServer, code: str) -> None:
    """Wait until the server has answered a command with *code*."""
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as client:
        while code not in {name.removeprefix("errorstat_") for name in await client.info("errorstats")}:
            await asyncio.sleep(0.002)


@pytest.mark.covers("LEAD-10", "CONF-7")
@pytest.mark.parametrize(
    ("code", "settings"),
    [("READONLY", []), ("MASTERDOWN", ["--replica-serve-stale-data", "no"])],
)
async def test_a_replica_that_becomes_the_master_again_costs_nothing_but_time(
    start_server: Start, connect: Connect, plain: bool, code: str, settings: list[str]
) -> None:
    """Refused commands were not done, so they are sent again: each entry is there once, and in order."""
    server = start_server(*settings)
    broker = await connect(server.url, plain=plain)
    await broker.append(ENTRY)
    await broker.create_group("orders", "billing", BEGINNING)
    with client_of(server) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", 1)
        one = asyncio.create_task(broker.append(numbered(2)))
        await refused(server, code)
        many = asyncio.create_task(broker.append_many([numbered(number) for number in range(10, 15)]))
        scripted = asyncio.create_task(broker.append(numbered(3, dedupe=Dedupe("x"))))
        settled = asyncio.create_task(broker.acknowledge("orders", "billing", [b"1-1"]))
        await asyncio.sleep(0)
        admin.execute_command("REPLICAOF", "NO", "ONE")
    await one
    await scripted
    assert [outcome.condition for outcome in await many] == [Condition.WRITTEN] * 5
    assert await settled == 0
    written = [fields[1] for _, fields in await broker.range("orders")]
    assert sorted(written) == sorted([b"1", b"2", b"3", b"10", b"11", b"12", b"13", b"14"])
    assert [number for number in written if len(number) == 2] == [b"10", b"11", b"12", b"13", b"14"]


@pytest.mark.covers("LEAD-10")
async def test_a_master_that_has_lost_its_replicas_is_waited_for(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """One that is told to write only with a replica refuses before anything is done, in scripts too."""
    server = start_server()
    broker = await connect(server.url, plain=plain)
    await broker.append(numbered(0))
    with client_of(server) as admin:
        admin.config_set("min-replicas-to-write", 1)
        one = asyncio.create_task(broker.append(numbered(1)))
        many = asyncio.create_task(
            broker.append_many([numbered(2), numbered(3, dedupe=Dedupe("x"))]),
        )
        await refused(server, "NOREPLICAS")
        admin.config_set("min-replicas-to-write", 0)
    await one
    assert [outcome.condition for outcome in await many] == [Condition.WRITTEN] * 2
    assert await broker.length("orders") == 4


@pytest.mark.covers("LEAD-10")
async def test_no_entry_is_sent_again_behind_a_later_one(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """A server that refuses for a moment, within a call of many writes: order is kept, and every entry told."""
    server = start_server()
    broker = await connect(server.url, plain=plain)
    over = threading.Event()

    def refuse_now_and_then() -> None:
        with client_of(server) as admin:
            while not over.is_set():
                admin.config_set("min-replicas-to-write", 1)
                admin.config_set("min-replicas-to-write", 0)

    refusing = asyncio.create_task(asyncio.to_thread(refuse_now_and_then))
    written: list[int] = []
    numbers = itertools.count()
    overtaken = 0
    try:
        while overtaken < 3:
            batch = [next(numbers) for _ in range(50)]
            outcomes = await broker.append_many(
                [NewEntry("orders", [b"n", b"%d" % number, b"body", b"x" * 4000]) for number in batch]
            )
            assert {outcome.condition for outcome in outcomes} <= {Condition.WRITTEN, Condition.NOT_WRITTEN}
            written += [
                number
                for number, outcome in zip(batch, outcomes, strict=True)
                if outcome.condition is Condition.WRITTEN
            ]
            overtaken += any(outcome.condition is Condition.NOT_WRITTEN for outcome in outcomes)
    finally:
        over.set()
        await refusing
    assert [int(fields[1]) for _, fields in await broker.range("orders")] == written


@pytest.mark.covers("LEAD-10")
async def test_a_server_that_stays_a_replica_is_told_after_the_answer_timeout(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """Nothing is unknown: the entries were not written."""
    server = start_server()
    broker = await connect(server.url, plain=plain, answer_timeout=timedelta(milliseconds=500))
    with client_of(server) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(BrokerUnavailableError, match="READONLY"):
        await broker.append(ENTRY)
    outcomes = await broker.append_many([ENTRY, ENTRY])
    assert [outcome.condition for outcome in outcomes] == [Condition.NOT_WRITTEN] * 2
    assert await broker.length("orders") == 0


@pytest.mark.covers("LEAD-10", "CONF-7")
async def test_a_server_that_loads_its_data_is_waited_for(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """Even when it begins to in the middle of a connection's life."""
    slow = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
        "--rdbcompression",
        "no",
    ]
    server = start_server("--enable-debug-command", "yes", *slow)
    broker = await connect(server.url, plain=plain)
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        async with admin.pipeline() as filling:
            for number in range(300):
                filling.set(f"x{number}", b"x" * 200)
            await filling.execute()
        client: Any = admin
        loading = asyncio.create_task(client.execute_command("DEBUG", "RELOAD"))
        written = 0
        while not loading.done():
            await broker.append(ENTRY)
            written += 1
        await loading
        assert "errorstat_LOADING" in await admin.info("errorstats")
    assert await broker.length("orders") == written


@pytest.mark.covers("LEAD-10")
async def test_a_forgotten_script_is_loaded_where_it_is_missing(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """One after the other or many in one write: each has its effect once."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    for _ in range(2):
        with client_of(server) as admin:
            admin.script_flush()
        await asyncio.gather(
            *(broker.append(NewEntry("orders", [b"n", b"1"], dedupe=Dedupe(f"t{n}"))) for n in range(5))
        )
        with client_of(server) as admin:
            admin.script_flush()
        await broker.append_many([NewEntry("orders", [b"n", b"1"], dedupe=Dedupe(f"t{n}")) for n in range(5)])
        with client_of(server) as admin:
            admin.script_flush()
        assert await broker.failures.due([("orders", "billing")] * 3, count=1) == []
    assert await broker.length("orders") == 5


async def test_a_single_server_that_is_no_cluster_says_which_url_to_write(
    valkey_server: RealServer, connect: Connect
) -> None:
    """The other way round, a node of a cluster names the cluster's URL; see `test_cluster`."""
    with pytest.raises(BrokerRefusedError, match=r"write redis://"):
        await connect(f"redis+cluster://127.0.0.1:{valkey_server.port}")
