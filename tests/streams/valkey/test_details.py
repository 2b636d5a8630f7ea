"""What only this backend has to get right: lag, bounded work, slots, scripts, and the list of streams."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
import redis.asyncio

from penstock.errors import BrokerUnavailableError, UsageError
from penstock.position import BEGINNING, NEW, EntryId, Start
from penstock.streams._valkey import inspection
from penstock.streams._valkey.scripts import script
from penstock.streams._valkey.wire import AdoptedWire
from penstock.streams.abc import (
    Cap,
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
StartServer = Callable[..., RealServer]

ENTRY = NewEntry("orders", [b"n", b"1"])
MINUTE = timedelta(minutes=1)
SCRIPTS = sorted(
    path.name[:-4] for path in files("penstock.streams._valkey").joinpath("lua").iterdir() if path.is_file()
)


def failure(
    listener: str = "charge", error: str = "no", due_in: timedelta | None = timedelta(0)
) -> ListenerFailure:
    """A listener's failure, due at once."""
    return ListenerFailure(listener, "error", "ValueError", error, "trace", due_in)


async def fail_entries(
    broker: ValkeyBroker, count: int, *, group: str = "billing", listeners: int = 1
) -> list[bytes]:
    """Entries that were delivered and failed; their ids."""
    await broker.create_group("orders", group, BEGINNING)
    await broker.append_many([ENTRY] * count)
    [(_, entries)] = (await broker.read_group(group, "ann", ["orders"], count=count)).batches
    failures = [failure(f"charge{number}") for number in range(listeners)]
    for entry_id, fields in entries:
        settled = await broker.failures.settle("orders", group, "ann", entry_id, fields, failures)
        assert settled is Settled.DONE
    return [entry_id for entry_id, _ in entries]


# -- lag ----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("OPS-4")
async def test_lag_is_exact_whatever_was_deleted(
    broker: ValkeyBroker, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a count of what really lies ahead, after random appends, reads, deletions, trims and moves."""
    monkeypatch.setattr(inspection, "_COUNTED_A_STEP", 7)
    chance = random.Random(20)
    await broker.create_group("orders", "billing", BEGINNING)
    for _ in range(150):
        present = [EntryId.parse(entry_id) for entry_id, _ in await broker.range("orders")]
        match chance.choice(["append", "append", "read", "delete", "trim", "move"]):
            case "append":
                await broker.append_many([ENTRY] * chance.randint(1, 20))
            case "read":
                await broker.read_group("billing", "ann", ["orders"], count=chance.randint(1, 15))
            case "delete" if present:
                await broker.delete("orders", chance.sample(present, min(len(present), 3)))
            case "trim":
                await admin.xtrim(f"{namespace}:orders", maxlen=max(0, len(present) - 5), approximate=False)
            case "move" if present and chance.random() < 0.3:
                places: list[Start] = [NEW, BEGINNING, chance.choice(present)]
                await broker.move_group("orders", "billing", chance.choice(places))
            case _:
                pass
        [group] = await broker.groups("orders")
        ahead = await broker.range("orders", group.last_delivered.next())
        assert group.lag_entries == len(ahead)


async def test_a_great_lag_costs_a_bounded_look(
    broker: ValkeyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many steps from the middle of a long stream, the rest is estimated from what was counted."""
    monkeypatch.setattr(inspection, "_COUNTED_A_STEP", 10)
    monkeypatch.setattr(inspection, "_STEPS", 5)
    entries = [NewEntry("orders", [b"n", b"1"], EntryId(1000 * number)) for number in range(1, 1001)]
    await broker.append_many(entries)
    await broker.delete("orders", [EntryId(3000)])
    await broker.create_group("orders", "billing", EntryId(400_000))
    [group] = await broker.groups("orders")
    assert group.lag_entries == 600


# -- bounded work ---------------------------------------------------------------------------------------------------


async def test_a_claim_looks_at_a_bounded_part_of_a_long_pending_list(broker: ValkeyBroker) -> None:
    """With thousands pending and none idle, one claim is a short step, and the steps lead through the list."""
    await broker.create_group("orders", "billing", BEGINNING)
    await broker.append_many([ENTRY] * 2500)
    [(_, entries)] = (await broker.read_group("billing", "ann", ["orders"], count=5000)).batches
    start, steps = None, 0
    while True:
        claimed = await broker.claim("orders", "billing", "bob", min_idle=MINUTE, count=100, start=start)
        assert claimed.entries == []
        steps += 1
        if claimed.next_start is None:
            break
        start = claimed.next_start
        assert start == EntryId.parse(entries[1000 * steps - 1][0]).next()
    assert steps == 3


@pytest.mark.covers("EMIT-8")
async def test_a_cap_by_age_never_removes_without_bound_in_one_go(broker: ValkeyBroker) -> None:
    """A great deal of old entries goes in steps of at most ten thousand, one with each append."""
    old = [NewEntry("orders", [b"n", b"1"], EntryId(number)) for number in range(1, 25_001)]
    await broker.append_many(old)
    lengths = [await broker.length("orders")]
    while lengths[-1] > len(lengths):
        await broker.append(NewEntry("orders", [b"n", b"1"], cap=Cap(max_age=MINUTE)))
        lengths.append(await broker.length("orders"))
        assert lengths[-2] + 1 - lengths[-1] <= 10_100
        assert len(lengths) < 10
    assert len(await broker.range("orders")) == len(lengths) - 1


async def test_a_deleted_stream_leaves_no_key_behind(
    broker: ValkeyBroker, admin: Any, namespace: str
) -> None:
    """More failures than fit one step, of several groups and listeners, cursors, counts and tokens: all gone."""
    await fail_entries(broker, 700, listeners=2)
    await fail_entries(broker, 10, group="ship:ping")
    await broker.append(
        NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("token", window=timedelta(milliseconds=1)))
    )
    [(_, [[entry_id, _]])] = (await broker.read_group("ship:ping", "ann", ["orders"], count=1)).batches
    assert await broker.begin_alone("orders", "ship:ping", "ann", entry_id) == 1
    await broker.save_cursor("orders", "audit", b"1-1")
    assert await broker.delete_stream("orders")
    left = [key async for key in admin.scan_iter(f"{namespace}*") if b":once:" not in key]
    assert left == []


