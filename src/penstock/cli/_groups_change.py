"""``penstock groups reset`` and ``delete``: sending a group somewhere else, or away."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE
from penstock.cli._groups import NOUN
from penstock.cli._near import suggesting
from penstock.cli._options import DryRun, Pool, Yes
from penstock.position import parse_start

__all__ = ["delete_group", "reset_group"]

_Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
_Stream = Annotated[str, typer.Option("--stream", metavar="STREAM", help="The stream whose group it is.")]


@NOUN.verb("reset")
async def reset_group(
    cli: Cli,
    group: _Group,
    stream: _Stream,
    to: Annotated[
        str,
        typer.Option("--to", metavar="beginning|new|ID|TIME", help="Go on after this id, or at this time."),
    ],
    pool: Pool = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Have a group go on at another place: handle again what is there, or skip it.

    What is pending stays pending, and is handled. What was removed from the stream does not come back.
    """
    start = parse_start(to)
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.reset_group(stream, group, start, pool=pool, dry_run=True)
        moves = f"group {group} of {stream} from {found.before} to {found.after}"
        if not dry_run:
            cli.confirm(f"Move {moves}?", yes=yes, affects=1)
            found = await operations.reset_group(stream, group, start, pool=pool)
    if cli.out.json:
        cli.out.document(group=found, dry_run=dry_run)
    pending = f"; {found.pending:,} pending entries stay so" if found.pending else ""
    cli.out.say(f"{'Would move' if dry_run else 'Moved'} {moves}{pending}")
    return DONE


@NOUN.verb("delete")
async def delete_group(
    cli: Cli,
    group: _Group,
    stream: _Stream,
    pool: Pool = None,
    force: Annotated[bool, typer.Option("--force", help="Although somebody works in it.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Remove a group with its place, or stop expecting one that was never started. Failed messages stay."""
    async with cli.operations() as operations, suggesting(operations):
        pending = await operations.delete_group(stream, group, pool=pool, force=force, dry_run=True)
        what = f"group {group} of {stream} with {pending:,} pending entries"
        if not dry_run:
            cli.confirm(f"Delete {what}?", yes=yes, affects=1)
            pending = await operations.delete_group(stream, group, pool=pool, force=force)
    if cli.out.json:
        cli.out.document(stream=stream, group=group, pending=pending, dry_run=dry_run)
    cli.out.say(f"{'Would delete' if dry_run else 'Deleted'} {what}")
    return DONE
