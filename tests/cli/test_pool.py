"""How many workers a pool wants, for every course of the backlog."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli._errors import WrongUsage
from penstock.cli._pool import Bounds, Sizing


@pytest.mark.parametrize(
    ("text", "bounds"), [("4", Bounds(4, 4)), ("2-8", Bounds(2, 8)), (" 2..8 ", Bounds(2, 8))]
)
def test_bounds_are_a_number_or_two(text: str, bounds: Bounds) -> None:
    """One number keeps the pool as it is."""
    assert Bounds.parse(text) == bounds
    assert bounds.is_range == (bounds.least != bounds.most)


@pytest.mark.parametrize("text", ["", "x", "0", "0-2", "3-2", "1-", "-1", "1-100000", "1.5"])
def test_other_bounds_are_refused(text: str) -> None:
    """The error says how they are written."""
    with pytest.raises(WrongUsage):
        Bounds.parse(text)


@pytest.mark.covers("GROUP-16")
@given(
    least=st.integers(1, 4),
    more=st.integers(0, 6),
    looks=st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 5)), max_size=60),
)
def test_a_pool_stays_within_its_bounds(least: int, more: int, looks: list[tuple[int, float]]) -> None:
    """It never shrinks while something waits, nor grows while nothing does, and moves down one at a time."""
    sizing = Sizing(Bounds(least, least + more), idle=timedelta(seconds=3))
    size, now = least, 0.0
    for backlog, seconds in looks:
        now += seconds
        wanted = sizing.next_size(size, backlog, now)
        assert least <= wanted <= least + more
        assert wanted >= size if backlog else size - 1 <= wanted <= size
        size = wanted


def test_a_backlog_that_lasts_fills_the_pool_and_rest_empties_it() -> None:
    """A single look at waiting events changes nothing; each further one adds half, and each idle time takes one."""
    sizing = Sizing(Bounds(1, 8), idle=timedelta(seconds=3))
    sizes, size = [], 1
    for now in range(6):
        size = sizing.next_size(size, 5, now)
        sizes.append(size)
    for now in range(6, 16):
        size = sizing.next_size(size, 0, now)
        sizes.append(size)
    assert sizes == [1, 2, 3, 4, 6, 8, 8, 8, 8, 7, 7, 7, 6, 6, 6, 5]
