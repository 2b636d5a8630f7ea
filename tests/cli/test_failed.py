"""`penstock failed`: the list as people read it, retries with a person watching, and flushing only when asked."""

import pytest

from tests.cli.conftest import SHOP, Project, fail, place


@pytest.mark.covers("FAIL-2")
def test_the_list_is_a_table_sorted_by_time(shop: Project) -> None:
    """Id, stream, group, receiver, error, state, runs and time; compact leaves out receiver and time."""
    assert shop("failed", "list").out == "No failed messages\n"
    fail(shop, "1")
    fail(shop, "2")
    head, *rows = shop("failed", "list").out.splitlines()
    assert head.split()[:4] == ["ID", "Stream", "Group", "Receiver"]
    assert ["card declined for 1" in rows[0], "card declined for 2" in rows[1]] == [True, True]
    assert "ValueError" in rows[0]
    compact = shop("failed", "list", "--compact").out.splitlines()
    assert compact[0].split() == ["ID", "Stream", "Error", "State"]


@pytest.mark.covers("FAIL-2")
def test_a_long_list_comes_in_pages(shop: Project) -> None:
    """--limit bounds it; `next` of the document leads on, and is empty at the end."""
    fail(shop, *map(str, range(7)))
    seen: list[str] = []
    after: list[str] = []
    while True:
        page = shop("failed", "list", "--limit", "3", "--json", *after).document
        seen += [item["entry_id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert len(seen) == len(set(seen)) == 7
    assert "--after" in shop("failed", "list", "--limit", "3").err


def test_one_message_is_shown_in_full(shop: Project) -> None:
    """Error, traceback and payload; what its program can read is the same."""
    fail(shop, "1")
    [item] = shop("failed", "list", "--json").document["items"]
    shown = shop("failed", "show", item["entry_id"]).out
    for part in (
        "charge of group billing",
        "ValueError: card declined for 1",
        "raise ValueError",
        '"order_id": "1"',
    ):
        assert part in shown
    [detail] = shop("failed", "show", item["entry_id"], "--receiver", "charge", "--json").document["items"]
    assert detail["failed"]["listener"] == "charge"
    assert detail["message"]["payload"] == {"order_id": "1", "total_cents": 100}


@pytest.mark.covers("FAIL-3", "FAIL-4")
def test_a_mended_listener_empties_the_list(shop: Project) -> None:
    """Retrying runs the listener that failed, says how it went, and takes what succeeded off the list."""
    fail(shop, "1", "2")
    (shop.folder / "notes.txt").unlink()
    ending = shop("failed", "retry", "--all")
    assert ending.code == 0
    assert "Ran 2 failed messages again: 2 succeeded" in ending.out
    assert sorted(shop.notes()) == ["begin 1", "begin 2", "end 1", "end 2"]
    assert shop("failed", "list").out == "No failed messages\n"


@pytest.mark.covers("FAIL-3", "FAIL-4")
def test_what_fails_again_is_told_and_counted(shop: Project) -> None:
    """Exit code 3: some were run and did not succeed."""
    fail(shop, "1", "2")
    shop.write("broken", "")
    ending = shop("failed", "retry", "--stream", "order.placed", "--group", "billing")
    assert ending.code == 3
    assert "2 failed again" in ending.out
    assert "card declined for 1" in ending.out
    document = shop("failed", "retry", "--all", "--json").document
    assert (document["failed"], document["succeeded"], len(document["items"])) == (2, 0, 2)
    assert shop("failed", "list", "--json").document["items"][0]["attempts"] == 3


@pytest.mark.covers("FAIL-3")
def test_a_dry_run_shows_what_would_run_and_what_would_not(shop: Project) -> None:
    """Records whose listener the app lacks are kept, and the plan says why."""
    fail(shop, "1")
    shop.write("app.py", SHOP.replace("async def charge", "async def charge_card"))
    plan = shop("failed", "retry", "--all", "--dry-run")
    assert "has no listener 'charge'" in plan.out
    assert "1 failed message would be run again" in plan.out
    ending = shop("failed", "retry", "--all")
    assert ending.code == 1
    assert "1 kept" in ending.out
    assert len(shop("failed", "list", "--json").document["items"]) == 1


@pytest.mark.covers("FAIL-5")
def test_flush_asks_and_leaves_streams_alone(shop: Project) -> None:
    """Without a terminal and without --yes nothing is forgotten; with it the count is told."""
    fail(shop, "1", "2")
    refused = shop("failed", "flush")
    assert refused.code == 1
    assert "--yes" in refused.err
    assert "2" in refused.out
    assert len(shop("failed", "list", "--json").document["items"]) == 2
    assert shop("failed", "flush", "--yes").out == "Forgot 2 failed messages\n"
    assert shop("failed", "list").out == "No failed messages\n"
    assert shop("streams", "list", "--json").document["items"][0]["length"] == 2


@pytest.mark.covers("FAIL-5")
def test_flush_may_be_narrowed_down(shop: Project) -> None:
    """The filters of the list hold here, too."""
    fail(shop, "1", "2")
    first = shop("failed", "list", "--json").document["items"][0]["entry_id"]
    assert shop("failed", "flush", "--id", first, "--yes", "--json").document["flushed"] == 1
    assert shop("failed", "flush", "--receiver", "nobody", "--yes").code == 1


def test_a_message_that_waits_for_its_next_run_is_on_the_list(shop: Project) -> None:
    """State retrying, with the time it is due; a person may run it before."""
    shop.write("app.py", SHOP.replace("attempts=1", 'attempts=5, initial="1h"'))
    fail(shop, "1")
    [item] = shop("failed", "list", "--state", "retrying", "--json").document["items"]
    assert item["due"] is not None
    assert shop("failed", "retry", "--id", item["entry_id"]).code == 0


@pytest.mark.covers("FAIL-2")
def test_text_of_an_error_cannot_drive_the_terminal(shop: Project) -> None:
    """Escape sequences in messages are shown, not sent."""
    shop.write("app.py", SHOP.replace("card declined", "\\x1b[31m\\x07declined"))
    fail(shop, "1")
    for ending in (
        shop("failed", "list"),
        shop("failed", "show", shop("failed", "list", "--json").document["items"][0]["entry_id"]),
    ):
        assert "\x1b[31m" not in ending.out
        assert "\\x1b[31m" in ending.out


def test_nothing_is_listed_that_did_not_fail(shop: Project) -> None:
    """Handled messages leave no trace here."""
    place(shop, "1")
    assert shop("run", "--until-idle").code == 0
    assert shop("failed", "list", "--json").document["items"] == []
