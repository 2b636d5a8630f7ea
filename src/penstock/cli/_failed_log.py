"""``penstock failed log``: who did what to failed messages and to projections, when and why."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import WrongUsage
from penstock.cli._failed import NOUN
from penstock.cli._near import suggesting
from penstock.cli._output import Column

__all__ = ["NOUN"]


@NOUN.verb("log")
async def log(
    cli: Cli,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="STREAM", help="Only of this stream.")
    ] = None,
    projection: Annotated[
        str | None, typer.Option("--projection", metavar="NAME", help="Only of this projection or relay.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
) -> None:
    """List who ran again, forgot, edited or unparked failed messages, or told projections what to do, latest first."""
    if stream is not None and projection is not None:
        raise WrongUsage("projections read event streams of a store; give --stream or --projection")
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.failed_log(stream, projection=projection, limit=limit)
    if cli.out.json:
        cli.out.document(items=found)
        return
    if not found:
        cli.out.say("Nobody did anything yet")
        return
    cli.out.table(
        [
            Column("When (UTC)"),
            Column("Who", narrow=False),
            Column("What"),
            Column("Messages", right=True),
            Column("Stream", narrow=False),
            Column("Which", narrow=False),
            Column("Why", narrow=False),
        ],
        [
            [
                each.when,
                each.who,
                each.what,
                each.count or "-",
                each.stream if each.projection is None else f"{each.projection} (projection)",
                each.which or "-",
                each.why or "-",
            ]
            for each in found
        ],
    )
