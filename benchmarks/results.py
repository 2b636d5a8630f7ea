"""What a run found, as it is printed, drawn, and written as JSON."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import Final

import msgspec

__all__ = ["NOISE", "Goal", "Judgement", "Report", "Series", "Table", "Verdict", "judge", "table_of"]

NOISE: Final = 0.15
"""Differences smaller than this mean nothing on a shared machine."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One contender's values, one a round."""

    contender: str
    rounds: list[float]

    @property
    def median(self) -> float:
        """The value that counts."""
        return median(self.rounds)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a quantity measured for several contenders, the raw loop first."""

    figure: str
    title: str
    unit: str
    higher_is_better: bool
    series: list[Series]

    def median_of(self, contender: str) -> float | None:
        """The contender's median, None if it has none."""
        return next((series.median for series in self.series if series.contender == contender), None)


def table_of(figure: str, title: str, found: Mapping[str, Sequence[float]], unit: str = "events/s") -> Table:
    """The table of a figure by contender; whoever has no round is left out. Only of rates more is better."""
    series = [Series(contender=name, rounds=[*rounds]) for name, rounds in found.items() if rounds]
    return Table(figure=figure, title=title, unit=unit, higher_is_better=unit == "events/s", series=series)


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound on a ratio of two medians of one table: our own over another's."""

    figure: str
    ours: str
    against: str
    bound: float
    at_least: bool


class Verdict(StrEnum):
    """What became of a goal."""

    MET = "met"
    WITHIN_NOISE = "missed, within noise"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A goal beside the ratio that was found."""

    goal: Goal
    ratio: float | None
    verdict: Verdict
    reason: str = ""
    """Why there is no ratio."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    machine: dict[str, str]
    quick: bool
    rounds: int
    tables: list[Table]
    judgements: list[Judgement]
    absent: dict[str, str]
    """Contenders that did not take part, with the reason."""
    failures: dict[str, str]


def judge(goal: Goal, tables: dict[str, Table], absent: dict[str, str]) -> Judgement:
    """Compare a goal with what was measured."""
    table = tables[goal.figure]
    ours, theirs = table.median_of(goal.ours), table.median_of(goal.against)
    if ours is None or theirs is None:
        lacking = goal.ours if ours is None else goal.against
        reason = f"{lacking}: {absent.get(lacking, 'has no figure')}"
        return Judgement(goal=goal, ratio=None, verdict=Verdict.NOT_MEASURED, reason=reason)
    ratio = ours / theirs
    # How much of the goal was reached: 1 or more is all of it, whichever way the bound points.
    reached = ratio / goal.bound if goal.at_least else goal.bound / ratio
    verdict = (
        Verdict.MET if reached >= 1 else Verdict.WITHIN_NOISE if reached >= 1 - NOISE else Verdict.MISSED
    )
    return Judgement(goal=goal, ratio=ratio, verdict=verdict)