async def test_a_token_ends_with_its_stream(broker: ValkeyBroker) -> None:
    """After a stream was deleted, a token used in it writes again, though its window is still open."""
    once = NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("token"))
    assert await broker.append(once) == await broker.append(once)
    await broker.delete_stream("orders")
    await broker.append(NewEntry("orders", [b"n", b"0"], dedupe=Dedupe("other")))
    await broker.append(once)
    assert await broker.length("orders") == 2


async def test_a_wrong_entry_among_many_stops_no_other(broker: ValkeyBroker) -> None:
    """What cannot even be sent has an outcome of its own."""
    wrong: list[NewEntry] = [
        NewEntry("", [b"n", b"1"]),
        NewEntry("orders", [b"n", b"1"], cap=Cap(max_entries=0)),
        NewEntry("orders", [b"n", b"1"], dedupe=Dedupe("")),
    ]
    entries = [ENTRY, wrong[0], ENTRY, ENTRY, wrong[1], wrong[2], ENTRY]
    outcomes = await broker.append_many(entries)
    for entry, outcome in zip(entries, outcomes, strict=True):
        if entry in wrong:
            assert outcome.condition is Condition.NOT_WRITTEN
            assert isinstance(outcome.cause, UsageError)
        else:
            assert outcome.condition is Condition.WRITTEN
    assert await broker.length("orders") == 4
    for entry in wrong:
        with pytest.raises(UsageError):
            await broker.append(entry)


# -- failure records ------------------------------------------------------------------------------------------------


@pytest.mark.covers("FAIL-2")
async def test_paging_goes_on_where_a_record_was_that_has_moved_or_gone(broker: ValkeyBroker) -> None:
    """Retrying page by page visits every record once, whether the last one of a page succeeded or failed again."""
    ids = await fail_entries(broker, 9)
    seen: list[bytes] = []
    after = None
    while page := await broker.failures.find("orders", after=after, count=3):
        for number, record in enumerate(page):
            claim = await broker.failures.claim_retry(
                record.key, token="t", visibility=MINUTE, max_attempts=9, force=True
            )
            if claim is None or record.attempts > 1:
                continue
            seen.append(bytes(record.key.entry_id))
            if number % 2:
                await broker.failures.succeed_retry(claim)
            else:
                await broker.failures.fail_retry(claim, failure())
        after = page[-1].key
        if len(seen) == 9:
            break
    assert seen == ids


