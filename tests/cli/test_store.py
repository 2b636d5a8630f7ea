"""``penstock store``: looking into event stores, and taking events out and in."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Project, order

TWO_STORES = """
[stores.shared]
url = "sqlite:///shared.db"
"""


def append(project: Project, *order_ids: str) -> None:
    """Append orders, each to its own event stream."""
    text = "".join(f"{order(each)}\n" for each in order_ids)
    ending = project("store", "append", "order.placed", "-", stdin=text)
    assert ending.code == 0, ending


def positions(project: Project, *words: str) -> list[int]:
    """The positions of the events that a command shows."""
    return [line["position"] for line in project("store", "events", "--json", *words).lines]


# -- looking --------------------------------------------------------------------------------------------------------


def test_looking_makes_nothing(shop: Project) -> None:
    """A store that was never used is shown as such, and no file is made for it."""
    shown = shop("store", "show")
    assert (shown.code, "not yet: the first event makes it" in shown.out) == (0, True)
    assert shop("store", "streams").out == "No event streams yet. The first event makes one\n"
    assert shop("store", "events").out == ""
    assert not (shop.folder / ".penstock").exists()


def test_a_store_in_one_look(shop: Project) -> None:
    """How much there is, how far readers go, how large it is."""
    append(shop, "1", "2", "3")
    document = shop("store", "show", "--json").document
    assert (document["name"], document["dialect"], document["events"]) == ("local", "sqlite", 3)
    assert (document["last"], document["horizon"], document["holders"]) == (3, 3, [])
    assert document["size_bytes"] > 0
    assert "Events          3\n" in shop("store", "show").out


def test_event_streams_come_in_pages(shop: Project) -> None:
    """A page says where the next one begins, and together they are all streams, once."""
    append(shop, *(f"{number:02}" for number in range(7)))
    names: list[str] = []
    after: list[str] = []
    while True:
        document = shop("store", "streams", "--limit", "3", *after, "--json").document
        names += [item["name"] for item in document["items"]]
        if document["next"] is None:
            break
        after = ["--after", document["next"]]
    assert names == [f"order-{number:02}" for number in range(7)]
    assert "Go on with --after order-01" in shop("store", "streams", "--limit", "2").err


@pytest.mark.covers("STORE-4")
def test_events_are_chosen_by_everything_there_is(shop: Project) -> None:
    """Stream, category, name, key and header, and all that is said must be so."""
    append(shop, "1", "2")
    for words in (
        ["order.paid", "5", "--event-stream", "order-1", "--key", "1", "--header", "tenant=acme"],
        ["customer.named", '"Ann"', "--event-stream", "customer-1", "--key", "1"],
    ):
        assert shop("store", "append", *words).code == 0
    assert positions(shop) == [1, 2, 3, 4]
    assert positions(shop, "order-1") == [1, 3]
    assert positions(shop, "order-1", "customer-1") == [1, 3, 4]
    assert positions(shop, "--category", "order") == [1, 2, 3]
    assert positions(shop, "--name", "order.placed") == [1, 2]
    assert positions(shop, "--name", "order.placed", "--name", "order.paid", "--key", "1") == [1, 3]
    assert positions(shop, "--header", "tenant=acme") == [3]
    assert positions(shop, "--header", "tenant=other") == []
    assert positions(shop, "--after", "2") == [3, 4]
    assert positions(shop, "--last", "1") == [4]
    assert positions(shop, "--category", "order", "--last", "2") == [2, 3]


def test_the_newest_twenty_are_shown_unless_said_otherwise(shop: Project) -> None:
    """Who looks without a question wants the end."""
    append(shop, *map(str, range(1, 31)))
    assert positions(shop) == list(range(11, 31))
    assert positions(shop, "--after", "0") == list(range(1, 31))
    assert (
        shop("store", "events", "--last", "1").out
        == '30 order-30 1 order.placed {"order_id":"30","total_cents":100}\n'
    )


@pytest.mark.covers("STORE-4", "STORE-7")
def test_events_can_be_followed(shop: Project) -> None:
    """What is there is shown, then everything that comes, from whichever process, until somebody stops it."""
    append(shop, "1")
    following = shop.start("store", "events", "--follow", "--json")
    following.wait_for('"position":1')
    append(shop, "2")
    following.wait_for('"position":2')
    following.process.send_signal(signal.SIGINT)
    assert following.end().code == 130


def test_an_unknown_stream_is_answered_with_the_nearest(shop: Project) -> None:
    """Instead of nothing, which would look as if it were empty."""
    append(shop, "17")
    ending = shop("store", "events", "order-71")
    assert ending.code == 1
    assert "store 'local' has no event stream 'order-71'" in ending.err
    assert "Did you mean order-17?" in ending.err


def test_a_name_cannot_drive_the_terminal(shop: Project) -> None:
    """Control characters of a stream or an event are shown, not sent."""
    assert shop("store", "append", "evil\x1b[2J", "1", "--event-stream", "s\x1b[31m").code == 0
    for ending in (shop("store", "events"), shop("store", "streams")):
        assert "\x1b" not in ending.out
        assert "\\x1b[31m" in ending.out


# -- appending ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("STORE-1", "STORE-2")
def test_an_append_expects_a_version(shop: Project) -> None:
    """The second one that decided on the same state is refused, and told what to do."""
    first = shop(
        "store", "append", "order.placed", order("1"), "--expected-version", "none", "--json"
    ).document
    assert (first["stream"], first["stream_version"], first["position"], first["is_new"]) == (
        "order-1",
        1,
        1,
        True,
    )
    again = shop("store", "append", "order.placed", order("1"), "--expected-version", "none")
    assert (again.code, "event stream 'order-1' is at version 1" in again.err) == (1, True)
    assert shop("store", "append", "order.placed", order("1"), "--expected-version", "1").code == 0
    assert positions(shop) == [1, 2]


@pytest.mark.covers("STORE-3")
def test_an_append_may_be_repeated_under_its_id(shop: Project) -> None:
    """The second answer is the first one's place."""
    words = ["store", "append", "order.placed", order("1"), "--id", "order-1-placed", "--json"]
    first, second = shop(*words).document, shop(*words).document
    assert (first["is_new"], second["is_new"], second["position"]) == (True, False, 1)
    assert "where it was already" in shop(*words[:-1]).out


