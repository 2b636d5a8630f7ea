"""``penstock projections``, ``penstock relays``, and what `run`, `failed` and `status` do with them."""

import getpass
import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Project, Running

APP = '''
"""Projections and a relay. Files beside it say what shall go wrong."""

import os
import sqlite3
import time
from pathlib import Path

from penstock import App, Event, Retry

app = App("shop")


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str


def fails(order: OrderPlaced) -> bool:
    return Path("broken").exists() and order.order_id in Path("broken").read_text().split()


totals = app.projection("totals", categories=["order"], tables=["totals"])
parked = app.projection("parked", categories=["order"], on_failure="park", retry=Retry(attempts=1))
app.relay("shared", source="local", target="shared")


@totals.on(OrderPlaced)
def add(order: OrderPlaced, database: sqlite3.Connection) -> None:
    if fails(order):
        raise ValueError(f"cannot add {order.order_id}")
    database.execute("CREATE TABLE IF NOT EXISTS totals (order_id TEXT, pid INTEGER)")
    database.execute("INSERT INTO totals VALUES (?, ?)", (order.order_id, os.getpid()))


@parked.on(OrderPlaced)
def note(order: OrderPlaced) -> None:
    if fails(order):
        raise ValueError(f"cannot note {order.order_id}")
'''
SETTINGS = """
[stores.shared]
url = "sqlite:///shared.db"
"""
POLL_SECONDS = 1.0


@pytest.fixture
def service(bare: Project) -> Project:
    """A service without a server of streams: projections and a relay between two files."""
    bare.write("app.py", APP)
    bare.write("penstock.toml", SETTINGS)
    return bare


def place(project: Project, *order_ids: str) -> None:
    """Append orders, each to its own event stream."""
    text = "".join(f'{{"order_id":"{each}"}}\n' for each in order_ids)
    assert project("store", "append", "order.placed", "-", stdin=text).code == 0


def rows(project: Project) -> list[str]:
    """The orders that the read model has."""
    with sqlite3.connect(project.folder / ".penstock/events.db") as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'totals'").fetchone():
            return []
        found = database.execute("SELECT order_id FROM totals ORDER BY rowid").fetchall()
    database.close()
    return [order_id for [order_id] in found]


def status(project: Project, name: str, noun: str = "projections") -> dict[str, object]:
    """How one stands."""
    document = project(noun, "show", name, "--json").document
    found: dict[str, object] = document["status"]
    return found


def wait_for_state(project: Project, running: Running, name: str, state: str) -> dict[str, object]:
    """Wait until a projection is in a state."""
    running.wait_until(f"{name} is {state}", lambda: _state(project, name) == state)
    return status(project, name)


def _state(project: Project, name: str) -> object:
    """Its state; ``None`` before it has run for the first time."""
    items = project("projections", "list", "--json").document["items"]
    return next((each["state"] for each in items if each["name"] == name), None)


def run_all(project: Project) -> None:
    """Handle everything there is."""
    ending = project("run", "--until-idle", "--log-level", "critical")
    assert ending.code == 0, ending


# -- looking --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("PROJ-13")
def test_projections_are_listed_with_what_they_did(service: Project) -> None:
    """State, position, lag, and who runs them, without loading any code of the user's."""
    assert service("projections", "list").out.startswith("No projections yet")
    place(service, "1", "2")
    run_all(service)
    place(service, "3")
    service.write("app.py", "raise RuntimeError('nobody should load this')")
    items = service("projections", "list", "--json").document["items"]
    assert [(each["name"], each["state"], each["position"], each["lag_events"]) for each in items] == [
        ("parked", "idle", 2, 1),
        ("totals", "idle", 2, 1),
    ]
    assert all(each["lag_seconds"] > 0 for each in items)
    assert [each["name"] for each in service("relays", "list", "--json").document["items"]] == ["shared"]
    people = service("projections", "show", "totals").out
    assert "Lag         1 events (" in people
    assert "From        local: order-*" in people


