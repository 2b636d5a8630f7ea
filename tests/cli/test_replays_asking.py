"""``penstock replays`` in a terminal, where it asks and shows a bar; and under the names of others."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.cli._replays_choosing import parse_choice
from penstock.cli._replays_playing import pace
from penstock.operations import ReplayProgress
from tests.cli.conftest import Project
from tests.cli.replaying import bring_to, pay, show
from tests.cli.test_terminal import Terminal

# -- in a terminal --------------------------------------------------------------------------------------------------


@pytest.mark.covers("ZDT-16")
def test_in_a_terminal_what_is_missing_is_asked_for(bare: Project) -> None:
    """A key, then projections by number or name; a wrong answer is asked again; the answer is what is used."""
    bring_to(bare, "")
    terminal = Terminal(bare, "replays", "create")
    terminal.read_until("Key of the replay")
    terminal.type("with totals\r")
    terminal.read_until(r"1  seen \(version 1\)[^?]*2  totals[^?]*Which ones\?.*:")
    terminal.type("2, sen\r")
    terminal.read_until("no projection 'sen'; did you mean 'seen'")
    terminal.type("2,seen\r")
    assert terminal.end() == 0
    [item] = bare("replays", "list", "--json").document["items"]
    assert (item["replay"]["key"], item["replay"]["projections"]) == ("with totals", ["seen", "totals"])
    assert "penstock replays start 'with totals'" in bare("replays", "show", "with totals").out


@pytest.mark.covers("ZDT-16")
@pytest.mark.parametrize(("typed", "code", "state"), [("n\r", 1, "following"), ("y\r", 0, "promoted")])
def test_a_switch_is_asked_for(typed: str, code: int, state: str, bare: Project) -> None:
    """What was looked at comes first; no is the default."""
    bring_to(bare, "verified")
    terminal = Terminal(bare, "replays", "promote", "k")
    terminal.read_until(r"\[y/N\]")
    assert "all its tables become live at once: totals" in " ".join(terminal.text.split())
    terminal.type(typed)
    assert terminal.end() == code
    assert show(bare)["replay"]["state"] == state


@pytest.mark.covers("ZDT-6")
def test_a_play_shows_a_bar_with_rate_and_end(bare: Project) -> None:
    """While it plays, in a terminal: how many of how many, events a second, what is left."""
    bring_to(bare, "")
    pay(bare, *["ann"] * 3000)
    slowly = bare.write("slowly", "")
    assert bare("replays", "create", "k", "totals").code == 0
    terminal = Terminal(bare, "replays", "start", "k")
    terminal.read_until(r"Playing .*\d+/3003.*\d[\d,]*/s, until \d\d:\d\d:\d\d UTC")
    slowly.unlink()
    assert terminal.end() == 0
    assert "k: built, 3,003 events in " in terminal.text


# -- names of others ------------------------------------------------------------------------------------------------


@pytest.mark.covers("ZDT-16")
def test_names_of_zero_downtime_event_replays_work(bare: Project) -> None:
    """Each step under the name it has there; help shows ours only; `replay` is `replays`."""
    bring_to(bare, "")
    for words, code in (
        ("replay-manager:create k totals", 0),
        ("replay-manager:create k totals", 1),
        ("replay-manager:create", 2),
        ("replay-manager:replay k", 0),
        ("replay-manager:replay k --restart", 0),
        ("replay-manager:enable-projections k", 0),
        ("replay-manager:replay k", 1),
        ("replay-manager:put-live k --force", 1),
        ("replay verify k", 0),
        ("replay-manager:put-live k", 1),
        ("replay-manager:put-live k --force", 0),
        ("replay-manager:delete k", 1),
        ("replay-manager:delete k --force", 0),
        ("replay-manager:delete k --force", 1),
    ):
        ending = bare(*words.split())
        assert ending.code == code, (words, ending)
    helped = bare("--help").out
    assert "replay-manager" not in helped
    assert [line for line in helped.splitlines() if line.strip("│ ").startswith("replay ")] == []
    assert bare("replay", "list", "--json").document["command"] == "replays list"


# -- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "chosen", "wrong"),
    [
        ("1", ["a"], []),
        ("2, 1,2", ["b", "a"], []),
        ("b a", ["b", "a"], []),
        ("3", [], ["3"]),
        ("0", [], ["0"]),
        ("-1", [], ["-1"]),
        ("c,1", ["a"], ["c"]),
        (" , ", [], []),
        ("", [], []),
        ("²", [], ["²"]),
    ],
)
def test_a_choice_is_numbers_or_names(text: str, chosen: list[str], wrong: list[str]) -> None:
    """Each once, in the order typed; what is neither is told."""
    assert parse_choice(text, ["a", "b"]) == (chosen, wrong)


def test_the_pace_tells_the_end() -> None:
    """Events a second, how long still, and the time of day; nothing while nothing is known."""
    now = datetime(2026, 5, 3, 10, 0, tzinfo=UTC)
    told: dict[str, Any] = {"key": "k", "state": "building", "position": 5, "head": 9, "lag_events": 4}
    assert pace(ReplayProgress(**told), now) == ""
    assert pace(ReplayProgress(**told, rate=1250.4), now) == "1,250/s"
    full = ReplayProgress(**told, rate=1250.4, remaining=timedelta(minutes=3, seconds=20))
    assert pace(full, now) == "1,250/s, until 10:03:20 UTC"
