"""What ``failed``, ``projections retry`` and the log say of projections whose handlers fail."""

import getpass
import json
import signal
import sqlite3

import pytest

from tests.cli.conftest import Project
from tests.cli.projecting import (
    SETTINGS,
    log,
    place,
    rows,
    run_parked,
    status,
    wait_for_state,
)


@pytest.mark.covers("FAIL-12")
def test_exactly_the_failed_ones_are_retried(service: Project) -> None:
    """Without a name all that failed, whatever their kind; it never asks, and says so when there is none."""
    none = service("projections:retry")
    assert (none.code, none.out) == (0, "No projections or relays have failed: there is nothing to retry\n")
    place(service, "1", "2")
    service.write("broken", "1 2")
    running = service.start("run", "--log-level", "critical")
    wait_for_state(service, running, "totals", "halted")
    (service.folder / "broken").unlink()
    assert service("projections", "retry", "parked").code == 1
    document = service("projections", "retry", "--json").document
    assert [(each["name"], each["outcome"]) for each in document["items"]] == [("totals", "asked")]
    running.wait_until("it goes on", lambda: rows(service) == ["1", "2"])
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
    assert service("projections", "retry", "totals").code == 1


@pytest.mark.covers("PROJ-16", "FAIL-2")
def test_events_that_were_put_aside_are_failed_messages(service: Project) -> None:
    """They are listed, shown, run again and forgotten by the same commands, and say that they are a projection's."""
    for _ in range(2):
        place(service, "1", "2")
    service.write("broken", "2")
    assert service("run", "--until-idle", "--only", "projection:parked", "--log-level", "critical").code == 0
    items = service("failed", "list", "--json").document["items"]
    assert [(each["projection"], each["position"], each["state"]) for each in items] == [
        ("parked", 2, "parked"),
        ("parked", 4, "waiting"),
    ]
    assert "parked (projection)" in service("failed", "list").out
    [shown] = service("failed", "show", "2", "--json").document["items"]
    assert (shown["message"]["payload"], "cannot note 2" in shown["traceback"]) == ({"order_id": "2"}, True)
    assert service("status", "--json").document["projections"][0]["parked"] == 2
    assert service("failed", "list", "--projection", "totals").out == "No failed messages match\n"
    assert (
        len(
            service("failed", "list", "--projection", "parked", "--state", "parked", "--json").document[
                "items"
            ]
        )
        == 2
    )

    again = service("failed", "retry", "--projection", "parked", "--log-level", "critical")
    assert (again.code, "2 failed again" in again.out) == (3, True)
    (service.folder / "broken").unlink()
    assert service("failed", "retry", "--projection", "parked", "--log-level", "critical").code == 0
    assert service("failed", "list").out == "No failed messages\n"


def test_failures_of_projections_come_in_pages_and_are_forgotten(service: Project) -> None:
    """Pages together are all of them, once; flushing leaves the position where it is."""
    ids = [f"{number:02}" for number in range(25)]
    place(service, *ids)
    service.write("broken", " ".join(ids))
    assert service("run", "--until-idle", "--only", "projection:parked", "--log-level", "critical").code == 0
    positions: list[int] = []
    after: list[str] = []
    while True:
        document = service("failed", "list", "--limit", "10", *after, "--json").document
        positions += [item["position"] for item in document["items"]]
        if document["next"] is None:
            break
        after = ["--after", document["next"]]
    assert sorted(positions) == list(range(1, 26))
    assert service("failed", "flush", "--projection", "parked").code == 1
    assert service("failed", "flush", "--projection", "parked", "--yes").out == "Forgot 25 failed messages\n"
    assert status(service, "parked")["position"] == 25


