"""``penstock replays``: every step as typed, refused out of turn, asked for, interrupted, and shown."""

import getpass
import os
import shlex
import signal
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from tests.cli.conftest import Project
from tests.cli.replaying import APP, bring_to, live, pay, show


@pytest.mark.covers("ZDT-16", "ZDT-6", "LEAD-2")
def test_a_read_model_is_rebuilt_from_the_command_line(bare: Project) -> None:
    """Built beside the live one, followed, compared, switched, switched back, switched again, and cleaned up."""
    bring_to(bare, "")
    bare.write("version", "2")
    created = bare("replays", "create", "k", "totals")
    assert created.out.startswith("Created replay k of totals, in ")
    assert created.err == "Next: penstock replays start k\n"
    assert bare("replays", "start", "k").out.startswith("k: built, 3 events in ")
    assert bare("replays", "follow", "k").out == "k: whoever runs its projections feeds it now\n"
    assert "totals: equal (2 rows live, 2 in the copy); only in the copy: payments" in (
        bare("replays", "verify", "k").out
    )
    assert live(bare) == {"ann": (200,), "bob": (100,)}

    assert bare("replays", "promote", "k", "--yes").out.startswith(
        "k: live at position 3 (totals; locked for "
    )
    assert live(bare) == {"ann": (200, 2), "bob": (100, 1)}
    shown = show(bare)
    assert (shown["replay"]["state"], shown["live_versions"]) == ("promoted", {"totals": 2})
    assert shown["next_steps"][0]["command"] == "penstock replays rollback k"

    assert bare("replays", "rollback", "k", "--yes", "--why", "a look").code == 0
    assert live(bare) == {"ann": (200,), "bob": (100,)}
    assert show(bare)["log"][0] | {"at": ""} == {
        "replay": "k",
        "at": "",
        "who": getpass.getuser(),
        "what": "roll back",
        "which": "totals at 3",
        "why": "a look",
    }
    assert bare("replays", "promote", "k", "--yes").code == 0
    assert bare("replays", "remove", "k", "--yes").out == (
        "k: removed, with the former read model; what is live stays\n"
    )
    assert live(bare) == {"ann": (200, 2), "bob": (100, 1)}
    assert bare("replays", "list", "--json").document["items"] == []
    assert [path.name for path in (bare.folder / ".penstock").glob("*.replay*")] == []


@pytest.mark.covers("ZDT-6", "ZDT-5")
def test_it_is_shown_with_everything_one_wants_to_know(bare: Project) -> None:
    """State, place, versions, progress, lag, plays, the last comparison with its first differences, what comes next."""
    bring_to(bare, "")
    bare.write("doubles", "")
    bare.write("version", "2")
    for verb in ("create", "start", "verify"):
        words = ["totals"] if verb == "create" else []
        assert bare("replays", verb, "k", *words).code == (1 if verb == "verify" else 0)
    pay(bare, "ann")
    text = bare("replays", "show", "k").out
    for part in (
        "State        built",
        "Projections  totals: copy version 2, live 1",
        ".replay\n",
        "Position     3 of 4",
        "Lag          1 event\n",
        "   1     0   3       3",
        "customer = bob: cents is 100 live and 200 in the copy",
        "refusal: verification: its last verification found differences",
        "penstock replays follow k",
    ):
        assert part in text, part
    items = bare("replays", "list", "--json").document["items"]
    assert [(each["replay"]["key"], each["progress"]["lag_events"]) for each in items] == [("k", 1)]
    row = next(line for line in bare("replays", "list").out.splitlines() if line.startswith("k "))
    assert row.split()[:6] == ["k", "built", "totals", "3", "1", "not"]


@pytest.mark.covers("ZDT-9", "LEAD-1", "ZDT-16")
def test_differences_are_an_exit_code(bare: Project) -> None:
    """`verify` ends with 1 and names rows by key and column; checks and samples count as well."""
    bring_to(bare, "")
    bare.write("doubles", "")
    assert bare("replays", "create", "k", "totals").code == 0
    assert bare("replays", "start", "k").code == 0
    people = bare("replays", "verify", "k")
    assert (people.code, "customer = bob: cents is 100 live and 200 in the copy" in people.out) == (1, True)
    report = bare("replays", "verify", "k", "--json")
    assert (report.code, report.document["is_green"]) == (1, False)
    [table] = report.document["verification"]["tables"]
    assert table["rows"] == [
        {"key": {"customer": "bob"}, "kind": "changed", "columns": {"cents": [100, 200]}}
    ]

    (bare.folder / "doubles").unlink()
    assert bare("replays", "start", "k", "--from-zero", "--yes").code == 0
    assert bare("replays", "verify", "k").code == 0
    checked = bare("replays", "verify", "k", "--check", "SELECT * FROM totals WHERE cents > 150")
    assert (checked.code, "1 row that should not be there" in checked.out) == (1, True)
    same = bare("replays", "verify", "k", "--sample", "SELECT sum(cents) FROM totals")
    assert (same.code, "passed: sample SELECT sum(cents) FROM totals" in same.out) == (0, True)


