"""The parts of the command line that decide without a server: lines, durations, JSON, and what has changed."""

import math
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli._errors import Refusal, WrongUsage, explain, human_text
from penstock.cli._lines import Line, _Splitter
from penstock.cli._output import ago, clean, short_duration
from penstock.cli._plain import json_text, plain
from penstock.cli._watching import Watch
from penstock.errors import BrokerUnavailableError, PublishError, UsageError
from penstock.position import EntryId


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=10), st.integers(1, 50))
def test_lines_are_the_same_however_the_bytes_come(text: bytes, cuts: list[int], longest: int) -> None:
    """Cut anywhere, the same lines with the same numbers come out; those over the limit without their text."""
    splitter = _Splitter(longest)
    found: list[Line] = []
    rest = text
    for cut in cuts:
        found += splitter.feed(rest[:cut])
        rest = rest[cut:]
    found += splitter.feed(rest)
    found += splitter.feed(b"\n")
    expected = [
        (number, line if len(line) <= longest else None)
        for number, line in enumerate(text.split(b"\n"), start=1)
        if line.strip() or len(line) > longest
    ]
    assert [(line.number, line.text) for line in found] == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (0.0123, "12ms"),
        (1.25, "1.2s"),
        (59.9, "59.9s"),
        (61, "1min 1s"),
        (3700, "1h 1min"),
        (90_000, "1d 1h"),
        (10**9, "11,574d 1h"),
    ],
)
def test_durations_are_short_for_people(seconds: float | None, text: str) -> None:
    """Two units are enough."""
    assert short_duration(seconds) == text


def test_times_are_told_from_now() -> None:
    """Past, future, and none."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(minutes=2), now) == "2min 0s ago"
    assert ago(now + timedelta(seconds=3), now) == "in 3.0s"
    assert ago(None) == "-"


class _Colour(Enum):
    RED = "red"


def test_values_become_json_as_the_python_api_has_them() -> None:
    """Ids as text, times in UTC with microseconds, durations in ISO 8601, bytes in base64, big integers as they are."""
    value = {
        "id": EntryId(5, 1),
        "time": datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        "wait": timedelta(seconds=1.5),
        "raw": b"\xff",
        "enum": _Colour.RED,
        "many": (1, {2: 3}),
        "big": 10**30,
        "path": Path("a/b"),
        "error": ValueError("no"),
        EntryId(1): None,
    }
    assert plain(value) == {
        "id": "5-1",
        "time": "2026-01-01T00:00:00.000000Z",
        "wait": "PT1.5S",
        "raw": "/w==",
        "enum": "red",
        "many": [1, {"2": 3}],
        "big": 10**30,
        "path": "a/b",
        "error": "ValueError: no",
        "1-0": None,
    }
    assert json_text({"nan": math.nan}) == '{"nan":null}'


@given(st.text())
def test_nothing_in_a_text_moves_a_terminal(text: str) -> None:
    """Control characters are shown as escapes, in sentences as in JSON; all else stays."""
    moving = {chr(code) for code in [*range(9), *range(0xB, 0x20), *range(0x7F, 0xA0)]}
    assert not moving & set(clean(text))
    assert not moving & set(json_text(text))
    if not any(character in moving or not character.isprintable() for character in text):
        assert clean(text) == text


def test_errors_are_explained_with_their_remedy() -> None:
    """What stands after the semicolon of a message is the remedy; the code says what kind of trouble it is."""
    report = explain(UsageError("'x' is no place; write 'new'"))
    assert (report.code, report.remedy) == (2, "write 'new'")
    assert human_text(report).plain == "Error: 'x' is no place\n  Write 'new'"
    away = explain(BrokerUnavailableError("gone"))
    assert away.code == 1
    assert "PENSTOCK_STREAMS" in (away.remedy or "")
    partial = explain(PublishError(["written", "unknown"], ["1-1", None], [None, OSError("cut")]))
    assert partial.code == 3
    assert explain(PublishError(["not written"], [None], [OSError("cut")])).code == 1
    assert explain(KeyboardInterrupt()).code == 130
    assert (
        explain(ExceptionGroup("several", [UsageError("a"), BrokerUnavailableError("b")])).message == "a; b"
    )
    assert explain(ZeroDivisionError()).message == "ZeroDivisionError"
    refusal = explain(Refusal("no", remedy="yes", did_you_mean=["maybe"], fact=EntryId(1)))
    assert refusal.as_document() == {
        "type": "Refused",
        "message": "no",
        "facts": {"fact": "1-0"},
        "did_you_mean": ["maybe"],
        "remedy": "yes",
    }
    assert explain(WrongUsage("no")).code == 2


def test_a_watch_sees_what_comes_goes_and_changes(tmp_path: Path) -> None:
    """Python and TOML files, also in folders below; not those of environments, caches and hidden folders."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1")
    for other in (".hidden", "__pycache__", "node_modules", "venv"):
        (tmp_path / other).mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    watch = Watch([tmp_path])
    assert watch.changes() == []
    (package / "a.py").write_text("22")
    (package / "b.py").write_text("1")
    (tmp_path / "penstock.toml").write_text("")
    for other in (".hidden", "__pycache__", "node_modules", "venv"):
        (tmp_path / other / "c.py").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    assert [Path(path).name for path in watch.changes()] == ["a.py", "b.py", "penstock.toml"]
    (package / "b.py").unlink()
    assert [Path(path).name for path in watch.changes()] == ["b.py"]
    assert watch.changes() == []