@pytest.mark.covers("PROJ-16", "FAIL-2")
def test_failures_of_projections_are_grouped_by_error(service: Project) -> None:
    """A hundred events that fail alike are one line; what waits behind them is another one."""
    place(service, "1", "2", "3", "1")
    service.write("broken", "1 2 3")
    run_parked(service)
    errors = service("failed", "list", "--by-error", "--json").document["items"]
    assert [(each["projection"], each["error"], each["count"], each["example"]) for each in errors] == [
        ("parked", "cannot note <n>", 3, "3-0"),
        ("parked", "waits behind another event of its key", 1, "4-0"),
    ]
    told = service("failed", "list", "--by-error", "--projection", "parked").out
    assert "ValueError: cannot note <n>" in told
    assert "parked (projection)" in told


@pytest.mark.covers("PROJ-16")
def test_parked_keys_of_projections_are_listed_and_unparked(service: Project) -> None:
    """By the same commands as those of ordered groups; all that waits under a key is handled in its order."""
    place(service, "1", "2", "1")
    service.write("broken", "1 2")
    run_parked(service)
    keys = service("failed", "parked", "--json").document["items"]
    assert [(each["projection"], each["key"], each["events"], each["error"]) for each in keys] == [
        ("parked", "1", 2, "cannot note 1"),
        ("parked", "2", 1, "cannot note 2"),
    ]
    (service.folder / "broken").unlink()
    assert service("failed", "unpark", "--projection", "parked", "--group", "a").code == 2
    assert service("failed", "unpark", "--projection", "totals").code == 1
    planned = service("failed", "unpark", "--projection", "parked", "--key", "1", "--dry-run")
    assert "2 events of 1 key would be handled" in planned.out
    asked = service("failed", "unpark", "--projection", "parked", "--key", "1", "--why", "mended")
    assert (asked.code, asked.out) == (0, "2 events of 1 key will be handled\n")
    run_parked(service)
    assert [each["key"] for each in service("failed", "parked", "--json").document["items"]] == ["2"]
    assert service("failed", "unpark", "--all").code == 0
    run_parked(service)
    assert service("failed", "parked").out == "No parked keys\n"
    assert [(each["what"], each["which"], each["why"], each["count"]) for each in log(service, "parked")] == [
        ("unpark", "key 2", "", 1),
        ("unpark", "key 1", "mended", 2),
    ]


def test_an_event_of_a_store_is_not_edited(service: Project) -> None:
    """It is what happened: the refusal says what to do instead. One that has not failed is not there."""
    place(service, "1", "2")
    service.write("broken", "2")
    run_parked(service)
    for narrowed in ([], ["--projection", "parked"]):
        words = ("failed", "edit", "2", *narrowed, "--set", 'order_id="3"', "--why", "a slip")
        refused = service(*words, "--yes")
        assert (refused.code, "is an event of a store" in refused.err) == (1, True), refused
        assert "penstock failed retry --id 2 --projection parked" in refused.err
        assert service(*words, "--json").error["facts"]["outcome"] == "stored"
    gone = service(
        "failed", "edit", "1", "--projection", "parked", "--set", "a=1", "--why", "a slip", "--yes"
    )
    assert (gone.code, "there is no failed message 1" in gone.err) == (1, True)


def test_failed_messages_tell_of_a_store_that_is_away(service: Project) -> None:
    """What can be asked is shown, with a warning, in JSON too, and exit code 3: nothing is left out in silence."""
    place(service, "1")
    service.write("broken", "1")
    run_parked(service)
    service.write("penstock.toml", f'{SETTINGS}\n[stores.away]\nurl = "postgresql://127.0.0.1:1/x"\n')
    for words in (("list",), ("list", "--by-error")):
        ending = service("failed", *words, "--json")
        assert (ending.code, len(ending.document["items"]), len(ending.document["problems"])) == (3, 1, 1)
        assert "store 'away'" in ending.err
        assert "store 'away'" in service("failed", *words).err
    assert "store 'away'" in service("failed", "flush", "--projection", "parked", "--yes").err


