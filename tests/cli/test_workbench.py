"""`penstock failed` as a workbench: errors in groups, edits seen before they are made, and who did what."""

import pytest

from penstock.cli._person import login_name
from tests.cli.conftest import SHOP, Project, fail
from tests.cli.test_parked import KEYED


def failed_id(shop: Project, number: int = 0) -> str:
    """The id of one of the failed messages."""
    entry_id: str = shop("failed", "list", "--json").document["items"][number]["entry_id"]
    return entry_id


@pytest.mark.covers("LEAD-7")
def test_failed_messages_can_be_listed_by_error(shop: Project) -> None:
    """One line for a thousand of the same; filters hold, and what the limit leaves out is counted."""
    assert shop("failed", "list", "--by-error").out == "No failed messages\n"
    fail(shop, "1", "2", "3")
    head, row = shop("failed", "list", "--by-error").out.splitlines()
    assert head.split()[:5] == ["Messages", "Error", "Stream", "Group", "Receiver"]
    assert "3  ValueError: card declined for <n>  order.placed  billing  charge" in row

    shop.write("app.py", SHOP.replace("declined", "stolen"))
    fail(shop, "4")
    document = shop("failed", "list", "--by-error", "--json").document
    assert [(item["error"], item["count"]) for item in document["items"]] == [
        ("card declined for <n>", 3),
        ("card stolen for <n>", 1),
    ]
    assert shop("failed", "list", "--by-error", "--limit", "1", "--json").document["beyond"] == 1
    assert "1 failed message with other errors" in shop("failed", "list", "--by-error", "--limit", "1").err
    assert shop("failed", "list", "--by-error", "--error", "lost").out == "No failed messages match\n"


@pytest.mark.covers("LEAD-7")
def test_the_difference_is_shown_before_an_edit(shop: Project) -> None:
    """Before and after, line by line; nothing is done without a yes."""
    fail(shop, "1")
    entry_id = failed_id(shop)
    line = ("failed", "edit", entry_id, "--set", 'order_id="é 注"', "--why", "wrong customer")

    for ending in (shop(*line), shop(*line, "--dry-run")):
        assert '-  "order_id": "1",' in ending.out
        assert '+  "order_id": "é 注",' in ending.out
    assert shop(*line).code == 1
    assert "Original" not in shop("failed", "show", entry_id).out

    done = shop(*line, "--who", "ann", "--yes")
    assert (done.code, "Edited" in done.out) == (0, True)
    assert f"penstock failed retry --id {entry_id}" in done.err
    shown = shop("failed", "show", entry_id).out
    assert "by ann: wrong customer" in shown
    assert shown.index('"é 注"') < shown.index("Original") < shown.rindex('"order_id": "1"')
    [detail] = shop("failed", "show", entry_id, "--json").document["items"]
    assert detail["message"]["payload"]["order_id"] == "é 注"
    assert detail["original"]["payload"]["order_id"] == "1"
    assert [(edit["who"], edit["why"]) for edit in detail["edits"]] == [("ann", "wrong customer")]


@pytest.mark.covers("LEAD-7")
def test_an_edited_message_can_be_run_at_once(shop: Project) -> None:
    """With --retry its listener runs with the new body, and what succeeds is off the list."""
    fail(shop, "1")
    (shop.folder / "notes.txt").unlink()
    shop.write("body.json", '{"order_id": "2", "total_cents": 7}\n')
    line = ("failed", "edit", failed_id(shop), "--body", "body.json", "--why", "w", "--yes", "--retry")
    document = shop(*line, "--json").document
    assert (document["outcome"], [each["outcome"] for each in document["retried"]]) == (
        "edited",
        ["succeeded"],
    )
    assert shop.notes() == ["begin 2", "end 2"]
    assert shop("failed", "list").out == "No failed messages\n"


