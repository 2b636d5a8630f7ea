"""``penstock replays diff``: what two versions of a projection make of the same events, before either is deployed."""

import asyncio
import contextlib
import sys
from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, REFUSED, NotCompared, Refusal, explain
from penstock.cli._output import Output, short_duration
from penstock.cli._replays import NOUN
from penstock.errors import PenstockError
from penstock.operations import (
    BUILD_SIDE,
    Chosen,
    Comparison,
    Difference,
    RowDifference,
    TableDifference,
    compare_versions,
    read_request,
    serve_request,
    write_failure,
)

__all__ = ["count_of", "diff_replay", "difference_shown", "rows_shown"]

_KINDS: Final = {"missing": "only before", "surplus": "only after", "changed": "changed"}


@NOUN.verb("diff")
async def diff_replay(
    cli: Cli,
    projections: Annotated[list[str], typer.Argument(metavar="PROJECTION...", help="One or several.")],
    before: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="REVISION_OR_APP",
            help="A revision of git, MODULE:APP, projection:NAME, or . for the app as it is here.",
        ),
    ] = "HEAD",
    after: Annotated[
        str,
        typer.Option("--to", metavar="REVISION_OR_APP", help="What to compare with; the app as it is here."),
    ] = ".",
    store: Annotated[
        str, typer.Option("--store", metavar="NAME", help="The store that has the events.")
    ] = "",
    events: Annotated[
        str,
        typer.Option("--events", metavar="FILE", help="Events of a file that `penstock store export` wrote."),
    ] = "",
    sample: Annotated[
        float | None,
        typer.Option("--sample", metavar="SHARE", help="All events of a share of the keys: 0.1 is a tenth."),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--keys", metavar="KEY", help="Only events of this key; may be given again."),
    ] = None,
    through: Annotated[
        int | None, typer.Option("--through", metavar="POSITION", min=1, help="Only events up to here.")
    ] = None,
    build_in: Annotated[
        str,
        typer.Option(
            "--in", metavar="URL", help="A PostgreSQL database to build in, in place of SQLite files."
        ),
    ] = "",
    rows: Annotated[
        int,
        typer.Option("--rows", metavar="NUMBER", min=0, help="So many differing rows of a table are shown."),
    ] = 20,
    rows_only: Annotated[
        bool,
        typer.Option("--rows-only", help="Tables and columns that one side has alone are no difference."),
    ] = False,
) -> int:
    """Compare what two versions make of the same events. Exit code 0: equal, 1: differences, 2: not compared."""
    comparison = Comparison(
        tuple(projections),
        before,
        after,
        store=store,
        events=events,
        chosen=Chosen(through or 0, sample=sample, keys=tuple(keys or ())),
        build_in=build_in,
        rows=rows,
        app=cli.options.app or "",
        config=str(cli.options.config.absolute()) if cli.options.config is not None else "",
    )
    try:
        app = cli.app()
        async with cli.operations(app):
            with cli.out.progress("Comparing", total=None) as bar:
                found = await compare_versions(app, comparison, say=lambda text: bar.to(0, text))
    except (PenstockError, Refusal) as failure:
        raise NotCompared(failure) from failure
    is_equal = found.has_equal_rows if rows_only else found.is_equal
    if cli.out.json:
        cli.out.document(
            equal=is_equal,
            before=found.before,
            after=found.after,
            through=found.through,
            differing=found.differing,
            tables=found.tables,
            only_before=found.only_before,
            only_after=found.only_after,
            other_types=found.other_types,
        )
    else:
        difference_shown(cli.out, found)
    return DONE if is_equal else REFUSED


def difference_shown(out: Output, found: Difference) -> None:
    """What is not the same, for people."""
    before, after = found.before, found.after
    seconds = max(before.took, after.took).total_seconds()
    out.say(
        f"{before.shown} and {after.shown}: {count_of(before.events, 'event')} up to position {found.through:,} "
        f"in {short_duration(seconds)}"
    )
    if before.events != after.events:
        out.say(f"  {after.shown} handles {count_of(after.events, 'event')} of them")
    rows_shown(out, found)


def rows_shown(out: Output, found: Difference) -> None:
    """What is not the same, without what was compared."""
    before, after = found.before, found.after
    if before.put_aside or after.put_aside:
        out.say(f"  events that could not be handled: {before.put_aside:,}, then {after.put_aside:,}")
    for name in found.only_before:
        out.say(f"  table {name}: only before", style="yellow")
    for name in found.only_after:
        out.say(f"  table {name}: only after", style="yellow")
    for text in found.other_types:
        out.say(f"  column {text}", style="yellow")
    for table in found.tables:
        _table_shown(out, table)
    out.say("No differences" if found.is_equal else _verdict(found), style="" if found.is_equal else "red")


def _verdict(found: Difference) -> str:
    rows = _differ(count_of(found.differing, "row"), found.differing)
    if found.has_equal_rows:
        return "The rows are the same; tables or columns are not"
    return rows if found.differing else "Differences"


def _table_shown(out: Output, table: TableDifference) -> None:
    sizes = (
        f"{count_of(table.live_rows, 'row')}, then {table.copy_rows:,}"
        if table.live_rows != table.copy_rows
        else count_of(table.live_rows, "row")
    )
    what = (
        _differ(f"{table.differing:,}", table.differing)
        if table.differing
        else "equal"
        if table.is_equal
        else "differ"
    )
    out.say(f"  table {table.table}: {sizes}, {what}")
    for when, columns in (("before", table.only_live), ("after", table.only_copy)):
        if columns:
            out.say(f"    only {when}: column {', '.join(columns)}", style="yellow")
    if table.note:
        out.say(f"    {table.note}", style="dim")
    for row in table.rows:
        out.say(f"    {_row(row)}")
    if len(table.rows) < table.differing:
        out.say(f"    ... and {table.differing - len(table.rows):,} more", style="dim")


def _row(row: RowDifference) -> str:
    key = ", ".join(f"{name} {value!r}" for name, value in row.key.items())
    columns = ", ".join(f"{name} {live!r}, then {copy!r}" for name, (live, copy) in row.columns.items())
    return f"{key}: {columns}" if columns else f"{key}: {_KINDS[row.kind]}"


def _differ(what: str, number: int) -> str:
    return f"{what} {'differs' if number == 1 else 'differ'}"


def count_of(number: int, what: str) -> str:
    """So many of something, for people."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@NOUN.alias(BUILD_SIDE)
async def build_side(cli: Cli) -> None:
    """Build one side of a comparison, as the line on standard input says; `penstock replays diff` calls it."""
    request = read_request(sys.stdin.buffer.readline())
    try:
        app = cli.app()
        _ = app.projections
    except (PenstockError, Refusal) as failure:
        write_failure(request, explain(failure).message)
        return
    async with cli.operations(app):
        _end_with_asker()
        await serve_request(app, request)


def _end_with_asker() -> None:
    """Have this task cancelled when whoever asked is gone: then nobody holds the other end of standard input."""
    loop, task, asker = asyncio.get_running_loop(), asyncio.current_task(), sys.stdin.fileno()
    assert task is not None

    def ended() -> None:
        loop.remove_reader(asker)
        task.cancel()

    # Linux cannot wait for a file or /dev/null like this (PermissionError), which has no other end that could go away,
    # and the event loop of Windows for no pipe (NotImplementedError): there the side is built to its end.
    with contextlib.suppress(NotImplementedError, PermissionError):
        loop.add_reader(asker, ended)