async def test_a_record_being_retried_keeps_its_claim_when_the_entry_comes_again(
    broker: ValkeyBroker,
) -> None:
    """Redelivery counts the record up and tells the newest error; the run under way still decides."""
    [entry_id] = await fail_entries(broker, 1)
    [record] = await broker.failures.find("orders")
    claim = await broker.failures.claim_retry(record.key, token="t", visibility=MINUTE, max_attempts=9)
    assert claim is not None
    # The entry comes back: its acknowledgement is undone as a lost failover would.
    server = broker._server
    key = server.keys.stream("orders")
    await server.ask(server.settles, b"XCLAIM", key, b"billing", b"ann", 0, entry_id, b"FORCE", b"JUSTID")
    settle = broker.failures.settle(
        "orders", "billing", "ann", entry_id, None, [failure("charge0", "again", None)]
    )
    assert await settle is Settled.DONE
    found = await broker.failures.get(record.key)
    assert found is not None
    assert (found.attempts, found.error, found.state) == (3, "again", FailureState.RETRYING)
    assert found.fields == [b"n", b"1"]
    assert await broker.failures.succeed_retry(claim) is Settled.DONE
    assert await broker.failures.get(record.key) is None


# -- keys, slots, scripts --------------------------------------------------------------------------------------------


async def test_everything_of_a_stream_lies_in_one_slot_of_a_real_cluster(
    start_server: StartServer, connect: Connect
) -> None:
    """A server in cluster mode would refuse a script that reaches for a key elsewhere."""
    server = start_server("--cluster-enabled", "yes", with_port=True)
    client: Any = redis.asyncio.Redis(unix_socket_path=server.socket)
    async with client as admin:
        await admin.cluster("ADDSLOTSRANGE", 0, 16383)
        while (await admin.cluster("INFO"))["cluster_state"] != "ok":
            await asyncio.sleep(0)
        broker = await connect(server.url, namespace="shop")
        assert broker.capabilities.cluster
        for stream in ("orders", "orders{eu}:x", "50%:{open"):
            await use_all_scripts(broker, stream)
        await broker.hold_name("billing", "ann", token="t", description="d", life=MINUTE)
        assert await broker.free_name("billing", "ann", token="t")
        assert await broker.streams() == ["50%:{open", "orders", "orders{eu}:x"]
        keys = {key async for key in admin.scan_iter()} - {b"shop:penstock:streams"}
        for stream in await broker.streams():
            slot = await admin.cluster("KEYSLOT", broker._server.keys.stream(stream))
            base = broker._server.keys.base(stream)
            beside = {key for key in keys if key.startswith(base)}
            assert len(beside) >= 6
            assert {await admin.cluster("KEYSLOT", key) for key in beside} == {slot}
            await broker.delete_stream(stream)


