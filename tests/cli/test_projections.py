"""``penstock projections`` and ``penstock relays``: looking, and running."""

import os
import signal

import pytest

from tests.cli.conftest import Project, Running
from tests.cli.projecting import (
    APP,
    POLL_SECONDS,
    SETTINGS,
    place,
    rows,
    run_all,
    state_of,
    status,
    wait_for_state,
)

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
    assert "Lag         1 event (" in people
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
    ending = service("relays", "show", "totals")
    assert (ending.code, "'totals' is a projection" in ending.err) == (1, True), ending


def test_one_that_never_ran_is_stopped_and_started(service: Project) -> None:
    """Nothing is recorded of it yet: the app's code is asked. A stopped one is not said to have caught up."""
    place(service, "1")
    assert service("projections", "stop", "totals").out == "totals: stopped\n"
    ending = service("projections", "catch-up", "totals", "parked")
    said = "totals: is stopped at position 0 of 1; `penstock projections start totals`"
    assert (ending.code, said in ending.out) == (3, True), ending
    assert service("projections", "catch-up", "totals").code == 1
    assert rows(service) == []
    assert service("projections", "start", "totals").code == 0
    assert service("projections", "catch-up", "totals").out == "totals: caught up to position 1\n"
    assert rows(service) == ["1"]


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
    for words in (["stop", "--all"], ["start", "--all"], ["retry"]):
        ending = service("projections", *words, "--json")
        assert (ending.code, len(ending.document["problems"])) == (3, 1), ending
    ending = service("projections", "show", "elsewhere")
    assert (ending.code, "where it could be looked for" in ending.err, "'away'" in ending.err) == (
        1,
        True,
        True,
    )


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

    # If that took longer than it waits, it would say that the projection is stopping.
    stopped = service("projections", "stop", "totals", "--wait", f"{POLL_SECONDS + 1.5}s")
    assert (stopped.code, stopped.out) == (0, "totals: stopped\n")
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
    running.wait_until("its lease has run out", lambda: state_of(service, "parked") == "failed")
    [first, _] = service("status", "--json").document["problems"]
    assert first.startswith(
        "projection 'parked' has failed, and nobody runs it: see `penstock projections show"
    )
