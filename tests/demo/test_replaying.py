"""The demo of a replay, as a person runs it; and its reader's log, which would show what went wrong."""

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.demo.replaying.reading import Read, summed
from tests.demo.test_demo import Demo

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Demo]:
    """The demo with a thousand flights, on SQLite."""
    words = (sys.executable, "-m", "penstock.demo.replaying", "--flights", "1000")
    running = Demo(tmp_path, *words, PENSTOCK_STORE="postgresql://127.0.0.1:1/nowhere")
    try:
        yield running
    finally:
        if running.process.returncode is None:
            running.process.terminate()
            running.end()


@pytest.mark.covers("ZDT-10", "ZDT-12", "LEAD-2")
def test_a_column_is_added_while_a_reader_reads(small: Demo, tmp_path: Path) -> None:
    """Built, followed, verified, promoted, rolled back, promoted again: the reader sees nothing but the column.

    It ends by itself with figures that are those of the table, and leaves no process and no file.
    """
    code = small.end()
    text = small.printed
    assert code == 0, text
    for said in ("promoted at position", "rolled back at position", "promoted again at position"):
        assert said in text
    reads = re.search(r"the reader read ([\d,]+) times, .* saw the column come or go 3 times", text)
    assert reads is not None, text
    assert int(reads[1].replace(",", "")) > 50
    assert "no error, nothing torn, and never fewer flights than before" in text
    assert re.search(r"equal: [\d,]+ flights", text)
    assert small.is_gone()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_leaves_nothing(small: Demo, tmp_path: Path) -> None:
    """In the middle of its work a signal ends all processes, and removes the data."""
    small.until("reads both together")
    small.process.send_signal(signal.SIGINT)
    assert small.end() == 130, small.printed
    assert small.is_gone()
    assert list(tmp_path.iterdir()) == []


def test_the_log_shows_what_a_reader_would_have_noticed() -> None:
    """An error, a sum that does not fit, a column in one table only, fewer flights than before: each is told."""
    clean = [Read(0.0, 5, 5), Read(0.1, 7, 7), Read(0.4, 7, 7, True, True), Read(0.5, 9, 9)]
    found = summed(clean)
    assert found.is_clean
    assert (found.count, found.switches) == (4, 2)
    assert found.longest_pause == pytest.approx(0.3)
    for fault in (
        Read(0.6, error="OperationalError: no such table"),
        Read(0.6, 10, 9),
        Read(0.6, 10, 10, True, False),
        Read(0.6, 8, 8),
    ):
        assert not summed([*clean, fault]).is_clean
