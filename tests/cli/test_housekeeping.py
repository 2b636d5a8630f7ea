"""``penstock housekeeping`` as a process: it collects, several take turns, and kill -9 loses nothing."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from penstock.position import BEGINNING
from penstock.streams.abc import NewEntry, RawId
from penstock.streams.collector import COLLECTOR
from penstock.streams.valkey import ValkeyBroker
from tests.cli.conftest import Project, fail, place

T = TypeVar("T")

SETTINGS = """
[stream."orders"]
retention = "handled"
"""


def on_server(project: Project, do: Callable[[ValkeyBroker], Awaitable[T]]) -> T:
    """Do something on the project's server."""

    async def run() -> T:
        broker = ValkeyBroker(
            project.environ["PENSTOCK_STREAMS"], namespace=project.environ["PENSTOCK_NAMESPACE"]
        )
        await broker.open()
        try:
            return await do(broker)
        finally:
            await broker.close()

    return asyncio.run(run())


async def handle(broker: ValkeyBroker, count: int) -> list[RawId]:
    """Add entries, all of them handled but the last ten; those ten."""
    await broker.create_group("orders", "billing", BEGINNING)
    added: list[RawId] = []
    for _ in range(count // 1000):
        outcomes = await broker.append_many([NewEntry("orders", [b"n", b"1"])] * 1000)
        added += [each.entry_id for each in outcomes if each.entry_id is not None]
        await broker.read_group("billing", "ann", ["orders"], count=1000)
    await broker.acknowledge("orders", "billing", added[:-10])
    return added[-10:]


@pytest.mark.covers("OPS-6", "GC-4", "GC-5")
def test_two_processes_keep_house_and_one_may_be_killed(empty: Project) -> None:
    """One of two collects; killed by SIGKILL, the other goes on; what is needed is there in the end, and nothing else.

    A signal ends it well: no lease is left behind.
    """
    empty.write("penstock.toml", SETTINGS)
    needed = on_server(empty, lambda broker: handle(broker, 20_000))
    first, second = empty.start("housekeeping"), empty.start("housekeeping")

    def length() -> int:
        return on_server(empty, lambda broker: broker.length("orders"))

    first.wait_until("it is collected", lambda: length() == 10)
    lease = on_server(empty, lambda broker: broker.leases.look(COLLECTOR, stream="orders"))
    assert lease is not None
    acting, other = (
        (first, second) if f"process {first.process.pid} " in lease.description else (second, first)
    )
    assert f"process {acting.process.pid} " in lease.description

    acting.process.send_signal(signal.SIGKILL)
    needed += on_server(empty, lambda broker: handle(broker, 3_000))
    other.wait_until("it is collected again", lambda: length() == 3_010, seconds=40)
    on_server(empty, lambda broker: broker.acknowledge("orders", "billing", needed[:10]))
    other.wait_until("the pending ones are settled", lambda: length() == 10)
    entries = on_server(empty, lambda broker: broker.range("orders"))
    assert [entry[0] for entry in entries] == needed[10:]

    other.process.send_signal(signal.SIGTERM)
    assert other.end().code == 0
    assert on_server(empty, lambda broker: broker.leases.look(COLLECTOR, stream="orders")) is None


@pytest.mark.covers("OPS-6", "GC-4")
def test_status_says_when_nobody_collects(empty: Project) -> None:
    """A stream asks for retention and neither worker nor housekeeping runs: it is named with the remedy."""
    empty.write("penstock.toml", SETTINGS)
    on_server(empty, lambda broker: handle(broker, 1_000))

    ending = empty("status")
    assert "nobody collects orders" in ending.out
    assert "penstock housekeeping" in ending.out
    assert empty("status", "--json").document["uncollected"] == ["orders"]

    running = empty.start("housekeeping")
    running.wait_until("it is collected", lambda: "nobody collects" not in empty("status").out)
    running.process.send_signal(signal.SIGINT)
    assert running.end().code == 0


@pytest.mark.covers("GC-1", "GC-3")
def test_a_purge_says_what_went_what_stayed_and_who_holds_it(shop: Project) -> None:
    """For people in a table with group and position; with --force all goes."""
    place(shop, "1", "2", "3")
    held = shop("streams", "purge")
    assert held.code == 0
    assert "Removed 0 entries" in held.out
    assert "never started" in held.out

    assert shop("run", "--until-idle").code == 0
    planned = shop("purge", "--streams", "order.placed", "--dry-run")
    assert "3 entries would be removed" in planned.out
    assert shop("streams", "show", "order.placed", "--json").document["stream"]["length"] == 3
    refused = shop("streams", "purge", "--json")
    assert (refused.code, refused.error["facts"]["affects"]) == (1, 3)
    assert "Removed 3 entries" in shop("streamer:purge", "--yes").out

    place(shop, "4")
    held = shop("streams", "trim", "order.placed", "--keep", "0", "--yes", "--json")
    [item] = held.document["items"]
    assert (item["removed"], item["left"]) == (0, 1)
    assert [hold["name"] for hold in item["held_by"]] == ["billing", "mail"]
    assert "Removed 1 entry" in shop("streams", "purge", "--force", "--yes").out


@pytest.mark.covers("GC-2")
def test_listening_with_purge_removes_what_the_last_group_has_handled(shop: Project) -> None:
    """The first group leaves it for the second, which removes it."""
    place(shop, "1", "2")

    def length() -> int:
        return int(shop("streams", "show", "order.placed", "--json").document["stream"]["length"])

    assert shop("listen", "order.placed", "--group", "billing", "--purge", "--once").code == 0
    assert length() == 2
    assert shop("listen", "order.placed", "--group", "mail", "--purge", "--once").code == 0
    assert length() == 0


@pytest.mark.covers("FAIL-6")
def test_a_failed_message_is_purged_with_its_last_failure(shop: Project) -> None:
    """Run again with --purge, the message leaves the stream."""
    fail(shop, "1", "2")
    [first, _] = shop("failed", "list", "--json").document["items"]

    assert shop("failed", "retry", "--id", first["entry_id"], "--purge").code == 0
    assert shop("streams", "show", "order.placed", "--json").document["stream"]["length"] == 1


@pytest.mark.covers("OPS-1")
def test_a_stream_shows_its_floor_its_retention_and_its_leases(shop: Project) -> None:
    """What is needed from where, by whom; what is collected; who does it."""
    shop.write("penstock.toml", '[stream."order.placed"]\nretention = { age = "7 days", entries = 1000 }\n')
    place(shop, "1")
    shown = shop("streams", "show", "order.placed").out
    assert "older than 7d, beyond 1,000 entries" in shown
    assert "the beginning, by absent group billing, absent group mail, registered since" in shown

    running = shop.start("housekeeping")
    running.wait_until(
        "it holds the lease", lambda: "collector" in shop("streams", "show", "order.placed").out
    )
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
