"""What the demo shows: bars and tables in a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Bars", "Screen"]

_PLAIN_EVERY_SECONDS = 2.0
_PLAIN_WIDTH = 110


class Bars(Protocol):
    """Several counts on their way to a total."""

    def show(self, **done: int) -> None:
        """How far each named count has come."""


class Screen:
    """Where the demo tells its story."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self._console = (
            console
            if self._is_live
            else Console(highlight=False, no_color=True, force_terminal=False, width=_PLAIN_WIDTH)
        )
        self._step = 0

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print(text, style="bold", markup=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """The next numbered step."""
        self._step += 1
        self._console.print()
        self._console.print(f"{self._step}. {text}", style="bold cyan", markup=False, soft_wrap=True)

    def say(self, text: str, *, style: str = "") -> None:
        """A line below the present step."""
        for line in text.splitlines():
            self._console.print(f"   {line}", style=style, markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; columns whose name ends in a blank are aligned to the left, all others to the right."""
        table = Table(box=box.SIMPLE, pad_edge=False)
        for column in columns:
            table.add_column(
                column.strip(), justify="left" if column.endswith(" ") else "right", overflow="fold"
            )
        for row in rows:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
        self._console.print(table)

    @contextmanager
    def bars(self, total: int, *names: str) -> Iterator[Bars]:
        """A bar for each name, all with the same total."""
        if not self._is_live:
            yield _Lines(self, total)
            return
        columns = (
            TextColumn("   {task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            yield _Live(progress, {name: progress.add_task(name, total=total, rate="") for name in names})


class _Live:
    def __init__(self, progress: Progress, tasks: dict[str, TaskID]) -> None:
        self._progress = progress
        self._tasks = tasks
        self._began = time.monotonic()

    def show(self, **done: int) -> None:
        seconds = time.monotonic() - self._began
        for name, count in done.items():
            task = next(each for each in self._progress.tasks if each.id == self._tasks[name])
            # Once all is done the average stands still.
            rate = task.fields["rate"] if task.finished else f"{count / max(seconds, 0.001):,.0f}/s"
            self._progress.update(self._tasks[name], completed=count, rate=rate)


class _Lines:
    def __init__(self, screen: Screen, total: int) -> None:
        self._screen = screen
        self._total = total
        self._began = self._shown = time.monotonic()

    def show(self, **done: int) -> None:
        now = time.monotonic()
        is_over = all(count >= self._total for count in done.values())
        if not is_over and now - self._shown < _PLAIN_EVERY_SECONDS:
            return
        self._shown = now
        counts = ", ".join(f"{name} {count:,}" for name, count in done.items())
        self._screen.say(f"{now - self._began:5.1f} s: {counts} of {self._total:,}")
