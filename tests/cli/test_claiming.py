"""`penstock groups claim`: what a stopped consumer left is handled by another."""

import asyncio

import pytest

from penstock.position import BEGINNING
from penstock.streams.valkey import ValkeyBroker
from tests.cli.conftest import Project, place


async def leave_pending(project: Project, consumer: str) -> None:
    """Have a consumer take everything and die."""
    broker = ValkeyBroker(
        project.environ["PENSTOCK_STREAMS"], namespace=project.environ["PENSTOCK_NAMESPACE"]
    )
    await broker.open()
    await broker.create_group("order.placed", "billing", BEGINNING)
    await broker.read_group("billing", consumer, ["order.placed"], count=100)
    await broker.close()


@pytest.mark.covers("GROUP-8")
def test_claim_moves_what_is_pending_and_removes_the_source(shop: Project) -> None:
    """Planned first, then done; afterwards the group works it off."""
    place(shop, "1", "2", "3")
    asyncio.run(leave_pending(shop, "consumer-2"))
    words = ("groups", "claim", "billing", "--from", "2", "--to", "consumer-1")
    planned = shop(*words, "--dry-run", "--json").document
    assert (planned["total"], planned["dry_run"]) == (3, True)
    refused = shop(*words)
    assert (refused.code, refused.out) == (1, "")
    done = shop(*words, "--yes")
    assert done.code == 0
    assert "Moved 3 entries to consumer-1; consumer-2 is removed" in done.out
    shown = shop("groups", "show", "order.placed", "billing", "--json").document
    assert [(each["name"], each["pending"]) for each in shown["consumers"]] == [("consumer-1", 3)]


@pytest.mark.covers("GROUP-8")
def test_claim_refuses_a_source_at_work_unless_forced(shop: Project) -> None:
    """The error names the process, and --force is said to be there by the help."""
    place(shop, "slow")
    running = shop.start("listen", "order.placed", "--group", "billing", "--consumer", "consumer-2")
    running.wait_until("it has begun", lambda: "begin slow" in shop.notes())
    words = ("groups", "claim", "billing", "--from", "2", "--to", "1", "--yes")
    refused = shop(*words)
    assert refused.code == 1
    assert f"in use by process {running.process.pid}" in refused.err
    assert shop(*words, "--force", "--json").document["total"] == 1
    shop.write("finish", "")


def test_claim_of_a_group_that_is_nowhere_is_refused(shop: Project) -> None:
    """The exit code is 1, and the group is named."""
    ending = shop("groups", "claim", "nobody", "--from", "1", "--to", "2", "--yes")
    assert ending.code == 1
    assert "nobody" in ending.err
    assert shop("groups", "claim", "billing", "--from", "1", "--to", "consumer-1").code == 2
