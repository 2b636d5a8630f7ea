"""Where connections come from, who may use them, and how they are shared."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from penstock.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    UnknownGroupError,
    UnsupportedClientError,
)
from penstock.position import BEGINNING
from penstock.streams._valkey.plain import PlainWire
from penstock.streams._valkey.wire import AdoptedWire
from penstock.streams.abc import NewEntry
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.contracts._in_lanes import filled, open_lane
from tests.streams.valkey.proxy import Proxy
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]

# What the reference page tells administrators to allow.
ALLOWED = (
    "~shop:* -@all +ping +hello +client|id +client|setinfo +client|unblock +select +time +info +command|info +evalsha "
    "+script|load +exists +type +memory|usage +@stream +@hash +@sortedset +@set +@list +get +set +pexpire +pttl +del "
    "+unlink"
)


async def use_everything(broker: ValkeyBroker) -> None:
    """One turn through what a worker does."""
    entry_id = await broker.append(NewEntry("orders", [b"n", b"1"]))
    await broker.create_group("orders", "billing", BEGINNING)
    read = await broker.read_group("billing", "ann", ["orders"], count=10, block=timedelta(seconds=5))
    assert read.batches == [("orders", [[entry_id, [b"n", b"1"]]])]
    assert await broker.renew("orders", "billing", "ann", [entry_id]) == []
    assert await broker.acknowledge("orders", "billing", [entry_id]) == 1
    assert await broker.streams() == ["orders"]
    assert (await broker.groups("orders"))[0].pending == 0
    assert (await broker.info("orders")).length == 1
    await use_a_lane(broker)


async def use_a_lane(broker: ValkeyBroker) -> None:
    """One turn through what the owner of an ordered group's stream does."""
    lane = await open_lane(broker, stream="invoices")
    await broker.members.join("invoices", "billing", token="ann", description="", life=timedelta(minutes=1))
    await filled(broker, lane, behind=1)
    assert len(await broker.lanes.parked_keys("invoices", "billing")) == 1
    assert await broker.lanes.unpark("invoices", "billing", "k") == 2
    while event := await broker.lanes.take_parked(lane, "k"):
        await broker.lanes.finish_parked(lane, "k", event.entry_id)
    assert await broker.failures.tally("invoices") == []
    assert await broker.leases.release(lane.lease)
    await broker.delete_stream("invoices")


