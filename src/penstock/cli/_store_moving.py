"""``penstock store export`` and ``import``: events out of a store as lines, and into one."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
import typer

from penstock.cli._accounts import code_of
from penstock.cli._cli import Cli
from penstock.cli._errors import PARTIAL, Refusal, WrongUsage
from penstock.cli._lines import numbered, read_lines, standard_input
from penstock.cli._output import Output
from penstock.cli._store import NOUN, Store, filter_of
from penstock.operations import EventFilter, Imported, Operations

__all__ = ["export_events", "import_events"]

_LONGEST_LINE = 64 * 1024 * 1024
_TAIL = 64 * 1024

_Streams = Annotated[
    list[str] | None,
    typer.Option("--stream", metavar="STREAM", help="Only of this event stream; may be given again."),
]


# -- out ------------------------------------------------------------------------------------------------------------


@NOUN.verb("export")
async def export_events(
    cli: Cli,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Where to; - is standard output.")],
    stream: _Streams = None,
    category: Annotated[
        list[str] | None,
        typer.Option("--category", metavar="CATEGORY", help="Only of this category; may be given again."),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="POSITION", min=0, help="Only events above this position."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last event that the file has.")
    ] = False,
    store: Store = "local",
) -> None:
    """Write events as JSON, one a line with its whole envelope, up to what can be read now."""
    which = filter_of(stream, category)
    async with cli.operations() as operations:
        if file == "-":
            if resume or cli.out.json:
                raise WrongUsage("--resume and --json need a file; standard output has the events")
            if sys.__stdout__ is None:
                raise Refusal("standard output is closed", remedy="name a file")
            await _export(cli.out, operations, which, store, after or 0, sys.stdout.buffer)
            return
        if resume and after is not None:
            raise WrongUsage(
                "--resume goes on where the file ends, and --after names a place; give one of them"
            )
        await operations.stores.streams(store, limit=1)  # one that cannot be read leaves no file behind
        begin, target = _opened(Path(file), resume=resume, after=after or 0)
        try:
            with target:
                events, through = await _export(cli.out, operations, which, store, begin, target)
                os.fsync(target.fileno())
        except OSError as failure:
            raise Refusal(
                f"{file} cannot be written: {failure.strerror or failure}",
                remedy="make room, then let --resume go on after its last event",
                code=PARTIAL,
            ) from failure
    if cli.out.json:
        cli.out.document(file=file, events=events, after=begin, through=through)
    cli.out.say(f"Exported {_events(events)} to {file}, up to position {through:,}")


async def _export(
    out: Output, operations: Operations, which: EventFilter, store: str, after: int, target: BinaryIO
) -> tuple[int, int]:
    """How many events were written, and how far that is."""
    events, begin = 0, after
    pages = operations.stores.export(store, which, after=after)
    with out.progress("Exporting", total=None) as bar:
        async with aclosing(pages):
            async for page in pages:
                target.writelines(page.lines)
                events, after = events + len(page.lines), page.through
                bar.to(after - begin, f"{events:,} events, position {after:,} of {page.horizon:,}")
        target.flush()
    return events, after


def _opened(path: Path, *, resume: bool, after: int) -> tuple[int, BinaryIO]:
    """Where to begin, and the file to write to. Raises `Refusal`."""
    if not path.exists():
        return after, _open(path, "xb")
    if not path.is_file():
        raise Refusal(f"{path} is no file", remedy="name a file, or - for standard output")
    if not resume:
        raise Refusal(
            f"{path} is there already", remedy="--resume goes on after its last event; or take another name"
        )
    return _last_position(path), _open(path, "ab")


def _open(path: str | Path, mode: Literal["rb", "xb", "ab"]) -> BinaryIO:
    try:
        return open(path, mode, buffering=0) if mode == "rb" else open(path, mode)
    except OSError as failure:
        raise Refusal(f"{path} cannot be opened: {failure.strerror}", remedy="name another file") from failure


def _last_position(path: Path) -> int:
    """The position of a file's last event; a line that was cut off is taken away. Raises `Refusal`."""
    with path.open("r+b") as file:
        end = _end_of_lines(file)
        file.truncate(end)
        begin = _begin_of_last_line(file, end)
        file.seek(begin)
        text = file.read(end - begin)
    if not text:
        return 0
    try:
        position = msgspec.json.decode(text, type=dict[str, object])["position"]
    except (msgspec.MsgspecError, KeyError):
        position = None
    if not isinstance(position, int):
        raise Refusal(
            f"the last line of {path} is no exported event", remedy="name a file that an export wrote"
        )
    return position


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    return _last_break(file, file.seek(0, os.SEEK_END))


