"""The whole demo, as a person runs it: it ends well by itself, and leaves nothing behind however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from penstock.streams.embedded import stop_server

pytestmark = pytest.mark.timeout(180)

_COMMAND = str(Path(sys.executable).with_name("penstock"))


class Demo:
    """A demo that runs; everything it started can be told by a mark in the environment."""

    def __init__(self, temporary: Path, *words: str, **variables: str) -> None:
        self.mark = f"DEMO_UNDER_TEST={uuid.uuid4()}"
        self.temporary = temporary
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            words,
            env=os.environ | variables | {name: value, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed = ""

    def until(self, pattern: str) -> "re.Match[str]":
        """Read on until a line matches."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} was never printed:\n{self.printed}")

    def end(self) -> int:
        """Read the rest, and wait for the end; its exit code."""
        rest, _ = self.process.communicate(timeout=120)
        self.printed += rest
        return self.process.returncode

    def processes(self) -> list[str]:
        """What lives of all it started, its server included."""
        if sys.platform != "linux":
            told = subprocess.run(["/bin/ps", "-axwwE", "-o", "command="], capture_output=True, check=True)
            return [line for line in told.stdout.decode(errors="replace").splitlines() if self.mark in line]
        found: list[str] = []
        for entry in Path("/proc").iterdir():
            # Some of them end while they are looked at.
            with suppress(OSError):
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes().split(
                    b"\0"
                ):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
        return found

    def is_gone(self, *, within_seconds: float = 10.0) -> bool:
        """Whether nothing of it lives any more, at the latest after that time."""
        deadline = time.monotonic() + within_seconds
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@contextmanager
def demo(temporary: Path, *options: str, **variables: str) -> Iterator[Demo]:
    """A demo of a few thousand flights."""
    running = Demo(temporary, _COMMAND, "demo", *options, **variables)
    try:
        yield running
    finally:
        if running.process.returncode is None:
            running.process.terminate()
            running.end()


@pytest.mark.covers("OPS-8", "GROUP-9")
def test_the_demo_ends_well_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    """Events are emitted, a worker is killed and its events are claimed, what failed is mended, the figures are equal.

    Whatever server the environment names is left alone; outside a terminal there are no control characters.
    """
    with demo(tmp_path, "--flights", "3000", PENSTOCK_STREAMS="redis://127.0.0.1:1") as running:
        code = running.end()
    text = running.printed
    assert code == 0, text
    held = re.search(r"kill -9 \d+: delays-1 is gone, and held ([\d,]+) events", text)
    assert held is not None, text
    assert int(held[1].replace(",", "")) > 0
    assert f"delays-2 had claimed all {held[1]} events" in text
    assert "ValueError: hour must be in 0..23" in text
    assert "retried: 1 succeeded; left in the list: 0" in text
    for group in ("board", "delays"):
        assert re.search(rf"group {group} +5,975 emitted, 5,975 counted, 0 left, 0 failed", text), text
    assert re.search(r"^ +equal: 15 carriers and 92 airports", text, re.M), text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert running.is_gone()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interrupted_demo_ends_everything_it_started(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """In the middle of its work a signal ends workers and server, and removes the data."""
    with demo(tmp_path, "--flights", "20000") as running:
        running.until("kill -9|emitted")
        running.process.send_signal(number)
        assert running.end() == code, running.printed
    assert running.is_gone()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_demo_leaves_no_workers(tmp_path: Path) -> None:
    """Workers notice that the demo is gone; the server then ends for want of users, or when it is told to."""
    with demo(tmp_path, "--flights", "20000") as running:
        folder = Path(running.until(r"started for this in (\S+)")[1])
        running.until("emitted")
        running.process.kill()
        running.end()
    try:
        deadline = time.monotonic() + 20
        while any("penstock.demo.worker" in each for each in running.processes()):
            assert time.monotonic() < deadline, running.processes()
            time.sleep(0.02)
    finally:
        stop_server(folder / ".penstock")
    assert running.is_gone()


def test_a_worker_that_ends_by_itself_ends_the_demo(tmp_path: Path) -> None:
    """What it wrote last is shown, the exit code says that the demo failed, and nothing is left."""
    with demo(tmp_path, "--flights", "20000") as running:
        pid = int(running.until(r"board-1 +process (\d+)")[1])
        running.until("emitted")
        os.kill(pid, signal.SIGKILL)
        assert running.end() == 1, running.printed
    assert "the worker board-1 ended by itself with code -9" in running.printed.replace("\n", " ").lower()
    assert running.is_gone()
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_stays_can_be_looked_at(tmp_path: Path) -> None:
    """With --stay the server goes on, and commands in the demo's folder speak to it, until Ctrl-C."""
    with demo(tmp_path, "--flights", "1000", "--stay") as running:
        folder = running.until(r"^ +cd (\S+)")[1]
        for command, expected in (
            ("groups list", "delays"),
            ("listeners list", "show_arrivals"),
        ):
            done = subprocess.run(
                [_COMMAND, *command.split()],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert expected in done.stdout
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 0, running.printed
    assert running.is_gone()


def test_too_few_flights_are_refused(tmp_path: Path) -> None:
    """The first flight that lands at midnight is the 818th; without it there is nothing to mend."""
    with demo(tmp_path, "--flights", "999") as running:
        assert running.end() != 0
    assert "at least 1000" in running.printed
