"""`penstock archive`, `listen --archive` and `failed retry --archive`: what moves, what stays, and what is said."""

import json
import re

import pytest

from tests.cli.conftest import SHOP, Project, fail, place

BOTH = """
[archive]
driver = "files"
url = "kept"
"""


@pytest.fixture
def kept(shop: Project) -> Project:
    """The shop with an archive."""
    shop.write("penstock.toml", BOTH)
    return shop


def work(project: Project) -> None:
    """Have every group handle what there is."""
    assert project("run", "--until-idle").code == 0


def lengths(project: Project) -> tuple[int, int]:
    """How many messages are in the stream, and in the archive."""
    streams = project("streams", "list", "--json").document["items"]
    archived = project("archive", "list", "--json").document["items"]
    return (
        sum(each["length"] or 0 for each in streams if each["name"] == "order.placed"),
        sum(each["messages"] for each in archived),
    )


# -- archive run ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-3")
def test_archive_run_moves_what_every_group_has_handled(kept: Project) -> None:
    """The counts are told; what is left names who needs it."""
    place(kept, "1", "2")
    work(kept)
    place(kept, "3")
    ending = kept("archive", "run", "--streams", "order.placed")
    assert ending.code == 0
    assert "Archived 2 messages" in ending.out
    assert "group billing" in ending.out
    assert lengths(kept) == (1, 2)
    document = kept("archive", "run", "--all", "--json").document
    assert (document["archived"], document["items"][0]["archived"]) == (0, 0)
    assert {hold["name"] for hold in document["items"][0]["held_by"]} == {"billing", "mail"}


@pytest.mark.covers("ARCH-3")
def test_a_group_that_has_never_run_keeps_everything(kept: Project) -> None:
    """Groups of the app count before they exist; --force goes over that, and asks."""
    place(kept, "1")
    ending = kept("archive", "run", "--all")
    assert "Archived 0 messages" in ending.out
    assert "mail" in ending.out
    assert kept("archive", "run", "--all", "--force").code == 1
    assert lengths(kept) == (1, 0)
    assert "Archived 1 message" in kept("archive", "run", "--all", "--force", "--yes").out
    assert lengths(kept) == (0, 1)


@pytest.mark.covers("ARCH-3")
def test_only_what_is_old_goes_and_a_dry_run_moves_nothing(kept: Project) -> None:
    """--older-than takes a duration; --dry-run counts."""
    place(kept, "1", "2")
    work(kept)
    assert kept("archive", "run", "--all", "--older-than", "5 days", "--json").document["archived"] == 0
    dry = kept("archive", "run", "--all", "--dry-run", "--json").document
    assert (dry["archived"], dry["dry_run"]) == (2, True)
    assert lengths(kept) == (2, 0)
    assert kept("archive", "run", "--all", "--older-than", "5").code == 2


@pytest.mark.covers("ARCH-3")
def test_a_stream_that_does_not_exist_has_nothing_to_be_archived(kept: Project) -> None:
    """As with one that is empty: nothing archived, no error."""
    assert kept("archive", "run", "--streams", "none", "--json").document["archived"] == 0
    assert kept("streamer:archive", "--streams=none,order.placed", "--older_than=60 min").code == 0


@pytest.mark.covers("ARCH-7")
@pytest.mark.parametrize(
    "words",
    [
        ["archive", "run", "--all"],
        ["archive", "list"],
        ["archive", "show", "1-1"],
        ["archive", "restore", "--all", "--yes"],
        ["listen", "order.placed", "--group", "billing", "--archive", "--once"],
        ["failed", "retry", "--all", "--archive"],
    ],
    ids=" ".join,
)
def test_without_an_archive_nothing_is_archived_or_removed(words: list[str], shop: Project) -> None:
    """Every command of it refuses with code 1 and says what to set; nothing is gone."""
    fail(shop, "1")
    ending = shop(*words)
    assert ending.code == 1
    assert "no archive is configured" in ending.err
    assert "driver" in ending.err
    assert shop("streams", "list", "--json").document["items"][0]["length"] == 1
    assert len(shop("failed", "list", "--json").document["items"]) == 1
    assert shop(*words, "--json").error["type"] == "NoArchiveError"


@pytest.mark.covers("ARCH-1")
def test_a_driver_that_does_not_exist_is_refused_by_name(shop: Project) -> None:
    """With those there are; so is one of the app's own that lacks a part."""
    shop.write("penstock.toml", '[archive]\ndriver = "tape"\n')
    ending = shop("archive", "list")
    assert ending.code == 1
    assert "'tape'" in ending.err
    assert "sql, files, memory" in ending.err
    shop.write(
        "app.py", SHOP + "\n\nclass Tape:\n    async def find(self, *_): ...\n\n\napp.archive = Tape()\n"
    )
    ending = shop("archive", "list", "--app", "app")
    assert ending.code == 1
    assert "'Tape' lacks" in ending.err
    assert "create_many" in ending.err


