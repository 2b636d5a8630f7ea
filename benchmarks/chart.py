"""A run as a picture: a panel for each figure, a bar for each contender."""

from pathlib import Path

from benchmarks.contenders import OURS
from benchmarks.results import Report

__all__ = ["draw"]


def draw(report: Report, path: Path) -> None:
    """Write the picture to *path*, in the format its suffix names. Raises `ImportError` without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = [table for table in report.tables if table.series]
    columns = 2
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(13, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, table in enumerate(tables, start=1):
        axes = figure.add_subplot(rows, columns, number)
        names = [series.contender for series in reversed(table.series)]
        medians = [series.median for series in reversed(table.series)]
        spread = [
            [series.median - min(series.rounds) for series in reversed(table.series)],
            [max(series.rounds) - series.median for series in reversed(table.series)],
        ]
        colours = ["#c2410c" if name.startswith(OURS) else "#64748b" for name in names]
        axes.barh(names, medians, xerr=spread, color=colours, ecolor="#0f172a", capsize=2)
        better = "more" if table.higher_is_better else "less"
        axes.set_title(f"{table.figure}: {table.title}", fontsize=9, loc="left")
        axes.set_xlabel(f"{table.unit}, {better} is better", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{report.machine['processor']}, {report.machine['cores']} cores, {report.machine['server']}",
        fontsize=9,
    )
    figure.savefig(path)