@pytest.mark.covers("PROJ-13")
def test_what_settings_declare_is_listed_before_it_runs(bare: Project) -> None:
    """Consuming ones among the projections, producing ones among the relays, without loading their handlers."""
    bare.write(
        "penstock.toml",
        f"""{SETTINGS}
[projections.consuming.buyers]
stream_names = ["buyers", "profiles"]
environment = "local"
handler = "nowhere:Handler"
background_process = false

[projections.producing.users]
stream_name = "users"
""",
    )
    for words in ("buyer.came 1 --event-stream buyers", "user.came 1 --event-stream users"):
        assert bare("store", "append", *words.split()).code == 0
    [buyers] = bare("projections", "list", "--json").document["items"]
    assert (buyers["name"], buyers["state"], buyers["mode"]) == ("buyers", "idle", "on_demand")
    assert (buyers["streams"], buyers["lag_events"]) == (["buyers", "profiles"], 1)
    assert bare("projections", "stop", "buyers").out == "buyers: stopped\n"


def test_a_checkpoint_that_nobody_declares_is_told(service: Project) -> None:
    """With the app at hand, one that was renamed or removed is shown as such."""
    place(service, "1")
    run_all(service)
    service.write("app.py", APP.replace('"parked"', '"renamed"'))
    told = service("projections", "list", "--app", "app").out
    assert "(not declared)" in next(line for line in told.splitlines() if line.startswith("parked"))
    assert "(not declared)" not in next(line for line in told.splitlines() if line.startswith("totals"))


def test_an_unknown_name_is_answered_with_the_nearest(service: Project) -> None:
    """For each verb that takes a name, and only among those of its kind."""
    place(service, "1")
    run_all(service)
    for verb in ("show", "start", "stop", "retry", "reset", "delete"):
        ending = service("projections", verb, "total")
        assert (ending.code, "Did you mean totals?" in ending.err) == (1, True), ending
    assert service("relays", "show", "totals").code == 1


@pytest.mark.covers("PROJ-13", "PROJ-16")
def test_a_failed_projection_shows_its_error(service: Project) -> None:
    """Where it stands, why, since when and how often: it is not said to be running."""
    place(service, "1", "2", "3")
    service.write("broken", "2")
    assert service("projections", "catch-up", "totals").code == 1
    found = status(service, "totals")
    assert (found["state"], found["position"], found["error"]) == ("halted", 1, "cannot add 2")
    # Once among the others, once alone.
    assert (found["error_position"], found["attempts"], found["lag_events"]) == (2, 2, 2)
    assert found["failed_at"] is not None
    assert "totals at position 2: cannot add 2" in service("projections", "list").err


def test_a_store_that_is_away_does_not_hide_the_others(service: Project) -> None:
    """What can be looked at is shown, with a warning and exit code 3."""
    place(service, "1")
    run_all(service)
    service.write("penstock.toml", f'{SETTINGS}\n[stores.away]\nurl = "postgresql://127.0.0.1:1/x"\n')
    ending = service("projections", "list", "--json")
    assert (ending.code, len(ending.document["items"]), len(ending.document["problems"])) == (3, 2, 1)
    assert "store 'away'" in ending.err


# -- running --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("PROJ-21")
def test_catching_up_ends_at_the_end(service: Project) -> None:
    """One projection is run here until nothing is left; the others stay where they are."""
    place(service, *map(str, range(300)))
    ending = service("projections", "catch-up", "totals")
    assert (ending.code, ending.out) == (0, "totals: caught up to position 300\n")
    assert rows(service) == [str(number) for number in range(300)]
    assert [each["name"] for each in service("projections", "list", "--json").document["items"]] == ["totals"]
    assert service("projections", "catch-up", "--all").code == 0
    assert status(service, "parked")["position"] == 300


def test_a_service_of_databases_alone_needs_no_server(service: Project) -> None:
    """Projections and relays between stores start no server of streams."""
    place(service, "1")
    run_all(service)
    service("failed", "list")
    service("failed", "retry", "--projection", "parked")
    assert rows(service) == ["1"]
    assert not (service.folder / ".penstock/server.json").exists()