def test_bodies_are_checked_against_the_class(shop: Project) -> None:
    """A body that no handler could read is not appended."""
    ending = shop("store", "append", "order.placed", '{"order_id": 5}')
    assert (ending.code, "order_id" in ending.err) == (2, True)
    assert positions(shop) == []


def test_lines_are_appended_up_to_the_first_bad_one(shop: Project) -> None:
    """It is named by its number; those before it are there, and with --skip-bad those after it, too."""
    text = f"{order('1')}\noh no\n{order('2')}\n"
    ending = shop("store", "append", "order.placed", "-", stdin=text)
    assert (ending.code, ending.out) == (3, "Appended 1 order.placed, then stopped\n")
    assert "line 2" in ending.err
    ending = shop("store", "append", "order.placed", "-", "--skip-bad", stdin=text)
    assert (ending.code, ending.out) == (3, "Appended 2 order.placed, passed over 1 bad line\n")
    assert positions(shop) == [1, 2, 3]


def test_a_store_that_cannot_be_used_is_not_the_fault_of_a_line(shop: Project) -> None:
    """No line is called bad, also with --skip-bad: the store is refused before the first one."""
    shop.write("penstock.toml", TWO_STORES)
    shop.write("shared.db", "these are my notes, and not a database at all\n" * 100)
    words = ["store", "append", "order.placed", "-", "--skip-bad", "--store", "shared"]
    ending = shop(*words, stdin=f"{order('1')}\n{order('2')}\n")
    assert (ending.code, ending.out) == (1, "")
    assert "is no SQLite database: name another file" in ending.err


