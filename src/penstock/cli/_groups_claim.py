"""``penstock groups claim``: what a stopped consumer left, given to one that runs."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, Refusal, WrongUsage
from penstock.cli._groups import NOUN
from penstock.cli._near import suggesting
from penstock.cli._options import Pool, Yes
from penstock.cli._output import Column
from penstock.operations import Moved

__all__ = ["claim_pending"]


@NOUN.verb("claim")
async def claim_pending(
    cli: Cli,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The consumer group.")],
    source: Annotated[
        str,
        typer.Option("--from", metavar="CONSUMER", help="The consumer that stopped: a name, or a number."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="CONSUMER", help="The consumer that shall handle it.")
    ],
    stream: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Only there.")] = None,
    pool: Pool = None,
    force: Annotated[bool, typer.Option("--force", help="Although the first one is at work.")] = False,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved, and do nothing.")
    ] = False,
) -> int:
    """Move all that is pending with one consumer to another, and remove the first.

    The target handles it without a restart. A number means the numbered consumer: 2 is consumer-2.
    """
    names = _named(source), _named(target)
    if names[0] == names[1]:
        raise WrongUsage(f"{names[0]!r} cannot claim from itself")
    async with cli.operations() as operations, suggesting(operations):
        planned = await operations.pending_with(group, names[0], stream=stream, pool=pool)
        if not planned:
            raise Refusal(
                f"no stream has a group {group!r}", remedy="`penstock groups list` shows which there are"
            )
        total = sum(each.count for each in planned)
        if dry_run:
            return _show(cli, planned, f"{total:,} entries would move to {names[1]}", dry_run=True)
        cli.confirm(f"Move {total:,} entries from {names[0]} to {names[1]}?", yes=yes, affects=total)
        moved = await operations.claim(group, *names, stream=stream, pool=pool, force=force)
    total = sum(each.count for each in moved)
    return _show(cli, moved, f"Moved {total:,} entries to {names[1]}; {names[0]} is removed", dry_run=False)


def _named(consumer: str) -> str:
    return f"consumer-{consumer}" if consumer.isdecimal() else consumer


def _show(cli: Cli, items: list[Moved], text: str, *, dry_run: bool) -> int:
    if cli.out.json:
        cli.out.document(items=items, total=sum(each.count for each in items), dry_run=dry_run)
    else:
        cli.out.table(
            [Column("Stream", narrow=False), Column("Entries", right=True)],
            [[each.stream, each.count] for each in items],
        )
        cli.out.say(text)
    return DONE