def test_a_part_can_be_run_alone(service: Project) -> None:
    """--only names a projection or a relay, or all of a kind."""
    place(service, "1")
    started = service("run", "--until-idle", "--only", "projection:totals", "--json").lines[0]
    assert (started["projections"], started["relays"]) == (["totals"], [])
    assert [each["name"] for each in service("projections", "list", "--json").document["items"]] == ["totals"]
    started = service("run", "--until-idle", "--only", "relay", "--json").lines[0]
    assert (started["projections"], started["relays"]) == ([], ["shared"])
    assert service("run", "--until-idle", "--only", "projection:total").code == 1


@pytest.mark.covers("PROJ-9", "PROJ-11")
def test_stopping_takes_effect_within_a_poll(service: Project) -> None:
    """Wherever it runs it stands still, shows as stopped, and stays so until it is started again."""
    place(service, "1")
    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    refused = service("projections", "start", "totals")
    assert (refused.code, f":{running.process.pid}; nothing was started" in refused.err) == (1, True)

    began = time.monotonic()
    stopped = service("projections", "stop", "totals")
    assert (stopped.code, stopped.out) == (0, "totals: stopped\n")
    assert time.monotonic() - began < POLL_SECONDS + 1.5
    place(service, "2")
    running.wait_until("the other one goes on", lambda: status(service, "parked")["position"] == 2)
    assert (status(service, "totals")["position"], rows(service)) == (1, ["1"])
    assert service("projections", "stop", "totals").out == "totals: was stopped already\n"

    assert service("projections", "start", "totals").code == 0
    running.wait_until("it goes on", lambda: rows(service) == ["1", "2"])
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


@pytest.mark.covers("PROJ-11")
def test_all_are_stopped_by_the_names_of_the_other_system(service: Project) -> None:
    """Consuming are projections, producing are relays; both can be stopped and started by name."""
    place(service, "1")
    run_all(service)
    assert service("projector:all:consuming:stop").out == "parked: stopped\ntotals: stopped\n"
    assert status(service, "shared", "relays")["state"] == "idle"
    assert service("projector:all:producing:stop").out == "shared: stopped\n"
    assert service("projector:consuming:start", "totals").code == 0
    assert service("projector:producing:start", "shared").code == 0
    place(service, "2")
    run_all(service)
    assert (status(service, "totals")["position"], status(service, "parked")["position"]) == (2, 1)
    assert service("projector:producing:stop", "shared").code == 0
    assert service("projector:consuming:stop", "totals").code == 0


@pytest.mark.covers("PROJ-9")
def test_a_killed_runner_is_replaced(service: Project) -> None:
    """Of two processes one runs the projection; killed, another one goes on, and nothing is counted twice."""
    place(service, "1")
    running = service.start("run", "--processes", "2")
    found = wait_for_state(service, running, "totals", "running")
    killed = int(str(found["holder"]).rpartition(":")[2])
    os.kill(killed, signal.SIGKILL)
    place(service, "2", "3")
    running.wait_until("another one goes on", lambda: rows(service) == ["1", "2", "3"], seconds=40)
    now = status(service, "totals")
    assert int(str(now["holder"]).rpartition(":")[2]) != killed
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


@pytest.mark.covers("PROJ-23")
def test_all_runners_begin_again_with_new_code(service: Project) -> None:
    """A process by itself ends in good order and begins again, under its own id, with the code as it is now."""
    assert service("projections", "reload").out == "Nobody runs any: there is nothing to reload\n"
    place(service, "1")
    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    change_code(service)
    place(service, "2")
    running.wait_until("the old code goes on", lambda: rows(service) == ["1", "2"])
    names = [item["name"] for item in service("projections", "reload", "--json").document["items"]]
    assert names == ["parked", "shared", "totals"]
    running.wait_until("it is ended", lambda: "shop: ended" in running.err.read_text())
    place(service, "3")
    running.wait_until("the new code goes on", lambda: rows(service) == ["1", "2", "new 3"])
    assert str(status(service, "totals")["holder"]).endswith(f":{running.process.pid}")
    running.process.send_signal(signal.SIGTERM)
    assert (running.end().code, running.end().err.count("shop: ended")) == (0, 2)