async def use_all_scripts(broker: ValkeyBroker, stream: str) -> None:
    """Each script once, leaving something of each kind of key behind."""
    groups = [(stream, "billing")]
    await broker.create_group(stream, "billing", BEGINNING)
    capped = NewEntry(stream, [b"n", b"1"], cap=Cap(max_entries=100, max_age=MINUTE), dedupe=Dedupe("a"))
    ids = [await broker.append(capped)]
    ids += [await broker.append(NewEntry(stream, [b"n", b"%d" % number])) for number in range(6)]
    await broker.read_group("billing", "ann", [stream], count=10)
    assert await broker.renew(stream, "billing", "ann", ids) == []
    claimed = await broker.claim(stream, "billing", "bob", min_idle=timedelta(0), count=2)
    assert len(claimed.entries) == 2
    assert await broker.begin_alone(stream, "billing", "bob", ids[0]) == 1
    assert await broker.release(stream, "billing", "bob", ids[:1]) == 1
    assert await broker.begin_alone(stream, "billing", "bob", ids[0]) == 1
    assert await broker.acknowledge_alone(stream, "billing", "bob", ids[0]) is Settled.DONE
    assert await broker.remove_consumer(stream, "billing", "bob", heir="ann") == 1
    assert await broker.begin_alone(stream, "billing", "ann", ids[6]) == 1
    for entry_id in ids[1:4]:
        settling = broker.failures.settle(stream, "billing", "ann", entry_id, [b"n", b"1"], [failure("*")])
        assert await settling is Settled.DONE
    await broker.delete(stream, [EntryId.parse(ids[4])])
    assert await broker.failures.settle_vanished(stream, "billing", ids[4]) is Settled.DONE
    assert await broker.failures.next_due(groups) == timedelta(0)
    first, second, third = [due.key for due in await broker.failures.due(groups, count=10)]
    claims = [
        await broker.failures.claim_retry(key, token="t", visibility=MINUTE, max_attempts=9)
        for key in (first, second, third)
    ]
    assert all(claims)
    for claim in claims:
        assert claim is not None
        assert await broker.failures.extend_retry(claim, visibility=MINUTE) is Settled.DONE
    assert claims[0] is not None
    assert await broker.failures.return_retry(claims[0]) is Settled.DONE
    assert claims[1] is not None
    assert await broker.failures.fail_retry(claims[1], failure("*")) is Settled.DONE
    assert claims[2] is not None
    assert await broker.failures.split_retry(claims[2], [failure("a"), failure("b")]) is Settled.DONE
    assert await broker.failures.delete(second)
    await broker.save_cursor(stream, "audit", ids[0])
    assert len(await broker.failures.find(stream)) == 4
    assert (await broker.failures.tally(stream))[0].retrying == 3
    assert (await broker.info(stream)).length == 6
    assert (await broker.groups(stream))[0].lag_entries == 0


@pytest.mark.parametrize("name", SCRIPTS)
async def test_each_script_says_what_it_takes_and_why_and_loads_everywhere(
    name: str, broker: ValkeyBroker, admin: Any
) -> None:
    """Its first comment names keys, arguments and the reason; both servers compile it under the digest we use."""
    found = script(name)
    header = re.match(rb"(--[^\n]*\n)+", found.text)
    assert header is not None
    assert b"KEYS:" in header[0]
    assert b"A script " in header[0]
    assert b"-- include " not in found.text
    assert await admin.script_load(found.text) == found.digest.decode()


def test_every_script_is_used() -> None:
    """A file that nobody calls is one that nobody has tested."""
    folder = files("penstock.streams._valkey")
    code = "".join(path.read_text() for path in folder.iterdir() if path.name.endswith(".py"))
    assert [name for name in SCRIPTS if f'"{name}"' not in code] == []


# -- the list of streams ----------------------------------------------------------------------------------------------


async def test_a_stream_deleted_by_another_process_is_listed_again_once_it_is_written(
    server: RealServer, namespace: str, connect: Connect
) -> None:
    """Whoever writes puts it back on the list, at the latest after a minute."""
    one, other = (
        await connect(server.url, namespace=namespace),
        await connect(server.url, namespace=namespace),
    )
    await one.append(ENTRY)
    await other.delete_stream("orders")
    await one.append(ENTRY)
    assert await one.streams() == []
    one._server._remind()
    await one.append(ENTRY)
    assert await other.streams() == ["orders"]


# -- a server that makes no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+TOO MANY\r\n"])
async def test_an_answer_that_makes_no_sense_ends_the_connection(answer: bytes) -> None:
    """Something else listens there, or answers came that nobody asked for: nothing is taken for what it is not."""
    lost: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: AdoptedWire("it", 5, lost.append), "127.0.0.1", port)
    first = wire.send(b"PING\r\n")
    if answer.startswith(b"HTTP"):
        with pytest.raises(BrokerUnavailableError):
            await first
    else:
        assert await first == b"OK"
    with pytest.raises(BrokerUnavailableError, match="not connected"):
        await wire.send(b"PING\r\n")
    assert len(lost) == 1
    await wire.finish()
    server.close()
    await server.wait_closed()
