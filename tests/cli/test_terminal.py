"""In a terminal: colours, questions, progress and readable logs; elsewhere plain text and JSON lines."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, SHOP, Project, fail, order, place


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, project: Project, *words: str, stdin: int | None = None) -> None:
        self._ours, theirs = pty.openpty()
        environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *words],
            cwd=project.folder,
            env={**environ, "PYTHONPATH": str(ROOT / "src"), **project.environ, "TERM": "xterm-256color"},
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=theirs,
            close_fds=True,
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, pattern: str) -> None:
        """Read what the command prints until it has printed *pattern*."""
        deadline = time.monotonic() + 30
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._ours, 65536).decode()
                except OSError:  # the other end is closed
                    break
        assert re.search(pattern, self.text), self.text

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read the rest, and answer the exit code."""
        while True:
            try:
                if not (more := os.read(self._ours, 65536)):
                    break
            except OSError:
                break
            self.text += more.decode()
        os.close(self._ours)
        return self._process.wait(30)


@pytest.mark.covers("OPS-5")
@pytest.mark.parametrize(("typed", "code", "left"), [("n\r", 1, 1), ("\r", 1, 1), ("y\r", 0, 0)])
def test_a_destructive_command_asks_and_no_is_the_default(
    typed: str, code: int, left: int, shop: Project
) -> None:
    """The plan comes first; only a yes goes on."""
    fail(shop, "1")
    terminal = Terminal(shop, "failed", "flush")
    terminal.read_until(r"Forget 1 failed message\?.*\[y/N\]")
    assert "charge" in terminal.text
    terminal.type(typed)
    assert terminal.end() == code
    assert len(shop("failed", "list", "--json").document["items"]) == left


@pytest.mark.covers("OPS-4")
def test_logs_are_readable_in_a_terminal(shop: Project) -> None:
    """Time, level where it matters, message."""
    place(shop, "1")
    shop.write("broken", "")
    terminal = Terminal(shop, "run", "--until-idle")
    assert terminal.end() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text)
    assert re.search(r"\d\d:\d\d:\d\d shop: working group billing over order\.placed", plain)
    assert re.search(r"\d\d:\d\d:\d\d error: listener 'charge' of group 'billing' failed", plain)
    assert "{" not in plain


@pytest.mark.covers("OPS-4", "FAIL-11")
def test_logs_are_json_lines_elsewhere(shop: Project) -> None:
    """One object a line, with the facts of a failure as keys."""
    place(shop, "1")
    shop.write("broken", "")
    lines = [json.loads(line) for line in shop.start("run", "--until-idle").end().err.splitlines()]
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
    [failure] = [line for line in lines if line["level"] == "error"]
    assert (failure["operation"], failure["stream"], failure["event_name"]) == (
        "handle",
        "order.placed",
        "order.placed",
    )
    assert (failure["error_class"], failure["error_type"]) == ("ValueError", "general_error")


@pytest.mark.covers("OPS-4")
def test_nothing_is_logged_per_message(shop: Project) -> None:
    """Ten times the messages, the same log."""
    sizes: list[int] = []
    for count in (20, 200):
        place(shop, *map(str, range(count)))
        sizes.append(len(shop.start("run", "--until-idle").end().err.splitlines()))
    assert sizes[0] == sizes[1]


@pytest.mark.covers("OPS-4")
def test_the_log_level_is_an_option(shop: Project) -> None:
    """Warnings and above only, when told so; a level that does not exist is refused."""
    place(shop, "1")
    assert shop.start("run", "--until-idle", "--log-level", "warning").end().err == ""
    assert "log_level" in shop("run", "--log-level", "loud").err


def test_an_app_that_logs_its_own_way_keeps_it(shop: Project) -> None:
    """Logging that the module has set up is left alone."""
    shop.write(
        "app.py", f"import logging\nlogging.basicConfig(format='MINE %(message)s', level='INFO')\n{SHOP}"
    )
    ending = shop.start("run", "--until-idle").end()
    assert all(line.startswith("MINE ") for line in ending.err.splitlines())
    assert "MINE shop: working group billing" in ending.err


def test_a_progress_bar_is_shown_in_a_terminal_only(shop: Project) -> None:
    """Rate and count while lines are emitted; the summary stays."""
    lines = shop.write("orders.jsonl", "".join(f"{order(str(number))}\n" for number in range(30_000)))
    with Path(lines).open() as source:
        terminal = Terminal(shop, "emit", "order.placed", "-", stdin=source.fileno())
        assert terminal.end() == 0
    assert "Emitting order.placed" in terminal.text
    assert "Emitted 30,000 order.placed in" in terminal.text


def test_errors_are_coloured_in_a_terminal_and_plain_elsewhere(shop: Project) -> None:
    """And the text is the same."""
    terminal = Terminal(shop, "streams", "show", "nothing.here")
    assert terminal.end() == 1
    assert "\x1b[" in terminal.text
    assert "\x1b[" not in shop("streams", "show", "nothing.here").err


def test_failures_are_told_once_in_a_terminal(shop: Project) -> None:
    """`listen` shows each run itself, so that its log is not repeated below."""
    place(shop, "1")
    shop.write("broken", "")
    terminal = Terminal(shop, "listen", "order.placed", "--group", "billing", "--once")
    assert terminal.end() == 0
    assert terminal.text.count("card declined for 1") == 1