@pytest.mark.covers("PROJ-23")
def test_workers_begin_again_with_new_code_one_by_one(service: Project) -> None:
    """Under a supervisor all of them do, also the one that stands by, and one whose projections are stopped."""
    place(service, "1")
    running = service.start("run", "--processes", "2")
    wait_for_state(service, running, "totals", "running")
    running.wait_until("both work", lambda: _starts(running) == 2)
    assert service("projections", "stop", "--all").code == 0
    assert service("relays", "stop", "--all").code == 0
    change_code(service)
    assert service("projections", "reload").out == "Nobody runs any: there is nothing to reload\n"
    running.wait_until("both work again", lambda: _starts(running) == 4)
    assert service("projections", "start", "--all").code == 0
    place(service, "2")
    running.wait_until("the new code goes on", lambda: rows(service) == ["1", "new 2"])
    assert "starting it again in" not in running.err.read_text()
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


def change_code(project: Project) -> None:
    """Have the handler of `totals` note something else."""
    project.write(
        "app.py", APP.replace("(order.order_id, os.getpid())", '("new " + order.order_id, os.getpid())')
    )


def _starts(running: Running) -> int:
    return running.err.read_text().count("running projection totals")


@pytest.mark.covers("GROUP-16", "PROJ-13")
def test_a_pool_grows_while_events_wait_for_projections(service: Project) -> None:
    """They count like the lag of groups; one that is halted, whose lag nobody works off, asks for no worker."""
    service.write("app.py", APP.replace("    if fails(order):", SLOWLY, 1))
    place(service, "1")
    service.write("slow", "")
    running = service.start("run", "--processes", "1-2", "--idle-timeout", "1s")
    running.wait_for("growing from 1 workers to 2")
    service.write("broken", "1")
    (service.folder / "slow").unlink()
    assert wait_for_state(service, running, "totals", "halted")["lag_events"] == 1
    running.wait_for("nothing waits: draining worker 2")
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


SLOWLY = """    while Path("slow").exists():
        time.sleep(0.01)
    if fails(order):"""


@pytest.mark.covers("PROJ-13")
def test_status_says_what_to_do_about_one_that_stands(service: Project) -> None:
    """Which one it is, where it stands, and the command; also for one whose runner went away."""
    place(service, "1", "2")
    service.write("broken", "2")
    assert service("projections", "catch-up", "totals").code == 1
    said = (
        "projection 'totals' is halted at position 2: mend it, then run `penstock projections retry totals`"
    )
    assert service("status", "--json").document["problems"] == [said]
    assert said in " ".join(service("status").err.split())
    running = service.start("run", "--only", "projection:parked")
    wait_for_state(service, running, "parked", "running")
    running.process.kill()
    running.process.wait()
    running.wait_until("its lease has run out", lambda: _state(service, "parked") == "failed")
    [first, _] = service("status", "--json").document["problems"]
    assert first.startswith(
        "projection 'parked' has failed, and nobody runs it: see `penstock projections show"
    )


# -- failing --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("FAIL-12")
def test_exactly_the_failed_ones_are_retried(service: Project) -> None:
    """Without a name all that failed, whatever their kind; it never asks, and says so when there is none."""
    none = service("projections:retry")
    assert (none.code, none.out) == (0, "No projections and relays have failed: there is nothing to retry\n")
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


