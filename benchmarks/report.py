"""A run as text for a terminal."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from benchmarks.contenders import OURS
from benchmarks.results import NOISE, Goal, Judgement, Report, Table, Verdict

__all__ = ["as_text"]

_WIDTH: Final = 110


def as_text(report: Report) -> str:
    """The machine, a table for each figure, the goals, and who did not take part."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield from wrap("; ".join(f"{name}: {value}" for name, value in report.machine.items()), _WIDTH)
    extent = "a quick run, one round: an impression" if report.quick else f"medians of {report.rounds} rounds"
    yield f"{extent}; differences under {NOISE:.0%} mean nothing"
    for table in report.tables:
        yield ""
        yield from _table(table)
    if report.judgements:
        yield ""
        yield from _goals(report.judgements)
    if report.absent:
        yield ""
        yield "Not measured"
        yield from (f"  {name}: {reason}" for name, reason in report.absent.items())
    if report.failures:
        yield ""
        yield "Failed"
        yield from (f"  {what}: {reason}" for what, reason in report.failures.items())


def _table(table: Table) -> Iterator[str]:
    better = "more" if table.higher_is_better else "less"
    yield f"{table.figure}  {table.title} ({table.unit}, {better} is better)"
    if not table.series:
        yield "  nobody was measured"
        return
    first, ours = table.series[0], table.median_of(OURS)
    rows = [("", table.unit, "lowest", "highest", f"x {first.contender}", f"{OURS} x this")]
    rows += [
        (
            series.contender,
            _number(series.median),
            _number(min(series.rounds)),
            _number(max(series.rounds)),
            f"{series.median / first.median:.2f}",
            f"{ours / series.median:.2f}" if ours else "-",
        )
        for series in table.series
    ]
    yield from _columns(rows)


def _goals(judgements: Sequence[Judgement]) -> Iterator[str]:
    yield f"Goals: {OURS} against each"
    rows = [("figure", "against", "goal", "found", "")]
    rows += [
        (
            judgement.goal.figure,
            judgement.goal.against,
            _bound(judgement.goal),
            "-" if judgement.ratio is None else f"{judgement.ratio:.2f}",
            judgement.verdict + (f" ({judgement.reason})" if judgement.reason else ""),
        )
        for judgement in judgements
    ]
    yield from _columns(rows, left=(0, 1, 4))
    met = sum(judgement.verdict is Verdict.MET for judgement in judgements)
    measured = sum(judgement.verdict is not Verdict.NOT_MEASURED for judgement in judgements)
    yield f"  {met} of {measured} measured goals met"


def _bound(goal: Goal) -> str:
    return f"{'>=' if goal.at_least else '<='} {goal.bound:g} x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def _columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
