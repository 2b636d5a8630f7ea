"""``penstock history`` and ``penstock scheduled``: what was, and what will be."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from penstock import App
from penstock.streams.scheduling import Scheduled
from tests.cli.conftest import Project, place

KEPT = '[stream."order.placed"]\nhistory = true\n'


def schedule(project: Project, *order_ids: str) -> list[Scheduled]:
    """Emit orders for later, and let a daily report be known."""

    async def emit() -> list[Scheduled]:
        async with App("shop") as app:
            app.every("1 day", lambda: None, name="daily", stream="report.made")
            await app.run(until_idle=True)
            return [
                await app.emit(
                    {"order_id": each}, name="order.placed", key=each, after=timedelta(hours=number + 1)
                )
                for number, each in enumerate(order_ids)
            ]

    return asyncio.run(emit())


@pytest.mark.covers("HIST-2", "HIST-3", "HIST-5")
def test_the_history_of_an_entity_is_shown(shop: Project) -> None:
    """Its state by default, its events when asked for, up to a place or a time; nothing for whom nobody knows."""
    shop.write("penstock.toml", KEPT)
    place(shop, "1", "2")
    assert shop("emit", "order.placed", '{"order_id": "1", "total_cents": 7}').code == 0

    shown = shop("history", "show", "order.placed", "1")
    assert shown.code == 0
    assert ["total_cents", "7"] in [line.split() for line in shown.out.splitlines()]
    assert shop("history", "show", "order.placed", "1", "--json").document["state"] == {
        "order_id": "1",
        "total_cents": 7,
    }

    events = shop("history", "show", "order.placed,order.paid", "1", "--events", "--json").document["items"]
    assert [event["payload"].get("total_cents") for event in events] == [100, 7]
    first = events[0]["entry_id"]
    early = shop("history", "show", "order.placed", "1", "--until", first, "--json").document
    assert early["state"] == {"order_id": "1", "total_cents": 100}
    at = shop("history", "show", "order.placed", "1", "--until", events[0]["time"], "--json").document
    assert at["state"] == early["state"]
    listed = shop("history", "show", "order.placed", "1", "--events").out.splitlines()
    assert [line.split()[0] for line in listed] == [event["entry_id"] for event in events]

    for option in ("--events", "--fold"):
        nobody = shop("history", "show", "order.placed", "nobody", option)
        assert (nobody.code, "No events" in nobody.out) == (0, True)


@pytest.mark.covers("DELAY-2", "RECUR-1")
def test_what_is_scheduled_is_listed(shop: Project) -> None:
    """What waits, nearest first, then what recurs with its last and its next run."""
    assert "Nothing is scheduled" in shop("scheduled", "list").out
    first, second = schedule(shop, "1", "2")

    lines = shop("scheduled", "list").out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == [first.event_id, second.event_id]
    assert lines[1].startswith("in 59min")
    assert [part for part in lines[-1].split("  ") if part][:3] == ["daily", "every 1d", "report.made"]

    document = shop("scheduled", "list", "--json").document
    assert [one["event_id"] for one in document["items"]] == [first.event_id, second.event_id]
    assert document["items"][0]["key"] == "1"
    [run] = document["recurring"]
    assert run["name"] == "daily"
    assert run["last"] < datetime.now(UTC).isoformat() < run["following"]

    narrowed = shop("scheduled", "list", "--stream", "order.placed", "--limit", "1")
    assert first.event_id in narrowed.out
    assert second.event_id not in narrowed.out
    assert "more than 1" in narrowed.err
    assert "daily" not in narrowed.out


@pytest.mark.covers("DELAY-2")
def test_what_waits_is_taken_back(shop: Project) -> None:
    """After a question or --yes; a dry run leaves it; what does not wait is named, and is part of the exit code."""
    first, second, third = (one.event_id for one in schedule(shop, "1", "2", "3"))

    assert shop("scheduled", "cancel", first, "--dry-run").code == 0
    assert shop("scheduled", "cancel", first).code == 1
    assert len(shop("scheduled", "list", "--json").document["items"]) == 3

    done = shop("scheduled", "cancel", first, "--yes")
    assert (done.code, done.out) == (0, "Took back 1 event\n")
    partly = shop("scheduled", "cancel", first, second, third, "--yes", "--json")
    assert partly.code == 3
    assert [one["event_id"] for one in partly.document["cancelled"]] == [second, third]
    assert partly.document["missing"] == [first]
    assert shop("scheduled", "cancel", first, "--yes", "--json").error["type"] == "Refused"
    assert shop("scheduled", "list", "--json").document["items"] == []


def test_looking_starts_no_server(bare: Project) -> None:
    """Where nothing was ever used, nothing was and nothing waits."""
    assert "No events" in bare("history", "show", "order.placed", "1").out
    assert bare("history", "show", "order.placed", "1", "--events", "--json").document["items"] == []
    assert "Nothing is scheduled" in bare("scheduled", "list").out
    assert bare("scheduled", "cancel", "nothing", "--yes").code == 1
    assert not (bare.folder / ".penstock").exists()
