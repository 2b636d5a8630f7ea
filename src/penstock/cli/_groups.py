"""``penstock groups``: who reads what, how far behind they are, and what hangs."""

from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._near import suggesting
from penstock.cli._options import Pool
from penstock.cli._output import Column, Output, short_duration
from penstock.cli._plain import plain
from penstock.cli._streams import group_table
from penstock.operations import GroupDetail, LaneOwner

__all__ = ["NOUN"]

NOUN: Final = Noun("groups", "Consumer groups: how far behind they are, and what is pending.")


@NOUN.verb("list")
async def list_groups(
    cli: Cli,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="STREAM", help="Only this stream's groups.")
    ] = None,
    pool: Pool = None,
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
    pool: Pool = None,
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
            *([("Worked by", _owner(detail.owner))] if detail.owner is not None else []),
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
    if detail.speeds:
        cli.out.say()
        _speed_table(cli.out, detail)
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


def _speed_table(out: Output, detail: GroupDetail) -> None:
    """How fast the listeners were on the last day on which they ran."""
    day = detail.speeds[0].day
    out.table(
        [
            Column(f"Listener on {day}", narrow=False),
            Column("Runs", right=True),
            Column("Failed", right=True),
            Column("Median", right=True),
            Column("95%", right=True),
            Column("99%", right=True),
        ],
        [
            [
                each.listener,
                each.runs,
                each.failed,
                *map(short_duration, (each.median_seconds, each.p95_seconds, each.p99_seconds)),
            ]
            for each in detail.speeds
            if each.day == day
        ],
    )
    out.say(f"{detail.events_per_second:,.1f} events a second over the last minute", style="dim")


def _owner(owner: LaneOwner) -> str:
    return f"{owner.holder}, for {short_duration(owner.remaining_seconds)} unless it renews"
