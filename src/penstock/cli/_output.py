"""What the commands print: tables and sentences for people, documents for programs; notes and logs go to stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from penstock.cli._plain import json_text, plain

__all__ = ["Column", "Output", "ago", "clean", "clock_time", "forget_stdout", "short_duration"]

T = TypeVar("T")

FORMAT: Final = 1
_WIDE = 500
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `narrow` ones are never folded."""

    title: str
    right: bool = False
    narrow: bool = True
    style: str = ""


@dataclass
class Output:
    """Where one command speaks. In JSON mode stdout carries documents and nothing else."""

    command: str
    json: bool = False
    _stdout: Console = field(init=False)
    _stderr: Console = field(init=False)

    def __post_init__(self) -> None:
        self._stdout = _console(stderr=False)
        self._stderr = _console(stderr=True)

    # -- for programs -------------------------------------------------------------------------------------------

    def document(self, *, following: str | None = None, **facts: object) -> None:
        """The one document of a command that ends."""
        self._write({"penstock": FORMAT, "command": self.command, **facts, "next": following})

    def error_document(self, error: dict[str, Any]) -> None:
        """The document of a command that was refused or failed."""
        self._write({"penstock": FORMAT, "command": self.command, "error": error})

    def line(self, **facts: object) -> None:
        """One object of an endless command."""
        self._write({"penstock": FORMAT, "command": self.command, **facts}, indented=False)

    def _write(self, document: dict[str, object], *, indented: bool = True) -> None:
        indent = 2 if indented and sys.stdout.isatty() else 0
        sys.stdout.write(json_text(document, indent=indent) + "\n")
        sys.stdout.flush()

    # -- for people ---------------------------------------------------------------------------------------------

    def say(self, text: str | Text = "", style: str = "") -> None:
        """A line on stdout, for people only."""
        if not self.json:
            shown = Text(clean(text), style=style) if isinstance(text, str) else text
            self._stdout.print(shown, soft_wrap=True)

    def note(self, text: str | Text, style: str = "dim") -> None:
        """A line on stderr, for people only: what they may want to know besides the answer."""
        if not self.json:
            shown = Text(clean(text), style=style) if isinstance(text, str) else text
            self._stderr.print(shown, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A warning on stderr, also in JSON mode."""
        self._stderr.print(Text.assemble(("Warning: ", "yellow"), clean(text)), soft_wrap=True)

    def error(self, text: Text) -> None:
        """An error, for people, on stderr."""
        self._stderr.print(text, soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
        """A table, for people only. What does not fit is folded, never cut."""
        if self.json:
            return
        boxed = box.SIMPLE_HEAD if self._stdout.is_terminal else None
        table = Table(box=boxed, pad_edge=False, header_style="bold", show_edge=False)
        for column in columns:
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=column.narrow,
                overflow="fold",
                style=column.style,
            )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
        self._print_table(table)

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values below each other, for people only. A terminal wraps what is long, nothing is cut."""
        if self.json:
            return
        pairs = list(pairs)
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            first, *others = _cell(value).splitlines() or [""]
            self.say(Text.assemble((name.ljust(width), "bold"), "  ", first))
            for line in others:
                self.say(" " * (width + 2) + line)

    def in_full(self, found: Sequence[T], show: "Callable[[Output, T], None]") -> None:
        """Each of *found* as *show* shows it, a blank line between two; with ``--json`` the one document."""
        if self.json:
            self.document(items=found)
            return
        for number, each in enumerate(found):
            if number:
                self.say()
            show(self, each)

    def _print_table(self, table: Table) -> None:
        if self._stdout.is_terminal:
            self._stdout.print(table)
            return
        with self._stdout.capture() as drawn:
            self._stdout.print(table)
        lines = [line.rstrip() for line in drawn.get().splitlines()]
        sys.stdout.write("\n".join(lines) + "\n")

    @contextmanager
    def progress(self, what: str, *, total: int | None, of_bytes: bool = False) -> Iterator["Advance"]:
        """A bar on stderr while the block runs, if a person is there to see it."""
        if self.json or not self._stderr.is_terminal:
            yield Advance()
            return
        columns = (
            (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            if total is not None
            else (SpinnerColumn(),)
        )
        counted = () if total is None else ((DownloadColumn(),) if of_bytes else (MofNCompleteColumn(),))
        with Progress(
            TextColumn("{task.description}"),
            *columns,
            *counted,
            TextColumn("[dim]{task.fields[rate]}"),
            console=self._stderr,
            transient=True,
        ) as shown:
            yield Advance(shown, shown.add_task(what, total=total, rate=""))


@dataclass
class Advance:
    """A progress bar, or nothing at all."""

    _progress: Progress | None = None
    _task: Any = None

    def to(self, done: int, note: str, *, total: int | None = None) -> None:
        """Show how far it has come, and of how much, where that has changed."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, rate=note)


def forget_stdout() -> None:
    """Whoever read us has had enough: what is still to be written, also at the end, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to whoever runs the command: a reader that has had enough is no failure of ours."""
        raise  # noqa: PLE0704  called where the error is handled


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Where a program reads, a row stays on its line, whatever the terminal around it is like.
    width = None if stream.isatty() else _WIDE
    return _Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def clean(text: str) -> str:
    """*text* with control characters made visible: what comes from a stream must not drive a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return clock_time(value)
        case _:
            return clean(str(plain(value)))


def clock_time(time: datetime) -> str:
    """A time for people, in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def short_duration(seconds: float | None) -> str:
    """A duration for people: its two largest units."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days:,}d {hours}h"
    return f"{hours}h {minutes}min" if hours else f"{minutes}min {rest}s"


def ago(time: datetime | None, now: datetime | None = None) -> str:
    """How long since a time."""
    if time is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    return f"{short_duration(seconds)} ago" if seconds >= 0 else f"in {short_duration(-seconds)}"