# -- looking --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-1")
def test_the_archive_is_listed_in_pages_and_shown_in_full(kept: Project) -> None:
    """Streams with their counts, messages of one in pages, one message by entry id or event id."""
    assert kept("archive", "list").out == "The archive is empty\n"
    place(kept, *map(str, range(5)))
    work(kept)
    kept("archive", "run", "--all")
    assert re.search(r"order\.placed +5", kept("archive", "list").out)
    first = kept("archive", "list", "--stream", "order.placed", "--limit", "3", "--json").document
    rest = kept("archive", "list", "--stream", "order.placed", "--after", first["next"], "--json").document
    items = [*first["items"], *rest["items"]]
    assert [item["message"]["payload"]["order_id"] for item in items] == list("01234")
    assert rest["next"] is None
    assert "--after" in kept("archive", "list", "--stream", "order.placed", "--limit", "3").err
    for wanted in (items[2]["message"]["entry_id"], items[2]["message"]["event_id"]):
        shown = kept("archive", "show", wanted).out
        assert '"order_id": "2"' in shown
        assert items[2]["message"]["event_id"] in shown
        [detail] = kept("archive", "show", wanted, "--stream", "order.placed", "--json").document["items"]
        assert detail["message"] == items[2]["message"]
    assert kept("archive", "show", "5-5").code == 1


# -- restoring ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-5", "MSG-9")
def test_restoring_asks_and_tells_old_and_new_id(kept: Project) -> None:
    """Without --yes nothing happens; with it each message gets a new entry id, and all groups handle it again."""
    place(kept, "1", "2")
    work(kept)
    kept("archive", "run", "--all")
    (kept.folder / "notes.txt").unlink()
    assert kept("archive", "restore", "--all").code == 1
    assert lengths(kept) == (0, 2)
    ending = kept("archive", "restore", "--all", "--yes")
    assert ending.code == 0
    assert "Restored 2 messages" in ending.out
    assert len(re.findall(r"restored +order\.placed (\d+-\d+) -> (\d+-\d+)", ending.out)) == 2
    assert lengths(kept) == (2, 0)
    work(kept)
    assert sorted(kept.notes()) == ["begin 1", "begin 2", "end 1", "end 2"]


@pytest.mark.covers("ARCH-5")
def test_one_stream_or_one_message_is_restored(kept: Project) -> None:
    """By stream, and by event id or entry id within one."""
    place(kept, "1", "2", "3")
    assert kept("emit", "other", "{}").code == 0
    work(kept)
    kept("archive", "run", "--all")
    items = kept("archive", "list", "--stream", "order.placed", "--json").document["items"]
    one = kept(
        *("archive", "restore", "--stream", "order.placed", "--id", items[0]["message"]["entry_id"]),
        *("--yes", "--json"),
    ).document
    assert (one["restored"], one["items"][0]["old_id"]) == (1, items[0]["message"]["entry_id"])
    event_id = items[1]["message"]["event_id"]
    assert kept("archive:restore", "--stream", "order.placed", "--id", event_id, "--yes").code == 0
    assert lengths(kept)[0] == 2
    dry = kept("archive", "restore", "--stream", "order.placed", "--dry-run", "--json").document
    assert dry["total"] == 1
    assert kept("archive", "restore", "--stream", "order.placed", "--yes").code == 0
    assert kept("archive", "list", "--json").document["items"] == [{"stream": "other", "messages": 1}]
    for words in (
        ["--stream", "order.placed"],
        ["--stream", "oder.placed"],
        ["--stream", "other", "--id", "1-1"],
    ):
        assert kept("archive", "restore", *words, "--yes").code == 1, words


@pytest.mark.covers("ARCH-5")
def test_a_damaged_file_is_named_and_the_others_are_restored(kept: Project) -> None:
    """Exit code 3, and a warning that says which; what can be read is back."""
    for number in ("1", "2"):
        place(kept, number)
        work(kept)
        kept("archive", "run", "--all")
    first, _ = sorted((kept.folder / "kept").rglob("*.seg"))
    first.write_bytes(first.read_bytes()[:-30])
    ending = kept("archive", "restore", "--all", "--yes")
    assert ending.code == 3
    assert first.name in ending.err
    assert "Restored 1 message" in ending.out
    assert lengths(kept)[0] == 1


