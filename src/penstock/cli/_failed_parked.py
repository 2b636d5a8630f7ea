"""``penstock failed parked`` and ``failed unpark``: keys whose events wait for a person."""

from collections.abc import Sequence
from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, REFUSED, WrongUsage
from penstock.cli._failed import NOUN
from penstock.cli._failed_shown import error_line, event_id_shown
from penstock.cli._near import suggesting
from penstock.cli._options import DryRun
from penstock.cli._output import Column, Output, ago
from penstock.cli._person import Why, login_name
from penstock.operations import ParkedKeySummary, ParkedWhich

__all__ = ["NOUN"]

_NONE = "No parked keys"

_Stream = Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Only of this stream.")]
_Group = Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Only of this consumer group.")]
_Projection = Annotated[
    str | None, typer.Option("--projection", metavar="NAME", help="Only of this projection or relay.")
]
_Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", help="Only this key; the empty one is that of events without a key."
    ),
]


@NOUN.verb("parked")
async def list_parked(
    cli: Cli,
    stream: _Stream = None,
    group: _Group = None,
    projection: _Projection = None,
    key: _Key = None,
) -> None:
    """List the parked keys: how many events wait under each, since when, and the error of the first of them."""
    which = _which(stream, group, projection, key)
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.parked_keys(which)
    if cli.out.json:
        cli.out.document(items=found)
    elif not found:
        cli.out.say(_NONE if which.is_everything else f"{_NONE} match")
    else:
        _table(cli.out, found)


@NOUN.verb("unpark")
async def unpark(
    cli: Cli,
    everything: Annotated[bool, typer.Option("--all", help="Every parked key.")] = False,
    stream: _Stream = None,
    group: _Group = None,
    projection: _Projection = None,
    key: _Key = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", hidden=True)] = False,
) -> int:
    """Have the events of parked keys handled, in their order, by whoever works the stream or runs the projection.

    --stream, --group, --projection and --key narrow it down together. An event that fails again parks its key again.
    """
    which = _which(stream, group, projection, key)
    if everything and not which.is_everything:
        raise WrongUsage("--all means every parked key; leave it out to narrow down")
    if not everything and which.is_everything:
        raise WrongUsage(
            "nothing says which keys to unpark",
            remedy="name them by --stream, --group, --projection, --key (all must match), or say --all",
        )
    async with cli.operations() as operations, suggesting(operations):
        if dry_run:
            found = await operations.parked_keys(which)
        else:
            found = await operations.unpark(which, everything=everything, who=login_name(), why=why)
    events = sum(each.events for each in found)
    if cli.out.json:
        cli.out.document(items=found, events=events, dry_run=dry_run)
    elif not found:
        cli.out.say(_NONE if which.is_everything else f"{_NONE} match")
    else:
        if dry_run:
            _table(cli.out, found)
        cli.out.say(f"{_counted(len(found), events)} {'would be' if dry_run else 'will be'} handled")
        if not dry_run:
            cli.out.note("Whoever works them does so within a second or two: penstock failed parked")
    return DONE if found or everything else REFUSED


def _which(stream: str | None, group: str | None, projection: str | None, key: str | None) -> ParkedWhich:
    if projection is not None and (stream is not None or group is not None):
        raise WrongUsage("a projection has no group and reads no stream; leave --stream and --group out")
    return ParkedWhich(stream=stream, group=group, key=key, projection=projection)


def _counted(keys: int, events: int) -> str:
    return f"{events:,} event{'' if events == 1 else 's'} of {keys:,} key{'' if keys == 1 else 's'}"


def _table(out: Output, found: Sequence[ParkedKeySummary]) -> None:
    out.table(
        [
            Column("Stream", narrow=False),
            Column("Group", narrow=False),
            Column("Key", narrow=False),
            Column("Events", right=True),
            Column("Parked"),
            Column("First"),
            Column("Error", narrow=False),
        ],
        [
            [
                each.stream,
                each.group if each.projection is None else f"{each.projection} (projection)",
                each.key or "(no key)",
                each.events,
                "unparking" if each.unparking else ago(each.since),
                event_id_shown(each.first, each.projection),
                error_line(each.error_type, each.error),
            ]
            for each in found
        ],
    )
