"""How much one transaction of a shadow table takes: as much as a disk does in a few milliseconds, fast or slow."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from penstock.replays._sqlite import _shadows
from penstock.replays._sqlite._shadows import Pace


class Disk:
    """A disk on which a row takes some time, and the clock beside it."""

    def __init__(self, row_seconds: float) -> None:
        self.row_seconds = row_seconds
        self.now = 0.0
        self.rests: list[float] = []

    def monotonic(self) -> float:
        """What time it is."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Others have the file."""
        self.rests.append(seconds)
        self.now += seconds

    def write(self, pace: Pace, steps: int) -> list[float]:
        """Take what it gives; for how long each transaction kept others out."""
        held: list[float] = []
        for _ in range(steps):
            with pace.step(nullcontext(None)) as (_, rows):
                self.now += rows * self.row_seconds
                held.append(rows * self.row_seconds)
        return held


@pytest.fixture
def disk_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Disk]:
    """Makes disks."""

    def made(row_seconds: float) -> Disk:
        disk = Disk(row_seconds)
        monkeypatch.setattr(_shadows, "time", disk)
        return disk

    return made


@pytest.mark.covers("ZDT-10")
@pytest.mark.parametrize("row_seconds", [0.000_001, 0.000_02, 0.000_2])
def test_a_transaction_keeps_others_out_for_milliseconds(
    disk_of: Callable[[float], Disk], row_seconds: float
) -> None:
    """Whatever a row takes, after a few of them; and others have the file for as long as they waited."""
    disk = disk_of(row_seconds)
    held = disk.write(Pace(), 40)
    assert max(held[10:]) <= 0.021
    # On a disk that is as fast as that, more rows would take more memory and not less time.
    assert min(held[10:]) >= 0.001
    assert disk.rests == pytest.approx(held)


@pytest.mark.covers("ZDT-10")
def test_a_disk_that_gets_slow_is_noticed_within_a_few_steps(disk_of: Callable[[float], Disk]) -> None:
    """It goes down to a few rows at a time, never to none, and up again when the disk is what it was."""
    pace, disk = Pace(), disk_of(0.000_001)
    disk.write(pace, 20)
    disk.row_seconds = 0.005
    held = disk.write(pace, 12)
    assert held[-1] == pytest.approx(20 * 0.005)
    assert max(disk.rests) <= 0.1
    disk.row_seconds = 0.000_001
    held = disk.write(pace, 20)
    assert held[-1] >= 0.004
