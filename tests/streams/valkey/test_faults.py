"""Servers without memory or disk, forgotten scripts, keys in the way, bodies of any size, entries that vanish."""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio

from penstock.errors import (
    BrokerFullError,
    BrokerRefusedError,
)
from penstock.position import BEGINNING, EntryId
from penstock.streams.abc import (
    Condition,
    Dedupe,
    FailureState,
    ListenerFailure,
    NewEntry,
    Settled,
)
from penstock.streams.valkey import ValkeyBroker
from tests.streams.valkey.servers import RealServer

Connect = Callable[..., Awaitable[ValkeyBroker]]
Start = Callable[..., RealServer]

ENTRY = NewEntry("orders", [b"n", b"1"])
FAILURE = ListenerFailure("charge", "error", "ValueError", "no", "trace", timedelta(0))


# -- a server without memory ------------------------------------------------------------------------------------------


@pytest.mark.covers("GROUP-15", "FAIL-1")
async def test_out_of_memory_in_the_middle_of_settling_changes_nothing(
    start_server: Start, namespace: str, connect: Connect, plain: bool
) -> None:
    """The record is refused whole and the entry stays pending; acknowledging still works; later settling does."""
    server = start_server()
    broker = await connect(server.url, namespace=namespace, plain=plain)
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(ENTRY)
    await broker.append(ENTRY)
    read = await broker.read_group("billing", "ann", ["orders"], count=10)
    (one, fields), (other, _) = read.batches[0][1]
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        before = sorted(await admin.keys())
        await admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerFullError, match="memory limit"):
            await broker.failures.settle("orders", "billing", "ann", one, fields, [FAILURE, FAILURE])
        with pytest.raises(BrokerFullError):
            await broker.begin_alone("orders", "billing", "ann", one)
        with pytest.raises(BrokerFullError):
            await broker.append(ENTRY)
        with pytest.raises(BrokerFullError):
            await broker.append(NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("once")))
        assert sorted(await admin.keys()) == before
        assert await broker.length("orders") == 2
        assert await broker.failures.find("orders") == []
        assert await broker.acknowledge("orders", "billing", [other]) == 1
        assert await broker.renew("orders", "billing", "ann", [one, other]) == [other]
        assert [pending.entry_id for pending in await broker.pending("orders", "billing")] == [
            EntryId.parse(one)
        ]
        await admin.config_set("maxmemory", 0)
    assert await broker.failures.settle("orders", "billing", "ann", one, fields, [FAILURE]) is Settled.DONE
    [record] = await broker.failures.find("orders")
    assert record.state is FailureState.RETRYING


async def test_a_full_disk_is_told_and_over_once_there_is_room(start_server: Start, connect: Connect) -> None:
    """A server that cannot write its append-only file takes no writes: each is refused whole, none is unknown."""
    server = start_server("--appendonly", "yes", "--appendfsync", "everysec", largest_file_bytes=200_000)
    broker = await connect(server.url)
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(ENTRY)
    [(_, [[entry_id, fields]])] = (await broker.read_group("billing", "ann", ["orders"], count=1)).batches
    outcomes = [
        (await broker.append_many([NewEntry("orders", [b"n", b"x" * 10_000])]))[0] for _ in range(100)
    ]
    full = next(
        number for number, outcome in enumerate(outcomes) if outcome.condition is Condition.NOT_WRITTEN
    )
    assert isinstance(outcomes[full].cause, BrokerFullError)
    assert "free its disk" in str(outcomes[full].cause)
    written = sum(outcome.condition is Condition.WRITTEN for outcome in outcomes)
    assert await broker.length("orders") == 1 + written
    with pytest.raises(BrokerFullError, match="free its disk"):
        await broker.failures.settle("orders", "billing", "ann", entry_id, fields, [FAILURE])
    server.free_the_disk()
    settled = None
    while settled is None:
        with contextlib.suppress(BrokerFullError):
            settled = await broker.failures.settle("orders", "billing", "ann", entry_id, fields, [FAILURE])
    assert settled is Settled.DONE
    assert (await broker.pending_summary("orders", "billing")).count == 0


async def test_a_retry_can_be_ended_at_the_memory_limit(start_server: Start, connect: Connect) -> None:
    """Success frees memory and is recorded; failure would need some, and leaves the claim whole."""
    server = start_server()
    broker = await connect(server.url)
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append(ENTRY)
    [(_, [[entry_id, fields]])] = (await broker.read_group("billing", "ann", ["orders"], count=1)).batches
    await broker.failures.settle("orders", "billing", "ann", entry_id, fields, [FAILURE])
    [due] = await broker.failures.due([("orders", "billing")], count=1)
    visibility = timedelta(minutes=1)
    claim = await broker.failures.claim_retry(due.key, token="t", visibility=visibility, max_attempts=5)
    assert claim is not None
    async with redis.asyncio.Redis(unix_socket_path=server.socket) as admin:
        await admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerFullError):
            await broker.failures.fail_retry(claim, FAILURE)
        record = await broker.failures.get(due.key)
        assert record is not None
        assert (record.attempts, record.error) == (2, "no")
        assert await broker.failures.succeed_retry(claim) is Settled.DONE
        await admin.config_set("maxmemory", 0)
    assert await broker.failures.get(due.key) is None


# -- scripts, keys and bodies ------------------------------------------------------------------------------------------