@pytest.mark.covers("CONF-1")
async def test_a_port_and_a_socket_lead_to_the_same_server(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Both kinds of URL work on both kinds of wire."""
    over_tcp = await connect(server.tcp_url, namespace=namespace, plain=plain)
    over_socket = await connect(server.url, namespace=namespace, plain=plain)
    await use_everything(over_tcp)
    assert await over_socket.length("orders") == 1
    assert isinstance(over_tcp._server.appends.at(b"").wire, PlainWire if plain else AdoptedWire)


@pytest.mark.covers("CONF-1")
async def test_a_tls_url_is_encrypted_and_its_server_checked(
    valkey_server: RealServer, namespace: str, connect: Connect, tmp_path: Path, plain: bool
) -> None:
    """The server behind a TLS end is used in full; one whose certificate nobody vouches for is refused for good."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", names, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    end = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    end.load_cert_chain(certificate, key)
    async with Proxy(valkey_server.socket, tls=end) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        broker = await connect(f"{url}?ssl_ca_certs={certificate}", namespace=namespace, plain=plain)
        await use_everything(broker)
        await broker.append(NewEntry("orders", [b"body", b"x" * 4_000_000]))
        assert len((await broker.range("orders", reverse=True, count=1))[0][1][1]) == 4_000_000
        await broker.close()
        with pytest.raises(BrokerRefusedError, match="certificate"):
            await connect(url, namespace=namespace)


async def test_a_server_that_is_not_there_is_named_at_once(start_server: Start, connect: Connect) -> None:
    """`open` does not wait for better times."""
    server = start_server(with_port=True)
    server.kill()
    for url in (server.url, server.tcp_url):
        with pytest.raises(BrokerUnavailableError) as caught:
            await connect(url)
        assert "cannot be reached" in str(caught.value)
        assert (server.socket if url == server.url else str(server.port)) in str(caught.value)


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up(
    start_server: Start, connect: Connect
) -> None:
    """The time to connect bounds the whole greeting."""
    server = start_server()
    server.freeze()
    with pytest.raises(BrokerUnavailableError, match=r"did not answer within 0.2 s"):
        await connect(server.url, connect_timeout=timedelta(milliseconds=200))


async def test_a_wrong_password_is_refused_and_never_shown(start_server: Start, connect: Connect) -> None:
    """Nor is a missing one taken for an outage."""
    server = start_server("--requirepass", "right-secret")
    for url in (server.url.replace("unix://", "unix://:wrong-secret@"), server.url):
        with pytest.raises(BrokerRefusedError) as caught:
            await connect(url)
        assert "secret" not in str(caught.value)
        assert "'default'" in str(caught.value)
    broker = await connect(server.url.replace("unix://", "unix://:right-secret@"))
    await use_everything(broker)
    assert "secret" not in repr(broker)


async def test_a_user_with_what_the_documentation_asks_for_can_do_all(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """Access rules may allow our commands on our keys only; what may not be asked is taken to be in order."""
    server = start_server("--user", *f"shop on >secret {ALLOWED}".split(), with_port=True)
    url = f"redis://shop:secret@127.0.0.1:{server.port}"
    broker = await connect(url, namespace="shop", plain=plain)
    await use_everything(broker)
    assert broker.capabilities.maxmemory_policy is None
    assert broker.capabilities.version >= (6, 2, 0)


async def test_a_missing_permission_names_the_command_and_the_user(
    start_server: Start, connect: Connect
) -> None:
    """So that an administrator knows what to allow; the password is not shown."""
    server = start_server("--user", *f"shop on >secret {ALLOWED} -xadd".split(), with_port=True)
    broker = await connect(f"redis://shop:secret@127.0.0.1:{server.port}", namespace="shop")
    with pytest.raises(BrokerRefusedError, match=r"XADD of user 'shop'"):
        await broker.append(NewEntry("orders", [b"n", b"1"]))
    [outcome] = await broker.append_many([NewEntry("orders", [b"n", b"1"])])
    assert isinstance(outcome.cause, BrokerRefusedError)
    elsewhere = await connect(f"redis://shop:secret@127.0.0.1:{server.port}", namespace="other")
    with pytest.raises(BrokerRefusedError, match="'shop'") as caught:
        await elsewhere.create_group("orders", "billing", BEGINNING)
    assert "secret" not in str(caught.value)


@pytest.mark.covers("CONF-6")
async def test_the_client_one_brings_is_the_only_source_of_connections(
    start_server: Start, connect: Connect, plain: bool
) -> None:
    """Its pool counts all of them, gets all of them back, and still works afterwards."""
    server = start_server()
    client = redis.asyncio.Redis(unix_socket_path=server.socket, max_connections=10, socket_timeout=7)
    broker = await connect(client=client, plain=plain)
    await use_everything(broker)
    pool: Any = client.connection_pool
    held = len(pool._in_use_connections)
    assert held == 4
    assert len(await client.client_list()) == held + 1
    await broker.close()
    assert not pool._in_use_connections
    assert {connection.socket_timeout for connection in pool._available_connections} == {7}
    assert await client.ping()
    await broker.open()
    assert await broker.length("orders") == 1
    await broker.close()
    await client.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.covers("CONF-6")
async def test_a_client_of_either_protocol_may_be_brought(
    server: RealServer, namespace: str, connect: Connect, protocol: int, plain: bool
) -> None:
    """A socket time-out of the client shorter than a waiting read does not cut it."""
    client = redis.asyncio.Redis(unix_socket_path=server.socket, protocol=protocol, socket_timeout=0.3)
    broker = await connect(client=client, namespace=namespace, plain=plain)
    await use_everything(broker)
    read = await broker.read_group("billing", "ann", ["orders"], count=1, block=timedelta(milliseconds=500))
    assert read.batches == []
    await broker.close()
    assert await client.echo("still ours") == b"still ours"
    await client.aclose()


async def test_clients_that_cannot_work_are_refused_with_what_to_bring_instead(
    valkey_server: RealServer,
) -> None:
    """Before anything is sent."""
    path = valkey_server.socket
    blocking = redis.asyncio.BlockingConnectionPool(max_connections=2)
    sentinel: Any = redis.asyncio.Sentinel
    refused: list[tuple[Any, str]] = [
        (redis.asyncio.Redis(unix_socket_path=path, decode_responses=True), "decode_responses"),
        (redis.Redis(unix_socket_path=path), "blocking client"),
        (redis.asyncio.RedisCluster("127.0.0.1", decode_responses=True), "decode_responses"),
        (sentinel([("127.0.0.1", 1)]).slave_for("main"), "from replicas"),
        (redis.asyncio.Redis(connection_pool=blocking), "at least 5"),
        (object(), "give a URL"),
    ]
    for client, said in refused:
        with pytest.raises(UnsupportedClientError, match=said):
            ValkeyBroker(client=client)
    await refused[2][0].aclose()


@pytest.mark.parametrize("pool_class", [redis.asyncio.ConnectionPool, redis.asyncio.BlockingConnectionPool])
async def test_a_pool_that_runs_dry_says_so(
    valkey_server: RealServer, namespace: str, connect: Connect, pool_class: Any
) -> None:
    """It is not an outage, and no reason to wait and try again."""
    settings: dict[str, Any] = {"timeout": 0.1} if pool_class is redis.asyncio.BlockingConnectionPool else {}
    pool = pool_class.from_url(valkey_server.url, max_connections=5, protocol=2, **settings)
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = await connect(client=client, namespace=namespace)
    await use_everything(broker)
    await broker.read_group("billing", "bob", ["orders"], count=1)
    with pytest.raises(UnsupportedClientError, match="max_connections=5"):
        await broker.read_group("billing", "cid", ["orders"], count=1)
    await broker.close()
    await client.aclose()
    await pool.aclose()


@pytest.mark.covers("CONF-2")
async def test_two_namespaces_on_one_server_see_nothing_of_each_other(
    server: RealServer, namespace: str, connect: Connect, admin: Any
) -> None:
    """The same names are different streams, and every key begins with its namespace."""
    one = await connect(server.url, namespace=f"{namespace}a")
    other = await connect(server.url, namespace=f"{namespace}b")
    await use_everything(one)
    assert await other.streams() == []
    assert await other.length("orders") == 0
    with pytest.raises(UnknownGroupError):
        await other.pending_summary("orders", "billing")
    await one.hold_name("billing", "ann", token="t", description="d", life=timedelta(minutes=1))
    holder = await other.hold_name("billing", "ann", token="u", description="d", life=timedelta(minutes=1))
    assert holder.token == "u"
    keys = [
        key
        for key in await admin.keys(f"{namespace}*")
        if not key.startswith((f"{namespace}a:".encode(), f"{namespace}b:".encode()))
    ]
    assert keys == []


async def test_closing_finishes_what_was_sent(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """A publish under way when the application stops is answered; the broker can be opened again."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    await broker.append(NewEntry("orders", [b"n", b"0"]))
    sending = [asyncio.create_task(broker.append(NewEntry("orders", [b"n", b"1"]))) for _ in range(50)]
    await asyncio.sleep(0)
    await broker.close()
    assert len(set(await asyncio.gather(*sending))) == 50
    await broker.close()
    with pytest.raises(BrokerUnavailableError, match="open the broker first"):
        _ = broker.capabilities
    with pytest.raises(BrokerUnavailableError, match="not open"):
        await broker.length("orders")
    await broker.open()
    await broker.open()
    assert await broker.length("orders") == 51


async def test_many_tasks_share_one_connection_and_keep_their_answers_apart(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Each of a hundred tasks gets the id of its own entry, each time."""
    broker = await connect(server.url, namespace=namespace, plain=plain)

    async def publish(task: int) -> dict[bytes, bytes]:
        return {
            await broker.append(NewEntry("orders", [b"n", body])): body
            for body in (b"%d-%d" % (task, number) for number in range(20))
        }

    written: dict[bytes, bytes] = {}
    for part in await asyncio.gather(*(publish(task) for task in range(100))):
        written |= part
    found = {entry_id: fields[1] for entry_id, fields in await broker.range("orders")}
    assert found == written
    assert len(found) == 2000


async def test_a_cancelled_task_does_not_shift_the_answers_of_others(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """What it sent is answered to nobody."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    await broker.append(NewEntry("orders", [b"n", b"0"]))
    tasks = [asyncio.create_task(broker.append(NewEntry("orders", [b"n", b"%d" % n]))) for n in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    kept = [await task for task in tasks[1::2]]
    found = {entry_id: fields[1] for entry_id, fields in await broker.range("orders")}
    assert [found[entry_id] for entry_id in kept] == [b"%d" % n for n in range(1, 30, 2)]


@pytest.mark.covers("READ-2")
async def test_a_publisher_faster_than_its_connection_waits_for_room(
    valkey_server: RealServer, namespace: str, connect: Connect
) -> None:
    """With the server frozen, what is held for sending stays bounded; nothing is lost when it goes on."""
    broker = await connect(valkey_server.url, namespace=namespace)
    await broker.append(NewEntry("orders", [b"n", b"0"]))
    wire = broker._server.appends.at(b"").wire
    assert isinstance(wire, AdoptedWire)
    valkey_server.freeze()
    try:
        body = b"x" * 500_000
        tasks = [asyncio.create_task(broker.append(NewEntry("orders", [b"n", body]))) for _ in range(40)]
        while not wire.crowded:
            await asyncio.sleep(0)
        for _ in range(20):
            tasks.append(asyncio.create_task(broker.append(NewEntry("orders", [b"n", body]))))
            for _ in range(5):
                await asyncio.sleep(0)
        held = wire._transport.get_write_buffer_size() + sum(map(len, wire._gathered))
        assert held < 41 * 500_000
    finally:
        valkey_server.thaw()
    assert len(set(await asyncio.gather(*tasks))) == 60
    assert await broker.length("orders") == 61


def test_it_works_on_uvloop(valkey_server: RealServer, namespace: str, plain: bool) -> None:
    """It is never required; with it, connections are adopted as well."""
    import uvloop

    async def main() -> None:
        broker = (ValkeyBroker if not plain else type("Plain", (ValkeyBroker,), {"_adopting": False}))(
            valkey_server.url, namespace=namespace
        )
        await broker.open()
        await use_everything(broker)
        assert isinstance(broker._server.appends.at(b"").wire, PlainWire if plain else AdoptedWire)
        await asyncio.gather(*(broker.append(NewEntry("orders", [b"n", b"1"])) for _ in range(100)))
        assert await broker.length("orders") == 101
        await broker.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
