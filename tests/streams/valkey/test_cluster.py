"""A cluster: each redirection by itself, and streams in many slots."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio

from penstock.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    PublishError,
    UnsupportedClientError,
)
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import Condition, Dedupe, ListenerFailure, Settled
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.clusters import RealCluster, wait_until
from tests.streams.valkey.moving import Slot, count_of, numbered, numbers_in, streams_at
from tests.streams.valkey.test_connections import ALLOWED

Connect = Callable[..., Awaitable[ValkeyBroker]]

SECOND = timedelta(seconds=1)


# -- each redirection by itself ---------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-10")
async def test_a_moved_slot_is_followed(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """By single entries, many in one write, scripts, reads, and what is only looked at; then it is known."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    slot = Slot(cluster, namespace, "orders")
    await broker.append(numbered("orders", 0))
    await broker.create_group("orders", "billing", BEGINNING)
    slot.move()
    await broker.append(numbered("orders", 1))
    known = count_of(cluster, slot.target, "MOVED")
    assert known
    await broker.append(numbered("orders", 2))
    assert count_of(cluster, slot.target, "MOVED") == known
    slot.move()
    outcomes = await broker.append_many([numbered("orders", number) for number in range(3, 9)])
    assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 6
    slot.move()
    assert await broker.append(numbered("orders", 9, dedupe=Dedupe("nine")))
    slot.move()
    read = await broker.read_group("billing", "ann", ["orders"], count=5, block=SECOND)
    assert len(read.batches[0][1]) == 5
    slot.move()
    ids = [entry_id for entry_id, _ in read.batches[0][1]]
    read = await broker.read_group("billing", "ann", ["orders"], count=9, acknowledge={"orders": ids})
    assert (read.acknowledged, len(read.batches[0][1])) == ({"orders": 5}, 5)
    slot.move()
    assert await numbers_in(broker, "orders") == list(range(10))
    slot.move()
    assert [len(entries) for _, entries in await broker.read({"orders": b"0-0"}, count=20, block=SECOND)] == [
        10
    ]
    slot.move()


