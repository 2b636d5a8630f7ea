"""``penstock groups``: who reads what, how far behind they are, and what hangs."""

from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._near import suggesting
from penstock.cli._output import Column, short_duration
from penstock.cli._plain import plain
from penstock.cli._streams import group_table

__all__ = ["NOUN"]

NOUN: Final = Noun("groups", "Consumer groups: how far behind they are, and what is pending.")

_Pool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="Only in this pool.")]


@NOUN.verb("list")
async def list_groups(
    cli: Cli,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="STREAM", help="Only this stream's groups.")
    ] = None,
    pool: _Pool = None,
) -> None:
    """List the groups of all streams: lag, pending entries, consumers; registered ones that are not there yet, too."""
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.groups(stream, pool=pool)
    if cli.out.json:
        cli.out.document(items=found)
    elif not found:
        cli.out.say("No consumer groups yet. A group appears when its first worker starts: penstock run")
    else:
        group_table(cli.out, found)


@NOUN.verb("show")
async def show_group(
    cli: Cli,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.")],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")],
    pool: _Pool = None,
) -> None:
    """Show one group with its consumers and its oldest pending entries."""
    async with cli.operations() as operations, suggesting(operations):
        detail = await operations.group(stream, group, pool=pool)
    if cli.out.json:
        cli.out.document(**plain(detail))
        return
    summary = detail.group
    behind = f" ({short_duration(summary.lag_seconds)} behind)" if summary.lag_entries else ""
    oldest = summary.oldest_pending_seconds
    cli.out.facts(
        [
            ("Group", summary.name),
            ("Stream", summary.stream),
            ("Pool", summary.pool),
            ("Exists", summary.exists),
            ("Lag", f"{summary.lag_entries:,} entries{behind}"),
            (
                "Pending",
                f"{summary.pending:,}"
                + (f", the oldest {short_duration(oldest)} old" if oldest is not None else ""),
            ),
            ("Last delivered", summary.last_delivered),
            ("Failed messages", f"{summary.failed:,} failed, {summary.retrying:,} retrying"),
        ]
    )
    if detail.consumers:
        cli.out.say()
        cli.out.table(
            [
                Column("Consumer", narrow=False),
                Column("Pending", right=True),
                Column("Last seen", right=True),
                Column("Alive"),
            ],
            [
                [
                    each.name,
                    each.pending,
                    f"{short_duration(each.idle_seconds)} ago",
                    Text("yes", style="green") if each.alive else Text("no", style="dim"),
                ]
                for each in detail.consumers
            ],
        )
    if detail.oldest_pending:
        cli.out.say()
        cli.out.table(
            [
                Column("Oldest pending"),
                Column("Consumer", narrow=False),
                Column("Idle", right=True),
                Column("Deliveries", right=True),
            ],
            [
                [each.entry_id, each.consumer, short_duration(each.idle_seconds), each.delivery_count]
                for each in detail.oldest_pending
            ],
        )