@pytest.mark.covers("LEAD-7")
def test_a_body_that_does_not_fit_changes_nothing(shop: Project) -> None:
    """The app's class says what is wrong with it."""
    fail(shop, "1")
    ending = shop("failed", "edit", failed_id(shop), "--set", "order_id=7", "--why", "w", "--yes")
    assert ending.code == 2
    assert "order_id" in ending.err
    assert "Nothing was changed" in ending.err
    [detail] = shop("failed", "show", failed_id(shop), "--json").document["items"]
    assert detail["edits"] == []


@pytest.mark.covers("LEAD-7")
def test_several_that_match_are_not_edited(shop: Project) -> None:
    """One message that failed in two groups has two bodies: the command asks which one is meant."""
    both = SHOP.replace("    pass", '    if Path("broken").exists():\n        raise KeyError(order.order_id)')
    assert both != SHOP
    shop.write("app.py", both)
    fail(shop, "1")
    line = ("failed", "edit", failed_id(shop), "--set", "total_cents=1", "--why", "w", "--yes")
    refused = shop(*line)
    assert (refused.code, "'billing'" in refused.err, "'mail'" in refused.err) == (2, True, True)
    assert shop(*line, "--group", "mail").code == 0


@pytest.mark.covers("LEAD-7")
def test_a_bulk_retry_stops_at_the_first_that_fails(shop: Project) -> None:
    """Exit code 3, and how many were not run."""
    fail(shop, "1", "2", "3")
    shop.write("broken", "")
    (shop.folder / "notes.txt").unlink()
    ending = shop("failed", "retry", "--all", "--stop-on-failure")
    assert ending.code == 3
    assert "Stopped at the first that failed: 2 failed messages were not run" in ending.out
    assert shop.notes() == ["begin 1"]
    document = shop("failed", "retry", "--all", "--stop-on-failure", "--json").document
    assert (document["failed"], document["left"]) == (1, 2)


@pytest.mark.covers("LEAD-7")
def test_the_log_says_who_did_what_and_why(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the login name, latest first; text in it cannot drive the terminal."""
    assert shop("failed", "log").out == "Nobody did anything yet\n"
    fail(shop, "1", "2", "3")
    monkeypatch.setenv("LOGNAME", "zoë")
    first = failed_id(shop)
    assert shop("failed", "edit", first, "--set", "total_cents=1", "--why", "\x1b[31mtypo", "--yes").code == 0
    assert shop("failed", "retry", "--id", first, "--why", "mended").code == 0
    assert shop("failed", "flush", "--yes").code == 0

    items = shop("failed", "log", "--json").document["items"]
    assert [(item["who"], item["what"], item["why"], item["count"]) for item in items] == [
        ("zoë", "flush", "", 2),
        ("zoë", "retry", "mended", 1),
        ("zoë", "edit", "\x1b[31mtypo", 1),
    ]
    table = shop("failed", "log").out
    assert table.splitlines()[0].split()[:4] == ["When", "(UTC)", "Who", "What"]
    assert "\x1b" not in table
    assert len(shop("failed", "log", "--stream", "order.placed", "--limit", "1").out.splitlines()) == 2


@pytest.mark.covers("LEAD-7")
def test_a_parked_event_is_edited_and_unparked_in_order(shop: Project) -> None:
    """The one that holds its key is mended in its place; then the key is handled from there on."""
    shop.write("app.py", KEYED)
    fail(shop, "1", "1")
    (shop.folder / "notes.txt").unlink()
    [item] = shop("failed", "list", "--receiver", "charge", "--json").document["items"]
    edited = shop("failed", "edit", item["entry_id"], "--set", 'order_id="7"', "--why", "w", "--yes")
    assert (edited.code, "penstock failed unpark --key '1'" in edited.err) == (0, True)
    assert shop("failed", "unpark", "--key", "1", "--why", "mended").code == 0
    assert shop("run", "--until-idle").code == 0
    assert shop.notes() == ["begin 7", "end 7", "begin 1", "end 1"]
    latest = shop("failed", "log", "--json").document["items"][0]
    assert (latest["what"], latest["why"], latest["count"]) == ("unpark", "mended", 2)


def test_who_has_no_login_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container nobody may be known by the number under which a process runs."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert login_name().startswith("uid ")