def _begin_of_last_line(file: BinaryIO, end: int) -> int:
    return _last_break(file, end - 1) if end else 0


def _last_break(file: BinaryIO, before: int) -> int:
    """The place after the last line break below *before*; 0 without one."""
    while before > 0:
        begin = max(0, before - _TAIL)
        file.seek(begin)
        found = file.read(before - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        before = begin
    return 0


# -- in -------------------------------------------------------------------------------------------------------------


@NOUN.verb("import")
async def import_events(
    cli: Cli,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="What an export wrote; - is standard input.")
    ] = None,
    prooph: Annotated[
        str | None,
        typer.Option(
            "--prooph", metavar="URL", help="A PostgreSQL database that prooph's event store filled."
        ),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(
            "--stream", metavar="STREAM", help="With --prooph: only this stream or table; may be given again."
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Pass over what cannot be imported, and go on.")
    ] = False,
    store: Store = "local",
) -> int:
    """Append events from elsewhere, in their order; those that the store has already, by their ids, are passed over."""
    if (file is None) == (prooph is None):
        raise WrongUsage("name a file, or - for standard input, or a database by --prooph URL")
    if stream and prooph is None:
        raise WrongUsage("--stream chooses from a database; it needs --prooph")
    async with cli.operations(waits=True) as operations:
        with cli.out.progress("Importing", total=None) as bar:

            def show(account: Imported) -> None:
                bar.to(account.appended, f"{account.appended:,} events, {account.known:,} known")

            if prooph is not None:
                account = await operations.stores.import_prooph(
                    prooph, stream or (), store, skip_bad=skip_bad, on_progress=show
                )
            else:
                account = await operations.stores.import_lines(
                    _lines(file or "-"), store, skip_bad=skip_bad, on_progress=show
                )
    return _tell(cli.out, account)


async def _lines(file: str) -> AsyncIterator[Sequence[tuple[int, bytes | None]]]:
    if file == "-":
        async for lines in numbered(read_lines(standard_input(), longest=_LONGEST_LINE)):
            yield lines
        return
    with _open(file, "rb") as source:
        async for lines in numbered(read_lines(source, longest=_LONGEST_LINE)):
            yield lines


def _tell(out: Output, account: Imported) -> int:
    if out.json:
        out.document(
            appended=account.appended,
            known=account.known,
            renumbered=account.renumbered,
            bad=account.bad,
            problems=account.problems,
            stopped=account.stopped,
        )
    else:
        for each in account.problems:
            out.note(f"{each.where}: {each.error}", style="red")
        if len(account.problems) < account.bad:
            out.note(f"... and {account.bad - len(account.problems):,} more")
        out.say(_summary(account))
        if account.stopped is not None and not account.bad:
            out.note(f"Stopped: {account.stopped}. Running it again goes on where this ended", style="red")
    return code_of(account.appended + account.known, account.bad, account.stopped)


def _summary(account: Imported) -> str:
    known = f", passed over {account.known:,} that the store had" if account.known else ""
    bad = f", passed over {account.bad:,} bad" if account.bad and account.stopped is None else ""
    stopped = ", then stopped" if account.stopped is not None else ""
    other = (
        f"; {account.renumbered:,} have another number in their stream than where they came from"
        if account.renumbered
        else ""
    )
    return f"Imported {_events(account.appended)}{known}{bad}{stopped}{other}"


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"