def test_appending_can_be_interrupted_while_it_waits_for_input(shop: Project) -> None:
    """Ctrl-C while no line comes ends at once, and says how many were appended, so that none has to go in twice."""
    reading, writing = os.pipe()
    running = shop.start("store", "append", "order.placed", "-", stdin=reading)
    os.close(reading)
    os.write(writing, f"{order('1')}\n{order('2')}\n".encode())
    running.wait_until("they are appended at once", lambda: positions(shop) == [1, 2])
    running.process.send_signal(signal.SIGINT)
    ending = running.end()
    os.close(writing)
    assert (ending.code, "Interrupted; 2 events were appended before" in ending.err) == (130, True), ending


# -- out and in -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("STORE-3", "STORE-4")
def test_what_was_exported_is_imported_once(shop: Project) -> None:
    """Every event with its id and its place in its stream; a second import adds nothing."""
    shop.write("penstock.toml", TWO_STORES)
    append(shop, *map(str, range(1, 1_201)))
    assert (
        shop("store", "export", "all.jsonl").out
        == "Exported 1,200 events to all.jsonl, up to position 1,200\n"
    )
    assert shop("store", "import", "all.jsonl", "--store", "shared").out == "Imported 1,200 events\n"
    again = shop("store", "import", "all.jsonl", "--store", "shared")
    assert (again.code, again.out) == (0, "Imported 0 events, passed over 1,200 that the store had\n")

    def told(store: str) -> list[object]:
        lines = shop("store", "events", "--after", "0", "--store", store, "--json").lines
        return [{name: value for name, value in line.items() if name != "recorded_at"} for line in lines]

    assert told("local") == told("shared")


