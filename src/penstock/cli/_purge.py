"""``penstock streams purge``, ``trim`` and ``delete``: what goes, what stays, and who holds it."""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, WrongUsage
from penstock.cli._near import suggesting
from penstock.cli._options import Pool, Yes
from penstock.cli._output import Column, Output, clean
from penstock.cli._streams import NOUN
from penstock.clock import parse_duration
from penstock.operations import HeldBy, Operations, Purged
from penstock.position import EntryId

__all__ = ["delete_stream", "held_text", "purge_streams", "trim_stream"]

_Stream = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.")]
_Force = Annotated[bool, typer.Option("--force", help="Also what groups, cursors and relays still need.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and do nothing.")]


@NOUN.verb("purge", aliases=("purge", "streamer:purge"))
async def purge_streams(
    cli: Cli,
    streams: Annotated[
        list[str] | None, typer.Argument(metavar="STREAM", help="Streams.  [default: all]")
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--streams", metavar="A,B", help="The same, separated by commas.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DURATION", help="Only what is older.")
    ] = None,
    pool: Pool = None,
    force: _Force = False,
    yes: Yes = False,
    dry_run: _DryRun = False,
) -> int:
    """Remove entries that nobody needs any more, and say who holds the others.

    An entry is needed by a group that has not handled it, by a reader's cursor before it, by a relay, and by a
    registered group that was never started. Failed messages carry their payload and need nothing.
    """
    names = [name for each in [*(streams or []), listed or ""] for name in each.split(",") if name]
    age = None if older_than is None else parse_duration(older_than)
    async with cli.operations() as operations, suggesting(operations):
        if not dry_run:
            planned = await _purged(operations, names, age, pool, force=force, dry_run=True)
            going = sum(each.removed for each in planned)
            if going and not yes:
                _table(cli.out, planned, "Would go")
            if going:
                cli.confirm(f"Remove {_entries(going)}?", yes=yes, affects=going)
        done = await _purged(operations, names, age, pool, force=force, dry_run=dry_run)
    return _show(cli.out, done, dry_run=dry_run)


@NOUN.verb("trim")
async def trim_stream(
    cli: Cli,
    stream: _Stream,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=0, help="Keep the newest so many.")
    ] = None,
    below: Annotated[
        str | None, typer.Option("--below", metavar="ID", help="Remove what lies below this id.")
    ] = None,
    pool: Pool = None,
    force: _Force = False,
    yes: Yes = False,
    dry_run: _DryRun = False,
) -> int:
    """Remove the oldest entries of one stream, as far as nobody needs them."""
    if (keep is None) == (below is None):
        raise WrongUsage("say how far: --keep N, or --below ID")
    place = None if below is None else EntryId.parse(below)
    async with cli.operations() as operations, suggesting(operations):
        if not dry_run and not yes:
            planned = await operations.trim(
                stream, keep=keep, below=place, pool=pool, force=force, dry_run=True
            )
            if planned.removed:
                cli.confirm(
                    f"Remove {_entries(planned.removed)} of {planned.stream}?",
                    yes=False,
                    affects=planned.removed,
                )
        done = await operations.trim(stream, keep=keep, below=place, pool=pool, force=force, dry_run=dry_run)
    return _show(cli.out, [done], dry_run=dry_run)


@NOUN.verb("delete")
async def delete_stream(
    cli: Cli, stream: _Stream, pool: Pool = None, yes: Yes = False, dry_run: _DryRun = False
) -> int:
    """Remove a stream with its groups, failed messages, cursors: everything, whoever needs it."""
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.delete_stream(stream, pool=pool, dry_run=True)
        groups = f", groups {', '.join(found.groups)}" if found.groups else ""
        what = f"{_entries(found.entries)}{groups}, {found.failures:,} failed messages"
        if not dry_run:
            cli.confirm(f"Delete stream {stream} with {what}?", yes=yes, affects=found.entries)
            found = await operations.delete_stream(stream, pool=pool)
    if cli.out.json:
        cli.out.document(deleted=found, dry_run=dry_run)
    cli.out.say(f"{'Would delete' if dry_run else 'Deleted'} stream {stream} with {what}")
    return DONE


# -- how it looks ---------------------------------------------------------------------------------------------------


async def _purged(
    operations: Operations,
    names: Sequence[str],
    age: timedelta | None,
    pool: str | None,
    *,
    force: bool,
    dry_run: bool,
) -> list[Purged]:
    purged = operations.purge(names, older_than=age, pool=pool, force=force, dry_run=dry_run)
    async with aclosing(purged):
        return [each async for each in purged]


def _show(out: Output, done: Sequence[Purged], *, dry_run: bool) -> int:
    removed = sum(each.removed for each in done)
    if out.json:
        out.document(items=done, removed=removed, dry_run=dry_run)
        return DONE
    if done:
        _table(out, done, "Would go" if dry_run else "Removed")
    out.say(f"{_entries(removed)} would be removed" if dry_run else f"Removed {_entries(removed)}")
    return DONE


def _table(out: Output, done: Sequence[Purged], title: str) -> None:
    pools = len({each.pool for each in done}) > 1
    columns = [
        *([Column("Pool")] if pools else []),
        Column("Stream", narrow=False),
        Column(title, right=True),
        Column("Stays", right=True),
        Column("Held by", narrow=False),
    ]
    out.table(
        columns,
        [
            [
                *([each.pool] if pools else []),
                each.stream,
                each.removed,
                each.left,
                held_text(each.held_by),
            ]
            for each in done
        ],
    )


def held_text(holds: Sequence[HeldBy]) -> Text:
    """Who holds entries, and from where on."""
    return Text(", ".join(map(_hold, holds)) or "-")


def _hold(hold: HeldBy) -> str:
    name = clean(hold.name)
    if hold.kind == "absent group":
        since = "" if hold.since is None else f" since {hold.since:%Y-%m-%d}"
        return f"group {name} (registered{since}, never started)"
    pending = f", {hold.pending:,} pending" if hold.pending else ""
    return f"{hold.kind} {name} (from {hold.needs}{pending})"


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"