@pytest.mark.covers("PROJ-13")
def test_relays_out_of_streams_show_position_and_lag(empty: Project) -> None:
    """In events and seconds, with the position as an entry id; partitions are added up to one line."""
    empty.write("penstock.toml", STREAM_RELAYS)
    for number in range(20):
        assert empty("emit", "order.placed", "{}", "--stream", "orders", "--key", f"k{number}").code == 0
        assert empty("emit", "order.paid", "{}", "--stream", "paid").code == 0
    place(empty, "1")

    before = {each["name"]: each for each in empty("relays", "list", "--json").document["items"]}
    assert {name: (each["state"], each["lag_events"]) for name, each in before.items()} == {
        "keep": ("idle", 20),
        "keep-paid": ("idle", 20),
    }
    empty.write("app.py", "from penstock import App\n\napp = App('keeper')\n")
    ending = empty("run", "--until-idle", "--only", "relay", "--log-level", "critical")
    assert ending.code == 0, ending
    (empty.folder / "app.py").unlink()
    for number in range(5):
        assert empty("emit", "order.placed", "{}", "--stream", "orders", "--key", f"k{number}").code == 0
    assert empty("emit", "order.paid", "{}", "--stream", "paid").code == 0
    after = {each["name"]: each for each in empty("relays", "list", "--json").document["items"]}
    assert {name: (each["source"], each["lag_events"]) for name, each in after.items()} == {
        "keep": ("stream:orders", 5),
        "keep-paid": ("stream:paid", 1),
    }
    assert all(
        0 < each["lag_seconds"] < 60 and each["head"] > each["position"] > 0 for each in after.values()
    )
    told = empty("relays", "show", "keep-paid").out
    assert re.search(r"Position +\d+-\d+ of \d+-\d+\n", told), told
    assert "Lag         1 events" in told
    assert empty("relays", "stop", "keep").out == "keep: stopped\n"
    assert status(empty, "keep", "relays")["state"] == "stopped"
    assert empty("status", "--json").document["projections"][0]["lag_events"] == 5


def test_what_a_relay_out_of_a_stream_could_not_take_has_an_entry_id(empty: Project) -> None:
    """By which it is listed, shown with its message, grouped by error, and run again."""
    empty.write("app.py", TAKING)
    for number in range(2):
        body = f'{{"number": {number}}}'
        assert empty("emit", "order.placed", body, "--stream", "orders", "--id", f"{number + 1}-1").code == 0
    empty.write("broken", "")
    assert empty("run", "--until-idle", "--log-level", "critical").code == 0
    items = empty("failed", "list", "--json").document["items"]
    assert [(each["entry_id"], each["projection"], each["position"]) for each in items] == [
        ("1-1", "keep", None),
        ("2-1", "keep", None),
    ]
    shown = empty("failed", "show", "2-1").out
    assert ('"number": 1' in shown, "2-1 of stream orders" in shown) == (True, True)
    (empty.folder / "broken").unlink()
    again = empty("failed", "retry", "--projection", "keep", "--id", "1-1", "--log-level", "critical")
    assert (again.code, again.out) == (0, "Ran 1 failed message again: 1 succeeded\n")
    [left] = empty("failed", "list", "--by-error", "--json").document["items"]
    assert (left["example"], left["error"]) == ("2-1", "no place for it")


TAKING = """
from pathlib import Path

from penstock import App, Retry

app = App("keeper")


def place_of(event: object) -> str:
    if Path("broken").exists():
        raise ValueError("no place for it")
    return "taken"


app.relay("keep", source="stream:orders", target="local", to=place_of, on_failure="skip", retry=Retry(attempts=1))
"""


def test_a_relay_is_shown_when_its_stream_cannot_be_reached(empty: Project) -> None:
    """With what its store has recorded, the reason, and exit code 3."""
    empty.write("penstock.toml", STREAM_RELAYS)
    place(empty, "1")
    empty.patch.setenv("PENSTOCK_STREAMS", "redis://127.0.0.1:1")
    ending = empty("relays", "list", "--json")
    assert (ending.code, [each["name"] for each in ending.document["items"]]) == (3, ["keep", "keep-paid"])
    assert "stream 'paid'" in ending.err


STREAM_RELAYS = """
[stream.orders]
partitions = 4

[relays.keep]
source = "stream:orders"
target = "local"

[relays.keep-paid]
source = "stream:paid"
target = "local"
"""


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


def log(project: Project, *words: str) -> list[dict[str, object]]:
    """Who did what, latest first."""
    named = ("--projection", *words) if words else ()
    items: list[dict[str, object]] = project("failed", "log", *named, "--json").document["items"]
    return items