@pytest.mark.covers("PROJ-24")
def test_who_did_what_to_a_projection_is_noted(service: Project) -> None:
    """In the transaction that does it, under the login name, with the reason; what changed nothing is not noted."""
    place(service, "1", "2")
    service.write("broken", "2")
    run_parked(service)
    assert service("projections", "catch-up", "totals", "--log-level", "critical").code == 1
    assert service("projections", "retry", "--why", "again").code == 0
    assert service("projections", "stop", "totals").code == 0
    assert service("projections", "stop", "totals").out == "totals: was stopped already\n"
    assert service("projections", "start", "totals").code == 0
    assert service("failed", "flush", "--projection", "parked", "--yes", "--why", "a test").code == 0
    assert service("projections", "reset", "totals", "--yes", "--why", "new columns").code == 0
    assert service("projections", "delete", "totals", "--read-model", "--yes").code == 0
    assert service("projections", "delete", "parked", "--yes").code == 0
    told = [(each["what"], each["which"], each["why"], each["count"]) for each in log(service, "totals")]
    assert told == [
        ("delete", "read model", "", 0),
        ("reset", "", "new columns", 0),
        ("start", "", "", 0),
        ("stop", "", "", 0),
        ("retry", "", "again", 0),
        ("catch-up", "", "", 0),
    ]
    told = [(each["what"], each["which"], each["why"], each["count"]) for each in log(service, "parked")]
    assert told == [("delete", "", "", 0), ("flush", "projection parked", "a test", 1)]
    assert {each["who"] for each in log(service)} == {getpass.getuser()}
    assert len(log(service)) == 8
    assert "totals (projection)" in service("failed", "log").out
    assert service("failed", "log", "--projection", "totals", "--stream", "a").code == 2


@pytest.mark.covers("PROJ-24")
def test_what_a_running_projection_is_asked_is_noted_with_the_request(service: Project) -> None:
    """Whoever runs it does it; who asked is noted all the same, and only the last thousand deeds are kept."""
    place(service, "1")
    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    assert service("projections", "reset", "totals", "--yes").code == 0
    assert service("projections", "delete", "totals", "--emitted", "--yes").code == 0
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
    assert [each["what"] for each in log(service, "totals")] == ["delete", "reset"]
    with sqlite3.connect(service.folder / ".penstock/events.db") as database:
        database.executemany(
            "INSERT INTO penstock_projection_log (projection, at, who, what) VALUES ('parked', 1, ?, 'stop')",
            [(f"p{number}",) for number in range(1100)],
        )
    database.close()
    assert service("projections", "stop", "parked", "--why", "the last").code == 0
    kept = log(service, "parked", "--limit", "5000")
    assert (len(kept), kept[0]["why"], kept[-1]["who"]) == (1000, "the last", "p101")


@pytest.mark.covers("PROJ-24")
def test_what_cannot_be_noted_is_not_done(service: Project) -> None:
    """Deed and note are one transaction: with no room for the note nothing has changed."""
    place(service, "1")
    service.write("broken", "1")
    run_parked(service)
    with sqlite3.connect(service.folder / ".penstock/events.db") as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON penstock_projection_log BEGIN SELECT raise(ABORT, 'full'); END"
        )
    database.close()
    for words in (
        ("failed", "flush", "--projection", "parked", "--yes"),
        ("failed", "retry", "--projection", "parked"),
        ("failed", "unpark", "--projection", "parked"),
        ("projections", "stop", "parked"),
        ("projections", "reset", "parked", "--yes"),
        ("projections", "delete", "parked", "--yes"),
    ):
        assert service(*words).code == 1, words
    assert len(service("failed", "list", "--json").document["items"]) == 1
    found = status(service, "parked")
    assert (found["state"], found["position"]) == ("idle", 1)


@pytest.mark.covers("FAIL-11")
def test_a_failing_projection_logs_one_structured_line(service: Project) -> None:
    """The same keys as those of a listener, and which projection it is."""
    place(service, "1")
    service.write("broken", "1")
    ending = service.start("projections", "catch-up", "totals").end()
    [line] = [each for each in map(json.loads, _documents(ending.err)) if each["level"] == "error"]
    assert (line["stream"], line["event_name"], line["projection"]) == ("order-1", "order.placed", "totals")
    assert (line["error_class"], line["error_type"]) == ("ValueError", "general_error")
    assert line["operation"]


def _documents(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("{")]
