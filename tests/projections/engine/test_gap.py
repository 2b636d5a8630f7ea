"""Others get to write beside a long catch-up."""

import pytest

from penstock.projections._engine import _gap
from penstock.projections._engine._gap import Gap


class Clock:
    """Time that goes by when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let so much go by."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that gaps go by."""
    one = Clock()
    monkeypatch.setattr(_gap, "time", one)
    return one


def test_pages_leave_a_tenth_of_their_time_to_others(clock: Clock) -> None:
    """On SQLite, where one writes at a time; no gap is so short that nobody could use it, or keeps a run for long."""
    gap = Gap(owes=True)
    for _ in range(100):
        began = clock.now
        clock.now += 0.01
        gap.after(began)
    assert sum(clock.slept) == pytest.approx(0.1)
    assert min(clock.slept) >= 0.002
    gap = Gap(owes=True)
    clock.slept.clear()
    began = clock.now
    clock.now += 10
    gap.after(began)
    assert clock.slept == [0.01], "one page leaves one gap"


def test_the_time_between_two_pages_is_theirs_as_well(clock: Clock) -> None:
    """While the next page is read others can write: a run that reads for long enough never sleeps."""
    gap = Gap(owes=True)
    for _ in range(100):
        began = clock.now
        clock.now += 0.01
        gap.after(began)
        clock.now += 0.001
    assert clock.slept == []
    for _ in range(100):
        began = clock.now
        clock.now += 0.01
        gap.after(began)
        clock.now += 0.0005
    assert 0 < sum(clock.slept) < 0.1


def test_on_postgresql_nobody_has_to_make_room(clock: Clock) -> None:
    """Writers do not wait for each other there."""
    gap = Gap(owes=False)
    clock.now += 10
    gap.after(0.0)
    assert clock.slept == []