@pytest.mark.covers("ARCH-5")
def test_one_group_alone_handles_it_again(kept: Project) -> None:
    """Nothing is added to the stream; the message stays in the archive; a group that there is not is refused."""
    place(kept, "1")
    work(kept)
    kept("archive", "run", "--all")
    (kept.folder / "notes.txt").unlink()
    wrong = kept("archive", "restore", "--all", "--group", "biling", "--yes")
    assert wrong.code == 1
    assert "Did you mean billing?" in wrong.err
    assert "-> group mail" in kept("archive", "restore", "--all", "--group", "mail", "--yes").out
    work(kept)
    assert kept.notes() == []
    kept("archive", "restore", "--all", "--group", "billing", "--yes")
    work(kept)
    assert kept.notes() == ["begin 1", "end 1"]
    assert lengths(kept) == (0, 1)
    assert kept("failed", "list", "--json").document["items"] == []


# -- while working --------------------------------------------------------------------------------------------------


@pytest.mark.covers("ARCH-2")
def test_listening_archives_what_was_handled(kept: Project) -> None:
    """After every listener of the group has succeeded, and nobody else needs it; what failed stays."""
    place(kept, "1", "2")
    assert kept("listen", "order.placed", "--group", "billing", "--once").code == 0
    assert lengths(kept) == (2, 0)
    assert kept("listen", "order.placed", "--group", "mail", "--archive", "--once").code == 0
    assert lengths(kept) == (0, 2)


@pytest.mark.covers("ARCH-2")
def test_listening_leaves_what_others_need(kept: Project) -> None:
    """The other group has not had it: it stays, and its handling is not lost."""
    place(kept, "1", "2")
    assert kept("listen", "order.placed", "--group", "mail", "--once").code == 0
    place(kept, "3")
    assert kept("listen", "order.placed", "--group", "billing", "--archive", "--once").code == 0
    assert lengths(kept) == (1, 2)
    assert kept("listen", "order.placed", "--group", "mail", "--archive", "--once").code == 0
    assert lengths(kept) == (0, 3)


@pytest.mark.covers("ARCH-2")
def test_an_archive_that_cannot_be_opened_is_refused_at_the_start(kept: Project) -> None:
    """Nothing is handled, and nothing is gone."""
    place(kept, "1")
    assert kept("listen", "order.placed", "--group", "billing", "--once").code == 0
    kept.write("penstock.toml", '[archive]\ndriver = "sql"\nurl = "sqlite:///kept.db"\n')
    place(kept, "2")
    assert kept("archive", "list").code == 0
    path = kept.folder / "kept.db"
    for each in kept.folder.glob("kept.db*"):
        each.unlink()
    path.write_text("this is no database" * 1000)
    ending = kept("listen", "order.placed", "--group", "mail", "--archive", "--once")
    assert ending.code == 1
    assert "not a database" in ending.err
    assert kept("streams", "list", "--json").document["items"][0]["length"] == 2


@pytest.mark.covers("FAIL-6")
def test_a_retry_archives_a_message_with_its_last_failure(kept: Project) -> None:
    """Two listeners failed: after the first retry the message stays, after the second it is archived."""
    second = "\n\n@app.listener(OrderPlaced, group=billing)\nasync def note_it(order: OrderPlaced) -> None:\n"
    second += "    if Path('broken').exists():\n        raise ValueError('no')\n"
    kept.write("app.py", SHOP + second)
    fail(kept, "1")
    assert len(kept("failed", "list", "--json").document["items"]) == 2
    assert kept("failed", "retry", "--receiver", "note_it", "--archive").code == 0
    assert lengths(kept) == (1, 0)
    assert kept("failed", "retry", "--receiver", "charge", "--archive").code == 0
    assert lengths(kept) == (0, 1)


@pytest.mark.covers("FAIL-7")
def test_a_retry_works_after_its_message_was_archived(kept: Project) -> None:
    """The record has the payload: a failed message holds nothing back, and runs whether or not it is in the stream."""
    fail(kept, "1")
    assert kept("archive", "run", "--all", "--json").document["archived"] == 1
    (kept.folder / "notes.txt").unlink()
    assert kept("failed", "retry", "--all", "--archive").code == 0
    assert kept.notes() == ["begin 1", "end 1"]
    assert lengths(kept) == (0, 1)


def test_a_payload_cannot_drive_the_terminal(kept: Project) -> None:
    """Escape sequences are shown, not sent."""
    body = {"order_id": "\x1b[31m\x07"}
    assert kept("emit", "order.placed", json.dumps(body)).code == 0
    work(kept)
    kept("archive", "run", "--all")
    [item] = kept("archive", "list", "--stream", "order.placed", "--json").document["items"]
    assert "\x1b" not in kept("archive", "show", item["message"]["entry_id"]).out