# -- out of turn ----------------------------------------------------------------------------------------------------


@pytest.mark.covers("ZDT-16", "ZDT-10")
@pytest.mark.parametrize(
    ("state", "words", "says"),
    [
        ("created", "verify k", "is created, so it cannot be verified; start it first"),
        ("created", "promote k --yes", "is created, so it cannot be promoted; start it first"),
        ("created", "promote k --yes --force --why now", "it cannot be promoted; start it first"),
        ("created", "rollback k --yes", "cannot roll back; promote it first"),
        ("created", "unfollow k", "it does not follow"),
        ("created", "create k totals", "there is a replay 'k' already"),
        ("built", "promote k --yes", "it was never verified; verify it"),
        ("built", "promote k --dry-run", "It would be refused: verification"),
        ("built", "promote k", "it was never verified; verify it"),
        ("following", "start k", "unfollow it first"),
        ("verified", "promote k", "nobody is here to be asked"),
        ("verified", "remove k", "nobody is here to be asked"),
        ("promoted", "promote k --yes", "it is live; roll it back first, or remove it"),
        ("promoted", "verify k", "it is live; roll it back first, or remove it"),
        ("promoted", "start k --from-zero --yes", "roll it back first, or remove it and create another"),
    ],
)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(
    state: str, words: str, says: str, bare: Project
) -> None:
    """Exit code 1, what is so, what to do; the replay and the live read model are as they were."""
    bring_to(bare, state)
    before, rows = show(bare)["replay"], live(bare)
    ending = bare("replays", *words.split())
    assert ending.code == 1, ending
    assert says.lower() in (ending.err.replace("\n  ", "; ") + ending.out).lower(), ending
    assert (show(bare)["replay"], live(bare)) == (before, rows)


def test_force_needs_a_reason_that_is_kept(bare: Project) -> None:
    """Without --why nothing is even looked at; with it, the replay tells it from then on."""
    bring_to(bare, "built")
    assert bare("replays", "promote", "k", "--force", "--yes").code == 2
    assert bare("replays", "promote", "k", "--force", "--why", " ", "--yes").code == 2
    ending = bare("replays", "promote", "k", "--force", "--why", "seen by ann", "--yes")
    assert ending.code == 0, ending
    assert "Forced       seen by ann (verification: it was never verified" in bare("replays", "show", "k").out


@pytest.mark.covers("ZDT-16")
def test_each_step_takes_a_reason(bare: Project) -> None:
    """It is in the log of the replay, and shown with it."""
    bring_to(bare, "")
    for verb in ("create k totals", "start k", "follow k", "unfollow k", "start k --from-zero --yes"):
        ending = bare("replays", *verb.split(), "--why", f"so {verb.split()[0]}")
        assert ending.code == 0, ending
    shown = show(bare)
    assert [(deed["what"], deed["why"]) for deed in shown["log"]] == [
        ("start", "so start"),
        ("unfollow", "so unfollow"),
        ("follow", "so follow"),
        ("start", "so start"),
        ("create", "so create"),
    ]
    assert bare("replays", "remove", "k", "--yes", "--why", "so remove").code == 0
    with closing(sqlite3.connect(bare.folder / ".penstock/events.db")) as database:
        [[why]] = database.execute("SELECT why FROM penstock_replay_log WHERE what = 'remove'").fetchall()
    assert why == "so remove"


@pytest.mark.covers("ZDT-12", "ZDT-16")
def test_a_rollback_is_forced_with_a_reason(bare: Project) -> None:
    """The former one lags too far: refused, by force refused without a reason, and done with one, which is kept."""
    bring_to(bare, "promoted")
    assert bare("replays", "unfollow", "k").code == 0
    pay(bare, *["ann"] * 1100)
    refused = bare("replays", "rollback", "k", "--yes")
    assert (refused.code, "1,100 events to take" in refused.err) == (1, True), refused
    assert bare("replays", "rollback", "k", "--yes", "--force").code == 2
    planned = bare("replays", "rollback", "k", "--force", "--why", "at once", "--dry-run")
    assert (planned.code, "(--force overrides it)" in planned.out) == (0, True), planned
    ending = bare("replays", "rollback", "k", "--yes", "--force", "--why", "at once")
    assert ending.code == 0, ending
    assert show(bare)["log"][0]["why"].startswith("at once (lag: it has 1,100 events to take")