@pytest.mark.covers("LEAD-10")
async def test_a_key_on_its_way_is_asked_for_where_it_is(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """Half of a slot is here and half there; nobody takes the slot for moved before it is."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    gone, here = "{tag}gone", "{tag}here"
    slot = Slot(cluster, namespace, gone)
    await broker.append_many([numbered(gone, 0), numbered(here, 0)])
    await broker.create_group(gone, "billing", BEGINNING)
    slot.begin()
    cluster.move_keys(slot.number, slot.source, slot.target, f"{namespace}:{gone}")
    asked = slot.refusals("ASK")
    await broker.append(numbered(gone, 1))
    await broker.append_many([numbered(name, number) for number in (2, 3) for name in (gone, here)])
    read = await broker.read_group("billing", "ann", [gone], count=9, block=SECOND)
    assert len(read.batches[0][1]) == 4
    # A script the target has never heard of.
    cluster.ask(slot.target, "SCRIPT", "FLUSH")
    assert (await broker.info(gone)).length == 4
    assert slot.refusals("ASK") > asked
    assert await numbers_in(broker, here) == [0, 2, 3]
    slot.finish()
    assert await numbers_in(broker, gone) == [0, 1, 2, 3]


@pytest.mark.covers("LEAD-10")
@pytest.mark.parametrize("with_group", [True, False])
async def test_a_read_that_waits_while_its_slot_moves_is_not_told_that_the_stream_is_gone(
    any_cluster: RealCluster, namespace: str, connect: Connect, plain: bool, with_group: bool
) -> None:
    """The key is removed from the node where it waits, which is no deletion; what comes afterwards is read."""
    cluster = any_cluster
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    slot = Slot(cluster, namespace, "orders")
    first = await broker.append(numbered("orders", 0))
    await broker.create_group("orders", "billing", EntryId.parse(first))

    async def read() -> list[bytes]:
        while True:
            if with_group:
                batches = (
                    await broker.read_group("billing", "ann", ["orders"], count=5, block=SECOND)
                ).batches
            else:
                batches = await broker.read({"orders": first}, count=5, block=SECOND)
            for _, entries in batches:
                return [fields[1] for _, fields in entries]

    reading = asyncio.create_task(read())
    while not cluster.ask(slot.source, "INFO", "clients")["blocked_clients"]:
        await asyncio.sleep(0.002)
    await asyncio.to_thread(slot.begin)
    await asyncio.to_thread(cluster.move_keys, slot.number, slot.source, slot.target)
    await asyncio.sleep(0.05)
    await asyncio.to_thread(cluster.end_move, slot.number, slot.target)
    assert not reading.done()
    await broker.append(numbered("orders", 1))
    assert await reading == [b"1"]


@pytest.mark.covers("LEAD-10")
async def test_keys_that_are_partly_here_and_partly_there_are_waited_for(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """A script with several keys can run on neither node until the slot has arrived; then it does, once."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    slot = Slot(cluster, namespace, "orders")
    await broker.append(numbered("orders", 0, dedupe=Dedupe("zero")))
    slot.begin()
    cluster.move_keys(slot.number, slot.source, slot.target, f"{namespace}:orders")
    before = sum(count_of(cluster, node, "TRYAGAIN") for node in cluster.masters)
    writing = asyncio.create_task(broker.append(numbered("orders", 1, dedupe=Dedupe("one"))))
    many = asyncio.create_task(
        broker.append_many([numbered("orders", n, dedupe=Dedupe(f"{n}")) for n in (2, 3)])
    )
    while sum(count_of(cluster, node, "TRYAGAIN") for node in cluster.masters) < before + 3:
        await asyncio.sleep(0.001)
    assert not writing.done()
    slot.finish()
    await writing
    assert [outcome.condition for outcome in await many] == [Condition.WRITTEN] * 2
    found = await numbers_in(broker, "orders")
    assert sorted(found) == [0, 1, 2, 3]
    assert found.index(2) < found.index(3)


@pytest.mark.covers("LEAD-10")
async def test_a_slot_that_nobody_keeps_is_waited_for(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """A cluster that is down for a part of its keys serves the others, and is taken up when it is whole again."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    slot = Slot(cluster, namespace, "orders")
    await broker.append(numbered("orders", 0))
    for node in cluster.masters:
        cluster.ask(node, "CLUSTER", "DELSLOTS", slot.number)
    writing = asyncio.create_task(broker.append_many([numbered("orders", number) for number in (1, 2, 3)]))
    while not any(count_of(cluster, node, "CLUSTERDOWN") for node in cluster.masters):
        await asyncio.sleep(0.001)
    assert not writing.done()
    cluster.ask(slot.source, "CLUSTER", "ADDSLOTS", slot.number)
    wait_until(lambda: all(cluster.keeper(slot.key) is slot.source for _ in cluster.masters))
    assert [outcome.condition for outcome in await writing] == [Condition.WRITTEN] * 3
    assert (await numbers_in(broker, "orders"))[-3:] == [1, 2, 3]


@pytest.mark.covers("LEAD-10")
async def test_scripts_are_loaded_on_every_node_that_needs_them(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """In one write to several nodes, each of which has forgotten them."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    streams = streams_at(cluster, namespace)
    for node in cluster.masters:
        cluster.ask(node, "SCRIPT", "FLUSH")
    assert await broker.failures.due([(stream, "billing") for stream in streams], count=5) == []
    outcomes = await broker.append_many([numbered(stream, 1, dedupe=Dedupe("one")) for stream in streams])
    assert [outcome.condition for outcome in outcomes] == [Condition.WRITTEN] * 6


async def test_what_was_sent_to_a_node_that_died_is_unknown(
    own_cluster: Callable[..., RealCluster], connect: Connect, plain: bool
) -> None:
    """It may have been written, so it is not sent again; what goes to the other nodes is written."""
    cluster = own_cluster()
    broker = await connect(cluster.url, plain=plain, answer_timeout=timedelta(milliseconds=600))
    streams = [cluster.key_at(node) for node in cluster.masters]
    await broker.append_many([numbered(stream, 0) for stream in streams])
    cluster.masters[0].freeze()
    one = asyncio.create_task(broker.append(numbered(streams[0], 1)))
    outcomes = await broker.append_many([numbered(stream, 2) for stream in streams])
    assert [outcome.condition for outcome in outcomes] == [
        Condition.UNKNOWN,
        Condition.WRITTEN,
        Condition.WRITTEN,
    ]
    with pytest.raises(PublishError) as caught:
        await one
    assert caught.value.outcomes == ("unknown",)
    cluster.masters[0].kill()
    with pytest.raises(BrokerUnavailableError):
        await broker.append(numbered(streams[0], 3))
    outcomes = await broker.append_many([numbered(stream, 4) for stream in streams])
    assert [outcome.condition for outcome in outcomes] == [
        Condition.NOT_WRITTEN,
        Condition.WRITTEN,
        Condition.WRITTEN,
    ]


# -- streams in many slots --------------------------------------------------------------------------------------------


@pytest.mark.covers("LEAD-10")
async def test_one_call_writes_to_all_nodes_and_keeps_the_order_of_each_stream(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """Outcomes are in the order of the entries."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    streams = streams_at(cluster, namespace)
    entries = [numbered(streams[number % 6], number) for number in range(3000)]
    outcomes = await broker.append_many(entries)
    for which, stream in enumerate(streams):
        found = await broker.range(stream)
        assert [int(fields[1]) for _, fields in found] == list(range(which, 3000, 6))
        assert [outcome.entry_id for outcome in outcomes[which::6]] == [entry_id for entry_id, _ in found]
    assert await broker.streams() == sorted(streams)


@pytest.mark.covers("LEAD-10")
@pytest.mark.parametrize(
    "stream", ["a:b:c", "{eu}orders", "orders{eu}:x", "{a}{b}", "заказы 注文", "50%25", "{заказы}:1", "*[?]"]
)
async def test_any_name_has_all_that_belongs_to_it_in_its_slot(
    cluster: RealCluster, namespace: str, connect: Connect, stream: str
) -> None:
    """Scripts with many keys run for names with braces, colons and letters of all alphabets."""
    broker = await connect(cluster.url, namespace=namespace)
    await broker.append(numbered(stream, 1, dedupe=Dedupe("{x}:y")))
    await broker.create_group(stream, "{g}:ü", BEGINNING)
    read = await broker.read_group("{g}:ü", "ann:1", [stream], count=1)
    [(entry_id, fields)] = read.batches[0][1]
    failure = ListenerFailure("a:{b}", "error", "ValueError", "no", "", timedelta(0))
    settled = await broker.failures.settle(stream, "{g}:ü", "ann:1", entry_id, fields, [failure])
    assert settled is Settled.DONE
    [due] = await broker.failures.due([(stream, "{g}:ü")], count=1)
    claimed = await broker.failures.claim_retry(due.key, token="t", visibility=SECOND, max_attempts=3)
    assert claimed is not None
    assert await broker.failures.succeed_retry(claimed) is Settled.DONE
    assert await broker.streams() == [stream]
    assert await broker.delete_stream(stream)
    assert await broker.streams() == []


@pytest.mark.covers("LEAD-10")
async def test_a_waiting_read_over_many_slots_is_interrupted_and_cancelled(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """At once, and nothing is lost by it: what comes afterwards is delivered to the next read."""
    broker = await connect(cluster.url, namespace=namespace, plain=plain)
    streams = streams_at(cluster, namespace, 1)
    for stream in streams:
        await broker.create_group(stream, "billing", BEGINNING)
    minute = timedelta(minutes=1)
    for waiting_for in (streams, streams[:1]):
        reading = asyncio.create_task(broker.read_group("billing", "ann", waiting_for, count=5, block=minute))
        while not reading.done():
            await asyncio.sleep(0.005)
            await broker.interrupt("billing", "ann")
        assert (await reading).batches == []
        reading = asyncio.create_task(broker.read_group("billing", "ann", waiting_for, count=5, block=minute))
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await broker.append_many([numbered(stream, 1) for stream in streams])
    read = await broker.read_group("billing", "ann", streams, count=5, block=minute)
    got = {stream for stream, _ in read.batches}
    while len(got) < 3:
        got |= {
            stream
            for stream, _ in (
                await broker.read_group("billing", "ann", streams, count=5, block=minute)
            ).batches
        }
    assert got == set(streams)


@pytest.mark.covers("LEAD-10")
async def test_an_idle_read_over_many_slots_asks_seldom(
    cluster: RealCluster, namespace: str, connect: Connect
) -> None:
    """Pauses grow to 50 ms: a second of waiting costs each node no more than some thirty reads."""
    broker = await connect(cluster.url, namespace=namespace)
    streams = streams_at(cluster, namespace, 1)
    for stream in streams:
        await broker.create_group(stream, "billing", BEGINNING)
    for node in cluster.masters:
        cluster.ask(node, "CONFIG", "RESETSTAT")
    read = await broker.read_group("billing", "ann", streams, count=5, block=SECOND)
    assert read.batches == []
    for node in cluster.masters:
        assert 10 < cluster.ask(node, "INFO", "commandstats")["cmdstat_xreadgroup"]["calls"] <= 30


@pytest.mark.covers("CONF-9", "CONF-6")
@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_cluster_client_one_brings_is_the_only_source_of_connections(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool, protocol: int
) -> None:
    """Its nodes count and get back all of them; a read that waits longer than its socket's time limit is not cut."""
    client = redis.asyncio.RedisCluster(
        "127.0.0.1", cluster.masters[0].port, protocol=protocol, socket_timeout=0.3
    )
    await client.set(f"{namespace}:mine", "1")
    broker = await connect(client=client, namespace=namespace, plain=plain)
    streams = streams_at(cluster, namespace, 1)
    await broker.append_many([numbered(stream, 1) for stream in streams])
    for stream in streams:
        await broker.create_group(stream, "billing", BEGINNING)
    read = await broker.read_group("billing", "ann", streams, count=5, block=SECOND)
    assert sorted(stream for stream, _ in read.batches) == sorted(streams)
    for waiting_for in (streams[:1], streams):
        assert (
            await broker.read_group("billing", "ann", waiting_for, count=5, block=SECOND / 2)
        ).batches == []
    nodes: Sequence[Any] = client.get_nodes()
    held = sum(len(node._connections) - len(node._free) for node in nodes)
    assert held >= 9
    await broker.close()
    assert sum(len(node._connections) - len(node._free) for node in nodes) == 0
    assert await client.get(f"{namespace}:mine") == b"1"
    await client.aclose()


@pytest.mark.covers("CONF-1")
async def test_a_user_with_what_the_documentation_asks_for_can_do_all(
    cluster: RealCluster, namespace: str, connect: Connect, plain: bool
) -> None:
    """Followed to where a key is on its way, too; a wrong password is refused, and not shown."""
    allowed = [rule.replace("shop:", f"{namespace}:") for rule in f"{ALLOWED} +cluster|slots +asking".split()]
    for node in cluster.masters:
        cluster.ask(node, "ACL", "SETUSER", namespace, "on", ">right-secret", *allowed)
    url = cluster.url.replace("//", f"//{namespace}:right-secret@")
    broker = await connect(url, namespace=namespace, plain=plain)
    slot = Slot(cluster, namespace, "orders")
    await broker.append(numbered("orders", 0))
    slot.begin()
    cluster.move_keys(slot.number, slot.source, slot.target, slot.key)
    await broker.append(numbered("orders", 1))
    slot.finish()
    assert await numbers_in(broker, "orders") == [0, 1]
    with pytest.raises(BrokerRefusedError, match=namespace) as caught:
        await connect(url.replace("right", "wrong"))
    assert "secret" not in str(caught.value) + repr(broker)
    for node in cluster.masters:
        cluster.ask(node, "ACL", "DELUSER", namespace)


async def test_the_wrong_kind_of_url_or_client_is_refused_with_the_right_one(
    cluster: RealCluster, connect: Connect
) -> None:
    """A node is no server for all keys."""
    broker = await connect(cluster.masters[0].tcp_url)
    elsewhere = cluster.key_at(cluster.masters[1])
    with pytest.raises(BrokerRefusedError, match=r"redis\+cluster://"):
        await broker.append(numbered(elsewhere, 1))
    with pytest.raises(UnsupportedClientError, match="decode_responses"):
        ValkeyBroker(client=redis.asyncio.RedisCluster("127.0.0.1", 7000, decode_responses=True))


async def test_a_cluster_is_found_by_any_node_that_answers(cluster: RealCluster, connect: Connect) -> None:
    """Of the nodes in the URL, one is enough."""
    broker = await connect(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.masters[2].port}")
    assert broker.capabilities.cluster
    assert len(broker._server.looks.each()) == 3
    with pytest.raises(BrokerUnavailableError, match=r"the cluster at 127.0.0.1:1 cannot be reached"):
        await connect("redis+cluster://127.0.0.1:1")