async def test_scripts_the_server_has_forgotten_are_loaded_again(
    server: RealServer, broker: ValkeyBroker, admin: Any, plain: bool, connect: Connect, namespace: str
) -> None:
    """After SCRIPT FLUSH, or a restart, nothing fails: what was not run is run."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    await broker.create_group("orders", "billing", BEGINNING)
    once = NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("token"))
    for number in range(2):
        await admin.script_flush()
        assert await broker.append(once) == await broker.append(once)
        await admin.script_flush()
        outcomes = await broker.append_many([once, ENTRY, once])
        assert outcomes[0].entry_id == outcomes[2].entry_id != outcomes[1].entry_id
        await admin.script_flush()
        await broker.read_group("billing", "ann", ["orders"], count=10)
        assert await broker.renew("orders", "billing", "ann", [b"1-1"]) == [b"1-1"]
        await admin.script_flush()
        assert await broker.failures.next_due([("orders", "billing"), ("refunds", "billing")]) is None
        assert (await broker.groups("orders"))[0].pending == 2 + number


async def test_a_body_of_64_mib_travels_whole(
    server: RealServer, namespace: str, connect: Connect, plain: bool
) -> None:
    """Added, read with the group, claimed, recorded as failed and read back, byte for byte."""
    broker = await connect(server.url, namespace=namespace, plain=plain)
    await broker.create_group("orders", "billing", BEGINNING)
    body = bytes(range(256)) * (64 * 1024 * 4)
    entry_id = await broker.append(NewEntry("orders", [b"data", body]))
    read = await broker.read_group("billing", "ann", ["orders"], count=10, block=timedelta(seconds=60))
    assert read.batches == [("orders", [[entry_id, [b"data", body]]])]
    claimed = await broker.claim("orders", "billing", "bob", min_idle=timedelta(0), count=10)
    assert claimed.entries == [[entry_id, [b"data", body]]]
    fields = [b"data", body]
    assert (
        await broker.failures.settle("orders", "billing", "bob", entry_id, fields, [FAILURE]) is Settled.DONE
    )
    [listed] = await broker.failures.find("orders")
    record = await broker.failures.get(listed.key)
    assert record is not None
    assert record.fields == [b"data", body]
    await broker.delete_stream("orders")


@pytest.mark.covers("READ-5")
async def test_a_key_that_holds_something_else_is_named(
    broker: ValkeyBroker, admin: Any, namespace: str
) -> None:
    """Every way to use it says which key is in the way, and leaves it as it is."""
    await admin.set(f"{namespace}:orders", "not a stream")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: broker.append(ENTRY),
        lambda: broker.append(NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("t"))),
        lambda: broker.range("orders"),
        lambda: broker.length("orders"),
        lambda: broker.info("orders"),
        lambda: broker.groups("orders"),
        lambda: broker.create_group("orders", "billing", BEGINNING),
        lambda: broker.read_group("billing", "ann", ["orders"], count=1),
        lambda: broker.read({"orders": b"0-0"}, count=1),
        lambda: broker.renew("orders", "billing", "ann", [b"1-1"]),
        lambda: broker.claim("orders", "billing", "ann", min_idle=timedelta(0), count=1),
        lambda: broker.failures.settle("orders", "billing", "ann", b"1-1", [], [FAILURE]),
        lambda: broker.delete_stream("orders"),
    ]
    for call in calls:
        with pytest.raises(BrokerRefusedError, match=f"'{namespace}:orders'"):
            await call()
    [outcome] = await broker.append_many([ENTRY])
    assert isinstance(outcome.cause, BrokerRefusedError)
    assert await admin.get(f"{namespace}:orders") == b"not a stream"


@pytest.mark.covers("MSG-10")
async def test_an_entry_deleted_while_pending_is_never_lost_from_sight(broker: ValkeyBroker) -> None:
    """Renewing, claiming, releasing and moving leave it pending and say that it is gone; then it is recorded."""
    await broker.create_group("orders", "billing", BEGINNING)
    gone, kept = await broker.append(ENTRY), await broker.append(ENTRY)
    await broker.read_group("billing", "ann", ["orders"], count=10)
    await broker.delete("orders", [EntryId.parse(gone)])
    assert await broker.renew("orders", "billing", "ann", [gone, kept]) == []
    assert await broker.release("orders", "billing", "ann", [gone, kept]) == 2
    claimed = await broker.claim("orders", "billing", "bob", min_idle=timedelta(0), count=10)
    assert (claimed.vanished, [entry_id for entry_id, _ in claimed.entries]) == ([gone], [kept])
    assert await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=10) == [[gone, None]]
    assert await broker.remove_consumer("orders", "billing", "ann", heir="bob") == 0
    assert (await broker.pending_summary("orders", "billing")).count == 2
    assert await broker.failures.settle_vanished("orders", "billing", gone) is Settled.DONE
    assert await broker.failures.settle_vanished("orders", "billing", gone) is Settled.NOT_YOURS
    assert await broker.failures.settle_vanished("orders", "billing", kept) is Settled.NOT_YOURS
    [record] = await broker.failures.find("orders")
    assert (record.cause, record.key.listener, record.fields) == ("vanished", "*", None)
    await broker.remove_consumer("orders", "billing", "ann", heir="bob")
    assert [consumer.name for consumer in await broker.consumers("orders", "billing")] == ["bob"]
