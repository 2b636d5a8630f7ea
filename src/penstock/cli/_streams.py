"""``penstock streams``: what is in the streams, and what comes into them."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import WrongUsage
from penstock.cli._near import suggesting
from penstock.cli._options import Pool
from penstock.cli._output import Column, Output, ago, clean, clock_time, short_duration
from penstock.cli._plain import json_text, plain
from penstock.operations import EntryView, GroupSummary, LeaseView, StreamDetail, StreamSummary
from penstock.position import NEW, EntryId, parse_start

__all__ = ["NOUN", "group_table", "show_entry", "stream_table"]

NOUN: Final = Noun("streams", "Streams: what they hold, and what comes into them.")

_NO_STREAMS = "No streams yet. The first event makes one: penstock emit NAME JSON"
_Stream = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name.")]


@NOUN.verb("list")
async def list_streams(cli: Cli, pool: Pool = None) -> None:
    """List the streams that exist, and those that are registered and do not exist yet."""
    async with cli.operations() as operations:
        found = await operations.streams(pool=pool)
    if cli.out.json:
        cli.out.document(items=found)
    elif not found:
        cli.out.say(_NO_STREAMS)
    else:
        stream_table(cli.out, found)


@NOUN.verb("show")
async def show_stream(cli: Cli, stream: _Stream, pool: Pool = None) -> None:
    """Show one stream with its groups and the cursors of its readers."""
    async with cli.operations() as operations, suggesting(operations):
        detail = await operations.stream(stream, pool=pool)
    if cli.out.json:
        cli.out.document(**plain(detail))
        return
    summary = detail.stream
    cli.out.facts(
        [
            ("Stream", summary.name),
            ("Pool", summary.pool),
            ("Exists", _existence(summary)),
            ("Entries", summary.length),
            ("First", _place(summary.first)),
            ("Last", _place(summary.last)),
            ("Memory", "-" if summary.memory_bytes is None else f"{summary.memory_bytes:,} bytes"),
            ("Failed messages", f"{summary.failed:,} failed, {summary.retrying:,} retrying"),
            ("Retention", detail.retention or "none: nothing is removed by itself"),
            ("Needed from", _needed(detail)),
            *([("Partitions", detail.partitions)] if detail.partitions is not None else []),
            *((f"Lease {lease.name}", _lease(lease)) for lease in detail.leases),
        ]
    )
    if detail.groups:
        cli.out.say()
        group_table(cli.out, detail.groups, with_stream=False)
    if detail.cursors:
        cli.out.say()
        cli.out.table([Column("Cursor"), Column("At")], list(detail.cursors.items()))


@NOUN.verb("tail")
async def tail_streams(
    cli: Cli,
    streams: Annotated[list[str], typer.Argument(metavar="STREAM...", help="One or several streams.")],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="new|beginning|ID|TIME", help="Where to begin.  [default: new]"),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option("--last", "-n", min=0, help="Show that many of what is there.  [default: 10]"),
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="End when everything there is has been shown.")
    ] = False,
    pool: Pool = None,
) -> None:
    """Show the last entries and every further one as it comes. Nothing is acknowledged, and no group moves."""
    if start is not None and last is not None:
        raise WrongUsage("--last counts back from the end and --from names a place; give one of them")
    place = NEW if start is None else parse_start(start)
    shown = 0 if start is not None else 10 if last is None else last
    async with cli.operations(waits=not no_follow) as operations:
        views = operations.tail(*streams, pool=pool, start=place, last=shown, follow=not no_follow)
        async with aclosing(views):
            async for view in views:
                show_entry(cli.out, view)


# -- how they look --------------------------------------------------------------------------------------------------


def stream_table(out: Output, streams: Sequence[StreamSummary]) -> None:
    """Streams, one a row."""
    pools = len({stream.pool for stream in streams}) > 1
    failing = any(stream.failed or stream.retrying for stream in streams)
    columns = [
        *([Column("Pool")] if pools else []),
        Column("Stream", narrow=False),
        Column("Entries", right=True),
        Column("Groups", right=True),
        Column("Last entry", right=True),
        *([Column("Failed", right=True), Column("Retrying", right=True)] if failing else []),
    ]
    out.table(
        columns,
        [
            [
                *([stream.pool] if pools else []),
                stream.name,
                stream.length if stream.exists else Text("not yet", style="dim"),
                stream.groups,
                "-" if stream.last is None else ago(stream.last.time),
                *([_red(stream.failed), stream.retrying] if failing else []),
            ]
            for stream in streams
        ],
    )


def group_table(out: Output, groups: Sequence[GroupSummary], *, with_stream: bool = True) -> None:
    """Groups, one a row."""
    pools = len({group.pool for group in groups}) > 1
    columns = [
        *([Column("Pool")] if pools else []),
        *([Column("Stream", narrow=False)] if with_stream else []),
        Column("Group", narrow=False),
        Column("Lag", right=True),
        Column("Behind", right=True),
        Column("Pending", right=True),
        Column("Oldest", right=True),
        Column("Consumers", right=True),
        Column("Failed", right=True),
    ]
    out.table(
        columns,
        [
            [
                *([group.pool] if pools else []),
                *([group.stream] if with_stream else []),
                group.name,
                group.lag_entries,
                short_duration(group.lag_seconds) if group.lag_entries else "-",
                group.pending,
                short_duration(group.oldest_pending_seconds),
                group.consumers if group.exists else Text("not yet", style="dim"),
                _red(group.failed),
            ]
            for group in groups
        ],
    )


def show_entry(out: Output, view: EntryView) -> None:
    """One entry on one line."""
    if out.json:
        out.line(**plain(view))
        return
    text = Text.assemble((str(view.entry_id), "dim"), " ", (clean(view.name or view.stream), "bold"))
    if view.name is not None and view.name != view.stream:
        text.append(f" ({clean(view.stream)})", style="dim")
    if view.key is not None:
        text.append(f" {clean(view.key)}", style="cyan")
    if view.undecodable is not None:
        text.append(f" {clean(view.undecodable)}", style="red")
        if view.fields:
            text.append(f" {clean(json.dumps(dict(view.fields), ensure_ascii=False))}")
    elif view.payload is not None:
        text.append(f" {clean(json_text(view.payload))}")
    out.say(text)


def _existence(summary: StreamSummary) -> str:
    if not summary.exists:
        return "not yet: it is registered, and appears with its first entry or group"
    return "yes, registered" if summary.registered else "yes"


def _needed(detail: StreamDetail) -> str:
    """The floor, and who holds it."""
    if not detail.held_by:
        return "nobody needs anything"
    first = detail.held_by[0]
    lowest = [f"{hold.kind} {hold.name}" for hold in detail.held_by if hold.needs == first.needs]
    since = f", registered since {clock_time(first.since)} UTC" if first.since is not None else ""
    where = "the beginning" if first.kind == "absent group" else str(first.needs)
    return f"{where}, by {', '.join(lowest)}{since}"


def _lease(lease: LeaseView) -> str:
    return f"{lease.holder}, for {short_duration(lease.remaining_seconds)} (fence {lease.fence})"


def _place(entry_id: EntryId | None) -> str:
    if entry_id is None:
        return "-"
    return f"{entry_id} ({clock_time(entry_id.time)} UTC)"


def _red(count: int) -> object:
    return Text(f"{count:,}", style="red") if count else count