def test_an_export_goes_on_where_it_was_cut_off(shop: Project) -> None:
    """A last line that is not whole is taken away, and what lacks is added: the file is as one export makes it."""
    append(shop, *map(str, range(1, 51)))
    assert shop("store", "export", "whole.jsonl").code == 0
    whole = (shop.folder / "whole.jsonl").read_bytes()
    for cut in (0, 10, whole.index(b"\n") + 1, len(whole) // 2, len(whole) - 1, len(whole)):
        (shop.folder / "cut.jsonl").write_bytes(whole[:cut])
        assert shop("store", "export", "cut.jsonl", "--resume").code == 0
        assert (shop.folder / "cut.jsonl").read_bytes() == whole, cut
    append(shop, "51")
    document = shop("store", "export", "cut.jsonl", "--resume", "--json").document
    assert (document["events"], document["after"], document["through"]) == (1, 50, 51)


def test_an_export_overwrites_nothing(shop: Project) -> None:
    """A file that is there stays as it is, and what is no export is not taken for one."""
    append(shop, "1")
    before = (shop.folder / "app.py").read_text()
    assert shop("store", "export", "app.py").code == 1
    assert "is there already" in shop("store", "export", "app.py").err
    assert "is no exported event" in shop("store", "export", "app.py", "--resume").err
    assert (shop.folder / "app.py").read_text() == before


def test_an_export_that_cannot_begin_leaves_no_file(shop: Project) -> None:
    """The same command works once the store's name is mended."""
    assert shop("store", "append", "order.placed", order("1")).code == 0
    assert shop("store", "export", "orders.jsonl", "--store", "locl").code == 1
    assert not (shop.folder / "orders.jsonl").exists()
    assert shop("store", "export", "orders.jsonl").code == 0


def test_an_export_onto_a_full_disk_says_how_to_go_on(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named, the exit code is that of a partial failure, and the rest comes with --resume."""
    assert shop("store", "append", "order.placed", order("1")).code == 0

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        ending = shop("store", "export", "orders.jsonl")
    assert (ending.code, "orders.jsonl cannot be written: No space left on device" in ending.err) == (3, True)
    assert "let --resume go on" in ending.err
    assert shop("store", "export", "orders.jsonl", "--resume").code == 0


@pytest.mark.covers("OPS-5")
def test_closed_standard_streams_are_no_accident(shop: Project) -> None:
    """What a command does is done; only what has nowhere to go is refused."""
    assert shop("store", "append", "order.placed", order("1")).code == 0
    penstock = Path(sys.executable).with_name("penstock")

    def run(words: str) -> tuple[int, str]:
        ending = subprocess.run(
            ["bash", "-c", f"exec {penstock} {words}"], capture_output=True, text=True, check=False
        )
        return ending.returncode, ending.stderr

    assert run("store show >&-") == (0, "")
    assert run("store import - <&-") == (0, "")
    code, said = run("store export - >&-")
    assert (code, "standard output is closed" in said) == (1, True)
    code, said = run("store show > /dev/full")
    assert (code, "the output cannot be written: No space left on device" in said) == (1, True)
    assert run("store show >&- 2>&-") == (0, "")


def test_an_export_can_be_narrowed_down_and_piped(shop: Project) -> None:
    """Standard output has the events and nothing else; it can go straight into an import."""
    shop.write("penstock.toml", TWO_STORES)
    append(shop, "1", "2", "3")
    ending = shop.start("store", "export", "-", "--stream", "order-2").end()
    assert [json.loads(line)["stream"] for line in ending.out.splitlines()] == ["order-2"]
    piped = shop(
        "store", "import", "-", "--store", "shared", stdin=shop.start("store", "export", "-").end().out
    )
    assert piped.out == "Imported 3 events\n"


def test_an_import_names_what_it_does_not_take(shop: Project) -> None:
    """The first bad line ends it, everything before is there, and it goes on when the line is mended."""
    append(shop, "1", "2", "3")
    assert shop("store", "export", "kept.jsonl").code == 0
    lines = (shop.folder / "kept.jsonl").read_text().splitlines()
    shop.write("penstock.toml", TWO_STORES)
    shop.write("bad.jsonl", "\n".join([lines[0], '{"stream": "order-2"}', lines[2]]))
    ending = shop("store", "import", "bad.jsonl", "--store", "shared")
    assert (ending.code, ending.out) == (3, "Imported 1 event, then stopped\n")
    assert "line 2: is no event: Object missing required field" in ending.err
    mended = shop("store", "import", "kept.jsonl", "--store", "shared")
    assert mended.out == "Imported 2 events, passed over 1 that the store had\n"


def test_the_password_of_a_database_is_never_shown(shop: Project) -> None:
    """Neither where it is listed nor where it cannot be reached."""
    shop.write("penstock.toml", '[stores.shared]\nurl = "postgresql://me:s3cret@127.0.0.1:1/nowhere"\n')
    for words in (
        ["store", "show", "--store", "shared"],
        ["store", "events", "--store", "shared", "--debug"],
        ["db", "status", "--json"],
        ["store", "import", "--prooph", "postgresql://me:s3cret@127.0.0.1:1/x"],
        ["config", "show"],
    ):
        ending = shop(*words)
        assert "s3cret" not in ending.out + ending.err, words


@pytest.mark.covers("LEAD-4")
def test_who_holds_the_head_is_named(shop: Project, postgres_database: str) -> None:
    """An open transaction that appended is shown with process, role, application, state, and since when."""
    import psycopg

    from penstock import App

    shop.write("penstock.toml", f'[stores.shared]\nurl = "{postgres_database}"\n')
    assert shop("db", "migrate", "--store", "shared").code == 0
    store = App("other", stores={"shared": {"url": postgres_database}}).store("shared")
    with psycopg.connect(postgres_database, application_name="slow checkout") as connection:
        store.append({"n": 1}, name="order.placed", event_stream="order-1", within=connection)
        assert shop("store", "append", "order.placed", order("2"), "--store", "shared").code == 0
        document = shop("store", "show", "--store", "shared", "--json").document
        people = shop("store", "show", "--store", "shared").out
        assert positions(shop, "--store", "shared") == []
        pid = connection.info.backend_pid
    assert document["horizon"] < document["last"]
    [holder] = document["holders"]
    assert (holder["pid"], holder["application"], holder["state"]) == (
        pid,
        "slow checkout",
        "idle in transaction",
    )
    assert holder["since"] is not None
    assert f"waits for process {pid} of postgres (slow checkout), idle in transaction, begun" in people
    assert len(positions(shop, "--store", "shared")) == 2
    assert Path(shop.folder / "penstock.toml").exists()
