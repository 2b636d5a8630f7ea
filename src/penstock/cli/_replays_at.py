"""``penstock replays at``: a read model as it was at a position or a time."""

from typing import Annotated, Any

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, WrongUsage
from penstock.cli._output import Column
from penstock.cli._replays import NOUN
from penstock.cli._replays_diff import count_of, rows_shown
from penstock.operations import Moment, PastTable, ReadModelAt, parse_time, past_read_model

__all__ = ["show_past"]


@NOUN.verb("at")
async def show_past(
    cli: Cli,
    projection: Annotated[str, typer.Argument(metavar="PROJECTION", help="Its name.")],
    position: Annotated[
        int | None,
        typer.Option("--position", metavar="POSITION", min=0, help="After the event at this position."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--time", metavar="TIME", help="After what was recorded by then: 2026-05-03T10:00:00+02:00."
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Made of the events of this key only.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", metavar="SQL", help="Answer this, in place of showing its tables."),
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what is not the same as now.")] = False,
    rows: Annotated[
        int, typer.Option("--rows", metavar="NUMBER", min=0, help="So many rows of a table are shown.")
    ] = 20,
    keep: Annotated[
        str, typer.Option("--keep", metavar="FILE", help="Keep the copy in this SQLite file.")
    ] = "",
    build_in: Annotated[
        str,
        typer.Option(
            "--in", metavar="URL", help="A PostgreSQL database to build in, in place of a SQLite file."
        ),
    ] = "",
) -> int:
    """Show a read model as it was, from a throw-away copy that is made of the events up to then."""
    if query is not None and diff:
        raise WrongUsage(
            "--query answers a question about then, and --diff compares with now; give one of them"
        )
    if (position is None) == (time is None):
        raise WrongUsage(
            "a moment is a position or a time; give one of them",
            remedy="say --position POSITION, or --time TIME",
        )
    moment = Moment((projection,), position, None if time is None else parse_time(time), key, keep, build_in)
    app = cli.app()
    async with cli.operations(app):
        with cli.out.progress("Building", total=None) as bar:
            bar.to(0, "what it was")
            making = past_read_model(app, moment)
            then = await making.__aenter__()
        try:
            await _show(cli, then, projection, query=query, diff=diff, rows=rows)
            if keep:
                cli.out.note(f"Kept in {keep}")
        finally:
            await making.__aexit__(None, None, None)
    return DONE


async def _show(
    cli: Cli, then: ReadModelAt, projection: str, *, query: str | None, diff: bool, rows: int
) -> None:
    facts: dict[str, Any] = {"projection": projection, "position": then.position, "events": then.events}
    if query is not None:
        columns, found = then.rows(query)
        if cli.out.json:
            items = [dict(zip(columns, row, strict=True)) for row in found]
            cli.out.document(**facts, items=items)
        else:
            cli.out.table([Column(name, narrow=False) for name in columns], found)
        return
    if diff:
        difference = await then.difference(rows=rows)
        if cli.out.json:
            cli.out.document(**facts, difference=difference)
        else:
            now = count_of(difference.after.events, "event")
            cli.out.say(f"{_head(then, projection)}; now at position {difference.through:,}, made of {now}")
            rows_shown(cli.out, difference)
        return
    tables = [then.table(name, most=rows) for name in then.tables]
    if cli.out.json:
        cli.out.document(**facts, put_aside=then.put_aside, tables=tables)
        return
    cli.out.say(_head(then, projection))
    if then.put_aside:
        cli.out.say(f"{count_of(then.put_aside, 'event')} could not be handled")
    for table in tables:
        _table_shown(cli, table)


def _head(then: ReadModelAt, projection: str) -> str:
    return f"{projection} at position {then.position:,}, made of {count_of(then.events, 'event')}"


def _table_shown(cli: Cli, table: PastTable) -> None:
    cli.out.say()
    cli.out.say(f"{table.name}: {count_of(table.count, 'row')}", style="bold")
    cli.out.table([Column(name, narrow=False) for name in table.columns], table.rows)
    if len(table.rows) < table.count:
        cli.out.say(f"... and {table.count - len(table.rows):,} more", style="dim")