def run_parked(project: Project) -> None:
    """Have the projection `parked` handle everything there is."""
    ending = project("run", "--until-idle", "--only", "projection:parked", "--log-level", "critical")
    assert ending.code == 0, ending


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


# -- beginning again ------------------------------------------------------------------------------------------------


@pytest.mark.covers("PROJ-12")
def test_a_reset_projection_is_filled_again(service: Project) -> None:
    """It asks first; the read model is emptied and made again from the first event, running or not."""
    place(service, "1", "2")
    run_all(service)
    assert service("projections", "reset", "totals").code == 1
    assert service("projections", "reset", "totals", "--dry-run").code == 0
    assert rows(service) == ["1", "2"]
    assert service("projections", "reset", "totals", "--yes").out == "totals: begins again\n"
    assert (rows(service), status(service, "totals")["position"]) == ([], 0)
    run_all(service)
    assert rows(service) == ["1", "2"]

    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    assert service("projections", "reset", "totals", "--yes").out == "totals: begins again\n"
    running.wait_until("it is filled again", lambda: rows(service) == ["1", "2"])
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


@pytest.mark.covers("PROJ-12")
def test_a_projection_is_deleted_with_or_without_its_read_model(service: Project) -> None:
    """Without, its rows stay and only its record goes, for which no code is needed; with, both are gone."""
    place(service, "1")
    run_all(service)
    (service.folder / "app.py").rename(service.folder / "gone.txt")
    assert service("projections", "delete", "totals", "--yes").out == "totals: deleted\n"
    assert service("projections", "show", "totals").code == 1
    assert rows(service) == ["1"]
    Path(service.folder / "gone.txt").rename(service.folder / "app.py")
    with sqlite3.connect(service.folder / ".penstock/events.db") as database:
        database.execute("DELETE FROM totals")
    database.close()
    run_all(service)
    assert service("projections", "delete", "totals", "--read-model", "--yes").code == 0
    assert rows(service) == []


# -- on PostgreSQL --------------------------------------------------------------------------------------------------


@pytest.mark.covers("PROJ-12", "PROJ-13", "FAIL-12")
def test_the_same_commands_work_on_postgresql(service: Project, postgres_database: str) -> None:
    """Migrate, run, fail, look, retry, put aside, reset, delete: as on a file, with the read model in the server."""
    service.write("penstock.toml", f'store = "{postgres_database}"\n{SETTINGS}')
    service.write(
        "app.py",
        APP.replace("sqlite3.Connection", "psycopg.Connection")
        .replace("VALUES (?, ?)", "VALUES (%s, %s)")
        .replace("import sqlite3", "import psycopg"),
    )
    assert "penstock db migrate --store local" in service("projections", "list").err
    assert service("db", "migrate", "--all").code == 0
    place(service, "1", "2", "2")
    service.write("broken", "2")
    running = service.start("run", "--log-level", "critical")
    assert wait_for_state(service, running, "totals", "halted")["error"] == "cannot add 2"
    running.wait_until("they are put aside", lambda: status(service, "parked")["parked"] == 2)
    items = service("failed", "list", "--json").document["items"]
    assert [(each["projection"], each["position"], each["state"]) for each in items] == [
        ("parked", 2, "parked"),
        ("parked", 3, "waiting"),
    ]
    (service.folder / "broken").unlink()
    assert service("projections", "retry").code == 0
    running.wait_until("it goes on", lambda: status(service, "totals")["position"] == 3)
    assert service("failed", "retry", "--projection", "parked").code == 0
    assert service("failed", "list").out == "No failed messages\n"
    assert service("projections", "reset", "totals", "--yes").code == 0
    running.wait_until("it is filled again", lambda: status(service, "totals")["position"] == 3)
    assert [each["what"] for each in log(service)] == ["reset", "retry", "retry"]
    assert service("projections", "stop", "--all").code == 0
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
    assert service("projections", "delete", "totals", "--read-model", "--yes").code == 0
    shown = service("store", "show").out
    assert "PostgreSQL, postgresql://" in shown
    assert "Events          3\n" in shown