@pytest.mark.covers("ZDT-16")
@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("show kk", "k"),
        ("start kk", "k"),
        ("remove kk --yes", "k"),
        ("create other totls", "totals"),
        ("plan totls", "totals"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(words: str, meant: str, bare: Project) -> None:
    """Of replays and of projections; nothing is made for it."""
    bring_to(bare, "created")
    error = bare("replays", *words.split(), "--json")
    assert (error.code, error.error["did_you_mean"]) == (1, [meant])
    assert [each["replay"]["key"] for each in bare("replays", "list", "--json").document["items"]] == ["k"]


@pytest.mark.covers("ZDT-16", "ZDT-1")
def test_what_is_missing_is_refused_where_nobody_can_be_asked(bare: Project) -> None:
    """No key, no projections, or neither: nothing is made, also with --json; no projections at all is said."""
    bring_to(bare, "")
    for words in ((), ("k",), ("--json",), ("k", "--json")):
        assert bare("replays", "create", *words).code == 2
    assert "name one or several: seen, totals" in bare("replays", "create", "k").err.lower()
    assert bare("replays", "list", "--json").document["items"] == []


def test_a_part_is_said_by_options(bare: Project) -> None:
    """Streams, keys, a position, and whose rows are whose; what makes no sense is refused before."""
    bring_to(bare, "")
    assert bare("replays", "plan", "totals", "--rows", "totals").code == 2
    plan = bare("replays", "plan", "totals", "--event-key", "ann", "--json").document["plan"]
    assert plan["events"] == 2
    words = ["--event-key", "ann", "--after", "1", "--rows", "totals=customer"]
    assert bare("replays", "create", "k", "totals", *words).code == 0
    assert "Part         key ann, above position 1" in bare("replays", "show", "k").out
    assert show(bare)["replay"]["part"]["rows"] == {"totals": "customer"}


@pytest.mark.covers("ZDT-16")
def test_a_dry_run_changes_nothing(bare: Project) -> None:
    """Each step says what it would do."""
    bring_to(bare, "")
    assert "Events       3" in bare("replays", "create", "k", "totals", "--dry-run").out
    assert bare("replays", "list", "--json").document["items"] == []
    bring_to(bare, "created")
    for words, says in (
        ("start k", "6 events are played to it, from position 0 on"),
        ("start k --from-zero", "the copy is emptied"),
        ("follow k", "whoever runs its projections feeds it from then on"),
        ("remove k", "the copy goes (totals)"),
    ):
        ending = bare("replays", *words.split(), "--dry-run")
        assert (ending.code, says in ending.out) == (0, True), ending
        assert bare("replays", *words.split(), "--dry-run", "--json").document["dry_run"] is True
    assert show(bare)["replay"]["state"] == "created"


# -- two at once, and interrupted -----------------------------------------------------------------------------------


@pytest.mark.covers("ZDT-4", "ZDT-6")
def test_a_second_player_is_refused_and_an_interrupted_one_goes_on_later(bare: Project) -> None:
    """While one plays, another `start` ends with 1; Ctrl-C ends the first with 130, and what is played stays."""
    bring_to(bare, "")
    pay(bare, *["ann"] * 6000)
    assert bare("replays", "create", "k", "totals").code == 0
    slowly = bare.write("slowly", "")
    playing = bare.start("replays", "start", "k")
    playing.wait_until("it plays", (bare.folder / "begun").exists)
    playing.wait_until("it is seen to", lambda: show(bare)["progress"]["is_running"])
    second = bare("replays", "start", "k")
    assert (second.code, "try again" in second.err.lower()) == (1, True), second
    assert bare("replays", "remove", "k", "--yes").code == 1
    shown = show(bare)
    assert (shown["replay"]["state"], shown["progress"]["is_running"]) == ("building", True)
    assert shown["next_steps"] == []

    playing.process.send_signal(signal.SIGINT)
    ended = playing.end()
    assert (ended.code, "replays start k" in ended.err) == (130, True), ended
    slowly.unlink()
    shown = show(bare)
    assert shown["plays"][0]["outcome"] == "stopped"
    assert 0 < shown["progress"]["position"] < 6003
    assert shown["next_steps"][0]["command"] == "penstock replays start k"
    assert bare("replays", "start", "k").code == 0
    assert show(bare)["progress"]["lag_events"] == 0
    assert bare("projections", "catch-up", "totals").code == 0
    assert bare("replays", "verify", "k").code == 0


@pytest.mark.covers("ZDT-9")
def test_a_comparison_that_is_not_had_is_told_from_one_that_finds_something(bare: Project) -> None:
    """While others hold the read model `verify` ends with 2 and says to try again; 1 is for differences."""
    bring_to(bare, "built")
    before = show(bare)
    bare.patch.setattr("penstock.replays._switching.PATIENCE", timedelta(milliseconds=200))
    with closing(sqlite3.connect(bare.folder / ".penstock/events.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        people, program = bare("replays", "verify", "k"), bare("replays", "verify", "k", "--json")
    assert (people.code, people.err.rstrip().endswith("Try again")) == (2, True), people
    assert program.code == 2
    error = program.error
    assert (error["type"], error["remedy"]) == ("ReplayBusyError", "try again")
    assert "others hold its checkpoints" in error["message"]
    assert show(bare)["replay"] == before["replay"]
    assert bare("replays", "verify", "k").code == 0


@pytest.mark.covers("ZDT-8")
def test_a_play_that_fails_says_why_and_leaves_what_is_live(bare: Project) -> None:
    """Exit code 1, the error with its position, also in `list` and `show`."""
    bring_to(bare, "")
    pay(bare, "bad")
    before = live(bare)
    assert bare("replays", "create", "k", "totals").code == 0
    broken = bare.write("broken", "")
    ending = bare("replays", "start", "k")
    assert (ending.code, "what is bad?" in ending.err, "Traceback" in ending.err) == (1, True, False)
    assert "what is bad?" in bare("replays", "list").err
    assert "State        building (nobody plays it)" in bare("replays", "show", "k").out
    assert live(bare) == before
    broken.unlink()
    assert bare("replays", "start", "k").code == 0


def test_a_reader_that_goes_away_is_no_error(bare: Project) -> None:
    """Stdout is closed before anything is written: no traceback."""
    bring_to(bare, "built")
    for words in ("show k", "show k --json", "list"):
        reading, writing = os.pipe()
        os.close(reading)
        running = bare.start("replays", *words.split(), stdout=writing)
        os.close(writing)
        ending = running.end(90)
        assert (ending.code, "Traceback" in ending.err) == (0, False), ending


def test_a_question_does_not_need_a_reader(bare: Project) -> None:
    """What was found is told beside the question: `penstock replays promote k | head -0` does nothing, and says so."""
    bring_to(bare, "verified")
    reading, writing = os.pipe()
    os.close(reading)
    running = bare.start("replays", "promote", "k", stdout=writing)
    os.close(writing)
    ending = running.end(90)
    assert (ending.code, "nobody is here to be asked" in ending.err, "note: " in ending.err) == (
        1,
        True,
        True,
    )
    assert show(bare)["replay"]["state"] == "following"


def test_differences_are_told_to_a_reader_that_goes_away(bare: Project) -> None:
    """`penstock replays verify k | head -1` still ends with 1."""
    bring_to(bare, "built")
    for words in ("verify k --check 'SELECT 1'", "verify k --check 'SELECT 1' --json"):
        reading, writing = os.pipe()
        os.close(reading)
        running = bare.start("replays", *shlex.split(words), stdout=writing)
        os.close(writing)
        ending = running.end(90)
        assert (ending.code, "Traceback" in ending.err) == (1, False), ending


# -- without code, and stores that are away -------------------------------------------------------------------------


def test_looking_needs_no_code(bare: Project) -> None:
    """With an app that cannot be loaded, or none, replays in the settings' store are shown, and can be removed."""
    bring_to(bare, "built")
    bare.write("app.py", "raise SystemError('from penstock import nothing')")
    ending = bare("replays", "list", "--json")
    assert (ending.code, ending.document["items"][0]["progress"]["lag_events"]) == (0, 0)
    assert "looking goes on with the settings alone" in ending.err
    assert bare("replays", "start", "k").code == 1
    (bare.folder / "app.py").unlink()
    assert show(bare)["replay"]["state"] == "built"
    assert bare("replays", "remove", "k", "--yes").code == 0


def test_a_store_that_is_away_does_not_hide_the_others(bare: Project) -> None:
    """What can be looked at is shown, with a warning and exit code 3; what may be there is not said to be unknown."""
    bring_to(bare, "created")
    bare.write("penstock.toml", '[stores.away]\nurl = "postgresql://127.0.0.1:1/x"\n')
    ending = bare("replays", "list", "--json")
    assert (ending.code, len(ending.document["items"]), len(ending.document["problems"])) == (3, 1, 1)
    assert bare("replays", "show", "k").code == 0
    unknown = bare("replays", "show", "other", "--json")
    assert (unknown.code, unknown.error["type"]) == (1, "StoreUnavailableError")


def test_looking_makes_nothing(bare: Project) -> None:
    """Where no store was ever used there is none afterwards."""
    bare.write("app.py", APP)
    assert bare("replays", "list").out.startswith("No replays yet")
    assert bare("replays", "show", "k").code == 1
    assert bare("replays", "remove", "k", "--yes").code == 1
    assert not (bare.folder / ".penstock").exists()
