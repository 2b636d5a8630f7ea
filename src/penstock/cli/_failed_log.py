"""``penstock failed log``: who did what to failed messages, when and why."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
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
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
) -> None:
    """List who ran again, forgot, edited or unparked failed messages, when and why, latest first."""
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.failed_log(stream, limit=limit)
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
            [each.when, each.who, each.what, each.count, each.stream, each.which, each.why or "-"]
            for each in found
        ],
    )
